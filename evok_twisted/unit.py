"""What a configuration comes down to: segments, and the registry of all that is on them."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, DeferredLock, TimeoutError
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from evok_twisted import busconfig
from evok_twisted import config as cfg
from evok_twisted.conditions import breathe
from evok_twisted.core import pulserecord, wills
from evok_twisted.core.aliasstore import AliasStore, alias_file
from evok_twisted.core.commands import Commands
from evok_twisted.core.desk import Core
from evok_twisted.core.events import Events
from evok_twisted.core.health import Health
from evok_twisted.core.journal import Journal
from evok_twisted.core.kept import InThread
from evok_twisted.core.measures import measure_boards, measure_buses, measure_commands, measure_events
from evok_twisted.core.pulserecord import PulseRecord
from evok_twisted.core.rawmodbus import RawModbus
from evok_twisted.core.registry import Registry
from evok_twisted.core.wills import Wills
from evok_twisted.errors import UnknownCircuit
from evok_twisted.logs import Logger
from evok_twisted.meters import Meters
from evok_twisted.model.aliases import AliasTable
from evok_twisted.mountedboard import Surroundings
from evok_twisted.onewiresegment import OneWireSegment
from evok_twisted.problems import Problems
from evok_twisted.segments import Segment, segment

#: Seconds that commands under way, and the ends of pulses, may take at the end of the service.
LONGEST_END = 3.0


class Unit(Service):
    """Everything that a configuration asks for, put together; it runs while its service does.

    :param problems: what is wrong with the configuration is noted here, and makes the unit's health less than good.
    :ivar core: what fronts get their desks from.
    :ivar segments: by the names of their buses.
    """

    _log = Logger()

    def __init__(self, config: cfg.Config, reactor: Any, problems: Problems) -> None:
        self.config = config
        self.reactor = reactor
        self.registry = Registry()
        self.events = Events(reactor)
        self.commands = Commands(self.registry, self.events, {})
        kept = alias_file(config.apis.alias_file)
        in_thread = _in_thread_of(reactor)
        run = kept.parent if kept is not None and config.apis.pulses == "recorded" else None
        self.pulses = PulseRecord(run and run / pulserecord.FILE, reactor, in_thread)
        self.wills = Wills(self.registry, self.commands, reactor, run and run / wills.FILE, in_thread)
        self.health = Health(reactor, lambda: self._problems.errors, lambda: (self.pulses.count, self.wills.count))
        meters, journal = Meters(), Journal(self.events)
        measure_buses(meters, self.health)
        measure_boards(meters, self.health)
        measure_commands(meters, self.commands)
        measure_events(meters, self.events)
        raw = RawModbus(reactor, self.commands.asked)
        self.core = Core(
            self.registry, self.commands, self.events, journal, self.health, self.pulses, self.wills, meters, raw, {}
        )
        self.segments: dict[str, Segment] = {}
        self._problems = problems
        self._changing = DeferredLock()
        for bus in config.buses:
            self._add(bus)
        self._check_owpower()
        self.aliases = AliasStore(self.registry, self.events, reactor, kept, in_thread)
        self.commands.attach(AliasTable.GROUP, self.aliases)

    def _add(self, bus: busconfig.Bus) -> None:
        added = self.segments[bus.name] = segment(bus, Surroundings(self.core, self.reactor, self._problems))
        added.attach()
        if self.running:
            added.startService()

    async def _remove(self, name: str) -> None:
        removed = self.segments.pop(name)
        await removed.drain()
        await removed.become(msgspec.structs.replace(removed.config, boards=()), self._problems)
        if self.running:
            await removed.stopService()
        removed.detach()

    def _check_owpower(self) -> None:
        for bus in self.config.buses:
            if isinstance(bus.settings, busconfig.OneWireSettings) and bus.settings.owpower is not None:
                try:
                    self.registry.find("owpower", bus.settings.owpower, "v3")
                except UnknownCircuit as error:
                    path = f"comm_channels.{bus.name}.owpower"
                    message = f"got {bus.settings.owpower!r}: {error}"
                    self._problems.error(self._problems.file_of(path), path, message, fatal=False)

    def startService(self) -> None:
        super().startService()
        if not self.segments:
            self._log.info("no hardware is configured: there is nothing to scan")
        for one in self.segments.values():
            one.startService()
        gc.freeze()  # what is there now stays: looking through it for garbage would take 20 ms each time

    async def drain(self) -> None:
        """Carry out wills, let commands come to their end, in ``LONGEST_END`` each, and save what is not saved yet.

        1-Wire buses first, for their resets need outputs of boards to the end.
        """
        for end in (self.wills.end, self._end_commands):
            ends = Deferred.fromCoroutine(end())
            ends.addTimeout(LONGEST_END, self.reactor)
            ends.addErrback(self._log_unfinished)
            await ends
        await self.aliases.stop()
        await self.pulses.try_flush()

    async def _end_commands(self) -> None:
        sensors = [one for one in self.segments.values() if isinstance(one, OneWireSegment)]
        boards = [one for one in self.segments.values() if one not in sensors]
        for segments in (sensors, boards):
            await DeferredList([Deferred.fromCoroutine(one.drain()) for one in segments])

    def _log_unfinished(self, failure: Failure) -> None:
        failure.trap(TimeoutError)
        self._log.error("commands are still under way after {n} s; given up", n=LONGEST_END)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        stopped = DeferredList([one.stopService() for one in self.segments.values()])
        return stopped.addCallback(lambda _: None)

    def reconfigure(self, config: cfg.Config, problems: Problems) -> Deferred[None]:
        """Become what ``config`` says, while it runs; what does not differ in it goes on and misses nothing.

        :param problems: what is wrong with ``config``; takes the place of what was wrong before.
        """
        return self._changing.run(lambda: Deferred.fromCoroutine(self._reconfigure(config, problems)))

    async def _reconfigure(self, config: cfg.Config, problems: Problems) -> None:
        self._problems = problems
        before = set(self.registry)
        wanted = {bus.name: bus for bus in config.buses}
        for name, one in tuple(self.segments.items()):
            if name not in wanted or not one.can_become(wanted[name]):
                await self._remove(name)
        for name, bus in wanted.items():
            if name not in self.segments:
                self._add(msgspec.structs.replace(bus, boards=()))  # these come one after the other
            await self.segments[name].become(bus, problems)
        self.segments = {name: self.segments[name] for name in wanted}
        self.registry.arrange([name for bus in config.buses for name in (bus.name, *(one.name for one in bus.boards))])
        await breathe(self.reactor)
        self.config = config
        self._check_owpower()
        # what they show is not known yet; that they are there is
        self.events.publish([device for device in self.registry if device not in before])

    @property
    def stuck(self) -> bool:
        """Whether something stands still, longer than anything can take: that would be a bug."""
        return any(one.stuck for one in self.segments.values())

    def summary(self) -> Iterator[str]:
        """What would run, for people, line by line."""
        for one in self.segments.values():
            yield from one.describe()
        circuits = sum(Counter(device.kind for device in self.registry).values())
        boards = sum(len(bus.boards) for bus in self.config.buses)
        yield f"{circuits} circuit{'s' * (circuits != 1)} on {boards} board{'s' * (boards != 1)}"


def _in_thread_of(reactor: Any) -> InThread:
    return lambda blocking: deferToThreadPool(reactor, reactor.getThreadPool(), blocking)
