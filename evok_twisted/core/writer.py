"""Writes to one slave: one plan after the other, each within its deadline, and what outputs do on their own later."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from evok_twisted.core.commands import Assignment
from evok_twisted.core.events import Events
from evok_twisted.core.identity import PULSES
from evok_twisted.core.scanner import Scanner
from evok_twisted.errors import Busy, EvokError, Offline, Refused, Superseded, Timeout
from evok_twisted.logs import Logger
from evok_twisted.model.device import Device, Plan, Pulse
from evok_twisted.model.registers import Write, WriteCoil, WriteCoils


class _Job:
    """A ``set`` on its way.

    :ivar by: who asked.
    :ivar request: what it was asked for with, by one client at once; None for the end of a pulse.
    :ivar pulse: the pulse that this ends, None for what a client asked for.
    """

    __slots__ = ("by", "deadline", "device", "done", "expiry", "parameters", "pulse", "replaceable", "request")

    def __init__(self, what: Assignment, deadline: float, request: object, pulse: _Running | None = None) -> None:
        self.device, self.parameters, self.by, self.replaceable = what
        self.deadline = deadline
        self.request = request
        self.pulse = pulse
        self.done: Deferred[None] = Deferred()
        self.expiry: IDelayedCall | None = None

    @property
    def waits(self) -> bool:
        """Whether it is in the queue: only then can it expire."""
        return self.expiry is not None and self.expiry.active()

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

    __slots__ = ("call", "end", "failed", "value")

    def __init__(self, value: int, end: float) -> None:
        self.value = value
        self.end = end
        self.call: IDelayedCall | None = None
        self.failed = False

    def cancel(self) -> None:
        """Let it not end by itself."""
        if self.call is not None and self.call.active():
            self.call.cancel()


class SlaveWriter:
    """Writes to one slave, one plan after the other, and lets its pulses run.

    :param limit: how many commands may wait; one more is refused with ``Busy``. What one client asked for at once
        counts as one.
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
        self._current: list[_Job] = []
        self._choosing = False
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
        registers = self._slave.registers
        try:
            return device.plan(parameters, registers)
        except KeyError as error:
            if any(key in device.needs and key not in registers for key in error.args):
                raise Offline(f"{device!r}: its registers were not read yet") from None
            raise  # a bug

    def submit_all(self, sets: Sequence[Assignment]) -> list[Deferred[None]]:
        """Do each ``set`` in its turn; it must begin within the bus's ``write_timeout``.

        :returns: for each, fires when the slave has acknowledged everything and the device shows it.
        """
        if self._stopping:
            return [fail(Offline(f"{one.device!r}: the service is stopping")) for one in sets]
        older: dict[Device, list[_Job]] = defaultdict(list)
        for waiting in self._waiting:
            older[waiting.device].append(waiting)
        requests = Counter(id(waiting.request) for waiting in self._waiting)
        done = [self._queue(_Job(one, self._deadline(), sets), older, requests) for one in sets]
        self._next()
        return done

    def _queue(self, job: _Job, older: Mapping[Device, list[_Job]], requests: Counter[int]) -> Deferred[None]:
        """Let ``job`` wait for its turn, in the place of those of ``older`` requests that it replaces.

        :param requests: how many jobs of each request wait.
        """
        device = job.device
        for waiting in older.get(device, ()):
            if job.replaces(waiting) and waiting.waits:
                self._waiting.remove(waiting)
                requests -= Counter((id(waiting.request),))
                self._fail(waiting, Superseded(f"{device!r}: a newer set came before this one was sent"))
        if len(requests) >= self._limit:
            return fail(Busy(f"{device!r}: {self._limit} commands wait for {self._slave!r} already"))
        return self._append(job)

    def _deadline(self) -> float:
        return self._clock.seconds() + self._slave.bus.write_timeout

    def _append(self, job: _Job) -> Deferred[None]:
        # at the end, behind what was asked for meanwhile: the newest has the last word
        self._waiting.append(job)
        job.expiry = self._clock.callLater(self._slave.bus.write_timeout, self._expire, job)
        return job.done

    def _expire(self, job: _Job) -> None:
        self._waiting.remove(job)
        waited = self._slave.bus.write_timeout
        self._fail(job, Timeout(f"{job.device!r}: could not be sent within {waited:g} s"))

    def _fail(self, job: _Job, error: EvokError) -> None:
        job.leave_queue()
        job.done.errback(error)

    def _slave_turned(self, online: bool) -> None:
        if not online:
            while self._waiting:
                job = self._waiting.popleft()
                self._fail(job, Offline(f"{job.device!r}: {self._slave!r} went offline"))

    def _next(self) -> None:
        if self._choosing:
            return  # called by a job that ended at once: the loop below goes on
        self._choosing = True
        while self._waiting and not self._current:
            self._current = self._together(self._waiting[0])
            for job in self._current:
                self._waiting.remove(job)
                job.leave_queue()
            Deferred.fromCoroutine(self._run_all(self._current)).addBoth(self._ran)
        self._choosing = False

    def _together(self, first: _Job) -> list[_Job]:
        """``first``, with those of the same request that switch the coils next to its own: they go out as one."""
        coils: dict[int, _Job] = {}
        for job in (first, *(waiting for waiting in self._waiting if waiting is not first)):
            coil = self._lone_coil(job)
            if first.request is None or job.request is not first.request or coil is None or coil in coils:
                break
            coils[coil] = job
        if not coils:
            return [first]
        low = high = next(iter(coils))
        while low - 1 in coils:
            low -= 1
        while high + 1 in coils:
            high += 1
        return [coils[coil] for coil in range(low, high + 1)]

    def _lone_coil(self, job: _Job) -> int | None:
        """The address of the coil, if that is all that a job writes."""
        try:
            writes = self._plan(job.device, job.parameters).writes
        except EvokError:
            return None  # it will say so in its turn
        return writes[0].address if len(writes) == 1 and isinstance(writes[0], WriteCoil) else None

    def _ran(self, bug: Failure | None) -> None:
        done, self._current = self._current, []
        for job in done:
            if not job.done.called:  # what is no EvokError goes to whoever asked
                job.done.callback(bug)
        self._next()

    async def _run_all(self, jobs: list[_Job]) -> None:
        if len(jobs) > 1:
            try:
                await self._run(jobs)
            except EvokError as error:
                # if the slave does not know the function, or not one of the coils: each by itself, then
                if error.sent or not isinstance(error, Refused):
                    for job in jobs:
                        job.done.errback(error)
                    return
            else:
                for job in jobs:
                    job.done.callback(None)
                return
        for job in jobs:
            try:
                await self._run([job])
            except EvokError as error:
                job.done.errback(error)
            else:
                job.done.callback(None)

    async def _run(self, jobs: list[_Job]) -> None:
        """Write what one job comes down to, or, of several, their coils at once."""
        slave = self._slave
        if jobs[0].pulse is not None and self._pulses.get(jobs[0].device) is not jobs[0].pulse:
            return  # a newer set came first
        # planned again: what was done meanwhile may have changed it
        plans = {job.device: self._plan(job.device, job.parameters) for job in jobs}
        writes: Sequence[Write] = plans[jobs[0].device].writes
        if len(jobs) > 1:
            firsts = (plan.writes[0] for plan in plans.values())
            writes = (WriteCoils(tuple(coil for coil in firsts if isinstance(coil, WriteCoil))),)
        changed: dict[Device, None] = {}
        deadline = min(job.deadline for job in jobs)
        try:
            for write in writes:
                try:
                    await slave.bus.write(slave.unit, write, deadline)
                except EvokError as error:
                    slave.failed(error)
                    error.sent = error.sent or write is not writes[0]  # some of it was done
                    if error.sent and write is writes[0]:
                        self._in_doubt(plans)
                    raise
                # what has begun is finished: a deadline in the middle would leave it half done
                deadline = self._clock.seconds() + slave.bus.timeout
                changed.update(dict.fromkeys(slave.acknowledge(write)))
                if write is writes[0]:
                    for device, plan in plans.items():
                        # already now: should a later step fail, what was switched on must still go off
                        self._renew_pulse(device, plan.pulse)
            for device, plan in plans.items():
                device.local.update(plan.local)
        finally:
            for device in plans:
                if device.refresh(slave.registers):
                    changed[device] = None
            self._events.publish(changed, jobs[0].by)
            self._scanner.read_soon(slave.blocks_of(writes))
        if jobs[0].pulse is not None and jobs[0].pulse.failed:
            self._tell_late(jobs[0].device, jobs[0].pulse)

    def _tell_late(self, device: Device, pulse: _Running) -> None:
        late = self._clock.seconds() - pulse.end
        self._log.info("{device!r}: the pulse ended, {late:.1f} s late", device=device, late=late)

    def _has_ended(self, device: Device, running: _Running) -> bool:
        """Whether what was tried before was done all the same, as a read since then shows."""
        read = self._scanner.has_read(self._slave.blocks_of_keys(device.needs))
        return self._slave.online and read and getattr(device.state, "value", None) == running.value

    def _in_doubt(self, plans: Mapping[Device, Plan]) -> None:
        """The first write may have happened: where a pulse would only put back what was, it does so in any case."""
        for device, plan in plans.items():
            if plan.pulse is not None and getattr(device.state, "value", None) == plan.pulse.value:
                self._renew_pulse(device, plan.pulse)

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
        running = self._pulses[device] = _Running(pulse.value, self._clock.seconds() + pulse.seconds)
        running.call = self._clock.callLater(pulse.seconds, self._end_pulse, device, running)

    def _end_pulse(self, device: Device, running: _Running) -> None:
        if running.failed and self._has_ended(device, running):
            self._renew_pulse(device, None)
            device.refresh(self._slave.registers)
            self._events.publish((device,), PULSES)
            self._tell_late(device, running)
            return
        if self._slave.online:
            ended = self._submit_end(device, running)
        else:
            ended = Deferred()
            ended.errback(Offline(f"{self._slave!r} is offline"))
        ended.addErrback(self._pulse_failed, device, running)

    def _submit_end(self, device: Device, running: _Running) -> Deferred[None]:
        what = Assignment(device, {"value": running.value}, PULSES, replaceable=False)
        done = self._append(_Job(what, self._deadline(), None, running))
        self._next()
        return done

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
        await DeferredList([job.done for job in self._current], consumeErrors=False)  # they may begin a pulse yet
        for running in self._pulses.values():
            running.cancel()
        if self._slave.online:
            ends = [self._submit_end(device, run) for device, run in self._pulses.items()]
            await DeferredList(ends, consumeErrors=True)
        for device in self._pulses:
            self._log.error("{device!r}: the pulse could not be ended before the stop", device=device)
        self._pulses.clear()
