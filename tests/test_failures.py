"""What breaks in a basement, on real sockets: silent slaves, servers that hang, registers that are not there."""

from __future__ import annotations

import json
import struct

import pytest
import pytest_twisted
from fakes import BY, desk_of
from stack import DEFINITIONS, Running, slave_of, turn
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, ServerFactory

from evok_twisted import busconfig
from evok_twisted import config as cfg
from evok_twisted.core.dialects import fragment
from evok_twisted.definitions import load_definition
from evok_twisted.errors import Offline, Timeout
from evok_twisted.problems import Problems
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.server import SimulatorFactory
from evok_twisted.unit import Unit


class Hanging(Protocol):
    """Takes connections and everything that is said, and says nothing."""

    def connectionMade(self):
        self.factory.open.add(self)

    def connectionLost(self, reason):
        self.factory.open.discard(self)

    def dataReceived(self, data):
        self.factory.heard += data


class HangingFactory(ServerFactory):
    protocol = Hanging
    noisy = False

    def __init__(self):
        self.open = set()
        self.heard = b""


class House(Running):
    """Buses, each with its server: ``A`` and ``B``, with boards named ``A1``, ``A2``, ... and ``B1``, ..."""

    def __init__(self, model="xS11", boards=2, pipeline=8, timeout=0.3, **servers):
        self.definition = load_definition(DEFINITIONS / f"{model}.yaml", Problems())
        self.servers, self.ports, buses = {}, [], []
        for name in ("A", "B"):
            simulated = {n: SimulatedBoard(self.definition) for n in range(1, boards + 1)}
            self.servers[name] = servers.get(name) or SimulatorFactory(simulated)
            port = reactor.listenTCP(0, self.servers[name], interface="127.0.0.1")
            self.ports.append(port)
            settings = busconfig.ModbusTcpSettings(
                hostname="127.0.0.1", port=port.getHost().port, timeout=timeout, write_timeout=1.0, pipeline=pipeline
            )
            of_bus = tuple(
                busconfig.Board(f"{name}{n}", n, busconfig.DeviceSettings(slave_id=n, model=model), self.definition)
                for n in range(1, boards + 1)
            )
            buses.append(busconfig.Bus(name, settings, of_bus))
        self.unit = Unit(cfg.Config(apis=cfg.Apis(alias_file=""), buses=tuple(buses)), reactor, Problems())
        self.changes = []
        self.unit.events.subscribe(self.changes.append)

    async def stop(self):
        await self.stop_unit()
        for port in self.ports:
            await port.stopListening()
        for server in self.servers.values():
            for connection in tuple(getattr(server, "open", getattr(server, "connections", ()))):
                connection.transport.abortConnection()

    def slave(self, name):
        return slave_of(self.unit, name)

    def set(self, circuit, name="relay", **parameters):
        return desk_of(self.unit).set(name, circuit, parameters)

    def state(self, circuit, name="relay"):
        return json.loads(fragment(self.unit.registry.find(name, circuit, "classic"), "classic"))

    async def known(self, *names):
        for name in names:
            registers = self.slave(name).registers
            needs = [getattr(device, "needs", ()) for device in self.unit.registry if device.group == name]
            await self.until(
                lambda registers=registers, needs=needs: all(key in registers for keys in needs for key in keys),
                f"{name} is read",
            )


@pytest.fixture
def build():
    built = []

    def build(**options):
        built.append(House(**options))
        built[-1].start()
        return built[-1]

    yield build
    for house in built:
        pytest_twisted.blockon(Deferred.fromCoroutine(house.stop()))


async def outcome(deferred):
    try:
        return await deferred
    except Exception as error:
        return error


@pytest_twisted.ensureDeferred
async def test_a_set_on_one_bus_takes_no_longer_while_another_hangs(build):
    house = build(A=HangingFactory())
    await house.known("B1", "B2")
    for value in (1, 0, 1):
        begun = reactor.seconds()
        await house.set("B1_01", value=value)
        assert reactor.seconds() - begun < 0.2
    begun = reactor.seconds()
    assert isinstance(await outcome(house.set("A1_01", value=1)), Offline)
    assert reactor.seconds() - begun < 0.2


@pytest_twisted.ensureDeferred
async def test_scans_of_one_bus_go_on_at_their_rate_while_another_hangs(build):
    house = build(A=HangingFactory())
    await house.known("B1")
    board = house.servers["B"].units[1]
    seen = []
    for n in range(10):
        board.holding[0] = n % 2
        begun = reactor.seconds()
        await house.until(lambda n=n: house.state("B1_01", "input")["value"] == n % 2, "the input is seen")
        seen.append(reactor.seconds() - begun)
    assert sorted(seen)[5] < 0.1


@pytest_twisted.ensureDeferred
async def test_of_sets_that_wait_for_a_slave_that_falls_silent_none_is_done_when_it_revives(build):
    """Defect 2 of Evok: the queue is replayed when the bus is back, and relays click minutes later."""
    house = build()
    await house.known("A1")
    server = house.servers["A"]
    server.mute.add(1)
    server.writes.clear()
    sets = [house.set(f"A1_{n % 13 + 1:02d}", value=1, alias=f"a{n}") for n in range(20)]
    results = [await outcome(one) for one in sets]
    assert {type(result) for result in results} <= {Timeout, Offline}
    await house.until(lambda: not house.slave("A1").online, "it is offline")
    server.mute.clear()
    await house.until(lambda: house.slave("A1").online, "it is back")
    await turn(0.3)
    assert [write for write in server.writes if write[0] == 1] == []
    assert (await house.set("A1_01", value=1)).state.value == 1


