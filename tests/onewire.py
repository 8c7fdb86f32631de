"""A 1-Wire bus on a ``Clock``, with an owserver whose answers the test decides."""

from __future__ import annotations

from fakes import BY, core_of
from twisted.internet.defer import Deferred, fail, succeed

from evok_twisted.conditions import Signal
from evok_twisted.core.commands import Commands
from evok_twisted.core.events import Events
from evok_twisted.core.health import Health
from evok_twisted.core.registry import Registry
from evok_twisted.core.sensorscanner import SensorScanner
from evok_twisted.core.sensorwriter import SensorWriter
from evok_twisted.errors import Offline, Refused
from evok_twisted.logs import Logger
from evok_twisted.model.onewire import circuit_of
from evok_twisted.model.onewirebus import OneWireBus
from evok_twisted.model.sensors import sensor

#: The time of day when the clock stands at 0.
MORNING = 1_700_000_000.0

BOILER, CELLAR, GARDEN, ROOF = (f"28.00000000000{n}" for n in range(1, 5))


class FakeOwServer:
    """An owserver (``core.sensorscanner.OwServer``) with ``sensors``: the properties of each, by address.

    With ``answering`` it answers at once; otherwise requests wait in ``asked``. ``names`` has those of sensors that are
    called by another name than their address in a directory.
    """

    def __init__(self):
        self.names = {}
        self.online = False
        self.answering = True
        self.sensors = {}
        self.refusing = None
        self.asked = []
        self.log = []
        self.turned = Signal(Logger())
        self.watch = self.turned.watch

    def turn(self, online):
        self.online = online
        asked, self.asked = self.asked, []
        for _, answer in asked:
            answer.errback(Offline("owserver is gone"))
        self.turned.emit(online)

    def directory(self, path):
        return self._request("dir", path)

    def read(self, path):
        return self._request("read", path)

    def write(self, path, text):
        return self._request("write", path, text)

    def present(self, path):
        return self._request("present", path)

    def _request(self, *what):
        if not self.online:
            return fail(Offline("owserver is gone"))
        self.log.append(" ".join(what))
        if self.answering:
            return self._answer(*what)
        answer = Deferred()
        self.asked.append((what, answer))
        return answer

    def answer(self):
        """Answer the oldest request that waits."""
        what, answer = self.asked.pop(0)
        self._answer(*what).chainDeferred(answer)

    def _answer(self, kind, path, text=None):
        if self.refusing is not None and self.refusing in path:
            return fail(Refused("owserver's error 1", 1))
        address, _, name = path.removeprefix("/uncached").removeprefix("/").partition("/")
        properties = self.sensors.get(address)
        if kind == "dir":
            return succeed([f"{path}/{self.names.get(one, one)}" for one in self.sensors])
        if name == "address" and address in self.names.values():
            (of,) = [one for one, called in self.names.items() if called == address]
            return succeed(of.replace(".", "") + circuit_of(of)[-2:])
        if kind == "present":
            return succeed(properties is not None)
        if kind == "write":
            if address == "simultaneous":
                return succeed(None)
            if properties is None:
                return fail(Refused("owserver's error 1", 1))
            properties[name] = text
            return succeed(None)
        name = "temperature" if name == "latesttemp" else name
        if properties is None or name not in properties:
            return fail(Refused("owserver's error 1", 1))
        return succeed(properties[name])

    def requests(self):
        """What was asked since the last time; uncached reads are short."""
        log, self.log = self.log, []
        return [line.replace("/uncached/", "") for line in log]


def thermometer(temperature="21.5"):
    return {"type": "DS18B20", "temperature": temperature}


class OneWireRig:
    """A 1-Wire bus with everything of the core around it."""

    def __init__(self, clock, sensors=(), known=(), interval=10.0, scan_interval=60.0, power=None, limit=64):
        self.clock = clock
        self.server = FakeOwServer()
        self.server.sensors.update(sensors)
        self.events = Events(clock)
        self.changes = []
        self.events.subscribe(self.changes.append)
        bus = OneWireBus("OWFS", interval, scan_interval)
        known = [(sensor(address, None, "OWFS", own or interval), own) for address, own in known]
        self.registry = Registry([bus, *(one for one, _ in known)])
        self.scanner = SensorScanner(
            self.server, bus, known, self.registry, self.events, clock, lambda: MORNING + clock.seconds()
        )
        self.writer = SensorWriter(self.scanner, clock, power, limit=limit)
        self.commands = Commands(self.registry, self.events, {"OWFS": self.writer})
        self.health = Health(clock)
        self.desks = core_of(self).desks("classic")

    def start(self):
        """Find and read everything, and forget the changes of that."""
        self.scanner.start()
        self.server.turn(True)
        self.settle()
        self.changes.clear()
        self.server.log.clear()
        return self

    def settle(self):
        """Let happen what happens at once."""
        for _ in range(50):
            self.clock.advance(0)

    def advance(self, seconds, step=0.125):
        """Let time go by, in small steps, whose sums are exact."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.settle()

    def device(self, address):
        """A sensor by its address, or the bus by its name."""
        return next(one for one in self.registry if getattr(one, "address", one.circuit) == address)

    def changed(self):
        """The devices of each change set so far, which are forgotten."""
        changes = [[getattr(one, "address", one.circuit) for one, _ in change.changes] for change in self.changes]
        self.changes.clear()
        return changes

    def set(self, address, **parameters):
        device = self.device(address)
        return Deferred.fromCoroutine(self.commands.set(device, parameters, BY))
