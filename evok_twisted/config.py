"""``config.yaml``, Evok's and ours, as frozen and typed settings, with every error of it at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from evok_twisted.definitions import DIRECTORY, Definition, Definitions
from evok_twisted.errors import ConfigError
from evok_twisted.problems import Problems
from evok_twisted.typedyaml import Reader, Settings, load_yaml, shown

FILE = "config.yaml"
AUTOGEN = "autogen.yaml"

_TRUE = ("true", "yes", "on", "1")

#: Where a commented configuration may be: in a source tree, an environment, or the system.
EXAMPLES = (
    Path(__file__).resolve().parent.parent / "conf" / FILE,
    Path(sys.prefix) / "share" / "evok-twisted" / FILE,
    Path("/usr/share/doc/evok-twisted/examples") / FILE,
)

#: Exit status for a configuration that cannot be used (EX_CONFIG of sysexits.h).
BAD_CONFIG = 78

Port = Annotated[int, Meta(ge=1, le=65535, description="a port number from 1 to 65535")]
Seconds = Annotated[float, Meta(gt=0, le=3600, description="a number of seconds, more than 0 and at most 3600")]
Connections = Annotated[int, Meta(ge=1, description="a whole number of connections, 1 or more")]
Waiting = Annotated[int, Meta(ge=1, description="a whole number of commands, 1 or more")]
#: A name, in labels of at most 63 characters, or an address.
_HOST = r"(\[[0-9A-Fa-f:.]+(%\w+)?\]|[^\s/:@?#\[\].]{1,63}(\.[^\s/:@?#\[\].]{1,63})*\.?)"
Host = Annotated[
    str,
    Meta(
        pattern=rf"^(?!.{{254}})({_HOST}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+(%\w+)?)$",
        description="the name or the address of a host, without a port",
    ),
]
Url = Annotated[
    str,
    Meta(
        pattern=rf"^[Hh][Tt][Tt][Pp][Ss]?://{_HOST}(:[0-9]{{1,5}})?([/?]\S*)?$",
        description="an http:// or https:// URL, without a password",
    ),
]
Interval = Annotated[float, Meta(ge=0.1, le=3600, description="a number of seconds from 0.1 to 3600")]
SlaveId = Annotated[int, Meta(ge=0, le=255, description="a Modbus unit id from 1 to 247")]


class Logging(Settings, frozen=True, kw_only=True):
    """``logging``."""

    level: Literal["debug", "info", "warning", "warn", "error", "critical"] = "info"
    file: str = ""


class WebSocketApi(Settings, frozen=True, kw_only=True):
    """``apis.websocket``."""

    enabled: bool = True
    all_filtered: bool = False
    max_clients: Annotated[int, Meta(ge=1, description="a whole number of clients, 1 or more")] = 1024
    max_message_size: Annotated[int, Meta(ge=128, description="a whole number of bytes, 128 or more")] = 65536
    max_message_rate: Annotated[int, Meta(ge=1, description="a whole number of messages a second, 1 or more")] = 200


class WebhookApi(Settings, frozen=True, kw_only=True):
    """``apis.webhook``."""

    enabled: bool = False
    address: tuple[Url, ...] = ()
    device_mask: tuple[str, ...] = ()
    complex_events: bool = False


class Apis(Settings, frozen=True, kw_only=True):
    """``apis``: where clients find us, and how we talk to them."""

    port: Port = 8080
    address: str = "127.0.0.1"
    listen: tuple[str, ...] = ()
    dialect: Literal["classic", "v3"] = "classic"
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    access_log: bool = False
    alias_file: str = "/var/lib/evok"
    max_connections: Connections = 2048
    max_connections_per_address: Connections = 256
    max_body_size: Annotated[int, Meta(ge=1024, description="a whole number of bytes, 1024 or more")] = 1 << 20
    max_header_size: Annotated[int, Meta(ge=1024, description="a whole number of bytes, 1024 or more")] = 16384
    idle_timeout: Seconds = 60.0
    websocket: WebSocketApi = WebSocketApi()
    webhook: WebhookApi = WebhookApi()


class DeviceInfoSettings(Settings, frozen=True, kw_only=True):
    """``device_info`` of a bus or a device."""

    family: str = ""
    model: str = ""
    sn: int = 0
    board_count: int = 1


class DeviceSettings(Settings, frozen=True, kw_only=True):
    """One of the ``devices`` of a Modbus bus."""

    also = {"slave-id": "slave_id", "model_id": "model"}

    slave_id: SlaveId = 1
    model: Annotated[str, Meta(min_length=1, description="a model such as 00 or xS51")]
    scan_frequency: Annotated[float, Meta(ge=0, le=1000, description="scans a second, up to 1000; 0 is none")] = 50.0
    scan_enabled: bool = True
    join: bool = True
    enabled: bool = True
    device_info: DeviceInfoSettings | None = None


class BusSettings(Settings, frozen=True, kw_only=True):
    """What every bus has."""

    ignored = frozenset({"type"})

    enabled: bool = True
    device_info: DeviceInfoSettings | None = None
    max_waiting: Waiting = 64


class ModbusTcpSettings(BusSettings, frozen=True, kw_only=True):
    """``type: MODBUSTCP``."""

    hostname: Host = "127.0.0.1"
    port: Port = 502
    timeout: Seconds = 1.0
    write_timeout: Seconds = 2.0
    pipeline: Annotated[int, Meta(ge=1, le=64, description="a whole number from 1 to 64")] | None = None
    framer: Literal["socket", "rtu"] = "socket"
    devices: dict[str, Any] = {}


class ModbusRtuSettings(BusSettings, frozen=True, kw_only=True):
    """``type: MODBUSRTU``."""

    misspelt = {"boudrate": "baudrate"}

    port: Annotated[str, Meta(min_length=1, description="the path of a serial device such as /dev/ttyUSB0")]
    baudrate: Annotated[int, Meta(ge=300, description="a baud rate such as 19200")] = 19200
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Annotated[int, Meta(ge=1, le=2, description="1 or 2")] = 1
    timeout: Seconds = 0.5
    write_timeout: Seconds = 2.0
    devices: dict[str, Any] = {}


class SensorSettings(Settings, frozen=True, kw_only=True):
    """One of the ``devices`` of a 1-Wire bus."""

    address: Annotated[
        str,
        Meta(
            pattern=r"^[0-9A-Fa-f]{2}\.?[0-9A-Fa-f]{12}(\.?[0-9A-Fa-f]{2})?$",
            description="an address such as 28.95DCD5090000",
        ),
    ]
    type: str | None = None
    interval: Interval | None = None
    enabled: bool = True


class OneWireSettings(BusSettings, frozen=True, kw_only=True):
    """``type: OWBUS``."""

    hostname: Host = "127.0.0.1"
    port: Port = 4304
    interval: Interval = 10.0
    scan_interval: Annotated[float, Meta(ge=0, le=86400, description="a number of seconds, at most 86400")] = 60.0
    owpower: str | None = None
    devices: dict[str, Any] = {}


BUS_TYPES: Mapping[str, type[BusSettings]] = {
    "MODBUSTCP": ModbusTcpSettings,
    "MODBUSRTU": ModbusRtuSettings,
    "OWBUS": OneWireSettings,
    "OWFS": OneWireSettings,
}


class _File(Settings, frozen=True, kw_only=True):
    """The keys of the file; what is below each is read by itself, so that one bad part does not cost the others."""

    autogen: bool = False
    logging: dict[str, Any] = {}
    apis: dict[str, Any] = {}
    comm_channels: dict[str, Any] = {}


class Board(msgspec.Struct, frozen=True):
    """A configured device with the definition of its model.

    :ivar number: its ``glob_dev_id``.
    """

    name: str
    number: int
    settings: DeviceSettings
    definition: Definition


class Bus(msgspec.Struct, frozen=True):
    """A bus that is to run, and what is on it: boards, or, by their names, 1-Wire sensors."""

    name: str
    settings: BusSettings
    boards: tuple[Board, ...]
    sensors: Mapping[str, SensorSettings] = {}


class Config(msgspec.Struct, frozen=True):
    """Everything that the service is told."""

    logging: Logging = Logging()
    apis: Apis = Apis()
    buses: tuple[Bus, ...] = ()


class _MergedReader(Reader):
    """Reads ``config.yaml`` laid over ``autogen.yaml``, and knows which of them a value is from."""

    def __init__(self, file: Path, document: Any, under: Path, problems: Problems) -> None:
        super().__init__(file, problems)
        self._own = set(_paths(document))
        self._under = under

    def file_of(self, path: str) -> object:
        return self._file if path in self._own or not self._under.is_file() else self._under

    def fatal(self, path: str) -> bool:
        """A service that nobody could reach would only seem to run; any other part costs itself, and no more."""
        return not path or (_is_in(path, "apis") and not _is_in(path, "apis.webhook"))


def _is_in(path: str, part: str) -> bool:
    """Whether a path is that of a part of the configuration, or below it."""
    return path == part or path.startswith(f"{part}.")


def _paths(node: Any, path: str = "") -> Iterator[str]:
    yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _paths(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for n, value in enumerate(node):
            yield from _paths(value, f"{path}.{n}")


def _merged(under: Any, over: Any) -> Any:
    if isinstance(under, dict) and isinstance(over, dict):
        both = {key: _merged(under[key], over[key]) for key in under.keys() & over.keys()}
        return {**under, **over, **both}
    return under if over == "" else over


def _generated(under: Path, over: Path, problems: Problems) -> Any:
    """What ``autogen.yaml`` brings in; nothing, where it is of no use."""
    if not under.is_file():
        problems.warning(over, "autogen", f"there is no {under}, which this asks for; nothing is taken from it")
        return {}
    try:
        document = load_yaml(under, problems)
    except ConfigError as error:
        problems.unreadable(under, error)
        return {}
    if not isinstance(document, dict):
        problems.error(under, "", f"got {shown(document)}, expected a mapping (key: value)", fatal=False)
        return {}
    return document


def find(path: Path) -> Path:
    """The configuration file that ``path``, itself or as a directory, names.

    :raises ConfigError: there is none; the message says what to do.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        example = next(filter(Path.is_file, EXAMPLES), None)
        hint = f"; {example} is a commented example" if example is not None else ""
        raise ConfigError(f"there is no configuration. Name another file or directory with --config PATH{hint}")
    return file


