"""A unit whose configuration changes while it runs: what does not differ goes on and misses nothing."""

from __future__ import annotations

import pytest
import pytest_twisted
from fakes import BY, desk_of
from stack import DEFINITIONS, Running, slave_of
from twisted.internet import reactor
from twisted.web.test.requesthelper import DummyRequest

from evok_twisted import busconfig
from evok_twisted import config as cfg
from evok_twisted.api.site import resources
from evok_twisted.definitions import load_definition
from evok_twisted.errors import EvokError, UnknownCircuit
from evok_twisted.problems import Problems
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.owserver import OwServerSimulator, thermometer
from evok_twisted.simulator.server import SimulatorFactory
from evok_twisted.unit import Unit

MODEL = "xS11"
DEFINITION = load_definition(DEFINITIONS / f"{MODEL}.yaml", Problems())
BOILER = "28.95DCD5090000"


def board(name, slave_id, number=None, **settings):
    of = busconfig.DeviceSettings(slave_id=slave_id, model=MODEL, scan_frequency=100.0, **settings)
    return busconfig.Board(name, number or slave_id, of, DEFINITION)


class Plant(Running):
    """Two servers, A and B, each with boards 1 to 3 behind it, and an owserver."""

    def __init__(self):
        self.servers = {
            name: SimulatorFactory({n: SimulatedBoard(DEFINITION) for n in (1, 2, 3)}) for name in ("A", "B")
        }
        self.owserver = OwServerSimulator([thermometer(BOILER, reactor, 20.0)])
        everything = {**self.servers, "OW": self.owserver}
        self.listening = {name: reactor.listenTCP(0, one, interface="127.0.0.1") for name, one in everything.items()}
        self.unit = Unit(self.config(A=[board("1", 1), board("2", 2)], B=[board("9", 1)]), reactor, Problems())
        self.start()

    def port(self, server):
        return self.listening[server].getHost().port

    def config(self, ow=None, **buses):
        found = []
        for name, boards in buses.items():
            settings = busconfig.ModbusTcpSettings(hostname="127.0.0.1", port=self.port(name[0]), timeout=0.3)
            found.append(busconfig.Bus(name, settings, tuple(boards)))
        if ow is not None:
            found.append(busconfig.Bus("OW", busconfig.OneWireSettings(port=self.port("OW"), **ow), ()))
        return cfg.Config(apis=cfg.Apis(alias_file=""), buses=tuple(found))

    async def become(self, **buses):
        problems = Problems()
        await self.unit.reconfigure(self.config(**buses), problems)
        return [str(problem) for problem in problems.found]

    @property
    def desk(self):
        return desk_of(self.unit)

    def circuits(self, name="relay"):
        return [device.circuit for device in self.desk.select((name,))]

    async def online(self, *names):
        await self.until(lambda: all(slave_of(self.unit, name).online for name in names), f"{names} answer")

    async def stop(self):
        await self.stop_unit()
        for server in (*self.servers.values(), self.owserver):
            server.drop_connections()
        for port in self.listening.values():
            await port.stopListening()


@pytest_twisted.async_yield_fixture
async def plant():
    plant = Plant()
    await plant.online("1", "2", "9")
    yield plant
    await plant.stop()


def going_on(plant, *names):
    """What must not change for boards that are not touched: their slaves, connections, and that they answer."""
    slaves = [slave_of(plant.unit, name) for name in names]
    turns = []
    for slave in slaves:
        slave.watch(turns.append)

    def check():
        assert [slave_of(plant.unit, name) for name in names] == slaves
        assert turns == []
        assert [(slave.info.timeouts, slave.info.errors) for slave in slaves] == [(0, 0)] * len(slaves)

    return check


async def scans_on(plant, name):
    """Whether a change at a board is seen."""
    slave = slave_of(plant.unit, name)
    relay = f"{name}_01"
    await plant.until(lambda: plant.desk.find("relay", relay).state.value is not None, f"{relay} was read")
    before = plant.desk.find("relay", relay).state.value
    await plant.desk.set("relay", relay, {"value": 1 - before})
    last = slave.info.answered
    await plant.until(lambda: slave.info.answered > last, f"{name} is scanned")
    assert plant.desk.find("relay", relay).state.value == 1 - before


@pytest_twisted.ensureDeferred
async def test_nothing_changes_where_nothing_differs(plant):
    check, segments = going_on(plant, "1", "2", "9"), dict(plant.unit.segments)
    version = plant.desk.version
    assert await plant.become(A=[board("1", 1), board("2", 2)], B=[board("9", 1)]) == []
    assert plant.unit.segments == segments
    assert plant.desk.version == version + 1  # they were put in order
    check()


@pytest_twisted.ensureDeferred
async def test_a_board_that_is_added_is_there_and_the_others_on_its_bus_miss_nothing(plant):
    check, connections = going_on(plant, "1", "2", "9"), set(plant.servers["A"].connections)
    await plant.become(A=[board("1", 1), board("2", 2), board("3", 3)], B=[board("9", 1)])
    await plant.online("3")
    await scans_on(plant, "3")
    assert set(plant.servers["A"].connections) == connections
    check()


@pytest_twisted.ensureDeferred
async def test_a_board_that_is_removed_is_gone_and_asked_nothing_any_more(plant):
    check = going_on(plant, "2", "9")
    gone = slave_of(plant.unit, "1")
    await plant.become(A=[board("2", 2)], B=[board("9", 1)])
    with pytest.raises(UnknownCircuit):
        plant.desk.find("relay", "1_01")
    assert not [device for device in plant.desk if device.group == "1"]
    asked = []
    read = gone.bus.read
    gone.bus.read = lambda unit, *rest: asked.append(unit) or read(unit, *rest)
    await scans_on(plant, "2")
    await plant.until(lambda: asked.count(2) > 5, "the other is read on")
    assert 1 not in asked
    assert [one.circuit for one in plant.desk.health().buses[0].slaves] == ["2"]
    check()


