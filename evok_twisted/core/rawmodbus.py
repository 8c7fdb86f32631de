"""Registers and coils of any slave on a bus, whether it is scanned or not; for whoever looks for what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from evok_twisted.conditions import Signal, Subscription
from evok_twisted.core.commands import Assignment
from evok_twisted.core.identity import Identity
from evok_twisted.errors import BadValue, Busy, Forbidden, NotFound, Unauthorized
from evok_twisted.logs import Logger
from evok_twisted.model.parameters import shown
from evok_twisted.model.registers import Table, Write, WriteCoil, WriteCoils, WriteRegister, WriteRegisters
from evok_twisted.pcapng import Form

#: What a request may read of each table, and write of it: nothing of those that can only be read.
MOST_READ: dict[str, int] = {"holding": 125, "input": 125, "coils": 2000, "discrete": 2000}
MOST_WRITTEN: dict[str, int] = {"holding": 123, "coils": 1968}
#: Unit ids: 0 is a broadcast, which nobody answers.
UNITS = range(1, 256)
ADDRESSES = 1 << 16
#: Requests at once: scans have to wait for each.
MOST_UNDER_WAY = 16


class RawBus(Protocol):
    """What is asked of a bus."""

    name: str
    write_timeout: float
    framing: Form
    frames: Signal[[bool, bytes, str]]

    def read_table(self, unit: int, table: Table, start: int, count: int) -> Deferred[tuple[int, ...]]:
        """Read registers, or bits."""

    def write(self, unit: int, write: Write, deadline: float) -> Deferred[None]:
        """As ``core.slave.Bus``."""


class RawModbus:
    """The buses, by their names. Requests go between those of the scans, and writes ahead of reads, as on every bus."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, asked: Signal[[Assignment]]) -> None:
        self._clock = clock
        self._asked = asked
        self._buses: dict[str, RawBus] = {}
        self._boards: dict[str, Collection[str]] = {}
        self._count = 0

    def attach(self, bus: RawBus, boards: Collection[str] = ()) -> None:
        """Let ``bus`` be asked.

        :param boards: the names of what is scanned on it.
        """
        self._buses[bus.name] = bus
        self._boards[bus.name] = boards

    def detach(self, bus: RawBus) -> None:
        """Let it be asked no more."""
        if self._buses.get(bus.name) is bus:
            del self._buses[bus.name], self._boards[bus.name]

    async def read(self, bus: str, unit: int, table: str, start: int, count: int, by: Identity) -> list[int]:
        """Read ``count`` registers or bits of a unit, from ``start`` on.

        :raises EvokError: they were not read.
        """
        found = self._bus(bus, unit, table, MOST_READ, by)
        _check_range(start, count, MOST_READ[table])
        with self._under_way():
            return list(await found.read_table(unit, table, start, count))  # type: ignore[arg-type]  # it is one of them

    async def write(self, bus: str, unit: int, table: str, start: int, values: Sequence[int], by: Identity) -> None:
        """Write registers or coils of a unit, from ``start`` on; what is scanned of them is seen with the next scan.

        :raises EvokError: they were not written; where ``sent`` is set, they may have been.
        """
        found = self._bus(bus, unit, table, MOST_WRITTEN, by)
        _check_range(start, len(values), MOST_WRITTEN[table])
        highest = 1 if table == "coils" else 0xFFFF
        for n, value in enumerate(values):
            if not 0 <= value <= highest:
                raise BadValue(f"values.{n}: got {value}, expected a whole number from 0 to {highest}")
        write: Write
        if table == "coils":
            coils = tuple(WriteCoil(start + n, value) for n, value in enumerate(values))
            write = coils[0] if len(coils) == 1 else WriteCoils(coils)
        else:
            write = WriteRegister(start, values[0]) if len(values) == 1 else WriteRegisters(start, tuple(values))
        message = "{by} writes {values} to {table} {start} of unit {unit} on {bus}"
        text = " ".join(map(str, values))
        self._log.warn(message, by=str(by), values=text, table=table, start=start, unit=unit, bus=bus)
        with self._under_way():
            found.frames.emit(True, b"", f"{by} writes:")
            await found.write(unit, write, self._clock.seconds() + found.write_timeout)

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        if self._count >= MOST_UNDER_WAY:
            raise Busy(f"{MOST_UNDER_WAY} requests for registers are under way; no more are taken at once")
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    def capture(
        self, name: str, by: Identity, watcher: Callable[[bool, bytes, str], object]
    ) -> tuple[Form, list[Subscription]]:
        """Call ``watcher`` with all that goes over a bus: whether we have sent it, the bytes, what is to be said of it.

        Who asks for something is said before that goes out, without bytes.

        :returns: of what form the frames are, and what ends it.
        :raises EvokError: this is not for them, or there is no such bus.
        """
        bus = self._named(name, by)
        self._log.info("{by} captures what goes over {bus}", by=str(by), bus=name)

        def tell(one: Assignment) -> None:
            if one.device.group in self._boards.get(name, ()):
                wanted = " ".join(f"{key}={shown(value)}" for key, value in one.parameters.items())
                watcher(True, b"", f"{one.by} over {one.by.via} sets {one.device!r} {wanted}:")

        return bus.framing, [bus.frames.watch(watcher), self._asked.watch(tell)]

    def _named(self, name: str, by: Identity) -> RawBus:
        if not by.scopes.may_read:
            raise Unauthorized("this takes a token, as Authorization: Bearer TOKEN")
        if by.scopes.role != "admin" or by.scopes.write is not None:
            raise Forbidden(f"{by}: registers are for whoever may do everything, and is not narrowed")
        if name not in self._buses:
            raise NotFound(f"there is no Modbus bus {name!r:.40}; there is {', '.join(self._buses) or 'none'}")
        return self._buses[name]

    def _bus(self, name: str, unit: int, table: str, tables: dict[str, int], by: Identity) -> RawBus:
        bus = self._named(name, by)
        if table not in tables:
            raise BadValue(f"table: got {table!r:.40}, expected one of {', '.join(tables)}")
        if unit not in UNITS:
            raise BadValue(f"unit: got {unit}, expected a number from {UNITS[0]} to {UNITS[-1]}")
        return bus


def _check_range(start: int, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise BadValue(f"count: got {count}, expected a number from 1 to {most}")
    if not (start >= 0 and start + count <= ADDRESSES):
        raise BadValue(f"start: got {start}, expected {count} addresses from 0 to {ADDRESSES - 1}")
