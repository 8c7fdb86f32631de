"""Reads one slave's blocks at a fixed rate and publishes what changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from evok_twisted.core.events import Events
from evok_twisted.core.explore import NOT_THERE, Findings, explore, ranges
from evok_twisted.core.probes import Probes
from evok_twisted.core.slave import Slave
from evok_twisted.errors import EvokError, Refused
from evok_twisted.logs import Logger

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
        #: blocks that are refused, why, and since when
        self._refused: dict[Block, tuple[str, float]] = {}
        #: blocks that are not answered while others are
        self._overdue: dict[Block, _Overdue] = {}
        #: blocks that are being explored, and are not read meanwhile
        self._explored: set[Block] = set()
        self._probing = False
        self._next_probe = 0.0
        self._ticked = clock.seconds()
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock
        slave.bus.watch(self._bus_turned)
        slave.watch(lambda _: events.publish((slave.info,)))

    def start(self) -> None:
        """Scan from now on."""
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
        if self._explored or self._overdue:
            due = [block for block in due if block not in self._explored and self._may_be_asked(block)]
        return self._poll(due) if due else None

    def _may_be_asked(self, block: Block) -> bool:
        overdue = self._overdue.get(block)
        return overdue is None or self._clock.seconds() >= overdue.next_time

    def _ask_whether_back(self) -> None:
        """Probe the slave when it is its turn, if it is time to."""
        if self.slave.blocks and not self._probing and self._clock.seconds() >= self._next_probe:
            self._probing = True
            self._probes.add(self._probe)

    def _probe(self) -> Deferred[bool]:
        slave = self.slave
        if slave.online or not slave.bus.online or not self._loop.running:
            self._probing = False
            return succeed(True)
        register = msgspec.structs.replace(slave.blocks[0], count=1)
        hurried = min(self.probe_timeout, slave.bus.timeout)
        timeout = slave.bus.timeout if slave.silent % self.patient == 0 else hurried
        begun = self._clock.seconds()
        return slave.bus.read(slave.unit, register, timeout).addBoth(self._probed, begun)

    def _probed(self, result: tuple[int, ...] | Failure, begun: float) -> bool:
        self._probing = False
        if isinstance(result, Failure):
            self.slave.failed(result.value)
            if result.check(Refused) is None:
                if result.check(EvokError) is None:
                    self._log.failure("probe of {slave!r}", result, slave=self.slave)
                self._miss(result.getErrorMessage(), begun)
                return False
        self.slave.undivide()
        self._dirty.update(self.slave.blocks)
        self.slave.heard()
        self._poll(self.slave.blocks)
        return True

    def _miss(self, why: str, begun: float) -> None:
        if self._loop.running:  # otherwise the service is stopping, and it is no news that nobody answers
            self.slave.missed(why, begun)
            backoff = self._interval * 2 ** min(self.slave.silent, 16)
            self._next_probe = self._clock.seconds() + min(backoff, self.slowest_probe)

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
        if block in self._refused:
            lasted = self._clock.seconds() - self._refused.pop(block)[1]
            message = "{slave!r} reads {block!s} again, after {lasted:.1f} s"
            self._log.info(message, slave=self.slave, block=block, lasted=lasted)
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
        poll.heard = True
        self._dirty.discard(block)
        if error.exception in NOT_THERE and block in self.slave.blocks and block not in self._explored:
            self._explored.add(block)
            found = Deferred.fromCoroutine(explore(block, lambda part: self.slave.bus.read(self.slave.unit, part)))
            found.addCallbacks(self._found, self._not_found, (block, str(error)), {}, (block,))
            found.addErrback(lambda bug: self._log.failure("exploring {block!s}", bug, block=block))
        else:
            self._tell_refused(block, str(error))

    def _found(self, found: Findings, block: Block, why: str) -> None:
        self._explored.discard(block)
        if block not in self.slave.blocks:
            return  # it has gone and come meanwhile
        self.slave.divide(block, found.readable)
        self._dirty.update(found.readable)
        registers = f"; registers {ranges(found.refused)} cannot be read" if found.refused else ", but all of its parts"
        self._tell_refused(block, why + registers)

    def _not_found(self, failure: Failure, block: Block) -> None:
        failure.trap(EvokError)  # it is explored anew when it is refused again
        self._explored.discard(block)
        self._dirty.add(block)

    def _put_off(self, block: Block, why: str) -> None:
        overdue = self._overdue.setdefault(block, _Overdue(self._clock.seconds()))
        overdue.count += 1
        backoff = self._interval * 2 ** min(overdue.count, 16)
        if overdue.count > 1:  # once is made up for on the next tick
            overdue.next_time = self._clock.seconds() + min(backoff, self.slowest_probe)
        if overdue.count == self.slave.patience:
            message = "{slave!r} answers, but not when asked for {block!s}: {why}"
            self._log.warn(message, slave=self.slave, block=block, why=why)

    def _answered_again(self, block: Block, overdue: _Overdue) -> None:
        if overdue.count >= self.slave.patience:
            lasted = self._clock.seconds() - overdue.since
            message = "{slave!r} answers for {block!s} again, after {lasted:.1f} s"
            self._log.info(message, slave=self.slave, block=block, lasted=lasted)

    def _tell_refused(self, block: Block, why: str) -> None:
        told, since = self._refused.get(block, ("", self._clock.seconds()))
        if told != why:
            self._refused[block] = why, since
            self._log.error("{slave!r} refuses to read {block!s}: {why}", slave=self.slave, block=block, why=why)

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
        else:
            self._miss(poll.why, poll.begun)
        self._events.publish(poll.changed)


class _Overdue:
    """A block that is not answered while others of its slave are: the rounds must not wait for it every time."""

    __slots__ = ("count", "next_time", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.count = 0
        self.next_time = since


class _Poll:
    """One round of questions, until the last is answered."""

    __slots__ = ("begun", "changed", "done", "failed", "heard", "missing", "why")

    def __init__(self, missing: int, begun: float) -> None:
        self.missing = missing
        self.begun = begun
        self.failed: list[Block] = []
        self.heard = False
        self.why = ""
        self.changed: dict[Device, None] = {}
        self.done: Deferred[None] = Deferred()
