"""Reads one slave's blocks at a fixed rate and publishes what changed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

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
        self._next_probe = 0.0
        if online:
            self._dirty.update(self.slave.blocks)
            if self._loop.running and not self.slave.online:
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
            due = [block for block in self.slave.blocks if ticks % block.frequency == 0 or block in self._dirty]
        else:
            due = [block for block in self.slave.blocks if block in self._dirty]
        return self._poll(due) if due else None

    def _poll(self, blocks: Iterable[Block]) -> Deferred[None]:
        # a LoopingCall whose function fails is dead for ever, so nothing leaves this
        return Deferred.fromCoroutine(self._read(tuple(blocks))).addErrback(
            lambda failure: self._log.failure("scan of {slave!r}", failure, slave=self.slave)
        )

    async def _read(self, blocks: tuple[Block, ...]) -> None:
        slave = self.slave
        asked = [(block, slave.acknowledged(block), slave.bus.read(slave.unit, block)) for block in blocks]
        changed: dict[Device, None] = {}
        was_online, heard, why = slave.online, False, ""
        for block, writes_before, answer in asked:
            try:
                words = await answer
            except Refused as error:
                heard = True
                self._dirty.discard(block)
                if block not in self._refused:
                    self._refused.add(block)
                    self._log.error(
                        "{slave!r} refuses to read {block!s}: {error}", slave=slave, block=block, error=error
                    )
            except EvokError as error:
                why = str(error)
                self._dirty.add(block)
            else:
                heard = True
                if block in self._refused:
                    self._refused.discard(block)
                    self._log.info("{slave!r} reads {block!s} again", slave=slave, block=block)
                if slave.acknowledged(block) == writes_before:
                    self._dirty.discard(block)
                    changed.update(dict.fromkeys(slave.take(block, words)))
                else:
                    self._dirty.add(block)  # read before a write was acknowledged, it would show the old value again
        if heard:
            slave.heard()
        elif asked:
            slave.missed(why)
            backoff = self._interval * 2 ** min(slave.silent, 16)
            self._next_probe = self._clock.seconds() + min(backoff, self.slowest_probe)
        self._events.publish(changed)
        if heard and not was_online:
            self.read_soon(self._dirty)
