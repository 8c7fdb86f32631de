"""A board on its bus, with all that belongs to it: what scans it, what writes to it, what clients see of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from evok_twisted import busconfig
from evok_twisted.bus.base import ModbusBus
from evok_twisted.core.desk import Core
from evok_twisted.core.probes import Probes
from evok_twisted.core.scanner import Scanner
from evok_twisted.core.slave import Slave
from evok_twisted.core.writer import SlaveWriter
from evok_twisted.model.boards import build
from evok_twisted.model.device import Device
from evok_twisted.model.system import DeviceInfo, DeviceInfoState, ModbusSlave
from evok_twisted.problems import Problems

#: How the models of extension modules begin.
EXTENSIONS = ("xS", "xM", "xL", "xG")

#: Seconds between two looks at a board that is not scanned.
UNSCANNED = 0.1


class Surroundings(NamedTuple):
    """What segments are put into.

    :ivar problems: what is wrong with their configuration is noted here.
    """

    core: Core
    reactor: Any
    problems: Problems


class Place(NamedTuple):
    """Where boards are mounted: a bus.

    :ivar settings: what is configured of it.
    :ivar modbus_type: ``TCP`` or ``RTU``.
    :ivar modbus_spec: where the bus is, as ``modbus_slave`` shows it.
    """

    bus: ModbusBus
    probes: Probes
    settings: busconfig.BusSettings
    modbus_type: str
    modbus_spec: str


class MountedBoard:
    """A board on its bus: its slave, what scans it and what writes to it, its devices."""

    def __init__(self, config: busconfig.Board, place: Place, around: Surroundings) -> None:
        self.config = config
        self._core = around.core
        self._bus_name = place.bus.name
        settings, clock = config.settings, around.reactor
        name, number, frequency = config.name, config.number, settings.scan_frequency
        shown, interval = (1 / frequency, 1 / frequency) if frequency else (0.0, UNSCANNED)
        info = ModbusSlave(
            name,
            number,
            clock.seconds,
            settings.slave_id,
            place.modbus_type,
            place.modbus_spec,
            shown,
            settings.model,
        )
        devices = build(config.definition, name, number, around.problems)
        self._set_deadbands(devices, around.problems)
        blocks = [replace(block, join=block.join and settings.join) for block in config.definition.blocks]
        self.slave = Slave(name, settings.slave_id, place.bus, blocks, devices, info, clock)
        self.scanner = Scanner(
            self.slave,
            interval,
            self._core.events,
            clock,
            place.probes,
            periodic=settings.scan_enabled and frequency > 0,
        )
        self.writer = SlaveWriter(
            self.scanner,
            self._core.events,
            clock,
            limit=place.settings.max_waiting,
            record=self._core.pulses,
            note=self._core.commands.note,
        )
        self.devices: list[Device] = [*devices, info]
        board_info = settings.device_info or _made_up_info(place.settings.device_info, settings.model)
        if board_info is not None:
            self.devices.append(device_info(name, board_info))

    def _set_deadbands(self, devices: Iterable[Device], problems: Problems) -> None:
        bands = self.config.settings.deadband
        unused = {key for key in bands if "/" in key}
        for device in devices:
            key = f"{device.kind}/{device.circuit}"
            unused.discard(key)
            band = bands.get(key, bands.get(device.kind, 0.0))
            if band:
                device.deadband = band
        for key in sorted(unused):
            path = f"comm_channels.{self._bus_name}.devices.{self.config.name}.deadband.{key}"
            problems.warning(problems.file_of(path), path, "there is no such circuit on this board")

    def attach(self) -> None:
        """Make its devices known."""
        for device in self.devices:
            self._core.registry.add(device)
        self._core.commands.attach(self.config.name, self.writer)

    def start(self) -> None:
        """Scan it, and let its outputs go back that a run before has left on."""
        self.scanner.start()
        self.writer.resume(self.devices)

    async def remove(self) -> None:
        """Let commands come to their end, then scan it no more, and let it be known no more."""
        await self.writer.stop()
        self.scanner.stop()
        self.detach()

    def detach(self) -> None:
        """Let its devices be known no more."""
        self._core.commands.detach(self.config.name)
        forget(self._core, self.devices)

    def describe(self) -> Iterator[str]:
        """What it is, for people, line by line."""
        of = self.config.settings
        rate = f"{of.scan_frequency:g} scans a second" if of.scan_enabled and of.scan_frequency else "not scanned"
        file = self.config.definition.file
        yield f"  board {self.config.name}: model {of.model}, slave {of.slave_id}, {rate}, from {file}"
        by_kind: dict[str, list[str]] = {}
        for device in self._core.registry:
            if device.group == self.config.name:
                by_kind.setdefault(device.kind, []).append(device.circuit)
        for kind, circuits in by_kind.items():
            yield f"    {len(circuits):3} {kind}: {', '.join(circuits)}"


def forget(core: Core, devices: Sequence[Device]) -> None:
    """Let devices be known no more."""
    for device in devices:
        core.registry.remove(device)
    core.events.withdraw(devices)


def device_info(group: str, info: busconfig.DeviceInfoSettings) -> Device:
    """The device that shows what the configuration says of a unit or a board."""
    return DeviceInfo(group, DeviceInfoState(info.family, info.model, info.sn, info.board_count))


def _made_up_info(bus_info: busconfig.DeviceInfoSettings | None, model: str) -> busconfig.DeviceInfoSettings | None:
    """What Evok makes of a board of which the configuration says nothing; of those in a unit, the bus tells."""
    if model.startswith(EXTENSIONS):
        return busconfig.DeviceInfoSettings(family="Extension", model=model)
    return busconfig.DeviceInfoSettings(family="unknown", model=model) if bus_info is None else None
