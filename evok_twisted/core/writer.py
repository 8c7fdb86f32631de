"""Writes to one slave: one plan after the other, each within its deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from evok_twisted.core.commands import Assignment
from evok_twisted.core.events import Events
from evok_twisted.core.identity import PULSES, Identity
from evok_twisted.core.pulserecord import Entry, PulseRecord
from evok_twisted.core.pulses import Pulses, Running
from evok_twisted.core.scanner import Scanner
from evok_twisted.core.waiting import Queue, Waiting
from evok_twisted.errors import EvokError, Offline, Refused
from evok_twisted.model.device import BoardDevice, Device, Plan
from evok_twisted.model.registers import Write, WriteCoil, WriteCoils

#: Told of a set that the service did by itself: the device, what was set, by what, what went wrong, and when it began.
Note = Callable[[Device, Mapping[str, Any], Identity, EvokError | None, float], None]


class SlaveWriter:
    """Writes to one slave, one plan after the other, and lets its pulses run.

    :param limit: how many commands may wait; one more is refused with ``Busy``. What one client asked for at once
        counts as one.
    :param record: keeps pulses over a crash.
    :param note: is told of the ends of pulses, for the audit.
    """

    def __init__(
        self,
        scanner: Scanner,
        events: Events,
        clock: IReactorTime,
        *,
        limit: int = 64,
        record: PulseRecord | None = None,
        note: Note | None = None,
    ) -> None:
        self._scanner = scanner
        self._slave = scanner.slave
        self._events = events
        self._clock = clock
        self._queue = Queue(clock, self._slave.bus.write_timeout, limit, self._slave)
        self._stopping = False
        self._current: list[Waiting] = []
        self._choosing = False
        self._record = PulseRecord(None, clock) if record is None else record
        self._note = note
        self._pulses = Pulses(self._slave, events, clock, self._record, self._set_back, self._was_read)
        self._slave.watch(self._slave_turned)

    def check(self, device: Device, wanted: Mapping[str, Any]) -> None:
        """Find out now what can be known to be wrong with a ``set``.

        :raises EvokError: as ``Device.plan``; ``Offline`` when the slave cannot be reached.
        """
        self._plan(device, wanted)
        if not self._slave.online:
            raise Offline(f"{device!r}: {self._slave!r} is offline")

    def _plan(self, device: Device, wanted: Mapping[str, Any]) -> Plan:
        device, registers = _of_board(device), self._slave.registers
        try:
            return device.plan(wanted, registers)
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
        self._pulses.catch_up()
        done = self._queue.ask(sets)
        self._next()
        return done

    def resume(self, devices: Iterable[Device]) -> None:
        """Let the pulses of ``devices`` go on that a run before has left."""
        self._pulses.resume(device for device in devices if isinstance(device, BoardDevice))

    def _slave_turned(self, online: bool) -> None:
        if not online:
            self._queue.fail(lambda job: Offline(f"{job.device!r}: {self._slave!r} went offline"))

    def _next(self) -> None:
        if self._choosing:
            return  # called by a job that ended at once: the loop below goes on
        self._choosing = True
        while self._queue and not self._current:
            self._current = self._together()
            self._queue.take(self._current)
            Deferred.fromCoroutine(self._run_all(self._current)).addBoth(self._ran)
        self._choosing = False

    def _together(self) -> list[Waiting]:
        """The first, with those of the same request that switch the coils next to its own: they go out as one."""
        first = next(iter(self._queue))
        coils: dict[int, Waiting] = {}
        for job in self._queue:
            coil = self._lone_coil(job) if job.request is first.request else None
            if coil is None or coil in coils:
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

    def _lone_coil(self, job: Waiting) -> int | None:
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

    async def _run_all(self, jobs: list[Waiting]) -> None:
        if len(jobs) > 1:
            try:
                await self._run(jobs)
            except EvokError as error:
                # if the slave does not know the function, or not one of the coils: each by itself, then
                if error.sent or not isinstance(error, Refused):
                    for job in jobs:
                        job.fail(error)
                    return
            else:
                for job in jobs:
                    job.succeed()
                return
        for job in jobs:
            try:
                await self._run([job])
            except EvokError as error:
                job.fail(error)
            else:
                job.succeed()

    async def _run(self, jobs: list[Waiting]) -> None:
        """Write what one job comes down to, or, of several, their coils at once."""
        ending = jobs[0].request if isinstance(jobs[0].request, Running) else None
        if ending is not None and not self._pulses.runs(_of_board(jobs[0].device), ending):
            return  # a newer set came first
        # planned again: what was done meanwhile may have changed it
        plans = {_of_board(job.device): self._plan(job.device, job.parameters) for job in jobs}
        first = _of_board(jobs[0].device)
        writes: Sequence[Write] = plans[first].writes
        if len(jobs) > 1:
            firsts = (plan.writes[0] for plan in plans.values())
            writes = (WriteCoils(tuple(coil for coil in firsts if isinstance(coil, WriteCoil))),)
        changed: dict[Device, None] = {}
        begun = self._clock.seconds()
        pulses = {device: plan.pulse for device, plan in plans.items() if plan.pulse is not None}
        # before the hardware has it: a crash must not leave on what is to go off
        entries = await self._record.begin(pulses) if pulses else {}
        try:
            await self._write(writes, min(job.deadline for job in jobs), plans, entries, changed)
            for device, plan in plans.items():
                device.local.update(plan.local)
        finally:
            for device in plans:
                if device.refresh(self._slave.registers):
                    changed[device] = None
            self._events.publish(changed, jobs[0].by)
            self._pulses.settle(plans)
            self._scanner.read_soon(self._slave.blocks_of(writes))
        if ending is not None:
            self._pulses.ended(first, ending)
            if self._note is not None:
                self._note(first, jobs[0].parameters, PULSES, None, begun)
        elif not pulses and any(map(self._record.unsaved, plans)):
            # else the pulse that this has ended could end once more, after a crash
            await self._record.try_flush()

    async def _write(
        self,
        writes: Sequence[Write],
        deadline: float,
        plans: Mapping[BoardDevice, Plan],
        entries: Mapping[BoardDevice, Entry],
        changed: dict[Device, None],
    ) -> None:
        """Write it all, one after the other.

        :param entries: the pulses of ``plans``, as they are recorded.
        :param changed: takes what shows something else then.
        """
        slave = self._slave
        for write in writes:
            try:
                await slave.bus.write(slave.unit, write, deadline)
            except EvokError as error:
                slave.failed(error)
                error.sent = error.sent or write is not writes[0]  # some of it was done
                if error.sent and write is writes[0]:
                    self._in_doubt(plans, entries)
                raise
            # what has begun is finished: a deadline in the middle would leave it half done
            deadline = self._clock.seconds() + slave.bus.timeout
            changed.update(dict.fromkeys(slave.acknowledge(write)))
            if write is writes[0]:
                for device, plan in plans.items():
                    # already now: should a later step fail, what was switched on must still go off
                    self._pulses.renew(device, plan.pulse, entries.get(device))

    def _in_doubt(self, plans: Mapping[BoardDevice, Plan], entries: Mapping[BoardDevice, Entry]) -> None:
        """The first write may have happened: where a pulse would only put back what was, it does so in any case."""
        for device, plan in plans.items():
            if plan.pulse is not None and getattr(device.state, "value", None) == plan.pulse.value:
                self._pulses.renew(device, plan.pulse, entries.get(device))

    def _set_back(self, device: BoardDevice, pulse: Running) -> Deferred[None]:
        """End a pulse: as a set that nobody replaces, behind what was asked for meanwhile."""
        back = device.checked({"value": pulse.value})
        done = self._queue.append(Waiting(Assignment(device, back, PULSES, replaceable=False), pulse))
        self._next()
        return done

    def _was_read(self, device: BoardDevice) -> bool:
        return self._scanner.has_read(self._slave.blocks_of_keys(device.needs))

    async def stop(self) -> None:
        """Fail what waits, and put the outputs of pulses back: nobody would do that later.

        Takes as long as a command may take, at most.
        """
        self._stopping = True
        self._slave_turned(False)
        await DeferredList([job.done for job in self._current], consumeErrors=False)  # they may begin a pulse yet
        await self._pulses.stop()


def _of_board(device: Device) -> BoardDevice:
    """The others of a board take an alias, and nothing that a writer is asked for."""
    assert isinstance(device, BoardDevice)
    return device
