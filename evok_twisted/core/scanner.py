"""Reads one slave's blocks at a fixed rate and publishes what changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from evok_twisted.conditions import Subscription, backoff
from evok_twisted.core.events import Events
from evok_twisted.core.faults import Faults
from evok_twisted.core.probes import Probes
from evok_twisted.core.reads import Read, Reads, due_at
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
    unhurried = 4
    #: seconds that a tick may take, with every request waiting for its answer as long as it may
    longest_tick = 30.0
    #: seconds for which a slave may refuse everything, as one that is busy or boots does, before it is of no use
    longest_refusal = 2.0

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
        self._reads = Reads(slave.bus.gap, clock)
        self._faults = Faults(
            slave, interval, clock, wanted=self._dirty.update, read=self._has_read_more, useless=self._only_refused
        )
        self._probing = False
        #: the block that is probed: another one where its register is refused
        self._probed_block = 0
        self._next_probe = 0.0
        self._ticked = self._read_at = clock.seconds()
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock
        self._subscription: Subscription | None = None
        slave.watch(lambda _: events.publish((slave.info,)))

    def start(self) -> None:
        """Scan from now on."""
        self._read_at = self._clock.seconds()
        self._subscription = self.slave.bus.watch(self._bus_turned)
        self._loop.start(self._interval)
        # scanners of one rate tick together: the requests of all share one send, their answers one wake-up
        self._loop.starttime = (self._loop.starttime or 0.0) // self._interval * self._interval

    def stop(self) -> None:
        """Stop scanning; what is under way is not waited for."""
        if self._loop.running:
            self._loop.stop()
        if self._subscription is not None:
            self._subscription.stop()
        self._probes.remove(self._probe)

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
        return not any(block in self._dirty or self._faults.refused(block) for block in blocks)

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
        before, self._ticked = self._ticked, self._clock.seconds()
        if ticks:
            self.slave.scans_missed += max(0, round((self._ticked - before) / self._interval) - 1)
        self.slave.scans += 1
        if not self.slave.bus.online:
            return None
        if not self.slave.online:
            self._ask_whether_back()
            return None
        blocks = self.slave.blocks
        if self.slave.silent:
            wanted = blocks[:1] if self._clock.seconds() >= self._next_probe else ()
        elif self._periodic:
            wanted = tuple(self._due(ticks))
        else:
            wanted = tuple(block for block in blocks if block in self._dirty)
        if self._faults:
            self._faults.ask_for_refused()
            wanted = tuple(block for block in wanted if self._faults.may_be_asked(block))
        return self._poll(wanted) if wanted else None

    def _due(self, tick: int) -> Iterator[Block]:
        if not self._dirty:
            return due_at(self.slave.blocks, tick, self.slave.unit)
        now = set(due_at(self.slave.blocks, tick, self.slave.unit))
        return (block for block in self.slave.blocks if block in now or block in self._dirty)

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
        timeout = slave.bus.timeout if slave.silent % self.unhurried == 0 else hurried
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
        self._poll([block for block in self.slave.blocks if self._faults.may_be_asked(block)])
        return True

    def _read_anew(self) -> None:
        """It may be another slave that comes back: read everything, as it is defined."""
        self._faults.renew()
        self._dirty.update(self.slave.blocks)

    def _has_read_more(self) -> None:
        self._read_at = self._clock.seconds()
        self.slave.heard()

    def _only_refused(self, why: str) -> None:
        """A slave that refuses everything, for longer than for a moment, is as good as one that does not answer."""
        now = self._clock.seconds()
        if now - self._read_at > self.longest_refusal:
            self._miss(f"it refuses to read anything: {why}", now)

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
        reads = self._reads.of(tuple(blocks), self._faults.alone() if self._faults else ())
        poll = _Poll(len(reads), self._clock.seconds())
        if not reads:
            poll.done.callback(None)
        for read in reads:
            writes = [slave.acknowledged(block) for block in read.blocks]
            answer = slave.bus.read(slave.unit, read.span)
            answer.addCallbacks(self._answered, self._failed, (poll, read, writes), {}, (poll, read))
            answer.addBoth(self._one_less, poll)
        return poll.done

    def _answered(self, words: tuple[int, ...], poll: _Poll, read: Read, writes: list[int]) -> None:
        poll.heard = True
        self._read_at = self._clock.seconds()
        if len(read.blocks) > 1:
            self._reads.work(read.blocks)
        for block, before in zip(read.blocks, writes, strict=True):
            if self._faults:
                self._faults.answered(block)
            if self.slave.acknowledged(block) != before:
                self._dirty.add(block)  # read before a write was acknowledged, it would show the old value again
                continue
            self._dirty.discard(block)
            changed = self.slave.take(block, words if read.span is block else read.words_of(block, words))
            if changed:
                poll.changed.update(dict.fromkeys(changed))

    def _failed(self, failure: Failure, poll: _Poll, read: Read) -> None:
        failure.trap(EvokError)
        error = failure.value
        self.slave.failed(error)
        if isinstance(error, Refused):
            poll.refused = str(error)
        else:
            poll.why = poll.why or str(error)
        if len(read.blocks) > 1:  # one of them, or what is between them: which, is seen when each is asked for
            self._reads.part(read.blocks)
            self._dirty.update(read.blocks)
        elif isinstance(error, Refused):
            self._dirty.discard(read.span)
            self._faults.was_refused(read.span, error)
        else:
            poll.failed.append(read.span)
            self._dirty.add(read.span)

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
                self._faults.not_answered(block, poll.why)
        elif poll.why:
            self._miss(poll.why, poll.begun)
        elif not self._faults.exploring:
            self._only_refused(poll.refused)
        if self._loop.running:  # otherwise they may be gone, and nobody is to hear of them after that
            self._events.publish(poll.changed)


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