@pytest_twisted.ensureDeferred
async def test_a_slave_that_is_off_at_the_start_comes_alive_within_five_seconds(build):
    house = build()
    house.servers["A"].mute.add(2)
    await house.known("A1")
    await turn(1.0)
    assert house.state("A2_01", "input")["value"] is None
    house.servers["A"].mute.clear()
    await house.until(lambda: house.state("A2_01", "input")["value"] == 0, "it is read", 5.0)


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_off_at_the_start_is_registered_and_comes_alive(build):
    house = build()
    number = house.ports[0].getHost().port
    await house.ports[0].stopListening()
    house.servers["A"].drop_connections()
    await house.until(lambda: not house.unit.segments["A"].bus.online, "it is off")
    assert house.state("A1_01")["value"] is None or house.state("A1_01")["value"] == 0
    await turn(0.5)
    house.ports[0] = reactor.listenTCP(number, house.servers["A"], interface="127.0.0.1")
    await house.until(lambda: house.slave("A1").online and house.slave("A2").online, "it is back", 5.0)


@pytest.mark.parametrize("pipeline", [1, 8])
@pytest_twisted.ensureDeferred
async def test_half_of_the_slaves_being_dead_costs_the_others_a_tenth_at_most(build, pipeline):
    """Defect 6 of Evok: one dead slave slows all the others."""
    house = build(boards=6, pipeline=pipeline)
    await house.known(*(f"A{n}" for n in range(1, 7)))
    server = house.servers["A"]
    asked = []
    answer = server.answer
    server.answer = lambda frame: (asked.append(frame[6]), answer(frame))[1]

    async def rate():
        asked.clear()
        await turn(2.0)
        return sum(unit <= 3 for unit in asked)

    alive = await rate()
    server.mute.update((4, 5, 6))
    await house.until(lambda: not any(house.slave(f"A{n}").online for n in (4, 5, 6)), "they are offline")
    await turn(1.0)
    assert await rate() >= 0.85 * alive  # nine tenths, and what a busy machine takes
    assert all(house.slave(f"A{n}").online for n in (1, 2, 3))


@pytest_twisted.ensureDeferred
async def test_going_offline_and_coming_back_are_events_that_clients_see(build):
    house = build()
    await house.known("A1")
    house.changes.clear()
    house.servers["A"].mute.add(1)
    await house.until(lambda: not house.slave("A1").online, "it is offline")
    seen = [repr(device) for changes in house.changes for device, _ in changes.changes]
    assert "modbus_slave A1" in seen
    shown = house.state("A1", "modbus_slave")
    assert (shown["online"], shown["timeouts"] >= 3) == (False, True)
    assert house.state("A1_01", "input")["value"] == 0  # as it was last read


@pytest_twisted.ensureDeferred
async def test_registers_that_a_board_does_not_have_cost_what_is_on_them(build, log):
    """Defect 20 of Evok: one bad feature loses the whole board, silently."""
    house = House()
    for address in range(1010, 1014):
        del house.servers["A"].units[1].holding._words[address]
    house.start()
    try:
        await house.until(lambda: house.state("A1_01")["value"] == 0, "the relays are read")
        await house.until(lambda: house.state("A1_05", "input")["value"] == 0, "other inputs are read")
        await house.until(lambda: house.state("A1_01", "wd")["value"] == 0, "the watchdog is read")
        assert house.state("A1_01", "input")["value"] is None
        (told,) = log.texts("error")
        assert "registers 1010 to 1013 cannot be read" in told
        assert (await house.set("A1_01", value=1)).state.value == 1
    finally:
        await house.stop()


@pytest_twisted.ensureDeferred
async def test_a_server_that_takes_connections_and_drops_them_is_not_hammered(build):
    class Dropping(Protocol):
        def connectionMade(self):
            self.factory.count += 1
            self.transport.loseConnection()

    factory = ServerFactory.forProtocol(Dropping)
    factory.noisy = False
    factory.count = 0
    build(A=factory)
    await turn(2.5)
    assert 2 <= factory.count <= 8


@pytest_twisted.ensureDeferred
async def test_garbage_from_a_server_is_told_once_and_the_others_go_on(build, log):
    class Babbling(Protocol):
        def dataReceived(self, data):
            self.transport.write(struct.pack(">HHHB", 1, 7, 3, 1) + b"junk")

    factory = ServerFactory.forProtocol(Babbling)
    factory.noisy = False
    house = build(A=factory)
    await house.known("B1")
    await turn(2.5)
    assert len([text for text in log.texts("warn") if "bus A" in text or "unusable" in text]) <= 2
    assert (await house.set("B1_01", value=1)).state.value == 1


@pytest_twisted.ensureDeferred
async def test_sets_of_several_boards_whose_server_falls_silent_each_have_their_outcome(build, log):
    house = build()
    await house.known("A1", "A2", "B1")
    house.servers["A"].mute.update((1, 2))
    find = house.unit.registry.find
    circuits = ("A1_01", "A2_01", "A1_03", "B1_01")
    sets = [(find("relay", circuit, "classic"), {"value": 1}) for circuit in circuits]
    outcomes = await house.unit.commands.set_all(sets, BY)
    assert [outcome and outcome.code in ("timeout", "offline") for outcome in outcomes] == [True, True, True, None]
