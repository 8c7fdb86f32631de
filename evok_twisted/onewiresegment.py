"""The segment of a 1-Wire bus: an owserver and the sensors behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import ClassVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed

from evok_twisted import busconfig
from evok_twisted.bus.owserver import OwServer
from evok_twisted.bus.tcp import CONNECT_TIMEOUT
from evok_twisted.core.identity import RESETS
from evok_twisted.core.sensorscanner import SensorScanner
from evok_twisted.core.sensorwriter import SensorWriter
from evok_twisted.hosts import HostEndpoint
from evok_twisted.model import onewire
from evok_twisted.model.device import Device
from evok_twisted.model.onewirebus import OneWireBus
from evok_twisted.model.sensors import TYPES, Sensor, sensor
from evok_twisted.mountedboard import Surroundings, device_info, forget
from evok_twisted.problems import Problems, nearest


class OneWireSegment(Service):
    """``type: OWBUS``: an owserver and the sensors behind it."""

    kind: ClassVar[str] = "OWBUS"

    def __init__(self, config: busconfig.Bus, settings: busconfig.OneWireSettings, around: Surroundings) -> None:
        self.config = config
        self.settings = settings
        self._around = around
        clock, name, core = around.reactor, config.name, around.core
        self.bus = OwServer(name, HostEndpoint(clock, settings.hostname, settings.port, CONNECT_TIMEOUT), clock)
        device = OneWireBus(name, settings.interval, settings.scan_interval)
        known = list(self._known_sensors(config.sensors))
        power = None if settings.owpower is None else partial(self._switch_power, settings.owpower)
        self.scanner = SensorScanner(self.bus, device, known, core.registry, core.events, clock, time.time)
        self.writer = SensorWriter(self.scanner, clock, power, limit=settings.max_waiting)
        info = [] if settings.device_info is None else [device_info(name, settings.device_info)]
        self._devices = [*info, device, *(one for one, _ in known)]

    def _known_sensors(self, sensors: Mapping[str, busconfig.SensorSettings]) -> Iterator[tuple[Sensor, float | None]]:
        name, problems = self.config.name, self._around.problems
        taken: dict[str, str] = {}
        for key, device in sensors.items():
            path = f"comm_channels.{name}.devices.{key}.address"
            if not device.enabled:
                continue
            try:
                address = onewire.address(device.address)
            except ValueError as error:
                problems.error(problems.file_of(path), path, str(error), fatal=False)
                continue
            if address in taken:
                message = f"{address} is the address of the device {taken[address]} too"
                problems.error(problems.file_of(path), path, message, fatal=False)
                continue
            taken[address] = key
            kind = device.type.upper() if device.type is not None else None
            if kind is not None and kind not in TYPES:
                message = f"got {device.type!r}, of which no values are known; {nearest(kind, TYPES)}"
                path = f"comm_channels.{name}.devices.{key}.type"
                problems.warning(problems.file_of(path), path, message)
            yield sensor(address, kind, name, device.interval or self.settings.interval), device.interval

    async def _switch_power(self, circuit: str, value: int) -> Device:
        core = self._around.core
        return await core.commands.set(core.registry.find("owpower", circuit, "v3"), {"value": value}, RESETS)

    def attach(self) -> None:
        core = self._around.core
        for device in self._devices:
            core.registry.add(device)
        core.commands.attach(self.config.name, self.writer)
        core.health.add(self.bus, self.kind)

    def startService(self) -> None:
        super().startService()
        self.bus.service.startService()
        self.scanner.start()

    async def drain(self) -> None:
        await self.writer.stop()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.scanner.stop()
        self.bus.service.stopService()
        return succeed(None)

    def detach(self) -> None:
        core = self._around.core
        core.commands.detach(self.config.name)
        # those that were found, too
        forget(core, [device for device in core.registry if device.group == self.config.name])
        core.health.remove(self.bus)

    def can_become(self, config: busconfig.Bus) -> bool:
        return config == self.config

    async def become(self, config: busconfig.Bus, problems: Problems) -> None:
        self.config = config

    def describe(self) -> Iterator[str]:
        yield f"bus {self.config.name}: 1-Wire, owserver at {self.settings.hostname}:{self.settings.port}"
        for key, device in self.config.sensors.items():
            if device.enabled:
                yield f"  sensor {key}: {device.type or 'of the type that its address tells'}, {device.address}"

    @property
    def stuck(self) -> bool:
        return self.scanner.stuck
