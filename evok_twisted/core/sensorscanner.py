"""Reads the sensors of one 1-Wire bus, each on its own schedule, looks for new ones, and publishes what changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from evok_twisted.conditions import Condition, Timer, backoff
from evok_twisted.core.events import Events
from evok_twisted.core.identity import Identity
from evok_twisted.core.owserver import OwServer
from evok_twisted.core.registry import Registry
from evok_twisted.errors import EvokError, Offline, Refused
from evok_twisted.logs import Logger
from evok_twisted.model import onewire
from evok_twisted.model.onewirebus import OneWireBus
from evok_twisted.model.sensors import Sensor, sensor

NEVER = float("inf")

#: Something to do on the bus, in its turn; it deals with its own errors.
Job = Callable[[], Coroutine[Deferred[Any], Any, None]]


class _Entry:
    """A sensor on the schedule.

    :ivar interval: seconds between two readings, None for that of the bus.
    :ivar due: when it is read next.
    :ivar failures: readings that failed, one after the other.
    :ivar sound: the last reading was good; another may rely on a conversion that it did not start itself.
    :ivar converted: its temperature was converted together with others, and waits to be read.
    """

    __slots__ = ("converted", "due", "failures", "interval", "sensor", "sound")

    def __init__(self, sensor: Sensor, interval: float | None, due: float) -> None:
        self.sensor = sensor
        self.interval = interval
        self.due = due
        self.failures = 0
        self.sound = False
        self.converted = False


class SensorScanner:
    """The schedule of one bus, on which one thing is done at a time: what clients asked for first, then what is due.

    :param bus: the device that tells clients of the bus.
    :param known: sensors that are there from the start, each with its own interval or None.
    :param wall: the time of day, in seconds of the Unix epoch.
    """

    _log = Logger()

    #: seconds until a reading that failed, or is not believed, is tried again
    retry = 1.0
    #: failed readings, one after the other, after which a sensor is lost
    failed_readings = 2
    #: the longest time between two readings of a lost sensor, in seconds, unless its interval is longer
    slowest = 300.0
    #: seconds that a thermometer takes to convert
    conversion = 0.8
    #: thermometers that are converted one by one; more, and it is done at once
    few = 2
    #: seconds that a turn may last, or be late: a scan of many sensors on a slow bus, with every answer at its limit
    longest_turn = 120.0

    def __init__(
        self,
        server: OwServer,
        bus: OneWireBus,
        known: Iterable[tuple[Sensor, float | None]],
        registry: Registry,
        events: Events,
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        self.bus = bus
        self.server = server
        self._registry = registry
        self._events = events
        self._clock = clock
        self._wall = wall
        self._entries = {one.address: _Entry(one, interval, 0.0) for one, interval in known}
        self._jobs: deque[Job] = deque()
        self._next_scan = 0.0
        self._unscannable = Condition(self._log, clock)
        self._busy = False
        self._running = False
        self._alarm = Timer(clock, self._next)
        #: when something is to happen next: the turn that goes on, or the next
        self._expected = NEVER
        server.watch(self._server_turned)

    def start(self) -> None:
        """Read and scan from now on."""
        self._running = True
        self._next()

    def stop(self) -> None:
        """Begin nothing more; what is under way is not waited for."""
        self._running = False
        self._jobs.clear()
        self._sleep(NEVER)

    @property
    def stuck(self) -> bool:
        """Whether a turn lasts for longer than any can, or was due and did not begin: that would be a bug."""
        return self._running and self._clock.seconds() > self._expected + self.longest_turn

    def submit(self, job: Job) -> None:
        """Do ``job`` next, after those that were submitted before."""
        self._jobs.append(job)
        self._next()

    def withdraw(self, job: Job) -> None:
        """Do not do ``job``, which waits."""
        self._jobs.remove(job)

    def set_interval(self, device: Sensor, interval: float, by: Identity) -> None:
        """Read a sensor at another interval, its own."""
        self._entries[device.address].interval = interval
        self._intervals_changed([device] if device.set_interval(interval) else [], by)

    def set_intervals(self, interval: float, scan_interval: float, by: Identity) -> None:
        """Set the interval of all sensors without one of their own, and that of scans; 0 is none."""
        scans_changed = scan_interval != self.bus.state.scan_interval
        changed: list[Sensor | OneWireBus] = [self.bus] if self.bus.set_intervals(interval, scan_interval) else []
        if scans_changed:
            self._scan_later()
        common = [entry.sensor for entry in self._entries.values() if entry.interval is None]
        self._intervals_changed([*changed, *(one for one in common if one.set_interval(interval))], by)

    def _intervals_changed(self, devices: Iterable[Sensor | OneWireBus], by: Identity) -> None:
        for device in devices:
            if isinstance(device, Sensor):
                entry = self._entries[device.address]
                entry.due = min(entry.due, self._on_time(entry))
        self._events.publish(devices, by)
        self._next()

    def _server_turned(self, online: bool) -> None:
        now = self._clock.seconds()
        lost = []
        for entry in self._entries.values():
            entry.due, entry.sound, entry.converted = now, False, False
            if not online and entry.sensor.lose():
                lost.append(entry.sensor)
        self._next_scan = now
        self._events.publish(lost)
        self._next()

    # The turns

    def _next(self) -> None:
        if self._busy or not self._running:
            return
        job = self._pick()
        if job is None:
            due = min([self._next_scan, *(entry.due for entry in self._entries.values())])
            self._sleep(due if self.server.online else NEVER)
            return
        self._busy = True
        self._expected = self._clock.seconds()
        Deferred.fromCoroutine(job()).addErrback(self._bug).addBoth(self._done)

    def _pick(self) -> Job | None:
        if self._jobs:
            return self._jobs.popleft()
        if not self.server.online:
            return None
        now = self._clock.seconds()
        if self._next_scan <= now:
            return self._scan_on_time
        due = sorted((entry for entry in self._entries.values() if entry.due <= now), key=lambda entry: entry.due)
        cold = [entry for entry in due if entry.sensor.converts and entry.sound and not entry.converted]
        if len(cold) > self.few:
            return partial(self._convert, cold)
        return partial(self._read, due[0]) if due else None

    def _done(self, _: object) -> None:
        self._busy = False
        self._clock.callLater(0, self._next)  # and not at once: answers may come at once too, for ever

    def _bug(self, failure: Failure) -> None:
        self._log.failure("turn of {bus!r}", failure, bus=self.bus)

    def _sleep(self, until: float) -> None:
        self._alarm.stop()
        self._expected = until
        if until < NEVER:
            self._alarm.start(max(0.0, until - self._clock.seconds()))

    # Reading

    async def _convert(self, entries: list[_Entry]) -> None:
        """Let all thermometers convert at once: one conversion takes as long as that of all."""
        for entry in entries:
            entry.sound = False
        try:
            await self.server.write("/simultaneous/temperature", "1")
        except EvokError:
            return  # then each by itself
        ready = self._clock.seconds() + self.conversion
        for entry in entries:
            entry.due, entry.converted = ready, True

    async def read(self, device: Sensor, by: Identity) -> None:
        """Read a sensor now, as a part of a job.

        :param by: who has changed what it shows.
        """
        await self._read(self._entries[device.address], by)

    async def _read(self, entry: _Entry, by: Identity | None = None) -> None:
        one, quick = entry.sensor, entry.converted
        entry.due, entry.converted = self._on_time(entry), False
        try:
            changed = one.take(await self._texts(one, quick), self._wall())
        except Offline:
            return  # that is the server, and told of all sensors at once
        except (EvokError, ValueError) as error:
            self._missed(entry, error, quick)
            return
        if entry.failures >= self.failed_readings:
            self._log.info("{sensor!r} on {bus!r} can be read again", sensor=one, bus=self.bus)
        entry.failures = 0
        entry.sound = not one.doubted
        if one.doubted:
            entry.due = self._clock.seconds() + self.retry
        if changed:
            self._events.publish((one,), by)

    async def _texts(self, one: Sensor, quick: bool) -> dict[str, str]:
        """What can be read of a sensor, uncached.

        :raises EvokError: nothing can.
        """
        path = f"/uncached/{one.address}"
        if not one.properties and not await self.server.present(path):
            raise Refused("it is not there", 0)
        texts: dict[str, str] = {}
        why: Refused | None = None
        for name in one.properties:
            try:
                texts[name] = await self.server.read(f"{path}/{'latesttemp' if quick else name}")
            except Refused as error:
                why = error
        if why is not None and not texts:
            raise why
        return texts

    def _missed(self, entry: _Entry, error: Exception, quick: bool) -> None:
        one, now = entry.sensor, self._clock.seconds()
        entry.sound = False
        if quick:  # an owserver that has no latesttemp, perhaps: this is no failure yet
            entry.due = now
            return
        entry.failures += 1
        if entry.failures < self.failed_readings:
            entry.due = now + self.retry
            return
        if entry.failures == self.failed_readings:
            self._log.warn("{sensor!r} on {bus!r} is lost: {why}", sensor=one, bus=self.bus, why=error)
        if one.patient:
            interval = one.state.interval
            longest = max(interval, self.slowest)
            entry.due = now + max(interval, backoff(entry.failures - self.failed_readings, interval, longest))
        if one.miss():
            self._events.publish((one,))

    def _on_time(self, entry: _Entry) -> float:
        """When a sensor is due next: all of one interval together, so that they can be converted together."""
        interval = entry.sensor.state.interval
        return (self._clock.seconds() // interval + 1) * interval

    # Scanning

    async def _scan_on_time(self) -> None:
        try:
            await self.scan()
        except Offline:
            return
        except EvokError as error:
            self._unscannable.begin("{bus!r} cannot be scanned: {why}", bus=self.bus, why=error)

    async def scan(self) -> None:
        """Look for sensors now, as a part of a job; the new ones are known when it is done, and read soon.

        :raises EvokError: the bus could not be searched.
        """
        self._scan_later()
        for path in await self.server.directory("/uncached"):
            address = await self._address_of(path)
            if address is None:
                continue
            entry = self._entries.get(address)
            if entry is None:
                await self._found(address)
            elif entry.failures:
                entry.due = min(entry.due, self._clock.seconds())
        self._unscannable.end("{bus!r} can be scanned again, after {lasted:.1f} s", bus=self.bus)

    async def _address_of(self, path: str) -> str | None:
        """The address of what is in a directory; None for one of owserver's own directories."""
        with suppress(ValueError):
            return onewire.address(path.rpartition("/")[2])
        with suppress(Refused, ValueError):  # owserver has an alias file, and calls a sensor by its name there
            return onewire.address(await self.server.read(f"{path}/address"))
        return None

    def _scan_later(self) -> None:
        every = self.bus.state.scan_interval
        self._next_scan = self._clock.seconds() + every if every else NEVER

    async def _found(self, address: str) -> None:
        try:
            kind = await self.server.read(f"/{address}/type")
        except Refused:
            kind = None  # of a family that owserver does not know
        one = sensor(address, kind, self.bus.group, self.bus.state.interval)
        self._entries[address] = _Entry(one, None, self._clock.seconds())
        self._registry.add(one)
        self._log.info("{sensor!r} ({type}) was found on {bus!r}", sensor=one, type=one.state.type, bus=self.bus)
        self._events.publish((one,))
