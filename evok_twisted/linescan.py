"""Finds the slaves on a line or behind a server, and what boards they may be, by asking each."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from evok_twisted.bus.base import ModbusBus
from evok_twisted.bus.rtu import RtuBus
from evok_twisted.bus.tcp import CONNECT_TIMEOUT, TcpBus
from evok_twisted.definitions import Definition, Definitions, shipped_definitions
from evok_twisted.errors import BadAnswer, EvokError, Offline, Refused, Timeout
from evok_twisted.hosts import HostEndpoint
from evok_twisted.problems import Problems
from evok_twisted.serialport import SerialEndpoint, SerialSettings

#: How often a slave is asked that does not answer.
TRIES = 2
#: Seconds until a connection has to be there.
CONNECTED = 2.0
#: Where the maps of boards begin, and the registers that a request reads at most.
BEGINNINGS, MOST = (0, 1000), 125
MODBUS_PORT = 502


class CannotScan(Exception):
    """Why nothing can be looked for, in a sentence."""


class Asked(Protocol):
    """What of a bus is asked."""

    @property
    def online(self) -> bool:
        """Whether it can be asked."""

    def read_table(self, unit: int, table: Any, start: int, count: int) -> Deferred[tuple[int, ...]]:
        """Read registers."""


class Line(NamedTuple):
    """How slaves are reached.

    :ivar name: of a bus of the running service, through which they are.
    :ivar settings: those of a bus in a configuration.
    :ivar make: makes what is asked; a ``ModbusBus`` runs meanwhile.
    """

    name: str
    settings: tuple[tuple[str, object], ...]
    make: Callable[[], Asked]

    def __str__(self) -> str:
        return self.name or ", ".join(str(value) for key, value in self.settings if key not in ("type", "framer"))


class Found(NamedTuple):
    """A slave that answers, and the models whose registers it has; none where none is known."""

    line: Line
    slave: int
    models: tuple[str, ...]


class Wanted(NamedTuple):
    """What is to be looked at.

    :ivar target: the path of a serial port, ``HOST`` or ``HOST:PORT``.
    :ivar answer: seconds that a slave has for its answer, besides those on the line.
    :ivar rtu: whether the server tunnels RTU frames.
    """

    target: str
    speeds: Sequence[int]
    parities: Sequence[str]
    answer: float
    rtu: bool


def lines(wanted: Wanted, reactor: Any) -> list[Line]:
    """The lines to look at, one after the other.

    :raises CannotScan: there is no such place.
    """
    target = wanted.target
    if target.startswith(("/", ".")):
        return [_serial(wanted, baudrate, parity, reactor) for baudrate in wanted.speeds for parity in wanted.parities]
    host, _, port = target.rpartition(":") if re.search(r":\d+$", target) else (target, "", "")
    number = int(port or MODBUS_PORT)
    if not host or not 0 < number < 1 << 16:
        raise CannotScan(f"got {target!r}, expected the path of a serial port, or HOST or HOST:PORT")
    settings: list[tuple[str, object]] = [("type", "MODBUSTCP"), ("hostname", host), ("port", number)]
    if wanted.rtu:
        settings.append(("framer", "rtu"))

    def make() -> ModbusBus:
        endpoint = HostEndpoint(reactor, host.strip("[]"), number, CONNECT_TIMEOUT)
        how: dict[str, Any] = {"timeout": wanted.answer, "write_timeout": 1.0, "pipeline": 1}
        return TcpBus("scan", endpoint, reactor, framer="rtu" if wanted.rtu else "socket", **how)

    return [Line("", tuple(settings), make)]


def _serial(wanted: Wanted, baudrate: int, parity: str, reactor: Any) -> Line:
    def make() -> ModbusBus:
        endpoint = SerialEndpoint(SerialSettings(wanted.target, baudrate, parity), reactor)
        return RtuBus("scan", endpoint, reactor, baudrate=baudrate, timeout=wanted.answer, write_timeout=1.0)

    parts = (("type", "MODBUSRTU"), ("port", wanted.target), ("baudrate", baudrate), ("parity", parity))
    return Line("", parts, make)


class Scan:
    """Looks for slaves.

    :param tell: is told how far it is, from 0 to 1, and where.
    :ivar found: those that were found up to now.
    """

    def __init__(self, slaves: Sequence[int], reactor: Any, tell: Callable[[float, str], None]) -> None:
        self.found: list[Found] = []
        self._slaves = slaves
        self._reactor = reactor
        self._tell = tell
        self._definitions = _definitions()

    async def run(self, every: Sequence[Line]) -> None:
        """Look at each line.

        :raises CannotScan: one cannot be reached.
        """
        for n, line in enumerate(every):
            bus = line.make()
            if isinstance(bus, ModbusBus):
                bus.service.startService()
            try:
                for m, slave in enumerate(self._slaves):
                    self._tell((n + m / len(self._slaves)) / len(every), f"{line}, slave {slave}")
                    if await self._answers(bus, slave, line):
                        self.found.append(Found(line, slave, await self._models(bus, slave, line)))
            finally:
                if isinstance(bus, ModbusBus):
                    await bus.service.stopService()
        self._tell(1.0, "done")

    async def _answers(self, bus: Asked, slave: int, line: Line) -> bool:
        for _ in range(1 if line.name else TRIES):
            try:
                await self._read(bus, slave, BEGINNINGS[0], 1, line)
            except Refused:
                return True
            except (Timeout, BadAnswer, Offline):
                continue
            return True
        return False

    async def _read(self, bus: Asked, slave: int, start: int, count: int, line: Line) -> None:
        end = self._reactor.seconds() + CONNECTED
        while not bus.online:
            if self._reactor.seconds() > end:
                why = "if the running service has it, look through that: evok scan BUS --through"
                raise CannotScan(f"{line}: cannot be opened or connected; {why}")
            await deferLater(self._reactor, 0.01)
        await bus.read_table(slave, "holding", start, count)

    async def _models(self, bus: Asked, slave: int, line: Line) -> tuple[str, ...]:
        """The models whose maps are as long as what the slave lets be read."""
        try:
            lengths = {begin: await self._length(bus, slave, begin, line) for begin in BEGINNINGS}
        except EvokError:
            return ()
        return tuple(name for name, definition in self._definitions.items() if _lengths(definition) == lengths)

    async def _length(self, bus: Asked, slave: int, begin: int, line: Line) -> int:
        """How many registers can be read from one on: the most that do not get a refusal."""
        least, most = 0, MOST
        while least < most:
            count = (least + most + 1) // 2
            for left in reversed(range(TRIES)):
                try:
                    await self._read(bus, slave, begin, count, line)
                    least = count
                except Refused:
                    most = count - 1
                except (Timeout, BadAnswer):
                    if not left:
                        raise
                    continue
                break
        return least


def _definitions() -> dict[str, Definition]:
    """The boards that are known, and can be told from each other by their maps."""
    definitions = Definitions(shipped_definitions(), Problems())
    found = {model: definitions.get(model) for model in sorted(definitions.known())}
    return {model: one for model, one in found.items() if one is not None and 0 not in _lengths(one).values()}


def _lengths(definition: Definition) -> dict[int, int]:
    """How many registers there are from each of ``BEGINNINGS`` on."""
    known = {n for block in definition.blocks if not block.input for n in range(block.start, block.start + block.count)}
    return {begin: next(n for n in range(MOST + 1) if begin + n not in known or n == MOST) for begin in BEGINNINGS}