@pytest_twisted.ensureDeferred
async def test_a_board_that_is_changed_is_as_it_is_to_be_and_the_others_miss_nothing(plant):
    check, before = going_on(plant, "2", "9"), slave_of(plant.unit, "1")
    await plant.become(A=[board("1", 3), board("2", 2)], B=[board("9", 1)])
    await plant.online("1")
    assert slave_of(plant.unit, "1") is not before
    await plant.desk.set("relay", "1_01", {"value": 1})
    assert plant.servers["A"].writes[-1][0] == 3
    check()


@pytest_twisted.ensureDeferred
async def test_a_pulse_of_a_board_that_is_removed_is_ended_first(plant):
    await plant.desk.set("relay", "1_01", {"value": 1, "timeout": 60})
    await plant.become(A=[board("2", 2)], B=[board("9", 1)])
    coils = [write for write in plant.servers["A"].writes if write[0] == 1]
    assert [write[-1] for write in coils] == [1, 0]


@pytest_twisted.ensureDeferred
async def test_a_set_that_waits_for_a_board_that_is_removed_fails_and_says_so(plant):
    outcomes = []
    for n in range(1, 7):
        done = plant.desk.set("relay", f"1_{n:02d}", {"value": 1})
        done.addErrback(lambda failure: failure.value).addCallback(outcomes.append)
    await plant.become(B=[board("9", 1)])
    await plant.until(lambda: len(outcomes) == 6, "every client is told")
    assert all(not isinstance(one, EvokError) or one.code == "offline" for one in outcomes)


@pytest_twisted.ensureDeferred
async def test_an_alias_waits_for_its_board_to_come_back(plant):
    await plant.desk.set("relay", "1_01", {"alias": "pump"})
    await plant.become(A=[board("2", 2)], B=[board("9", 1)])
    with pytest.raises(UnknownCircuit):
        plant.desk.find("relay", "pump")
    await plant.become(A=[board("1", 1), board("2", 2)], B=[board("9", 1)])
    assert plant.desk.find("relay", "pump").circuit == "1_01"


@pytest_twisted.ensureDeferred
async def test_circuits_are_listed_in_the_order_of_the_configuration(plant):
    await plant.become(A=[board("3", 3), board("1", 1), board("2", 2)], B=[board("9", 1)])
    boards = list(dict.fromkeys(circuit.partition("_")[0] for circuit in plant.circuits()))
    assert boards == ["3", "1", "2", "9"]
    assert list(plant.unit.segments) == ["A", "B"]


@pytest_twisted.ensureDeferred
async def test_a_bus_that_is_changed_makes_room_for_what_it_is_to_be_and_the_other_misses_nothing(plant):
    check = going_on(plant, "9")
    config = plant.config(A=[board("1", 1)], B=[board("9", 1)])
    slower = busconfig.ModbusTcpSettings(hostname="127.0.0.1", port=plant.port("A"), timeout=0.7)
    buses = (busconfig.Bus("A", slower, config.buses[0].boards), config.buses[1])
    await plant.unit.reconfigure(cfg.Config(apis=config.apis, buses=buses), Problems())
    await plant.online("1")
    assert plant.unit.segments["A"].bus.timeout == 0.7
    await plant.until(lambda: len(plant.servers["A"].connections) == 1, "there is one connection")
    check()


@pytest_twisted.ensureDeferred
async def test_a_bus_that_is_removed_is_gone_with_its_connection(plant):
    await plant.become(B=[board("9", 1)])
    assert list(plant.unit.segments) == ["B"]
    assert [bus.bus for bus in plant.desk.health().buses] == ["B"]
    await plant.until(lambda: not plant.servers["A"].connections, "the connection is closed")


@pytest_twisted.ensureDeferred
async def test_a_1_wire_bus_comes_and_goes_with_the_sensors_that_were_found(plant):
    boards = {"A": [board("1", 1), board("2", 2)], "B": [board("9", 1)]}
    await plant.become(**boards, ow={})
    await plant.until(lambda: plant.desk.select(("temp",)), "the sensor is found")
    await plant.become(**boards)
    assert plant.desk.select(("temp", "owbus")) == []


@pytest_twisted.ensureDeferred
async def test_what_is_wrong_with_the_new_configuration_takes_the_place_of_what_was_wrong_before(plant):
    boards = {"A": [board("1", 1)], "B": [board("9", 1)]}
    wrong = await plant.become(**boards, ow={"owpower": "nowhere"})
    assert "owpower has no circuit or alias 'nowhere'" in wrong[0]
    assert wrong[0] in plant.desk.health().reasons
    await plant.become(**boards)
    assert plant.desk.health().reasons == ()


@pytest_twisted.ensureDeferred
async def test_the_description_of_the_interface_follows(plant):
    openapi = resources(plant.unit.core.desks("classic"), {})[b"openapi.json"]
    request = DummyRequest([])
    request.identity = BY
    before = openapi.get(request)
    await plant.become(A=[board("3", 3)])
    assert b'"1_01"' in before
    assert b'"3_01"' in openapi.get(request)


@pytest_twisted.ensureDeferred
async def test_changes_wait_for_each_other(plant):
    first = plant.become(A=[board("1", 1)])
    second = plant.become(A=[board("1", 1), board("3", 3)], B=[board("9", 1)])
    await first
    await second
    assert {circuit.partition("_")[0] for circuit in plant.circuits()} == {"1", "3", "9"}
    await plant.online("1", "3", "9")
