"""The whole stack in this process, on real sockets: a simulator, the bus, the core and the site."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from evok_twisted import busconfig
from evok_twisted import config as cfg
from evok_twisted.definitions import load_definition
from evok_twisted.problems import Problems
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.server import SimulatorFactory
from evok_twisted.unit import Unit

DEFINITIONS = Path(__file__).parent.parent / "conf" / "hw_definitions"


def slave_of(unit, name="1"):
    """The slave of a board."""
    return next(
        board.slave
        for segment in unit.segments.values()
        for board in getattr(segment, "boards", {}).values()
        if board.config.name == name
    )


class Running:
    """Runs a ``unit``.

    :ivar unit: what ``tap`` makes of a configuration.
    """

    def start(self):
        self.unit.startService()

    async def stop_unit(self):
        if self.unit.running:
            await self.unit.stopService()
        await self.unit.drain()

    async def until(self, condition, what, seconds=5.0):
        """Wait until ``condition()`` holds."""
        deadline = reactor.seconds() + seconds
        while not condition():
            assert reactor.seconds() < deadline, f"not within {seconds} s: {what}"
            await turn(0.002)


class Stack(Running):
    """One board, unit 1 and named 1, simulated and served.

    :ivar factory: the simulator's server.
    :ivar board: the simulated board.
    :ivar unit: what ``tap`` makes of a configuration that points at it.
    """

    def __init__(self, model):
        definition = load_definition(DEFINITIONS / f"{model}.yaml", Problems())
        self.board = SimulatedBoard(definition)
        self.factory = SimulatorFactory({1: self.board})
        self.port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.configured = busconfig.Board("1", 1, busconfig.DeviceSettings(slave_id=1, model=model), definition)
        self.use(self.port.getHost().port)

    def use(self, port):
        """Look for the board at a port."""
        settings = busconfig.ModbusTcpSettings(hostname="127.0.0.1", port=port)
        bus = busconfig.Bus("TEST", settings, (self.configured,))
        self.unit = Unit(cfg.Config(apis=cfg.Apis(alias_file=""), buses=(bus,)), reactor, Problems())
        self.changes = []
        self.unit.events.subscribe(self.changes.append)

    async def stop(self):
        await self.stop_unit()
        self.factory.drop_connections()
        await self.port.stopListening()

    def known(self):
        """Whether everything that can be read was read."""
        registers = slave_of(self.unit).registers
        return all(key in registers for device in self.unit.registry for key in getattr(device, "needs", ()))


def turn(seconds):
    """A Deferred that fires after ``seconds``."""
    done = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done
