"""What is wrong with single blocks of a slave that is there: it costs the devices on them, and nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from evok_twisted.conditions import Condition, backoff
from evok_twisted.core.explore import NOT_THERE, Findings, explore, ranges
from evok_twisted.core.slave import Slave
from evok_twisted.definitions import Block
from evok_twisted.errors import EvokError, Refused
from evok_twisted.logs import Logger, Repeats
from evok_twisted.model.registers import keys_of


class Faults:
    """The blocks of one slave that are refused, or not answered while others are.

    What is refused is halved until what can be read is read. What is not is asked for again, less and less often.

    :param interval: seconds between two scans.
    :param wanted: called with blocks that are to be read soon.
    :param read: called when something was read besides what a scan asked for.
    :param useless: called with the reason, when nothing of a block can be read.
    """

    _log = Logger()

    #: the longest time between two questions for a block that is not answered, or of which nothing can be read
    slowest = 4.0
    #: the longest time between two questions for a register that is refused while others of its block are not
    slowest_register = 60.0
    #: every how many-th refusal of a block of which nothing could be read it is explored again
    explored_every = 8

    def __init__(
        self,
        slave: Slave,
        interval: float,
        clock: IReactorTime,
        *,
        wanted: Callable[[Iterable[Block]], None],
        read: Callable[[], None],
        useless: Callable[[str], None],
    ) -> None:
        self._slave = slave
        self._interval = interval
        self._clock = clock
        self._wanted = wanted
        self._read = read
        self._useless = useless
        self._refused: dict[Block, _Refusal] = {}
        self._overdue: dict[Block, _Overdue] = {}
        #: blocks that are being explored, and are not read meanwhile
        self._explored: set[Block] = set()
        #: what logs the state of each block
        self._repeats: dict[Block, Repeats] = {}

    @property
    def exploring(self) -> bool:
        """Whether it is being found out what can be read of some block."""
        return bool(self._explored)

    def refused(self, block: Block) -> bool:
        """Whether ``block`` was refused when it was asked for last."""
        return block in self._refused

    def may_be_asked(self, block: Block) -> bool:
        """Whether it is time to ask for ``block`` again, if there is anything wrong with it."""
        now = self._clock.seconds()
        overdue, refusal = self._overdue.get(block), self._refused.get(block)
        waits = (overdue is not None and now < overdue.next_time) or (refusal is not None and now < refusal.next_time)
        return not waits and block not in self._explored

    def alone(self) -> set[Block]:
        """Blocks that are to be asked for each by itself: others must not share what is wrong with them."""
        parts = (part for refusal in self._refused.values() for part in refusal.parts)
        return {*self._overdue, *self._refused, *parts}

    def __bool__(self) -> bool:
        return bool(self._refused or self._overdue or self._explored)

    # What becomes of the questions

    def answered(self, block: Block) -> None:
        """A read of ``block`` was answered."""
        refusal, overdue = self._refused.pop(block, None), self._overdue.pop(block, None)
        if refusal is not None:
            self._slave.troubles.pop(block, None)
            lasted = self._clock.seconds() - refusal.since
            message = "{slave!r} reads {block!s} again, after {lasted:.1f} s"
            self._repeats_of(block).info(message, slave=self._slave, block=block, lasted=lasted)
        if overdue is not None and overdue.condition.end(
            "{slave!r} answers for {block!s} again, after {lasted:.1f} s", slave=self._slave, block=block
        ):
            self._slave.troubles.pop(block, None)

    def not_answered(self, block: Block, why: str) -> None:
        """A read of ``block`` failed, while others were answered: the rounds must not wait for it every time."""
        overdue = self._overdue.get(block)
        if overdue is None:
            condition = Condition(self._repeats_of(block), self._clock)
            overdue = self._overdue[block] = _Overdue(condition, self._clock.seconds())
        overdue.count += 1
        if overdue.count > 1:  # once is made up for on the next tick
            overdue.next_time = self._clock.seconds() + backoff(overdue.count, self._interval, self.slowest)
        if overdue.count == self._slave.silent_polls:
            message = "{slave!r} answers, but not when asked for {block!s}: {why}"
            overdue.condition.begin(message, slave=self._slave, block=block, why=why)
            self._note(block, f"does not answer for {block}")

    def was_refused(self, block: Block, error: Refused) -> None:
        """A read of ``block`` was refused."""
        if error.exception not in NOT_THERE:
            self._log_refused(block, str(error), ())
        elif block in self._slave.blocks and block not in self._explored:
            refusal = self._refused.get(block)
            if refusal is None or refusal.parts or refusal.count % self.explored_every == 0:
                self._explore(block, str(error))
            else:
                self._refuse_all(block, str(error), refusal)

    def renew(self) -> None:
        """It may be another slave that comes back: its blocks are read as they are defined, and at once."""
        self._slave.undivide()
        for refusal in self._refused.values():
            refusal.parts, refusal.next_time = (), 0.0

    # What can be read of a block that is refused

    def _explore(self, block: Block, why: str) -> None:
        self._explored.add(block)
        found = Deferred.fromCoroutine(explore(block, lambda part: self._slave.bus.read(self._slave.unit, part)))
        found.addCallbacks(self._found, self._not_found, (block, why), {}, (block,))
        found.addErrback(lambda bug: self._log.failure("exploring {block!s}", bug, block=block))

    def _found(self, found: Findings, block: Block, why: str) -> None:
        self._explored.discard(block)
        if block not in self._slave.blocks:
            return  # it has gone and come meanwhile
        if not found.readable:
            refusal = self._log_refused(block, f"{why}; none of them can be read", found.refused)
            self._refuse_all(block, why, refusal)
            return
        self._slave.divide(block, found.readable)
        self._wanted(found.readable)
        registers = f"; registers {ranges(found.refused)} cannot be read" if found.refused else ", but all of its parts"
        refusal = self._log_refused(block, why + registers, found.refused)
        refusal.parts = found.readable
        if found.refused:
            refusal.register = msgspec.structs.replace(block, start=found.refused[0], count=1)
            refusal.wait(self._clock.seconds(), self.slowest, self.slowest_register)
        self._read()

    def _not_found(self, failure: Failure, block: Block) -> None:
        failure.trap(EvokError)  # it is explored anew when it is refused again
        self._explored.discard(block)
        self._wanted((block,))

    def _refuse_all(self, block: Block, why: str, refusal: _Refusal) -> None:
        """Nothing of ``block`` can be read: ask for it now and then, for the slave may only be booting."""
        refusal.parts = ()
        refusal.wait(self._clock.seconds(), self._interval, self.slowest)
        self._useless(why)

    def ask_for_refused(self) -> None:
        """Ask for registers that are refused while others of their block are read: they may be there by now."""
        now = self._clock.seconds()
        for block, refusal in tuple(self._refused.items()):
            if refusal.parts and refusal.register is not None and now >= refusal.next_time:
                refusal.wait(now, self.slowest, self.slowest_register)
                answer = self._slave.bus.read(self._slave.unit, refusal.register)
                answer.addCallbacks(self._is_there, self._is_not_there, (block, refusal))

    def _is_there(self, _: tuple[int, ...], block: Block, refusal: _Refusal) -> None:
        if self._refused.get(block) is refusal and refusal.parts:
            self._slave.join(block, refusal.parts)
            self._wanted((block,))
            refusal.parts, refusal.next_time = (), 0.0

    def _is_not_there(self, failure: Failure) -> None:
        failure.trap(EvokError)

    # What is logged

    def _log_refused(self, block: Block, why: str, registers: Iterable[int]) -> _Refusal:
        refusal = self._refused.setdefault(block, _Refusal(self._clock.seconds()))
        if refusal.why != why:
            refusal.why = why
            message = "{slave!r} refuses to read {block!s}: {why}"
            self._repeats_of(block).error(message, slave=self._slave, block=block, why=why)
        self._note(block, f"refuses to read {block}: {why}", registers)
        return refusal

    def _repeats_of(self, block: Block) -> Repeats:
        return self._repeats.setdefault(block, Repeats(self._log, self._clock))

    def _note(self, block: Block, what: str, registers: Iterable[int] = ()) -> None:
        """Values that were read once and are not any more look as good as ever: so it is logged."""
        keys = keys_of(block)
        offset = keys.start - block.start
        if any(key in self._slave.registers for key in ([one + offset for one in registers] or keys)):
            self._slave.troubles[block] = what


class _Refusal:
    """A block that is refused.

    :ivar parts: what is read in place of it; none while nothing of it can be read.
    :ivar register: one that is refused while others are not.
    :ivar next_time: when it, or the block, is asked for again.
    """

    __slots__ = ("count", "next_time", "parts", "register", "since", "why")

    def __init__(self, since: float) -> None:
        self.since = since
        self.why = ""
        self.count = 0
        self.next_time = 0.0
        self.parts: tuple[Block, ...] = ()
        self.register: Block | None = None

    def wait(self, now: float, first: float, longest: float) -> None:
        """Wait for longer than the last time."""
        self.next_time = now + backoff(self.count, first, longest)
        self.count += 1


class _Overdue:
    """A block that is not answered while others of its slave are."""

    __slots__ = ("condition", "count", "next_time")

    def __init__(self, condition: Condition, now: float) -> None:
        self.condition = condition
        self.count = 0
        self.next_time = now
