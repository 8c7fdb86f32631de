"""One slave on a bus: its registers, its devices, and whether it answers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from evok_twisted.conditions import Condition, Signal, Subscription
from evok_twisted.definitions import Block
from evok_twisted.errors import BadAnswer, Refused, Timeout
from evok_twisted.logs import Logger, Repeats
from evok_twisted.model.device import BoardDevice
from evok_twisted.model.registers import Registers, Write, keys_of
from evok_twisted.model.system import ModbusSlave


class Bus(Protocol):
    """What the core asks of a bus.

    Both requests answer in bounded time; they fail with ``Offline``, ``Timeout``, ``Refused`` or ``BadAnswer``.
    """

    name: str
    timeout: float
    write_timeout: float
    #: registers that may be read in vain where that saves a request
    gap: int

    @property
    def online(self) -> bool:
        """Whether requests can be sent now; while not, they fail at once."""

    def read(self, unit: int, block: Block, timeout: float | None = None) -> Deferred[tuple[int, ...]]:
        """Read the block's words.

        :param timeout: seconds for the answer, where that is not the bus's own.
        """

    def write(self, unit: int, write: Write, deadline: float) -> Deferred[None]:
        """Write; what could not be sent by ``deadline`` (a time of the clock) fails and is never sent."""

    def watch(self, watcher: Callable[[bool], object]) -> Subscription:
        """Call ``watcher`` with ``online`` whenever that changes."""


class Slave:
    """What the scanner and the commands of one slave share.

    :param name: the name of the configured device.
    :param unit: the Modbus unit id.
    :param info: the ``modbus_slave`` device that tells clients of this slave.
    """

    _log = Logger()

    #: silent polls, one after the other, after which a slave counts as offline
    silent_polls = 3

    def __init__(
        self,
        name: str,
        unit: int,
        bus: Bus,
        blocks: Sequence[Block],
        devices: Iterable[BoardDevice],
        info: ModbusSlave,
        clock: IReactorTime,
    ) -> None:
        self.name = name
        self.unit = unit
        self.bus = bus
        #: the blocks as they are defined, and as they are read
        self.blocks = self.defined = tuple(blocks)
        #: blocks that were read and cannot be read any more, in words: what they have shown is old
        self.troubles: dict[Block, str] = {}
        self.registers = Registers()
        #: polls, one after the other, without an answer since the last answer
        self.silent = 0
        #: scans, and such as there was no time for
        self.scans = self.scans_missed = 0
        self.info = info
        self._missed = -math.inf
        self._offline = Condition(Repeats(self._log, clock, burst=4), clock, lasts=True)
        self._turned: Signal[[bool]] = Signal(self._log)
        self._clock = clock
        self._acknowledged: dict[Block, int] = defaultdict(int)
        self._index: dict[int, list[BoardDevice]] = defaultdict(list)
        for device in devices:
            for key in device.watches:
                self._index[key].append(device)

    def __repr__(self) -> str:
        return f"slave {self.name} (unit {self.unit} on {self.bus.name})"

    @property
    def online(self) -> bool:
        """Whether it answers."""
        return not self._offline.lasts

    @property
    def since(self) -> float:
        """For how many seconds it has answered, or has not."""
        return round(self._clock.seconds() - self._offline.since, 3)

    def watch(self, watcher: Callable[[bool], object]) -> Subscription:
        """Call ``watcher`` with ``online`` whenever that changes."""
        return self._turned.watch(watcher)

    def divide(self, block: Block, parts: Iterable[Block]) -> None:
        """Read ``parts`` instead of ``block`` from now on."""
        n = self.blocks.index(block)
        self.blocks = (*self.blocks[:n], *parts, *self.blocks[n + 1 :])
        self.registers.forget(block)

    def join(self, block: Block, parts: Sequence[Block]) -> None:
        """Read ``block`` again instead of ``parts``."""
        n = self.blocks.index(parts[0])
        rest = self.blocks[n:]
        self.blocks = (*self.blocks[:n], block, *(other for other in rest if other not in parts))
        for part in parts:
            self.registers.forget(part)

    def undivide(self) -> None:
        """Read the blocks as they are defined again: it may be another slave that comes back."""
        self.blocks = self.defined

    def take(self, block: Block, words: tuple[int, ...]) -> list[BoardDevice]:
        """Store what was read; the devices that changed."""
        changed = self.registers.store(block, words)
        return self._decode(changed) if changed else []

    def acknowledge(self, write: Write) -> list[BoardDevice]:
        """Store what was written; the devices that changed."""
        for block in self.blocks_of((write,)):
            self._acknowledged[block] += 1
        return self._decode(write.apply(self.registers))

    def acknowledged(self, block: Block) -> int:
        """How many writes to ``block`` were acknowledged: a read that was under way meanwhile may be older."""
        return self._acknowledged[block]

    def blocks_of(self, writes: Iterable[Write]) -> list[Block]:
        """The blocks that show what ``writes`` change."""
        touched = [write.touches for write in writes]
        return [block for block in self.blocks if any(_overlap(keys_of(block), keys) for keys in touched)]

    def blocks_of_keys(self, keys: Collection[int]) -> list[Block]:
        """The blocks that show any of ``keys``."""
        return [block for block in self.blocks if any(key in keys_of(block) for key in keys)]

    def _decode(self, changed: Iterable[int]) -> list[BoardDevice]:
        affected = dict.fromkeys(device for key in changed for device in self._index.get(key, ()))
        return [device for device in affected if device.refresh(self.registers)]

    def heard(self) -> None:
        """It answered."""
        self.info.answered = self._clock.seconds()
        self.silent = 0
        if not self.online and self.bus.online:  # otherwise that was of a round which the end of the bus cut short
            self._offline.end("{slave!r} answers, after {lasted:.1f} s", slave=self)
            self._turn()

    def failed(self, error: BaseException | None) -> None:
        """Count what went wrong with a request to it."""
        if isinstance(error, Timeout):
            self.info.timeouts += 1
        elif isinstance(error, Refused | BadAnswer):
            self.info.errors += 1

    def missed(self, why: str, begun: float) -> None:
        """A poll brought no answer.

        :param begun: when it began; polls that were under way at the same time are counted as one.
        """
        if begun > self._missed:
            self.silent += 1
            self._missed = self._clock.seconds()
        if self.online and (self.silent >= self.silent_polls or not self.bus.online):
            self._offline.begin("{slave!r} went offline after {lasted:.1f} s: {why}", slave=self, why=why)
            self._turn()
        elif self.silent == self.silent_polls and self.info.answered is None:
            self._log.warn("{slave!r} does not answer: {why}", slave=self, why=why)

    def _turn(self) -> None:
        self.info.online = self.online
        self._turned.emit(self.online)


def _overlap(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop
