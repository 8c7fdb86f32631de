"""How the service is: what works and what does not, for people, for monitors, and for systemd."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol

import msgspec
from msgspec import UNSET, UnsetType
from twisted.internet.interfaces import IReactorTime

from evok_twisted.core.reads import LineUse
from evok_twisted.core.slave import Slave
from evok_twisted.meters import BusMeter


class Watched(Protocol):
    """A bus, as far as it matters here."""

    name: str

    @property
    def online(self) -> bool:
        """Whether it can be reached."""


class SlaveHealth(msgspec.Struct, frozen=True):
    """``last_comm`` is in seconds, as that of the state of a ``modbus_slave``; for ``since`` seconds it has been
    ``online``, or has not. Of its ``scans``, for ``missed`` ones there was no time."""

    circuit: str
    slave_id: int
    online: bool
    since: float
    last_comm: float
    errors: int
    timeouts: int
    scans: int
    missed: int


class BusHealth(msgspec.Struct, frozen=True):
    """``type`` is as in the configuration; ``line`` is there for serial lines that are scanned."""

    bus: str
    type: str
    online: bool
    slaves: tuple[SlaveHealth, ...]
    line: LineUse | UnsetType = UNSET


class BrokerHealth(msgspec.Struct, frozen=True):
    """The connection to an MQTT broker, and for how many seconds it has been or has not been one; ``why`` there is
    none. ``waiting`` messages are to be published, ``published`` were, ``commands`` came."""

    broker: str
    connected: bool
    since: float
    why: str | None
    version: str
    waiting: int
    published: int
    commands: int


class WebhookHealth(msgspec.Struct, frozen=True):
    """A receiver, and for how many seconds it has been ``working`` or not; ``why`` it is not."""

    url: str
    working: bool
    since: float
    why: str | None


class ExportHealth(msgspec.Struct, frozen=True):
    """A database that takes the history over: it has ``sent`` rows since the start, and nothing of the last ``behind``
    seconds, null while that is not known; ``lost`` are seconds that were let go before it had them; ``problem`` is
    why it takes nothing."""

    server: str
    connected: bool
    sent: int
    behind: float | None
    lost: float
    problem: str | None


class HistoryHealth(msgspec.Struct, frozen=True):
    """``bytes`` are those of the file; ``waiting`` changes are not in it yet, ``lost`` could not wait; ``problem`` is
    why nothing is written; ``export`` is there where a database is to have all of it."""

    file: str
    bytes: int
    waiting: int
    lost: int
    problem: str | None
    export: ExportHealth | UnsetType = UNSET


class Report(msgspec.Struct, frozen=True):
    """``uptime`` is in seconds; ``reasons`` says why the service is not healthy, ``warnings`` what is to be seen to
    meanwhile, both in words; ``pulses`` outputs are to go back by themselves, ``wills`` are there. Of ``clients`` of
    the WebSocket, ``webhooks``, ``mqtt`` and ``history`` it tells where they are configured."""

    healthy: bool
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    status: str
    pulses: int
    wills: int
    version: str
    uptime: float
    buses: tuple[BusHealth, ...]
    clients: int | UnsetType = UNSET
    webhooks: tuple[WebhookHealth, ...] | UnsetType = UNSET
    mqtt: BrokerHealth | UnsetType = UNSET
    history: HistoryHealth | UnsetType = UNSET


class Part(NamedTuple):
    """A bus and what is on it; ``meter`` is what is counted of it, of one that counts."""

    bus: Watched
    type: str
    slaves: tuple[Slave, ...]
    line: LineUse | UnsetType
    meter: BusMeter | None


class Health:
    """Knows every bus and slave that the configuration asks for; all of them work, or the service is not healthy.

    :param lacking: returns what the configuration asks for and cannot be; each as a string is a sentence.
    :param failsafes: returns how many outputs are to go back by themselves, and how many wills there are.
    """

    def __init__(
        self,
        clock: IReactorTime,
        lacking: Callable[[], Sequence[object]] = tuple,
        failsafes: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        self._clock = clock
        self._begun = clock.seconds()
        self._parts: dict[Watched, Part] = {}
        self._lacking = lacking
        self._failsafes = failsafes
        self._warners: list[Callable[[], Iterable[str]]] = []
        self._version = version("evok-twisted")
        #: what fronts have to say, by the field of the report, and what they warn of
        self.fronts: dict[str, tuple[Callable[[], object], Callable[[], Iterable[str]]]] = {}

    def add(
        self,
        bus: Watched,
        kind: str,
        slaves: Iterable[Slave] = (),
        line: LineUse | None = None,
        meter: BusMeter | None = None,
    ) -> None:
        """Mind ``bus`` and what is on it, in place of what was on it before.

        :param kind: its type, as in the configuration.
        :param line: what scanning asks of it, of a serial line.
        :param meter: what is counted of it.
        """
        self._parts[bus] = Part(bus, kind, tuple(slaves), line or UNSET, meter)

    def warn_of(self, warnings: Callable[[], Iterable[str]]) -> None:
        """Tell of what ``warnings`` returns, too: sentences about what costs nothing yet."""
        self._warners.append(warnings)

    def ask(self, name: str, of: Callable[[], object], warnings: Callable[[], Iterable[str]] = tuple) -> None:
        """Let the report have, in the field ``name``, what ``of`` returns, and warn of what ``warnings`` does."""
        self.fronts[name] = of, warnings

    def remove(self, bus: Watched) -> None:
        """Mind a bus no more."""
        self._parts.pop(bus, None)

    @property
    def parts(self) -> Iterable[Part]:
        """Every bus, with what is on it."""
        return self._parts.values()

    @property
    def status(self) -> str:
        """In a few words."""
        slaves = [slave for part in self._parts.values() for slave in part.slaves]
        if not self._parts and not self._lacking():
            return "no hardware is configured"
        online = sum(slave.online for slave in slaves)
        words = [f"{online} of {len(slaves)} board{'s' * (len(slaves) != 1)} online"] if slaves else []
        words += [f"bus {part.bus.name} is down" for part in self._parts.values() if not part.bus.online]
        if self._lacking():
            words.append("the configuration has errors")
        return ", ".join(words) or "all buses online"

    @property
    def healthy(self) -> bool:
        """Whether everything works that is configured."""
        return not any(self._reasons())

    def report(self) -> Report:
        """Everything, as it is now."""
        reasons = tuple(self._reasons())
        warners = (*self._warners, *(warnings for _, warnings in self.fronts.values()))
        warnings = tuple(warning for warner in warners for warning in warner())
        buses = tuple(
            BusHealth(part.bus.name, part.type, part.bus.online, tuple(map(_slave, part.slaves)), part.line)
            for part in self._parts.values()
        )
        uptime = round(self._clock.seconds() - self._begun, 3)
        fronts: dict[str, Any] = {name: of() for name, (of, _) in self.fronts.items()}
        return Report(
            not reasons, reasons, warnings, self.status, *self._failsafes(), self._version, uptime, buses, **fronts
        )

    def _reasons(self) -> Iterator[str]:
        yield from map(str, self._lacking())
        for part in self._parts.values():
            if not part.bus.online:
                yield f"bus {part.bus.name} is down"
            else:
                for slave in part.slaves:
                    if not slave.online:
                        yield f"{slave!r} does not answer"
                    else:
                        yield from (f"{slave!r} {trouble}" for trouble in slave.troubles.values())


def _slave(slave: Slave) -> SlaveHealth:
    state = slave.info.state
    return SlaveHealth(
        slave.name,
        slave.unit,
        slave.online,
        slave.since,
        state.last_comm,
        state.errors,
        state.timeouts,
        slave.scans,
        slave.scans_missed,
    )
