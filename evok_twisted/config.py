"""``config.yaml``, Evok's and ours, as frozen and typed settings, with every error of it at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from evok_twisted.busconfig import Bus, Buses
from evok_twisted.definitions import DIRECTORY, Definitions
from evok_twisted.errors import ConfigError
from evok_twisted.problems import Problems
from evok_twisted.settingtypes import Network, Port, Seconds
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

Connections = Annotated[int, Meta(ge=1, description="a whole number of connections, 1 or more")]


class Logging(Settings, frozen=True, kw_only=True):
    """``logging``."""

    level: Literal["debug", "info", "warning", "warn", "error", "critical"] = "info"
    file: str = ""


class AnonymousSettings(Settings, frozen=True, kw_only=True):
    """``apis.access.anonymous``: the roles of those who show no token, on this machine and elsewhere."""

    local: Literal["none", "viewer", "operator", "admin"] = "admin"
    network: Literal["none", "viewer", "operator", "admin"] = "none"


class AccessSettings(Settings, frozen=True, kw_only=True):
    """``apis.access``."""

    tokens: str = "/var/lib/evok/tokens.yaml"
    anonymous: AnonymousSettings = AnonymousSettings()
    audit: Literal["off", "writes"] = "writes"


class TlsSettings(Settings, frozen=True, kw_only=True):
    """``apis.tls``."""

    certificate: str = "/etc/evok/tls/cert.pem"
    key: str = "/etc/evok/tls/key.pem"
    listen: tuple[str, ...] = ("ssl:8443",)


class Apis(Settings, frozen=True, kw_only=True):
    """``apis``: where clients find us, and how we talk to them."""

    port: Port = 8080
    address: str = "127.0.0.1"
    listen: tuple[str, ...] = ()
    dialect: Literal["classic", "v3"] = "classic"
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    access: AccessSettings | None = None
    tls: TlsSettings | None = None
    access_log: bool = False
    alias_file: str = "/var/lib/evok"
    pulses: Literal["recorded", "unrecorded"] = "recorded"
    max_connections: Connections = 2048
    max_connections_per_address: Connections = 256
    max_body_size: Annotated[int, Meta(ge=1024, description="a whole number of bytes, 1024 or more")] = 1 << 20
    max_header_size: Annotated[int, Meta(ge=1024, description="a whole number of bytes, 1024 or more")] = 16384
    idle_timeout: Seconds = 60.0


class FrontSettings(Settings, frozen=True, kw_only=True):
    """``apis.KEY``: what every front has.

    One that is there without being asked for is what clients rely on: the service does not start with errors in its
    settings. Any other costs itself, and of one that is not enabled nothing is read.
    """

    enabled: bool = False


class _File(Settings, frozen=True, kw_only=True):
    """The keys of the file; what is below each is read by itself, so that one bad part does not cost the others."""

    autogen: bool = False
    logging: dict[str, Any] = {}
    apis: dict[str, Any] = {}
    comm_channels: dict[str, Any] = {}


class Config(msgspec.Struct, frozen=True):
    """Everything that the service is told.

    :ivar fronts: the settings of each front that was asked after, by its key.
    """

    logging: Logging = Logging()
    apis: Apis = Apis()
    buses: tuple[Bus, ...] = ()
    fronts: Mapping[str, FrontSettings] = {}


class _MergedReader(Reader):
    """Reads ``config.yaml`` laid over ``autogen.yaml``, and knows which of them a value is from."""

    def __init__(
        self, file: Path, document: Any, under: Path, problems: Problems, fronts: Mapping[str, type[FrontSettings]]
    ) -> None:
        super().__init__(file, problems)
        self._optional = [f"apis.{key}" for key, settings in fronts.items() if not settings().enabled]
        self._own = set(_paths(document))
        self._under = under

    def file_of(self, path: str) -> object:
        return self._file if path in self._own or not self._under.is_file() else self._under

    def fatal(self, path: str) -> bool:
        """A service that nobody could reach would only seem to run; any other part costs itself, and no more."""
        return not path or (_is_in(path, "apis") and not any(_is_in(path, front) for front in self._optional))


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


def load(
    path: Path,
    shipped: tuple[Path, ...],
    problems: Problems,
    fronts: Mapping[str, type[FrontSettings]] | None = None,
) -> Config | None:
    """Read the configuration, the definitions that it names included.

    :param path: the file, or the directory that it is in.
    :param shipped: where to look for definitions that are not beside it.
    :param problems: takes everything that is wrong.
    :param fronts: what settings there are for fronts, by their keys; None where no client is to be served: ``apis`` is
        not read, then.
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
    reader = _MergedReader(file, document, under, problems, fronts or {})
    problems.file_of = reader.file_of
    found = reader.struct(_File, merged)
    if found is None and not isinstance(merged, dict):
        return None
    parts = found or _File(**{key: merged[key] for key in _PARTS if isinstance(merged.get(key), dict)})
    logging = reader.struct(Logging, parts.logging, "logging")
    apis = None if fronts is None else _apis(reader, parts.apis, fronts)
    definitions = Definitions((file.parent / DIRECTORY, *shipped), problems)
    buses = Buses(reader, definitions).read(parts.comm_channels)
    ours = {key: _front(reader, parts.apis, key, settings) for key, settings in (fronts or {}).items()}
    return Config(logging or Logging(), apis or Apis(), buses, ours)


_PARTS = ("logging", "apis", "comm_channels")


def _apis(reader: Reader, given: Mapping[str, Any], fronts: Mapping[str, object]) -> Apis | None:
    """``apis``, but for what stands in it for fronts."""
    return reader.struct(Apis, {key: value for key, value in given.items() if key not in fronts}, "apis", fronts)


def _front(reader: Reader, apis: Mapping[str, Any], key: str, kind: type[FrontSettings]) -> FrontSettings:
    """The settings of a front."""
    node, default = apis.get(key, {}), kind()
    asked_for = isinstance(node, dict) and str(node.get("enabled", "")).lower() in _TRUE
    return (reader.struct(kind, node, f"apis.{key}") if default.enabled or asked_for else None) or default