def load(path: Path, shipped: tuple[Path, ...], problems: Problems) -> Config | None:
    """Read the configuration, the definitions that it names included.

    :param path: the file, or the directory that it is in.
    :param shipped: where to look for definitions that are not beside it.
    :param problems: takes everything that is wrong.
    :returns: None when nothing can be made of it; otherwise what can, whatever the problems.
    """
    try:
        file = find(path)
        document = load_yaml(file, problems)
    except ConfigError as error:
        problems.unreadable(path / FILE if path.is_dir() else path, error)
        return None
    under = file.parent / AUTOGEN
    autogen = isinstance(document, dict) and str(document.get("autogen", "")).lower() in _TRUE
    merged = _merged(_generated(under, file, problems), document) if autogen else document
    reader = _MergedReader(file, document, under, problems)
    problems.file_of = reader.file_of
    found = reader.struct(_File, merged)
    if found is None and not isinstance(merged, dict):
        return None
    parts = found or _File(**{key: merged[key] for key in _PARTS if isinstance(merged.get(key), dict)})
    logging = reader.struct(Logging, parts.logging, "logging")
    apis = _apis(reader, parts.apis)
    definitions = Definitions((file.parent / DIRECTORY, *shipped), problems)
    buses = _Buses(reader, definitions).read(parts.comm_channels)
    return Config(logging or Logging(), apis or Apis(), buses)


