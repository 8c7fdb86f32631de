"""Segments: a bus with everything on it, as one service that comes and goes while the rest runs.

There is one class for each type of bus in the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IStreamClientEndpoint

from evok_twisted import busconfig
from evok_twisted.bus.base import ModbusBus
from evok_twisted.bus.rtu import RtuBus
from evok_twisted.bus.tcp import CONNECT_TIMEOUT, TcpBus, default_pipeline
from evok_twisted.conditions import breathe
from evok_twisted.core.probes import Probes
from evok_twisted.core.reads import LineUse, line_use
from evok_twisted.hosts import HostEndpoint
from evok_twisted.mountedboard import MountedBoard, Place, Surroundings, device_info, forget
from evok_twisted.onewiresegment import OneWireSegment
from evok_twisted.problems import Problems
from evok_twisted.serialport import SerialEndpoint, SerialSettings

_Settings = TypeVar("_Settings", bound=busconfig.BusSettings)


class Segment(Protocol):
    """A bus with all that is on it."""

    config: busconfig.Bus

    def attach(self) -> None:
        """Make it known: its devices, who writes to them, its health."""

    def startService(self) -> None:
        """Connect, and scan."""

    async def drain(self) -> None:
        """Let commands that are under way come to their end, in bounded time; such as wait fail."""

    def stopService(self) -> Deferred[None]:
        """Stop scanning, and close the connection."""

    def detach(self) -> None:
        """Let it be known no more."""

    def can_become(self, config: busconfig.Bus) -> bool:
        """Whether ``become`` does, or it has to make room for another."""

    async def become(self, config: busconfig.Bus, problems: Problems) -> None:
        """Be what ``config`` says; what does not differ in it goes on and misses nothing.

        :param problems: what is wrong with it is noted here.
        """

    def describe(self) -> Iterator[str]:
        """What it is, for people, line by line."""

    @property
    def stuck(self) -> bool:
        """Whether something of it stands still, longer than anything can take: that would be a bug."""


class ModbusSegment(Service, Generic[_Settings]):
    """A Modbus bus and the boards on it."""

    kind: ClassVar[str]
    modbus_type: ClassVar[str]

    def __init__(self, config: busconfig.Bus, settings: _Settings, around: Surroundings) -> None:
        self.config = config
        self.settings = settings
        self._around = around
        self.probes = Probes(around.reactor)
        self.bus = self._bus()
        self._info = [] if settings.device_info is None else [device_info(config.name, settings.device_info)]
        place = self._place()
        self.boards = {board.name: MountedBoard(board, place, around) for board in config.boards}

    def _bus(self) -> ModbusBus:
        raise NotImplementedError

    def _place(self) -> Place:
        return Place(self.bus, self.probes, self.settings, self.modbus_type, self.modbus_spec)

    @property
    def modbus_spec(self) -> str:
        """Where the bus is, as ``modbus_slave`` shows it."""
        raise NotImplementedError

    def attach(self) -> None:
        for device in self._info:
            self._around.core.registry.add(device)
        for board in self.boards.values():
            board.attach()
        self._tell_of_boards()

    def _tell_of_boards(self) -> None:
        slaves = [board.slave for board in self.boards.values()]
        self._around.core.health.add(self.bus, self.kind, slaves, self.line_use(), self.bus.meter)
        self._around.core.raw.attach(self.bus, self.boards.keys())

    def line_use(self) -> LineUse | None:
        """What scanning asks of the line, of a serial one."""
        return None

    def startService(self) -> None:
        super().startService()
        self.bus.service.startService()
        for board in self.boards.values():
            board.start()

    async def drain(self) -> None:
        await DeferredList([Deferred.fromCoroutine(board.writer.stop()) for board in self.boards.values()])

    def stopService(self) -> Deferred[None]:
        super().stopService()
        for board in self.boards.values():
            board.scanner.stop()
        self.probes.stop()
        stopped: Deferred[None] = self.bus.service.stopService()
        return stopped

    def detach(self) -> None:
        for board in self.boards.values():
            board.detach()
        forget(self._around.core, self._info)
        self._around.core.health.remove(self.bus)
        self._around.core.raw.detach(self.bus)

    def can_become(self, config: busconfig.Bus) -> bool:
        return _without_boards(config.settings) == _without_boards(self.config.settings)

    async def become(self, config: busconfig.Bus, problems: Problems) -> None:
        self._around = self._around._replace(problems=problems)
        wanted = {board.name: board for board in config.boards}
        for name, mounted in tuple(self.boards.items()):
            if mounted.config != wanted.get(name):
                del self.boards[name]
                await mounted.remove()
                await breathe(self._around.reactor)
        self.config = config
        added = [name for name in wanted if name not in self.boards]
        for name in added:
            board = MountedBoard(wanted[name], self._place(), self._around)
            board.attach()
            self.boards[name] = board
            if self.running:
                board.start()
            await breathe(self._around.reactor)
        self.boards = {name: self.boards[name] for name in wanted}
        self._tell_of_boards()

    def describe(self) -> Iterator[str]:
        for board in self.boards.values():
            yield from board.describe()

    @property
    def stuck(self) -> bool:
        return any(board.scanner.stuck for board in self.boards.values())


class TcpSegment(ModbusSegment[busconfig.ModbusTcpSettings]):
    """``type: MODBUSTCP``."""

    kind = "MODBUSTCP"
    modbus_type = "TCP"

    def _endpoint(self) -> IStreamClientEndpoint:
        return HostEndpoint(self._around.reactor, self.settings.hostname, self.settings.port, CONNECT_TIMEOUT)

    def _bus(self) -> TcpBus:
        settings = self.settings
        return TcpBus(
            self.config.name,
            self._endpoint(),
            self._around.reactor,
            timeout=settings.timeout,
            write_timeout=settings.write_timeout,
            pipeline=settings.pipeline or default_pipeline(settings.hostname),
            framer=settings.framer,
        )

    @property
    def modbus_spec(self) -> str:
        return self.settings.hostname

    def describe(self) -> Iterator[str]:
        protocol = "Modbus TCP" if self.settings.framer == "socket" else "Modbus RTU over TCP"
        yield f"bus {self.config.name}: {protocol}, {self.settings.hostname}:{self.settings.port}"
        yield from super().describe()


class RtuSegment(ModbusSegment[busconfig.ModbusRtuSettings]):
    """``type: MODBUSRTU``."""

    kind = "MODBUSRTU"
    modbus_type = "RTU"

    def _bus(self) -> RtuBus:
        settings, reactor = self.settings, self._around.reactor
        port = SerialSettings(settings.port, settings.baudrate, settings.parity, settings.stopbits)
        return RtuBus(
            self.config.name,
            SerialEndpoint(port, reactor),
            reactor,
            baudrate=settings.baudrate,
            timeout=settings.timeout,
            write_timeout=settings.write_timeout,
        )

    @property
    def modbus_spec(self) -> str:
        return self.settings.port

    def attach(self) -> None:
        super().attach()
        use, path = self.line_use(), f"comm_channels.{self.config.name}.devices"
        if use is not None and use.percent > 100:
            problems = self._around.problems
            problems.warning(problems.file_of(path), path, f"{use.text} (scan_frequency says how often)")

    def line_use(self) -> LineUse | None:
        asked = [
            (board.slave.defined, board.config.settings.scan_frequency)
            for board in self.boards.values()
            if board.config.settings.scan_enabled
        ]
        return line_use(asked, self.settings.baudrate, self.bus.gap, self.bus.cost)

    def describe(self) -> Iterator[str]:
        settings = self.settings
        character = f"8{settings.parity}{settings.stopbits}"
        yield f"bus {self.config.name}: Modbus RTU, {settings.port}, {settings.baudrate} baud, {character}"
        use = self.line_use()
        if use is not None:
            yield f"  {use.text}; a scan of all takes {use.round * 1000:.0f} ms"
        yield from super().describe()


#: The segment of each type of bus, by its settings.
SEGMENTS: Mapping[type[busconfig.BusSettings], Callable[[busconfig.Bus, Any, Surroundings], Segment]] = {
    busconfig.ModbusTcpSettings: TcpSegment,
    busconfig.ModbusRtuSettings: RtuSegment,
    busconfig.OneWireSettings: OneWireSegment,
}


def segment(config: busconfig.Bus, around: Surroundings) -> Segment:
    """The segment of a configured bus; nothing of it is known or runs yet."""
    return SEGMENTS[type(config.settings)](config, config.settings, around)


def _without_boards(settings: busconfig.BusSettings) -> busconfig.BusSettings:
    return msgspec.structs.replace(settings, devices={})
