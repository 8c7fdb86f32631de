"""Reads one slave's blocks at a fixed rate and publishes what changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from evok_twisted.conditions import backoff
from evok_twisted.core.events import Events
from evok_twisted.core.explore import NOT_THERE, Findings, explore, ranges
from evok_twisted.core.probes import Probes
from evok_twisted.core.slave import Slave
from evok_twisted.errors import EvokError, Refused
from evok_twisted.logs import Logger, Repeats
from evok_twisted.model.registers import keys_of

if TYPE_CHECKING:
    from evok_twisted.definitions import Block
    from evok_twisted.model.device import Device


class Scanner:
    """The scan of one slave.

    A tick asks for every block that is due, all at once, and the next waits for the answers; ticks that fall into
    that time are skipped. While the slave does not answer, it is probed for one register, less and less often.

    :param interval: seconds between two ticks.
    :param probes: of the slave's bus.
    :param periodic: without it, everything is read once, after a reconnection, and after a write; no more.
    """

    _log = Logger()

    #: the longest time between two probes of a silent slave, in seconds; how late its return is seen at most, unless
    #: many slaves of the bus are silent
    slowest_probe = 4.0
    #: seconds that a probe waits for the answer, so that the others need not wait long
    probe_timeout = 0.1
    #: every how many-th probe waits as long as any request: some slaves are slow
    patient = 4
    #: seconds that a tick may take, with every request waiting for its answer as long as it may
    longest_tick = 30.0
    #: seconds for which a slave may refuse everything, as one that is busy or boots does, before it is of no use
    refusal_patience = 2.0
    #: the longest time between two questions for a register that is refused while others of its block are not
    slowest_question = 60.0
    #: every how many-th refusal of a block of which nothing could be read it is explored again
    explored_every = 8

    def __init__(
        self,
        slave: Slave,
        interval: float,
        events: Events,
        clock: IReactorTime,
        probes: Probes,
        *,
        periodic: bool = True,
    ) -> None:
        self.slave = slave
        self._interval = interval
        self._events = events
        self._clock = clock
        self._probes = probes
        self._periodic = periodic
        self._ticks = 0
        #: blocks to be read whether due or not
        self._dirty: set[Block] = set(slave.blocks)
        #: blocks that are refused
        self._refused: dict[Block, _Refusal] = {}
        #: what is told of each block
        self._told: dict[Block, Repeats] = {}
        #: blocks that are not answered while others are
        self._overdue: dict[Block, _Overdue] = {}
        #: blocks that are being explored, and are not read meanwhile
        self._explored: set[Block] = set()
        self._probing = False
        #: the block that is probed: another one where its register is refused
        self._probed_block = 0
        self._next_probe = 0.0
        self._ticked = self._read_at = clock.seconds()
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock
        slave.bus.watch(self._bus_turned)
        slave.watch(lambda _: events.publish((slave.info,)))

    def start(self) -> None:
        """Scan from now on."""
        self._read_at = self._clock.seconds()
        self._loop.start(self._interval)
        # scanners of one rate tick together: the requests of all share one send, their answers one wake-up
        self._loop.starttime = (self._loop.starttime or 0.0) // self._interval * self._interval

    def stop(self) -> None:
        """Stop scanning; what is under way is not waited for."""
        if self._loop.running:
            self._loop.stop()
        self._probes.stop()

    @property
    def stuck(self) -> bool:
        """Whether the scan stands still, for longer than any answer can take: that would be a bug."""
        return self._loop.running and self._clock.seconds() - self._ticked > self._interval + self.longest_tick

    def read_soon(self, blocks: Iterable[Block]) -> None:
        """Read ``blocks`` now, ahead of the next tick."""
        wanted = list(blocks)
        self._dirty.update(wanted)
        if wanted and self.slave.bus.online:
            self._poll(wanted)

    def has_read(self, blocks: Iterable[Block]) -> bool:
        """Whether all of ``blocks`` were read since they were asked for last, by ``read_soon`` for one."""
        return not any(block in self._dirty or block in self._refused for block in blocks)

    def _bus_turned(self, online: bool) -> None:
        if not self._loop.running:
            return
        self._next_probe = 0.0
        if online:
            self._ask_whether_back()
        else:
            self.slave.missed("the bus is down", self._clock.seconds())

    def _tick(self) -> Deferred[None] | None:
        ticks, self._ticks = self._ticks, self._ticks + 1
        self._ticked = self._clock.seconds()
        if not self.slave.bus.online:
            return None
        if not self.slave.online:
            self._ask_whether_back()
            return None
        blocks = self.slave.blocks
        if self.slave.silent:
            due = list(blocks[:1]) if self._clock.seconds() >= self._next_probe else []
        elif self._periodic:
            # slow blocks take turns, of one slave and of several, so that no tick has to wait for all of them
            due = [
                block
                for n, block in enumerate(blocks, self.slave.unit)
                if (ticks + n) % block.frequency == 0 or block in self._dirty
            ]
        else:
            due = [block for block in blocks if block in self._dirty]
        if self._refused:
            self._ask_for_refused()
        if self._explored or self._overdue or self._refused:
            due = [block for block in due if self._may_be_asked(block)]
        return self._poll(due) if due else None

    def _may_be_asked(self, block: Block) -> bool:
        now = self._clock.seconds()
        overdue, refusal = self._overdue.get(block), self._refused.get(block)
        waits = (overdue is not None and now < overdue.next_time) or (refusal is not None and now < refusal.next_time)
        return not waits and block not in self._explored

    def _ask_whether_back(self) -> None:
        """Probe the slave when it is its turn, if it is time to."""
        if self.slave.defined and not self._probing and self._clock.seconds() >= self._next_probe:
            self._probing = True
            self._probes.add(self._probe)

    def _probe(self) -> Deferred[bool]:
        slave = self.slave
        if slave.online or not slave.bus.online or not self._loop.running:
            self._probing = False
            return succeed(True)
        block = slave.defined[self._probed_block % len(slave.defined)]
        register = msgspec.structs.replace(block, count=1)
        hurried = min(self.probe_timeout, slave.bus.timeout)
        timeout = slave.bus.timeout if slave.silent % self.patient == 0 else hurried
        begun = self._clock.seconds()
        return slave.bus.read(slave.unit, register, timeout).addBoth(self._probed, begun)

    def _probed(self, result: tuple[int, ...] | Failure, begun: float) -> bool:
        self._probing = False
        if isinstance(result, Failure):
            self.slave.failed(result.value)
            if result.check(EvokError) is None:
                self._log.failure("probe of {slave!r}", result, slave=self.slave)
            self._miss(result.getErrorMessage(), begun)
            if result.check(Refused) is None:
                return False
            self._probed_block += 1
        self._read_anew()
        if not isinstance(result, Failure):
            self.slave.heard()
        self._poll([block for block in self.slave.blocks if self._may_be_asked(block)])
        return True

    def _read_anew(self) -> None:
        """It may be another slave that comes back: read everything, as it is defined."""
        self.slave.undivide()
        self._dirty.update(self.slave.blocks)
        for refusal in self._refused.values():
            refusal.parts, refusal.next_time = (), 0.0

    def _miss(self, why: str, begun: float) -> None:
        if self._loop.running:  # otherwise the service is stopping, and it is no news that nobody answers
            self.slave.missed(why, begun)
            wait = backoff(self.slave.silent, self._interval, self.slowest_probe)
            self._next_probe = self._clock.seconds() + wait

    def _poll(self, blocks: Iterable[Block]) -> Deferred[None]:
        """Ask for ``blocks`` at once; fires when all have answered or failed, and never fails itself.

        Callbacks and no coroutine: this runs hundreds of times a second, and they cost half as much.
        """
        slave = self.slave
        asked = tuple(blocks)
        poll = _Poll(len(asked), self._clock.seconds())
        if not asked:
            poll.done.callback(None)
        for block in asked:
            writes = slave.acknowledged(block)
            answer = slave.bus.read(slave.unit, block)
            answer.addCallbacks(self._answered, self._failed, (poll, block, writes), {}, (poll, block))
            answer.addBoth(self._one_less, poll)
        return poll.done

    def _answered(self, words: tuple[int, ...], poll: _Poll, block: Block, writes: int) -> None:
        poll.heard = True
        self._read_at = self._clock.seconds()
        if block in self._refused:
            lasted = self._read_at - self._refused.pop(block).since
            self.slave.troubles.pop(block, None)
            message = "{slave!r} reads {block!s} again, after {lasted:.1f} s"
            self._telling(block).info(message, slave=self.slave, block=block, lasted=lasted)
        if block in self._overdue:
            self._answered_again(block, self._overdue.pop(block))
        if self.slave.acknowledged(block) != writes:
            self._dirty.add(block)  # read before a write was acknowledged, it would show the old value again
            return
        self._dirty.discard(block)
        changed = self.slave.take(block, words)
        if changed:
            poll.changed.update(dict.fromkeys(changed))

    def _failed(self, failure: Failure, poll: _Poll, block: Block) -> None:
        failure.trap(EvokError)
        error = failure.value
        self.slave.failed(error)
        if not isinstance(error, Refused):
            poll.why = poll.why or str(error)
            poll.failed.append(block)
            self._dirty.add(block)
            return
        poll.refused = str(error)
        self._dirty.discard(block)
        if error.exception not in NOT_THERE:
            self._tell_refused(block, str(error), ())
        elif block in self.slave.blocks and block not in self._explored:
            refusal = self._refused.get(block)
            if refusal is None or refusal.parts or refusal.count % self.explored_every == 0:
                self._explore(block, str(error))
            else:
                self._refuse_all(block, str(error), refusal)

    def _explore(self, block: Block, why: str) -> None:
        self._explored.add(block)
        found = Deferred.fromCoroutine(explore(block, lambda part: self.slave.bus.read(self.slave.unit, part)))
        found.addCallbacks(self._found, self._not_found, (block, why), {}, (block,))
        found.addErrback(lambda bug: self._log.failure("exploring {block!s}", bug, block=block))

    def _found(self, found: Findings, block: Block, why: str) -> None:
        self._explored.discard(block)
        if block not in self.slave.blocks:
            return  # it has gone and come meanwhile
        if not found.readable:
            refusal = self._tell_refused(block, f"{why}; none of them can be read", found.refused)
            self._refuse_all(block, why, refusal)
            return
        self.slave.divide(block, found.readable)
        self._dirty.update(found.readable)
        registers = f"; registers {ranges(found.refused)} cannot be read" if found.refused else ", but all of its parts"
        refusal = self._tell_refused(block, why + registers, found.refused)
        refusal.parts = found.readable
        if found.refused:
            refusal.register = msgspec.structs.replace(block, start=found.refused[0], count=1)
            refusal.wait(self._clock.seconds(), self.slowest_probe, self.slowest_question)
        self._read_at = self._clock.seconds()
        self.slave.heard()

    def _refuse_all(self, block: Block, why: str, refusal: _Refusal) -> None:
        """Nothing of ``block`` can be read: ask for it now and then, for the slave may only be booting."""
        refusal.parts = ()
        refusal.wait(self._clock.seconds(), self._interval, self.slowest_probe)
        self._only_refused(why, self._clock.seconds())

    def _only_refused(self, why: str, begun: float) -> None:
        """A slave that refuses everything, for longer than for a moment, is as good as one that does not answer."""
        if self._clock.seconds() - self._read_at > self.refusal_patience:
            self._miss(f"it refuses to read anything: {why}", begun)

    def _ask_for_refused(self) -> None:
        """Ask for registers that are refused while others of their block are read: they may be there by now."""
        now = self._clock.seconds()
        for block, refusal in tuple(self._refused.items()):
            if refusal.parts and refusal.register is not None and now >= refusal.next_time:
                refusal.wait(now, self.slowest_probe, self.slowest_question)
                answer = self.slave.bus.read(self.slave.unit, refusal.register)
                answer.addCallbacks(self._is_there, self._is_not_there, (block, refusal))

    def _is_there(self, _: tuple[int, ...], block: Block, refusal: _Refusal) -> None:
        if self._refused.get(block) is refusal and refusal.parts:
            self.slave.join(block, refusal.parts)
            self._dirty.add(block)
            refusal.parts, refusal.next_time = (), 0.0

    def _is_not_there(self, failure: Failure) -> None:
        failure.trap(EvokError)

    def _not_found(self, failure: Failure, block: Block) -> None:
        failure.trap(EvokError)  # it is explored anew when it is refused again
        self._explored.discard(block)
        self._dirty.add(block)

    def _put_off(self, block: Block, why: str) -> None:
        overdue = self._overdue.setdefault(block, _Overdue(self._clock.seconds()))
        overdue.count += 1
        if overdue.count > 1:  # once is made up for on the next tick
            overdue.next_time = self._clock.seconds() + backoff(overdue.count, self._interval, self.slowest_probe)
        if overdue.count == self.slave.patience:
            message = "{slave!r} answers, but not when asked for {block!s}: {why}"
            self._telling(block).warn(message, slave=self.slave, block=block, why=why)
            self._note(block, f"does not answer for {block}")

    def _answered_again(self, block: Block, overdue: _Overdue) -> None:
        if overdue.count >= self.slave.patience:
            lasted = self._clock.seconds() - overdue.since
            message = "{slave!r} answers for {block!s} again, after {lasted:.1f} s"
            self._telling(block).info(message, slave=self.slave, block=block, lasted=lasted)
            self.slave.troubles.pop(block, None)

    def _tell_refused(self, block: Block, why: str, registers: Iterable[int]) -> _Refusal:
        refusal = self._refused.setdefault(block, _Refusal(self._clock.seconds()))
        if refusal.why != why:
            refusal.why = why
            message = "{slave!r} refuses to read {block!s}: {why}"
            self._telling(block).error(message, slave=self.slave, block=block, why=why)
        self._note(block, f"refuses to read {block}: {why}", registers)
        return refusal

    def _telling(self, block: Block) -> Repeats:
        return self._told.setdefault(block, Repeats(self._log, self._clock))

    def _note(self, block: Block, what: str, registers: Iterable[int] = ()) -> None:
        """Values that were read once and are not any more look as good as ever: this is where it is told."""
        keys = keys_of(block)
        offset = keys.start - block.start
        if any(key in self.slave.registers for key in ([one + offset for one in registers] or keys)):
            self.slave.troubles[block] = what

    def _one_less(self, bug: Failure | None, poll: _Poll) -> None:
        if bug is not None:
            self._log.failure("scan of {slave!r}", bug, slave=self.slave)
        poll.missing -= 1
        if poll.missing == 0:
            try:
                self._finish(poll)
            except Exception:
                self._log.failure("end of a scan of {slave!r}", slave=self.slave)
            finally:
                poll.done.callback(None)  # whatever it was: the next tick waits for this

    def _finish(self, poll: _Poll) -> None:
        if poll.heard:
            self.slave.heard()
            for block in poll.failed:
                self._put_off(block, poll.why)
        elif poll.failed:
            self._miss(poll.why, poll.begun)
        elif not self._explored:
            self._only_refused(poll.refused, poll.begun)
        self._events.publish(poll.changed)


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
    """A block that is not answered while others of its slave are: the rounds must not wait for it every time."""

    __slots__ = ("count", "next_time", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.count = 0
        self.next_time = since


class _Poll:
    """One round of questions, until the last is answered."""

    __slots__ = ("begun", "changed", "done", "failed", "heard", "missing", "refused", "why")

    def __init__(self, missing: int, begun: float) -> None:
        self.missing = missing
        self.begun = begun
        self.failed: list[Block] = []
        self.heard = False
        self.why = self.refused = ""
        self.changed: dict[Device, None] = {}
        self.done: Deferred[None] = Deferred()
