"""Stand-ins that more than one test module needs."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from evok_twisted.conditions import Signal
from evok_twisted.core.commands import Commands
from evok_twisted.core.desk import Core, Desk
from evok_twisted.core.events import Events
from evok_twisted.core.health import Health
from evok_twisted.core.identity import EVERYTHING, Identity
from evok_twisted.core.journal import Journal
from evok_twisted.core.probes import Probes
from evok_twisted.core.pulserecord import PulseRecord
from evok_twisted.core.rawmodbus import RawModbus
from evok_twisted.core.registry import Registry
from evok_twisted.core.scanner import Scanner
from evok_twisted.core.slave import Slave
from evok_twisted.core.wills import Wills
from evok_twisted.core.writer import SlaveWriter
from evok_twisted.definitions import load_definition
from evok_twisted.errors import Offline, Refused, Timeout
from evok_twisted.logs import Logger
from evok_twisted.meters import Meters
from evok_twisted.model.boards import build
from evok_twisted.model.registers import WriteCoil, WriteCoils, WriteRegister, keys_of
from evok_twisted.model.system import ModbusSlave
from evok_twisted.problems import Problems

DEFINITIONS = Path(__file__).parent.parent / "conf" / "hw_definitions"


BY = Identity("somebody", "test", EVERYTHING)


def core_of(rig, events=None):
    """Everything of a rig that fronts need."""
    events = events or rig.events
    pulses, wills = PulseRecord(None, events.clock), Wills(rig.registry, rig.commands, events.clock)
    journal, meters, raw = Journal(events), Meters(), RawModbus(events.clock, rig.commands.asked)
    return Core(rig.registry, rig.commands, events, journal, rig.health, pulses, wills, meters, raw, {})


def desk_of(unit, dialect="classic"):
    """A desk in front of a whole unit."""
    return Desk(unit.core, dialect, BY)


class FakeBus:
    """A bus (``core.slave.Bus``) of one slave, whose answers the test decides.

    With ``answering`` it answers at once from ``words``; otherwise requests wait in ``asked``.
    """

    name = "FAKE"
    timeout = 1.0
    write_timeout = 2.0
    gap = -1

    def __init__(self, clock):
        self.clock = clock
        self.words = {}
        self.coils = {}
        self.answering = True
        self.refusing = None
        self.asked = []
        self.read_log = []
        self.timeouts = []
        self.illegal = set()
        self.written = []
        self.online = True
        self.turned = Signal(Logger())
        self.watch = self.turned.watch

    def turn(self, online):
        self.online = online
        if not online:
            asked, self.asked = self.asked, []
            for _, answer in asked:
                answer.errback(Offline("the connection was lost"))
        self.turned.emit(online)

    def read(self, unit, block, timeout=None):
        self.read_log.append(block)
        self.timeouts.append(timeout)
        if self.illegal & set(keys_of(block)):
            return fail(Refused("refused: illegal data address (2)", 2))
        return self._request(block)

    def write(self, unit, write, deadline):
        if not self.online:
            return fail(Offline("FAKE is offline"))
        if self.clock.seconds() > deadline:
            return fail(Timeout("could not be sent in time"))
        return self._request(write)

    def _request(self, what):
        if not self.online:
            return fail(Offline("FAKE is offline"))
        if self.refusing is not None:
            return fail(self.refusing)
        if self.answering:
            return succeed(self.perform(what))
        answer = Deferred()
        self.asked.append((what, answer))
        return answer

    def perform(self, what):
        """Do what a request asks and return its result."""
        if hasattr(what, "count"):
            return tuple(self.words.get(key, 0) for key in keys_of(what))
        self.written.append(what)
        if isinstance(what, WriteCoil | WriteCoils):
            for coil in getattr(what, "coils", (what,)):
                self.coils[coil.address] = coil.value
                if coil.shown_in:
                    register, bit = coil.shown_in
                    self.words[register] = self.words.get(register, 0) & ~(1 << bit) | coil.value << bit
        elif isinstance(what, WriteRegister):
            self.words[what.address] = what.value
        else:
            self.words.update(zip(range(what.address, what.address + len(what.values)), what.values, strict=True))
        return None

    def answer(self, n=0, error=None):
        """Answer the ``n``-th request that waits."""
        what, answer = self.asked.pop(n)
        if error is not None:
            answer.errback(error)
        else:
            answer.callback(self.perform(what))

    def answer_all(self):
        while self.asked:
            self.answer()


class Rig:
    """One board on a ``FakeBus``, with everything of the core around it, on a ``Clock``."""

    def __init__(self, clock, model="00", interval=0.02, periodic=True, name="1", number=2, record=None):
        self.clock = clock
        self.bus = FakeBus(clock)
        self.events = Events(clock)
        self.changes = []
        self.events.subscribe(self.changes.append)
        definition = load_definition(DEFINITIONS / f"{model}.yaml", Problems())
        info = ModbusSlave(name, number, clock.seconds, 1, "TCP", "127.0.0.1", interval)
        devices = build(definition, name, number, Problems())
        self.slave = Slave(name, 1, self.bus, definition.blocks, devices, info, clock)
        self.registry = Registry([*devices, info])
        self.scanner = Scanner(self.slave, interval, self.events, clock, Probes(clock), periodic=periodic)
        self.writer = SlaveWriter(
            self.scanner, self.events, clock, record=record, note=lambda *noted: self.commands.note(*noted)
        )
        self.commands = Commands(self.registry, self.events, {name: self.writer})
        self.health = Health(clock)
        self.health.add(self.bus, "FAKE", [self.slave])
        self.core = core_of(self)
        self.desks = self.core.desks("classic")
        self.desk = self.desks(BY, None)

    def start(self):
        """Scan until everything is known, and forget the changes of that."""
        self.scanner.start()
        self.clock.advance(0.02)
        self.changes.clear()
        self.bus.read_log.clear()
        return self

    def start_for_ever(self):
        """Scan, on a clock that nobody has to advance."""
        self.scanner.start()
        return self

    def device(self, name, circuit):
        return self.registry.find(name, circuit, "classic")

    def changed(self):
        """The names of the devices of each change set so far, which are forgotten."""
        named = [[repr(device) for device, _ in changes.changes] for changes in self.changes]
        self.changes.clear()
        return named

    def set(self, name, circuit, **parameters):
        return self.desk.set(name, circuit, parameters)


class TwoBoards:
    """Two rigs on two buses, under one registry: a main board, 1, and an extension with relays, 2."""

    def __init__(self, clock):
        self.clock = clock
        self.main = Rig(clock, "00").start()
        self.extension = Rig(clock, "13", name="2", number=3).start()
        self.registry = Registry([*self.main.registry, *self.extension.registry])
        writers = {"1": self.main.writer, "2": self.extension.writer}
        self.commands = Commands(self.registry, self.main.events, writers)
        self.health = self.main.health
        self.core = core_of(self, self.main.events)
        self.desks = self.core.desks("classic")


@implementer(ITCPTransport)
class Transport(StringTransport):
    """As a TCP transport: a protocol can be swapped on it, and aborting it closes it."""

    protocol = None

    def setTcpNoDelay(self, enabled):
        self.no_delay = enabled

    def loseConnection(self):
        self.disconnecting = True

    def unregisterProducer(self):
        self.producer = None
