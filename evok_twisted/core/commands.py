"""Carries commands to the hardware, and the acknowledgement back. Every front comes through ``Commands.set``."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from evok_twisted.core.events import Events
from evok_twisted.core.registry import Registry
from evok_twisted.core.scanner import Scanner
from evok_twisted.errors import (
    BadAnswer,
    BadParameter,
    Busy,
    Conflict,
    EvokError,
    Offline,
    Refused,
    Superseded,
    Timeout,
)
from evok_twisted.logs import Logger
from evok_twisted.model.codec import parse
from evok_twisted.model.device import Device, Plan, Pulse
from evok_twisted.model.kinds import Dialect


class Commands:
    """The one way in for whoever wants to change something.

    :param writers: who writes to the devices of a group, by the name of the group.
    """

    _log = Logger()

    def __init__(self, registry: Registry, events: Events, writers: Mapping[str, SlaveWriter]) -> None:
        self._registry = registry
        self._events = events
        self._writers = writers
        self._failing: set[Device] = set()

    def set(
        self, name: object, circuit: object, parameters: Mapping[str, Any], dialect: Dialect = "classic"
    ) -> Deferred[Device]:
        """Set a circuit.

        :param name: any name of the circuit's kind; ``dialect`` decides where the dialects differ.
        :param circuit: its circuit or alias.
        :param parameters: what to set, as the client sent it; ``alias`` is one for every kind.
        :returns: the device, with its new state, once the hardware has acknowledged every write.
        :raises EvokError: (in the Deferred) any of the tree; of those that say what the client did wrong, nothing
            has reached the hardware.
        """
        return Deferred.fromCoroutine(self._set(name, circuit, dict(parameters), dialect))

    async def _set(self, name: object, circuit: object, parameters: dict[str, Any], dialect: Dialect) -> Device:
        device = self._registry.find(name, circuit, dialect)
        if not parameters:
            allowed = ", ".join([*device.parameters, "alias"])
            raise BadParameter(f"{device!r}: there is nothing to set; allowed are {allowed}")
        wanted = {key: value for key, value in parameters.items() if key != "alias"}
        writer = self._writers.get(device.group)
        if writer is not None:
            writer.check(device, wanted)
        else:
            parse(device.parameters, wanted)  # what nobody writes to takes an alias only, and says so
        before = device.alias
        renamed = "alias" in parameters and self._registry.rename(device, parameters["alias"])
        given = device.alias
        if wanted and writer is not None:
            try:
                await writer.submit(device, wanted, replaceable="alias" not in parameters)
            except EvokError as error:
                if renamed and device.alias == given:
                    with suppress(Conflict):  # somebody has taken the old one meanwhile; then there is none
                        self._registry.rename(device, "")
                        self._registry.rename(device, before)
                self._tell(device, error)
                raise
            self._tell(device, None)
        if renamed:
            self._events.publish((device,))
        return device

    def _tell(self, device: Device, error: EvokError | None) -> None:
        """Log when commands to a device begin to fail at the hardware, and when they work again."""
        if error is None and device in self._failing:
            self._failing.discard(device)
            self._log.info("{device!r}: commands work again", device=device)
        elif isinstance(error, Refused | Timeout | BadAnswer | Offline) and device not in self._failing:
            self._failing.add(device)
            self._log.warn("{device!r}: a command failed: {error}", device=device, error=error)


class _Job:
    """A ``set`` on its way.

    :ivar pulse: the pulse that this ends, None for what a client asked for.
    """

    __slots__ = ("deadline", "device", "done", "expiry", "parameters", "pulse", "replaceable")

    def __init__(
        self, device: Device, parameters: Mapping[str, Any], deadline: float, replaceable: bool, pulse: _Running | None
    ) -> None:
        self.device = device
        self.parameters = parameters
        self.deadline = deadline
        self.replaceable = replaceable
        self.pulse = pulse
        self.done: Deferred[None] = Deferred()
        self.expiry: IDelayedCall | None = None

    def leave_queue(self) -> None:
        """It waits no longer, so it cannot expire."""
        if self.expiry is not None and self.expiry.active():
            self.expiry.cancel()

    def replaces(self, older: _Job) -> bool:
        """Whether nothing of ``older`` would be missed if only this one were done."""
        kept = older.parameters.keys() - {"timeout"}
        if "reset" in kept:
            return False  # what is done once is done, whatever comes after
        return older.replaceable and self.device is older.device and kept <= self.parameters.keys()


class _Running:
    """A pulse between its two writes."""

    __slots__ = ("call", "failed", "value")

    def __init__(self, value: int) -> None:
        self.value = value
        self.call: IDelayedCall | None = None
        self.failed = False

    def cancel(self) -> None:
        """Let it not end by itself."""
        if self.call is not None and self.call.active():
            self.call.cancel()


class SlaveWriter:
    """Writes to one slave, one plan after the other, and lets its pulses run.

    :param limit: how many commands may wait; one more is refused with ``Busy``.
    """

    _log = Logger()

    #: seconds until the second write of a pulse is tried again
    pulse_retry = 1.0

    def __init__(self, scanner: Scanner, events: Events, clock: IReactorTime, *, limit: int = 64) -> None:
        self._scanner = scanner
        self._slave = scanner.slave
        self._events = events
        self._clock = clock
        self._limit = limit
        self._waiting: deque[_Job] = deque()
        self._stopping = False
        self._current: _Job | None = None
        self._pulses: dict[Device, _Running] = {}
        self._slave.watch(self._slave_turned)

    def check(self, device: Device, parameters: Mapping[str, Any]) -> None:
        """Find out now what can be known to be wrong with a ``set``.

        :raises EvokError: as ``Device.plan``; ``Offline`` when the slave cannot be reached.
        """
        if parameters:
            self._plan(device, parameters)
            if not self._slave.online:
                raise Offline(f"{device!r}: {self._slave!r} is offline")

    def _plan(self, device: Device, parameters: Mapping[str, Any]) -> Plan:
        try:
            return device.plan(parameters, self._slave.registers)
        except KeyError:
            raise Offline(f"{device!r}: its registers were not read yet") from None

    def submit(
        self,
        device: Device,
        parameters: Mapping[str, Any],
        *,
        replaceable: bool = True,
        pulse: _Running | None = None,
    ) -> Deferred[None]:
        """Do a ``set`` in its turn; it must begin within the bus's ``write_timeout``.

        :param replaceable: a newer ``set`` of the same parameters may take its place while it waits.
        :returns: fires when the slave has acknowledged everything and the device shows it.
        """
        deadline = self._clock.seconds() + self._slave.bus.write_timeout
        job = _Job(device, parameters, deadline, replaceable and pulse is None, pulse)
        if pulse is None:
            if self._stopping:
                raise Offline(f"{device!r}: the service is stopping")
            for older in [waiting for waiting in self._waiting if job.replaces(waiting)]:
                self._waiting.remove(older)
                self._fail(older, Superseded(f"{device!r}: a newer set came before this one was sent"))
            if len(self._waiting) >= self._limit:
                raise Busy(f"{device!r}: {self._limit} commands wait for {self._slave!r} already")
        # at the end, behind what was asked for meanwhile: the newest has the last word
        self._waiting.append(job)
        job.expiry = self._clock.callLater(self._slave.bus.write_timeout, self._expire, job)
        self._next()
        return job.done

    def _expire(self, job: _Job) -> None:
        self._waiting.remove(job)
        waited = self._slave.bus.write_timeout
        self._fail(job, Timeout(f"{job.device!r}: could not be sent within {waited:g} s; it will not be sent"))

    def _fail(self, job: _Job, error: EvokError) -> None:
        job.leave_queue()
        job.done.errback(error)

    def _slave_turned(self, online: bool) -> None:
        if not online:
            while self._waiting:
                job = self._waiting.popleft()
                self._fail(job, Offline(f"{job.device!r}: {self._slave!r} went offline before this was sent"))

    def _next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        job = self._current = self._waiting.popleft()
        job.leave_queue()
        Deferred.fromCoroutine(self._run(job)).addBoth(self._ran, job)

    def _ran(self, result: Any, job: _Job) -> None:
        self._current = None
        job.done.callback(result)  # a Failure becomes the job's failure
        self._next()

    async def _run(self, job: _Job) -> None:
        device, slave = job.device, self._slave
        if job.pulse is not None and self._pulses.get(device) is not job.pulse:
            return  # a newer set came first
        plan = self._plan(device, job.parameters)  # again: what was done meanwhile may have changed it
        changed: dict[Device, None] = {}
        deadline = job.deadline
        try:
            for write in plan.writes:
                try:
                    await slave.bus.write(slave.unit, write, deadline)
                except EvokError as error:
                    # it may have happened: where the pulse would only put back what was, it does so in any case
                    back = plan.pulse is not None and getattr(device.state, "value", None) == plan.pulse.value
                    if back and error.sent and not isinstance(error, Refused) and write is plan.writes[0]:
                        self._renew_pulse(device, plan.pulse)
                    raise
                # what has begun is finished: a deadline in the middle would leave it half done
                deadline = self._clock.seconds() + slave.bus.timeout
                changed.update(dict.fromkeys(slave.acknowledge(write)))
                if write is plan.writes[0]:
                    # already now: should a later step fail, what was switched on must still go off
                    self._renew_pulse(device, plan.pulse)
            device.local.update(plan.local)
        finally:
            if device.refresh(slave.registers):
                changed[device] = None
            self._events.publish(changed)
            self._scanner.read_soon(slave.blocks_of(plan.writes))
        if job.pulse is not None and job.pulse.failed:
            self._log.info("{device!r}: the pulse ended, late", device=device)

    def _renew_pulse(self, device: Device, pulse: Pulse | None) -> None:
        """A set of an output ends the pulse that runs, and may begin another."""
        if "pending" not in device.local:
            return
        running = self._pulses.pop(device, None)
        if running is not None:
            running.cancel()
        device.local["pending"] = pulse is not None
        if pulse is not None:
            self._start_pulse(device, pulse)

    def _start_pulse(self, device: Device, pulse: Pulse) -> None:
        running = self._pulses[device] = _Running(pulse.value)
        running.call = self._clock.callLater(pulse.seconds, self._end_pulse, device, running)

    def _end_pulse(self, device: Device, running: _Running) -> None:
        if self._slave.online:
            ended = self.submit(device, {"value": running.value}, pulse=running)
        else:
            ended = Deferred()
            ended.errback(Offline(f"{self._slave!r} is offline"))
        ended.addErrback(self._pulse_failed, device, running)

    def _pulse_failed(self, failure: Failure, device: Device, running: _Running) -> None:
        if self._pulses.get(device) is not running:
            return
        if not running.failed:
            running.failed = True
            self._log.error(
                "{device!r}: the pulse could not be ended, it stays at {value}; trying again: {why}",
                device=device,
                value=1 - running.value,
                why=failure.getErrorMessage(),
            )
        running.call = self._clock.callLater(self.pulse_retry, self._end_pulse, device, running)

    async def stop(self) -> None:
        """Fail what waits, and put the outputs of pulses back: nobody would do that later.

        Takes as long as a command may take, at most.
        """
        self._stopping = True
        self._slave_turned(False)
        if self._current is not None:
            await DeferredList([self._current.done])  # it may begin a pulse yet
        for running in self._pulses.values():
            running.cancel()
        if self._slave.online:
            ends = [self.submit(device, {"value": run.value}, pulse=run) for device, run in self._pulses.items()]
            await DeferredList(ends, consumeErrors=True)
        for device in self._pulses:
            self._log.error("{device!r}: the pulse could not be ended before the stop", device=device)
        self._pulses.clear()
