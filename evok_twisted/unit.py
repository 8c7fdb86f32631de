"""What a configuration comes down to: buses, the slaves on them, their devices, and the registry of all of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from twisted.internet.threads import deferToThreadPool

from evok_twisted import config as cfg
from evok_twisted.bus.base import ModbusBus
from evok_twisted.bus.owserver import OwServer
from evok_twisted.bus.rtu import RtuBus
from evok_twisted.bus.tcp import CONNECT_TIMEOUT, TcpBus, default_pipeline
from evok_twisted.core.aliasstore import AliasStore, InThread, alias_file
from evok_twisted.core.commands import Commands, Writer
from evok_twisted.core.desk import Core
from evok_twisted.core.events import Events
from evok_twisted.core.health import Health
from evok_twisted.core.identity import RESETS
from evok_twisted.core.journal import Journal
from evok_twisted.core.onewire import SensorScanner
from evok_twisted.core.probes import Probes
from evok_twisted.core.reads import LineUse, line_use
from evok_twisted.core.registry import Registry
from evok_twisted.core.scanner import Scanner
from evok_twisted.core.sensorwriter import SensorWriter
from evok_twisted.core.slave import Slave
from evok_twisted.core.writer import SlaveWriter
from evok_twisted.definitions import Block
from evok_twisted.errors import UnknownCircuit
from evok_twisted.hosts import HostEndpoint
from evok_twisted.model import onewire
from evok_twisted.model.aliases import AliasTable
from evok_twisted.model.boards import build
from evok_twisted.model.device import Device
from evok_twisted.model.sensors import TYPES, OneWireBus, Sensor, sensor
from evok_twisted.model.system import DeviceInfo, DeviceInfoState, ModbusSlave
from evok_twisted.serialport import SerialEndpoint, SerialSettings
from evok_twisted.settings import Problems, nearest

#: How the models of extension modules begin.
EXTENSIONS = ("xS", "xM", "xL", "xG")

#: Seconds between two looks at a board that is not scanned.
UNSCANNED = 0.1


class Unit:
    """Everything that a configuration asks for, put together; nothing of it runs yet.

    :ivar buses: each with a ``service`` that keeps it up while it runs.
    :ivar sensor_scanners: of the 1-Wire buses.
    :ivar sensor_writers: of the 1-Wire buses; to be stopped before the others, for they may need them to the end.
    """

    def __init__(self, config: cfg.Config, reactor: Any, problems: Problems) -> None:
        self.config = config
        self.buses: list[ModbusBus | OwServer] = []
        self.scanners: list[Scanner] = []
        self.writers: list[SlaveWriter] = []
        self.sensor_scanners: list[SensorScanner] = []
        self.sensor_writers: list[SensorWriter] = []
        self.registry = Registry()
        self.events = Events(reactor)
        self.reactor = reactor
        self.line_uses: dict[str, LineUse | None] = {}
        self._problems = problems
        self._writers: dict[str, Writer] = {}
        self.health = Health(reactor, lambda: problems.errors)
        for bus in config.buses:
            if bus.settings.device_info is not None:
                self.registry.add(_device_info(bus.name, bus.settings.device_info))
            if isinstance(bus.settings, cfg.ModbusTcpSettings):
                self._add_tcp(bus, bus.settings)
            elif isinstance(bus.settings, cfg.ModbusRtuSettings):
                self._add_rtu(bus, bus.settings)
            elif isinstance(bus.settings, cfg.OneWireSettings):
                self._add_onewire(bus, bus.settings)
        self._check_owpower()
        self.aliases = AliasStore(
            self.registry, self.events, reactor, alias_file(config.apis.alias_file), _in_thread_of(reactor)
        )
        self.commands = Commands(self.registry, self.events, {**self._writers, AliasTable.GROUP: self.aliases})
        self.core = Core(self.registry, self.commands, self.events, Journal(self.events), self.health)

    def _add_tcp(self, bus: cfg.Bus, settings: cfg.ModbusTcpSettings) -> None:
        tcp = TcpBus(
            bus.name,
            HostEndpoint(self.reactor, settings.hostname, settings.port, CONNECT_TIMEOUT),
            self.reactor,
            timeout=settings.timeout,
            write_timeout=settings.write_timeout,
            pipeline=settings.pipeline or default_pipeline(settings.hostname),
            framer=settings.framer,
        )
        self.buses.append(tcp)
        self._add_boards(tcp, bus, "TCP", settings.hostname)

    def _add_rtu(self, bus: cfg.Bus, settings: cfg.ModbusRtuSettings) -> None:
        port = SerialSettings(settings.port, settings.baudrate, settings.parity, settings.stopbits)
        rtu = RtuBus(
            bus.name,
            SerialEndpoint(port, self.reactor),
            self.reactor,
            baudrate=settings.baudrate,
            timeout=settings.timeout,
            write_timeout=settings.write_timeout,
        )
        self.buses.append(rtu)
        self._add_boards(rtu, bus, "RTU", settings.port)

    def _add_boards(self, bus: ModbusBus, config: cfg.Bus, modbus_type: str, modbus_spec: str) -> None:
        probes = Probes(self.reactor)
        slaves = []
        for board in config.boards:
            scanner = self._add_board(bus, probes, board, modbus_type, modbus_spec, config.settings.device_info)
            writer = SlaveWriter(scanner, self.events, self.reactor, limit=config.settings.max_waiting)
            self._writers[board.name] = writer
            self.writers.append(writer)
            slaves.append(scanner.slave)
        self.health.add(bus, f"MODBUS{modbus_type}", slaves, self._line_use(bus, config))

    def _line_use(self, bus: ModbusBus, config: cfg.Bus) -> LineUse | None:
        """What is asked of a serial line; more than it can do is a warning."""
        if not isinstance(bus, RtuBus):
            return None
        scanned = [board for board in config.boards if board.settings.scan_enabled]
        boards = [
            (board.definition.blocks if board.settings.join else _parted(board.definition.blocks), board.settings)
            for board in scanned
        ]
        asked = ((blocks, settings.scan_frequency) for blocks, settings in boards)
        use = self.line_uses[bus.name] = line_use(asked, bus.baudrate, bus.gap, bus.cost)
        if use is not None and use.percent > 100:
            path = f"comm_channels.{bus.name}.devices"
            self._problems.warning(self._problems.file_of(path), path, f"{use.text} (scan_frequency says how often)")
        return use

    def _add_board(
        self,
        bus: ModbusBus,
        probes: Probes,
        board: cfg.Board,
        modbus_type: str,
        modbus_spec: str,
        bus_info: cfg.DeviceInfoSettings | None,
    ) -> Scanner:
        name, number, settings = board.name, board.number, board.settings
        frequency = settings.scan_frequency
        shown, interval = (1 / frequency, 1 / frequency) if frequency else (0.0, UNSCANNED)
        clock = self.reactor
        info = ModbusSlave(name, number, clock.seconds, settings.slave_id, modbus_type, modbus_spec, shown)
        devices: list[Device] = build(board.definition, name, number, self._problems)
        slave = Slave(name, settings.slave_id, bus, board.definition.blocks, devices, info, clock)
        scanner = Scanner(
            slave,
            interval,
            self.events,
            clock,
            probes,
            periodic=settings.scan_enabled and frequency > 0,
            joined=settings.join,
        )
        self.scanners.append(scanner)
        for device in [*devices, info]:
            self.registry.add(device)
        board_info = settings.device_info or self._made_up_info(bus_info, settings.model)
        if board_info is not None:
            self.registry.add(_device_info(name, board_info))
        return scanner

    def _made_up_info(self, bus_info: cfg.DeviceInfoSettings | None, model: str) -> cfg.DeviceInfoSettings | None:
        """What Evok makes of a board of which the configuration says nothing; of those in a unit, the bus tells."""
        if model.startswith(EXTENSIONS):
            return cfg.DeviceInfoSettings(family="Extension", model=model)
        return cfg.DeviceInfoSettings(family="unknown", model=model) if bus_info is None else None

    def _add_onewire(self, config: cfg.Bus, settings: cfg.OneWireSettings) -> None:
        clock, name = self.reactor, config.name
        endpoint = HostEndpoint(clock, settings.hostname, settings.port, CONNECT_TIMEOUT)
        server = OwServer(name, endpoint, clock)
        bus = OneWireBus(name, settings.interval, settings.scan_interval)
        known = list(self._known_sensors(name, settings, config.sensors))
        power = None if settings.owpower is None else partial(self._switch_power, settings.owpower)
        scanner = SensorScanner(server, bus, known, self.registry, self.events, clock, time.time)
        writer = SensorWriter(scanner, clock, power, limit=settings.max_waiting)
        self.buses.append(server)
        self.health.add(server, "OWBUS")
        self.sensor_scanners.append(scanner)
        self.sensor_writers.append(writer)
        self._writers[name] = writer
        for device in [bus, *(one for one, _ in known)]:
            self.registry.add(device)

    def _known_sensors(
        self, name: str, settings: cfg.OneWireSettings, sensors: Mapping[str, cfg.SensorSettings]
    ) -> Iterator[tuple[Sensor, float | None]]:
        taken: dict[str, str] = {}
        for key, device in sensors.items():
            path = f"comm_channels.{name}.devices.{key}.address"
            if not device.enabled:
                continue
            try:
                address = onewire.address(device.address)
            except ValueError as error:
                self._problems.error(self._problems.file_of(path), path, str(error), fatal=False)
                continue
            if address in taken:
                message = f"{address} is the address of the device {taken[address]} too"
                self._problems.error(self._problems.file_of(path), path, message, fatal=False)
                continue
            taken[address] = key
            kind = device.type.upper() if device.type is not None else None
            if kind is not None and kind not in TYPES:
                message = f"got {device.type!r}, of which no values are known; {nearest(kind, TYPES)}"
                path = f"comm_channels.{name}.devices.{key}.type"
                self._problems.warning(self._problems.file_of(path), path, message)
            yield sensor(address, kind, name, device.interval or settings.interval), device.interval

    def _check_owpower(self) -> None:
        for bus in self.config.buses:
            if isinstance(bus.settings, cfg.OneWireSettings) and bus.settings.owpower is not None:
                try:
                    self.registry.find("owpower", bus.settings.owpower, "v3")
                except UnknownCircuit as error:
                    path = f"comm_channels.{bus.name}.owpower"
                    message = f"got {bus.settings.owpower!r}: {error}"
                    self._problems.error(self._problems.file_of(path), path, message, fatal=False)

    async def _switch_power(self, circuit: str, value: int) -> Device:
        return await self.commands.set(self.registry.find("owpower", circuit, "v3"), {"value": value}, RESETS)

    def summary(self) -> Iterator[str]:
        """What would run, for people, line by line."""
        for bus in self.config.buses:
            settings = bus.settings
            if isinstance(settings, cfg.ModbusTcpSettings):
                protocol = "Modbus TCP" if settings.framer == "socket" else "Modbus RTU over TCP"
                yield f"bus {bus.name}: {protocol}, {settings.hostname}:{settings.port}"
            elif isinstance(settings, cfg.ModbusRtuSettings):
                character = f"8{settings.parity}{settings.stopbits}"
                yield f"bus {bus.name}: Modbus RTU, {settings.port}, {settings.baudrate} baud, {character}"
                use = self.line_uses.get(bus.name)
                if use is not None:
                    yield f"  {use.text}; a scan of all takes {use.round * 1000:.0f} ms"
            elif isinstance(settings, cfg.OneWireSettings):
                yield f"bus {bus.name}: 1-Wire, owserver at {settings.hostname}:{settings.port}"
                for key, device in bus.sensors.items():
                    if device.enabled:
                        yield f"  sensor {key}: {device.type or 'of the type that its address tells'}, {device.address}"
            for board in bus.boards:
                yield from self._summary_of(board)
        total = Counter(device.kind for device in self.registry)
        circuits, boards = sum(total.values()), len(self.scanners)
        yield f"{circuits} circuit{'s' * (circuits != 1)} on {boards} board{'s' * (boards != 1)}"

    def _summary_of(self, board: cfg.Board) -> Iterator[str]:
        of = board.settings
        rate = f"{of.scan_frequency:g} scans a second" if of.scan_enabled and of.scan_frequency else "not scanned"
        yield f"  board {board.name}: model {of.model}, slave {of.slave_id}, {rate}, from {board.definition.file}"
        by_kind: dict[str, list[str]] = {}
        for device in self.registry:
            if device.group == board.name:
                by_kind.setdefault(device.kind, []).append(device.circuit)
        for kind, circuits in by_kind.items():
            yield f"    {len(circuits):3} {kind}: {', '.join(circuits)}"


def _parted(blocks: Sequence[Block]) -> tuple[Block, ...]:
    return tuple(msgspec.structs.replace(block, join=False) for block in blocks)


def _in_thread_of(reactor: Any) -> InThread:
    return lambda blocking: deferToThreadPool(reactor, reactor.getThreadPool(), blocking)


def _device_info(group: str, info: cfg.DeviceInfoSettings) -> DeviceInfo:
    return DeviceInfo(group, DeviceInfoState(info.family, info.model, info.sn, info.board_count))