_PARTS = ("logging", "apis", "comm_channels")


def _apis(reader: Reader, given: Mapping[str, Any]) -> Apis | None:
    """``apis``, with the webhook by itself: it is of no matter where it is not enabled, and costs itself otherwise."""
    apis = reader.struct(Apis, {key: value for key, value in given.items() if key != "webhook"}, "apis")
    node = given.get("webhook")
    enabled = isinstance(node, dict) and str(node.get("enabled", "")).lower() in _TRUE
    webhook = reader.struct(WebhookApi, node, "apis.webhook") if enabled else None
    if webhook is None or apis is None:
        return apis
    for url in webhook.address:
        parts = urlsplit(url)
        if parts.scheme == "https" and "_" in (parts.hostname or ""):
            reader.error("apis.webhook.address", f"got {url!r}: no certificate can be of the name {parts.hostname!r}")
            return apis
    if not webhook.address:
        reader.error("apis.webhook.address", "got nothing, expected the URL to call, or a list of URLs")
        return apis
    return msgspec.structs.replace(apis, webhook=webhook)


class _Buses:
    """Reads ``comm_channels``, numbering devices as Evok does."""

    def __init__(self, reader: Reader, definitions: Definitions) -> None:
        self._reader = reader
        self._definitions = definitions
        self._number = 0
        self._names: dict[str, str] = {}
        self._ports: dict[str, str] = {}

    def read(self, channels: Mapping[str, Any]) -> tuple[Bus, ...]:
        buses = (self._bus(name, node, f"comm_channels.{name}") for name, node in channels.items())
        return tuple(bus for bus in buses if bus is not None)

    def _bus(self, name: str, node: Any, path: str) -> Bus | None:
        kind = node.get("type") if isinstance(node, dict) else None
        cls = BUS_TYPES.get(kind) if isinstance(kind, str) else None
        if cls is None:
            got = "no type" if kind is None else repr(kind)
            self._reader.error(f"{path}.type", f"got {got}, expected one of {', '.join(BUS_TYPES)}")
            return None
        settings = self._reader.struct(cls, node, path)
        if settings is not None and not settings.enabled:
            return None
        if isinstance(settings, ModbusTcpSettings) and settings.framer == "rtu" and settings.pipeline not in (None, 1):
            self._reader.warning(f"{path}.pipeline", "with framer: rtu one request is in flight; this is passed over")
        if isinstance(settings, ModbusRtuSettings) and self._ports.setdefault(settings.port, name) != name:
            message = f"this is the port of the bus {self._ports[settings.port]} too; only one of them can open it"
            self._reader.warning(f"{path}.port", message)
        self._number += 2 if settings is not None and settings.device_info else 1
        devices = node.get("devices") or {}
        devices = devices if isinstance(devices, dict) else {}
        if isinstance(settings, OneWireSettings):
            if not self._check_name(name, path):  # which is a circuit, and that of its sensors' group
                return None
            read = {
                key: self._reader.struct(SensorSettings, of, f"{path}.devices.{key}") for key, of in devices.items()
            }
            return Bus(name, settings, (), {key: one for key, one in read.items() if one is not None})
        # devices are read even of a bus that has an error: a user wants all errors, not the first
        boards = [
            self._board(key, device, f"{path}.devices.{key}", serial=cls is ModbusRtuSettings)
            for key, device in (devices.items() if cls is not OneWireSettings else ())
        ]
        units: dict[int, str] = {}
        for board in boards:
            if board is not None and units.setdefault(board.settings.slave_id, board.name) != board.name:
                other = units[board.settings.slave_id]
                message = f"the slave-id {board.settings.slave_id} is that of the device {other} too"
                self._reader.warning(f"{path}.devices.{board.name}.slave-id", message)
        if settings is None:
            return None
        return Bus(name, settings, tuple(board for board in boards if board is not None))

    def _board(self, name: str, node: Any, path: str, *, serial: bool) -> Board | None:
        device = self._reader.struct(DeviceSettings, node, path)
        if device is not None and not device.enabled:
            return None
        sound = self._check_name(name, path)
        number, self._number = self._number, self._number + 1
        if device is None:
            return None
        self._number += 1 if device.device_info else 0
        allowed = "from 1 to 247" if serial else "from 1 to 247, or 0 or 255"
        if not (1 <= device.slave_id <= 247 or (device.slave_id in (0, 255) and not serial)):
            self._reader.error(f"{path}.slave-id", f"got {device.slave_id}, expected a Modbus unit id {allowed}")
            sound = False
        try:
            definition = self._definitions.get(device.model)
        except ConfigError as error:
            self._reader.error(f"{path}.model", f"got {device.model!r}: {error}")
            return None
        if definition is None:
            self._reader.error(f"{path}.model", f"got {device.model!r}, whose definition cannot be used; see there")
            return None
        return Board(name, number, device, definition) if sound else None

    def _check_name(self, name: str, path: str) -> bool:
        """Whether a name may be that of a board or of a 1-Wire bus; what is wrong with it is noted."""
        if not name or any(character in name for character in "/?#% "):
            self._reader.error(path, f"got the name {name!r}, expected one without spaces and without / ? # %")
        if name in self._names:
            self._reader.error(path, f"the name {name!r} is taken already, by {self._names[name]}")
            return False
        self._names[name] = path
        return bool(name) and not any(character in name for character in "/?#% ")
