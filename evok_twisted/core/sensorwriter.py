"""Does what clients ask of a 1-Wire bus and its sensors: outputs, intervals, a scan, a reset of the bus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from evok_twisted.core.commands import Assignment
from evok_twisted.core.sensorscanner import Job, SensorScanner
from evok_twisted.core.waiting import Queue, Waiting
from evok_twisted.errors import Conflict, EvokError, Offline
from evok_twisted.logs import Logger
from evok_twisted.model.device import Device
from evok_twisted.model.onewirebus import OneWireBus
from evok_twisted.model.sensors import Sensor

#: Sets the circuit that switches the power of a bus: 1 is off.
Power = Callable[[int], Awaitable[Device]]


class SensorWriter:
    """Writes to one 1-Wire bus (a ``core.commands.Writer``).

    :param power: how to switch the bus's power, None where nobody said.
    :param limit: how many commands may wait; one more is refused with ``Busy``.
    """

    _log = Logger()

    #: seconds within which a command must have its turn
    write_timeout = 5.0
    #: how long a reset leaves the bus without power, and waits after that for the sensors to come up, in seconds
    power_off, power_up = 0.2, 0.05
    #: seconds until it is tried again to switch the power on
    power_retry = 1.0

    def __init__(
        self, scanner: SensorScanner, clock: IReactorTime, power: Power | None = None, *, limit: int = 64
    ) -> None:
        self._scanner = scanner
        self._clock = clock
        self._power = power
        self._queue = Queue(clock, self.write_timeout, limit, scanner.bus, self._dropped)
        #: what waits, as the scanner has it
        self._turns: dict[Waiting, Job] = {}
        #: fires when the power is on again, while it is off
        self._powerless: Deferred[None] | None = None
        self._stopping = False
        scanner.server.watch(self._server_turned)

    def check(self, device: Device, wanted: Mapping[str, Any]) -> None:
        """Find out now what can be known to be wrong with a ``set``.

        :raises Conflict: a reset, and nobody said what switches the power.
        :raises Offline: owserver does not answer.
        """
        if wanted.get("do_reset") and self._power is None:
            raise Conflict(f"{device!r}: its configuration names no owpower, which a reset needs")
        if _touches_the_bus(wanted) and not self._scanner.server.online:
            raise Offline(f"{device!r}: owserver does not answer")

    def submit_all(self, sets: Sequence[Assignment]) -> list[Deferred[None]]:
        """Do each ``set`` in its turn; it must have it within ``write_timeout``.

        :returns: for each, fires when owserver has acknowledged everything and the device shows it; of a scan, when
            it is over.
        """
        if self._stopping:
            return [fail(Offline(f"{one.device!r}: the service is stopping")) for one in sets]
        done = self._queue.ask(sets)
        for job in tuple(self._queue):
            if job not in self._turns:
                turn = self._turns[job] = partial(self._run, job)
                self._scanner.submit(turn)
        return done

    def _dropped(self, job: Waiting) -> None:
        turn = self._turns.pop(job, None)
        if turn is not None:
            self._scanner.withdraw(turn)

    def _server_turned(self, online: bool) -> None:
        if not online:
            self._queue.fail(
                lambda job: (
                    Offline(f"{job.device!r}: owserver stopped answering") if _touches_the_bus(job.parameters) else None
                )
            )

    async def _run(self, job: Waiting) -> None:
        """Do a command whose turn has come."""
        self._queue.take((job,))
        del self._turns[job]
        try:
            if isinstance(job.device, OneWireBus):
                await self._set_bus(job.device, job)
            elif isinstance(job.device, Sensor):
                await self._set_sensor(job.device, job)
        except EvokError as error:
            job.fail(error)
        else:
            job.succeed()

    async def _set_sensor(self, device: Sensor, job: Waiting) -> None:
        wanted = job.parameters
        writes = device.writes(wanted)
        for name, text in writes:
            await self._scanner.server.write(f"/{device.address}/{name}", text)
        if writes:
            await self._scanner.read(device, job.by)
        if "interval" in wanted:
            self._scanner.set_interval(device, wanted["interval"], job.by)

    async def _set_bus(self, device: OneWireBus, job: Waiting) -> None:
        wanted, state = job.parameters, device.state
        if wanted.keys() & {"interval", "scan_interval"}:
            scan_interval = wanted.get("scan_interval", state.scan_interval)
            self._scanner.set_intervals(wanted.get("interval", state.interval), scan_interval, job.by)
        if wanted.get("do_reset") and self._power is not None:
            await self._reset(self._power, job)
        if wanted.get("do_reset") or wanted.get("do_scan"):
            await self._scanner.scan()

    async def _reset(self, power: Power, job: Waiting) -> None:
        self._powerless = Deferred()
        try:
            await self._cycle(power, job)
        finally:
            self._powerless.callback(None)
            self._powerless = None
        await deferLater(self._clock, self.power_up)

    async def _cycle(self, power: Power, job: Waiting) -> None:
        try:
            await power(1)
            await deferLater(self._clock, self.power_off)
        except EvokError as error:
            if error.sent:
                await self._power_on(power, job)
            raise
        await self._power_on(power, job)

    async def _power_on(self, power: Power, job: Waiting) -> None:
        """Switch the power on again, and do not leave it at a failure: nobody else would."""
        since = self._clock.seconds()
        while True:
            try:
                await power(0)
                break
            except EvokError as error:
                if not job.done.called:
                    self._log.error(
                        "{bus!r} is without power, which cannot be switched on: {why}; retrying",
                        bus=job.device,
                        why=error,
                    )
                    job.fail(error)
                if self._stopping:
                    self._log.error("{bus!r} is left without power", bus=job.device)
                    raise
            await deferLater(self._clock, self.power_retry)
        if job.done.called:
            lasted = self._clock.seconds() - since
            self._log.info("{bus!r} has power again, after {lasted:.1f} s", bus=job.device, lasted=lasted)

    async def stop(self) -> None:
        """Fail what waits, and let a reset that is under way switch the power on.

        Takes as long as two commands to the circuit that switches the power, at most.
        """
        self._stopping = True
        self._queue.fail(lambda job: Offline(f"{job.device!r}: the service is stopping"))
        if self._powerless is not None:
            await DeferredList([self._powerless])


def _touches_the_bus(wanted: Mapping[str, Any]) -> bool:
    return "pio" in wanted or bool(wanted.get("do_scan") or wanted.get("do_reset"))
