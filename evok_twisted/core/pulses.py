"""Pulses: outputs that go back by themselves."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from evok_twisted.conditions import Timer
from evok_twisted.core.events import Events
from evok_twisted.core.identity import PULSES
from evok_twisted.core.slave import Slave
from evok_twisted.errors import Offline
from evok_twisted.logs import Logger
from evok_twisted.model.device import BoardDevice, Pulse


class Running:
    """A pulse between its two writes.

    :ivar value: what its output goes back to.
    :ivar end: the time of the clock at which it does.
    :ivar failed: whether that was tried, and could not be done.
    """

    __slots__ = ("end", "failed", "timer", "value")

    def __init__(self, value: float, end: float, timer: Timer) -> None:
        self.value = value
        self.end = end
        self.timer = timer
        self.failed = False


#: Lets an output be set back, behind what waits for its turn already; fires when that is done.
SetBack = Callable[[BoardDevice, Running], Deferred[None]]


class Pulses:
    """The pulses of one slave's outputs. The end of one is tried until it is done.

    :param set_back: ends one.
    :param was_read: whether the registers of a device were read since they were asked for last.
    """

    _log = Logger()

    #: seconds until the end of a pulse is tried again
    retry = 1.0

    def __init__(
        self,
        slave: Slave,
        events: Events,
        clock: IReactorTime,
        set_back: SetBack,
        was_read: Callable[[BoardDevice], bool],
    ) -> None:
        self._slave = slave
        self._events = events
        self._clock = clock
        self._set_back = set_back
        self._was_read = was_read
        self._running: dict[BoardDevice, Running] = {}

    def runs(self, device: BoardDevice, pulse: Running) -> bool:
        """Whether ``pulse`` is still the one of ``device``, and no newer set has taken its place."""
        return self._running.get(device) is pulse

    def renew(self, device: BoardDevice, pulse: Pulse | None) -> None:
        """A set of an output ends the pulse that runs, and may begin another."""
        if not device.pulsed:
            return
        running = self._running.pop(device, None)
        if running is not None:
            running.timer.stop()
        device.local.pop("back", None)
        if "pending" in device.local:
            device.local["pending"] = pulse is not None
        if pulse is not None:
            device.local["back"] = pulse.value
            self._start(device, pulse)

    def _start(self, device: BoardDevice, pulse: Pulse) -> None:
        timer = Timer(self._clock, lambda: self._end(device, running))
        running = self._running[device] = Running(pulse.value, self._clock.seconds() + pulse.seconds, timer)
        timer.start(pulse.seconds)

    def _end(self, device: BoardDevice, running: Running) -> None:
        if running.failed and self._has_ended(device, running):
            self.renew(device, None)
            device.refresh(self._slave.registers)
            self._events.publish((device,), PULSES)
            self.ended(device, running)
            return
        offline = Offline(f"{self._slave!r} is offline")
        ended = self._set_back(device, running) if self._slave.online else fail(offline)
        ended.addErrback(self._not_ended, device, running)

    def _has_ended(self, device: BoardDevice, running: Running) -> bool:
        """Whether what was tried before was done all the same, as a read since then shows."""
        value = getattr(device.state, "value", None)
        return self._slave.online and self._was_read(device) and value == running.value

    def _not_ended(self, failure: Failure, device: BoardDevice, running: Running) -> None:
        if not self.runs(device, running):
            return
        if not running.failed:
            running.failed = True
            self._log.error(
                "{device!r}: the pulse could not be ended, it is not back at {value:g} yet; trying again: {why}",
                device=device,
                value=running.value,
                why=failure.getErrorMessage(),
            )
        running.timer.start(self.retry)

    def ended(self, device: BoardDevice, running: Running) -> None:
        """Tell of the end of a pulse, if it was told before that it could not be ended."""
        if running.failed:
            late = self._clock.seconds() - running.end
            self._log.info("{device!r}: the pulse ended, {late:.1f} s late", device=device, late=late)

    async def stop(self) -> None:
        """Set all outputs back now; what that does not do for is told, for nobody will try it again."""
        for running in self._running.values():
            running.timer.stop()
        if self._slave.online:
            ends = [self._set_back(device, running) for device, running in self._running.items()]
            await DeferredList(ends, consumeErrors=True)
        for device in self._running:
            self._log.error("{device!r}: the pulse could not be ended before the stop", device=device)
        self._running.clear()
