"""Pulses: outputs that go back by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from evok_twisted.conditions import Timer
from evok_twisted.core.events import Events
from evok_twisted.core.identity import PULSES
from evok_twisted.core.pulserecord import Entry, PulseRecord
from evok_twisted.core.slave import Slave
from evok_twisted.errors import Offline
from evok_twisted.logs import Logger
from evok_twisted.model.device import BoardDevice, Pulse


class Running:
    """A pulse between its two writes.

    :ivar value: what its output goes back to.
    :ivar end: the time of the clock at which it does.
    :ivar entry: as what it is recorded.
    :ivar before: of one that a run before has left, what is recorded of it; the output shows which of them it is.
    :ivar failed: whether that was tried, and could not be done.
    """

    __slots__ = ("before", "end", "entry", "failed", "timer", "value")

    def __init__(
        self, value: float, end: float, timer: Timer, entry: Entry | None, before: tuple[Entry, ...] = ()
    ) -> None:
        self.value = value
        self.end = end
        self.timer = timer
        self.entry = entry
        self.before = before
        self.failed = False


#: Values that differ by less are the same, whatever their board made of them.
ALIKE = 0.005

#: Lets an output be set back, behind what waits for its turn already; fires when that is done.
SetBack = Callable[[BoardDevice, Running], Deferred[None]]


class Pulses:
    """The pulses of one slave's outputs. The end of one is tried until it is done.

    :param record: keeps them over a crash.
    :param set_back: ends one.
    :param was_read: whether the registers of a device were read since they were asked for last.
    """

    _log = Logger()

    #: seconds until the end of a pulse is tried again
    retry = 1.0
    #: seconds between two looks at whether the board of one of an earlier run is there
    look = 0.1

    def __init__(
        self,
        slave: Slave,
        events: Events,
        clock: IReactorTime,
        record: PulseRecord,
        set_back: SetBack,
        was_read: Callable[[BoardDevice], bool],
    ) -> None:
        self._slave = slave
        self._events = events
        self._clock = clock
        self._record = record
        self._set_back = set_back
        self._was_read = was_read
        self._running: dict[BoardDevice, Running] = {}

    def runs(self, device: BoardDevice, pulse: Running) -> bool:
        """Whether ``pulse`` is still the one of ``device``, and no newer set has taken its place."""
        return self._running.get(device) is pulse

    def renew(self, device: BoardDevice, pulse: Pulse | None, entry: Entry | None = None) -> None:
        """A set of an output ends the pulse that runs, and may begin another.

        :param entry: as what that is recorded.
        """
        if not device.pulsed:
            return
        running = self._running.pop(device, None)
        if running is not None:
            running.timer.stop()
        device.local.pop("back", None)
        if "pending" in device.local:
            device.local["pending"] = False
        if pulse is not None:
            self._start(device, pulse.value, pulse.seconds, entry)

    def _start(
        self,
        device: BoardDevice,
        value: float,
        seconds: float,
        entry: Entry | None,
        before: tuple[Entry, ...] = (),
    ) -> None:
        if "pending" in device.local:
            device.local["pending"] = True
        device.local["back"] = value
        timer = Timer(self._clock, lambda: self._end(device, running))
        running = self._running[device] = Running(value, self._clock.seconds() + seconds, timer, entry, before)
        timer.start(seconds)

    def settle(self, devices: Iterable[BoardDevice]) -> None:
        """Let what is recorded of ``devices`` be what runs."""
        for device in devices:
            if device.pulsed:
                running = self._running.get(device)
                if running is None or not running.before:
                    self._record.keep(device, None if running is None else running.entry)

    # What a run before has left

    def resume(self, devices: Iterable[BoardDevice]) -> None:
        """Let pulses go on that are recorded, and end those that are due as soon as their board is there."""
        for device in devices:
            entries = self._record.of(device) if device.pulsed else ()
            if entries:
                left = min(self._record.left(entry) for entry in entries)
                if not left:
                    message = (
                        "{device!r}: its pulse ended while the service did not run; it goes back when its board answers"
                    )
                    self._log.warn(message, device=device)
                self._start(device, entries[-1].value, left, None, entries)

    def catch_up(self) -> None:
        """End what is due of a run before: that comes before whatever clients want."""
        for device, running in tuple(self._running.items()):
            if running.before and running.end <= self._clock.seconds():
                self._end(device, running)

    def _identify(self, device: BoardDevice, running: Running) -> bool:
        """Find out which of the pulses before it is that the output shows; whether that one is to end now."""
        shown = getattr(device.state, "value", None)
        if not self._slave.online or not self._was_read(device) or shown is None:
            running.timer.start(self.look)
            return False
        found = [entry for entry in running.before if abs(entry.during - shown) < ALIKE]
        if not found:
            self._log.info("{device!r}: its pulse of before is over, it is at {shown:g}", device=device, shown=shown)
            self.renew(device, None)
            self.settle((device,))
            return False
        running.entry = max(found, key=self._record.left)
        running.value = device.local["back"] = running.entry.value
        left = self._record.left(running.entry)
        if left > 0:
            running.before = (running.entry,)
            running.end = self._clock.seconds() + left
            running.timer.start(left)
            return False
        running.before = ()
        return True

    # How they end

    def _end(self, device: BoardDevice, running: Running) -> None:
        if running.before and not self._identify(device, running):
            return
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
        if value is None or not self._slave.online or not self._was_read(device):
            return False
        return bool(abs(value - running.value) < ALIKE)

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
            known = [(device, one) for device, one in self._running.items() if not one.before or one.entry is not None]
            ends = [self._set_back(device, running) for device, running in known]
            await DeferredList(ends, consumeErrors=True)
        for device, running in self._running.items():
            later = "" if running.entry is None and not running.before else "; it will be at the next start"
            message = "{device!r}: the pulse could not be ended before the stop{later}"
            self._log.error(message, device=device, later=later)
        self._running.clear()
