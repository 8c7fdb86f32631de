"""Reads one slave's blocks at a fixed rate and publishes what changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from evok_twisted.core.events import Events
from evok_twisted.core.slave import Slave
from evok_twisted.errors import EvokError, Refused
from evok_twisted.logs import Logger

if TYPE_CHECKING:
    from evok_twisted.definitions import Block
    from evok_twisted.model.device import Device


class Scanner:
    """The scan of one slave.

    A tick asks for every block that is due, all at once, and the next waits for the answers; ticks that fall into
    that time are skipped. While the slave does not answer, one block at a time probes it, less and less often.

    :param interval: seconds between two ticks.
    :param periodic: without it, everything is read once, after a reconnection, and after a write; no more.
    """

    _log = Logger()

    #: the longest time between two probes of a silent slave, in seconds; how late its return is seen at most
    slowest_probe = 4.0

    def __init__(
        self, slave: Slave, interval: float, events: Events, clock: IReactorTime, *, periodic: bool = True
    ) -> None:
        self.slave = slave
        self._interval = interval
        self._events = events
        self._clock = clock
        self._periodic = periodic
        self._ticks = 0
        #: blocks to be read whether due or not
        self._dirty: set[Block] = set(slave.blocks)
        self._refused: set[Block] = set()
        self._next_probe = 0.0
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock
        slave.bus.watch(self._bus_turned)

    def start(self) -> None:
        """Scan from now on."""
        self._loop.start(self._interval)
        # scanners of one rate tick together: the requests of all share one send, their answers one wake-up
        self._loop.starttime = (self._loop.starttime or 0.0) // self._interval * self._interval

    def stop(self) -> None:
        """Stop scanning; what is under way is not waited for."""
        if self._loop.running:
            self._loop.stop()

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
            self._dirty.update(self.slave.blocks)
            if not self.slave.online:
                self._poll(self.slave.blocks[:1])
        else:
            self.slave.missed("the bus is down")

    def _tick(self) -> Deferred[None] | None:
        ticks, self._ticks = self._ticks, self._ticks + 1
        if not self.slave.bus.online:
            return None
        if not self.slave.online or self.slave.silent:
            if self._clock.seconds() < self._next_probe:
                return None
            return self._poll(self.slave.blocks[:1])
        if self._periodic:
            # slow blocks take turns, of one slave and of several, so that no tick has to wait for all of them
            due = [
                block
                for n, block in enumerate(self.slave.blocks, self.slave.unit)
                if (ticks + n) % block.frequency == 0 or block in self._dirty
            ]
        else:
            due = [block for block in self.slave.blocks if block in self._dirty]
        return self._poll(due) if due else None

    def _poll(self, blocks: Iterable[Block]) -> Deferred[None]:
        """Ask for ``blocks`` at once; fires when all have answered or failed, and never fails itself.

        Callbacks and no coroutine: this runs hundreds of times a second, and they cost half as much.
        """
        slave = self.slave
        asked = tuple(blocks)
        poll = _Poll(len(asked), slave.online)
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
            self._refused.discard(block)
            self._log.info("{slave!r} reads {block!s} again", slave=self.slave, block=block)
        if self.slave.acknowledged(block) != writes:
            self._dirty.add(block)  # read before a write was acknowledged, it would show the old value again
            return
        self._dirty.discard(block)
        changed = self.slave.take(block, words)
        if changed:
            poll.changed.update(dict.fromkeys(changed))

    def _failed(self, failure: Failure, poll: _Poll, block: Block) -> None:
        failure.trap(EvokError)
        if failure.check(Refused) is None:
            poll.why = failure.getErrorMessage()
            self._dirty.add(block)
            return
        poll.heard = True
        self._dirty.discard(block)
        if block not in self._refused:
            self._refused.add(block)
            self._log.error(
                "{slave!r} refuses to read {block!s}: {why}",
                slave=self.slave,
                block=block,
                why=failure.getErrorMessage(),
            )

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
        slave = self.slave
        if poll.heard:
            slave.heard()
        elif self._loop.running:  # otherwise the service is stopping, and it is no news that nobody answers
            slave.missed(poll.why)
            backoff = self._interval * 2 ** min(slave.silent, 16)
            self._next_probe = self._clock.seconds() + min(backoff, self.slowest_probe)
        self._events.publish(poll.changed)
        if poll.heard and not poll.was_online:
            self.read_soon(self._dirty)


class _Poll:
    """One round of questions, until the last is answered."""

    __slots__ = ("changed", "done", "heard", "missing", "was_online", "why")

    def __init__(self, missing: int, was_online: bool) -> None:
        self.missing = missing
        self.was_online = was_online
        self.heard = False
        self.why = ""
        self.changed: dict[Device, None] = {}
        self.done: Deferred[None] = Deferred()
