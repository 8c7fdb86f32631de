"""``comm_channels`` of the configuration: the buses that are to run, and what is on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from evok_twisted.definitions import Definition, Definitions
from evok_twisted.errors import ConfigError
from evok_twisted.settingtypes import Host, Port, Seconds
from evok_twisted.typedyaml import Reader, Settings

Waiting = Annotated[int, Meta(ge=1, description="a whole number of commands, 1 or more")]
Interval = Annotated[float, Meta(ge=0.1, le=3600, description="a number of seconds from 0.1 to 3600")]
Deadband = Annotated[float, Meta(ge=0, description="a number in the unit of the value, 0 or more")]
#: Kinds of boards whose values jitter.
JITTERING = ("ai", "ao", "data_point")
SlaveId = Annotated[int, Meta(ge=0, le=255, description="a Modbus unit id from 1 to 247")]


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
    deadband: dict[str, Deadband] = {}
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


class Buses:
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
            self._reader.warning(f"{path}.pipeline", "ignored: with framer: rtu one request is in flight")
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
        for key in device.deadband:
            if key.partition("/")[0] not in JITTERING:
                message = f"expected {', '.join(JITTERING)}, or one circuit of these, as ai/{name}_01"
                self._reader.error(f"{path}.deadband.{key}", message)
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
