"""What a configuration comes down to: buses, the slaves on them, their devices, and the registry of all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.threads import deferToThreadPool

from evok_twisted import config as cfg
from evok_twisted.bus.tcp import CONNECT_TIMEOUT, TcpBus, default_pipeline
from evok_twisted.core.aliasstore import AliasStore, InThread, alias_file
from evok_twisted.core.commands import Commands
from evok_twisted.core.events import Events
from evok_twisted.core.probes import Probes
from evok_twisted.core.registry import Registry
from evok_twisted.core.scanner import Scanner
from evok_twisted.core.slave import Slave
from evok_twisted.core.writer import SlaveWriter
from evok_twisted.model.aliases import AliasTable
from evok_twisted.model.boards import build
from evok_twisted.model.device import Device
from evok_twisted.model.system import DeviceInfo, DeviceInfoState, ModbusSlave
from evok_twisted.settings import Problems


class Unit:
    """Everything that a configuration asks for, put together; nothing of it runs yet.

    :ivar buses: each with a ``service`` that keeps it up while it runs.
    """

    def __init__(self, config: cfg.Config, reactor: Any, problems: Problems) -> None:
        self.config = config
        self.buses: list[TcpBus] = []
        self.scanners: list[Scanner] = []
        self.registry = Registry()
        self.events = Events(reactor)
        self._reactor = reactor
        self._problems = problems
        self._writers: dict[str, SlaveWriter] = {}
        for bus in config.buses:
            if bus.settings.device_info is not None:
                self.registry.add(_device_info(bus.name, bus.settings.device_info))
            if isinstance(bus.settings, cfg.ModbusTcpSettings):
                self._add_tcp(bus, bus.settings)
        self.writers = tuple(self._writers.values())
        self.aliases = AliasStore(
            self.registry, self.events, reactor, alias_file(config.apis.alias_file), _in_thread_of(reactor)
        )
        self.commands = Commands(self.registry, self.events, {**self._writers, AliasTable.GROUP: self.aliases})

    def _add_tcp(self, bus: cfg.Bus, settings: cfg.ModbusTcpSettings) -> None:
        tcp = TcpBus(
            bus.name,
            HostnameEndpoint(self._reactor, settings.hostname, settings.port, timeout=CONNECT_TIMEOUT),
            self._reactor,
            timeout=settings.timeout,
            write_timeout=settings.write_timeout,
            pipeline=settings.pipeline or default_pipeline(settings.hostname),
        )
        self.buses.append(tcp)
        probes = Probes(self._reactor)
        for board in bus.boards:
            self._add_board(tcp, probes, board, "TCP", settings.hostname)

    def _add_board(self, bus: TcpBus, probes: Probes, board: cfg.Board, modbus_type: str, modbus_spec: str) -> None:
        name, number, settings = board.name, board.number, board.settings
        interval = 1 / settings.scan_frequency
        clock = self._reactor
        info = ModbusSlave(name, number, clock.seconds, settings.slave_id, modbus_type, modbus_spec, interval)
        devices: list[Device] = build(board.definition, name, number, self._problems)
        slave = Slave(name, settings.slave_id, bus, board.definition.blocks, devices, info, clock)
        scanner = Scanner(slave, interval, self.events, clock, probes, periodic=settings.scan_enabled)
        self._writers[name] = SlaveWriter(scanner, self.events, clock)
        self.scanners.append(scanner)
        for device in [*devices, info]:
            self.registry.add(device)
        if settings.device_info is not None:
            self.registry.add(_device_info(name, settings.device_info))

    def summary(self) -> Iterator[str]:
        """What would run, for people, line by line."""
        for bus in self.config.buses:
            settings = bus.settings
            if isinstance(settings, cfg.ModbusTcpSettings):
                yield f"bus {bus.name}: Modbus TCP, {settings.hostname}:{settings.port}"
                for board in bus.boards:
                    yield from self._summary_of(board)
        total = Counter(device.kind for device in self.registry)
        yield f"{sum(total.values())} circuits on {len(self.scanners)} boards"

    def _summary_of(self, board: cfg.Board) -> Iterator[str]:
        of = board.settings
        rate = f"{of.scan_frequency:g} scans a second" if of.scan_enabled else "not scanned"
        yield f"  board {board.name}: model {of.model}, slave {of.slave_id}, {rate}, from {board.definition.file}"
        by_kind: dict[str, list[str]] = {}
        for device in self.registry:
            if device.group == board.name:
                by_kind.setdefault(device.kind, []).append(device.circuit)
        for kind, circuits in by_kind.items():
            yield f"    {len(circuits):3} {kind}: {', '.join(circuits)}"


def _in_thread_of(reactor: Any) -> InThread:
    return lambda blocking: deferToThreadPool(reactor, reactor.getThreadPool(), blocking)


def _device_info(group: str, info: cfg.DeviceInfoSettings) -> DeviceInfo:
    return DeviceInfo(group, DeviceInfoState(info.family, info.model, info.sn, info.board_count))
