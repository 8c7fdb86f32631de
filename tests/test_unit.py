"""What a configuration with a 1-Wire bus comes down to."""

from __future__ import annotations

import pytest
import pytest_twisted
from fakes import BY, desk_of
from stack import DEFINITIONS, slave_of, turn
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from evok_twisted import busconfig
from evok_twisted import config as cfg
from evok_twisted.core.commands import Assignment
from evok_twisted.definitions import load_definition
from evok_twisted.errors import Busy
from evok_twisted.problems import Problems
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.owserver import OwServerSimulator, thermometer
from evok_twisted.simulator.server import SimulatorFactory
from evok_twisted.unit import Unit

BOILER = "28.95DCD5090000"


def unit_of(*buses, **devices):
    problems = Problems()
    sensors = {name: busconfig.SensorSettings(**settings) for name, settings in devices.items()}
    onewire = busconfig.Bus("OWFS", busconfig.OneWireSettings(owpower="1" if buses else None), (), sensors)
    return Unit(cfg.Config(buses=(*buses, onewire)), reactor, problems), [str(one) for one in problems.found]


def test_configured_sensors_are_in_the_registry_with_their_intervals():
    unit, problems = unit_of(a={"address": BOILER, "interval": 2.0}, b={"address": "2600002659040001", "type": None})
    assert problems == ["error: config.yaml: comm_channels.OWFS.devices.b.address: "
                        "got '2600002659040001', whose checksum would be D6; is a digit wrong?"]  # fmt: skip
    assert [repr(device) for device in unit.registry] == ["temp 2895DCD509000035", "owbus OWFS"]
    assert unit.registry.find("temp", "2895DCD509000035", "v3").state.interval == 2.0


def test_a_sensor_that_is_not_enabled_is_not_there():
    unit, _ = unit_of(a={"address": BOILER, "enabled": False})
    assert unit.registry.of_kind("temp") == ()


def test_two_sensors_with_one_address_are_told():
    unit, problems = unit_of(a={"address": BOILER}, b={"address": "28.95dcd5090000"})
    assert len(unit.registry.of_kind("temp")) == 1
    assert problems == [
        "error: config.yaml: comm_channels.OWFS.devices.b.address: 28.95DCD5090000 is the address of the device a too"
    ]


def test_a_type_that_is_not_known_is_told_with_the_nearest():
    unit, problems = unit_of(a={"address": BOILER, "type": "ds18b"})
    assert problems[0].endswith("got 'ds18b', of which no values are known; did you mean 'DS18B20'?")
    assert unit.registry.of_kind("1wdevice")[0].state.type == "DS18B"


def test_an_owpower_that_is_not_there_is_told():
    problems = Problems()
    settings = busconfig.OneWireSettings(owpower="7")
    Unit(cfg.Config(buses=(busconfig.Bus("OWFS", settings, ()),)), reactor, problems)
    assert [str(one) for one in problems.errors] == [
        "error: config.yaml: comm_channels.OWFS.owpower: got '7': "
        "owpower has no circuit or alias '7'; there are no circuits of that kind"
    ]
    assert problems.fatal == []


def serial_unit(frequency, **settings):
    definition = load_definition(DEFINITIONS / "xS51.yaml", Problems())
    of = busconfig.DeviceSettings(slave_id=1, model="xS51", scan_frequency=frequency, **settings)
    boards = tuple(busconfig.Board(str(n), n, of, definition) for n in (1, 2))
    problems = Problems()
    bus = busconfig.Bus("LINE", busconfig.ModbusRtuSettings(port="/dev/x", baudrate=19200), boards)
    return Unit(cfg.Config(buses=(bus,)), reactor, problems), [str(one) for one in problems.found]


def test_a_serial_line_that_cannot_do_what_is_asked_of_it_is_told_in_numbers():
    unit, problems = serial_unit(50.0)
    text = "2 boards at 50 scans a second need 508 % of this line at 19200 baud; expect 9.8"
    assert problems == [f"warning: config.yaml: comm_channels.LINE.devices: {text} (scan_frequency says how often)"]
    assert f"  {text}; a scan of all takes 102 ms" in list(unit.summary())
    (bus,) = unit.health.report().buses
    assert (bus.line.percent, bus.line.round, bus.line.text) == (pytest.approx(508, abs=0.5), 0.1016, text)


def test_a_serial_line_that_has_room_is_told_without_a_warning():
    unit, problems = serial_unit(5.0)
    assert problems == []
    assert "  2 boards at 5 scans a second need 51 % of this line at 19200 baud" in "\n".join(unit.summary())


def test_boards_that_are_not_scanned_ask_nothing_of_a_line():
    unit, problems = serial_unit(50.0, scan_enabled=False)
    assert problems == []
    assert unit.segments["LINE"].line_use() is None


def test_a_board_whose_blocks_are_not_to_be_joined_takes_what_it_takes():
    joined, _ = serial_unit(5.0)
    apart, _ = serial_unit(5.0, join=False)
    assert apart.segments["LINE"].line_use().percent >= joined.segments["LINE"].line_use().percent


def test_the_summary_names_the_sensors():
    unit, _ = unit_of(boiler={"address": BOILER, "type": "DS18B20"})
    assert list(unit.summary())[:2] == [
        "bus OWFS: 1-Wire, owserver at 127.0.0.1:4304",
        "  sensor boiler: DS18B20, 28.95DCD5090000",
    ]


class Together:
    """A board that switches the power of a 1-Wire bus, and the service on both."""

    def __init__(self):
        definition = load_definition(DEFINITIONS / "00.yaml", Problems())
        self.board = SimulatedBoard(definition)
        self.owserver = OwServerSimulator([thermometer(BOILER, reactor, 20.0)])
        self.boards = SimulatorFactory({1: self.board})
        self.ports = [reactor.listenTCP(0, one, interface="127.0.0.1") for one in (self.boards, self.owserver)]
        modbus, onewire = (port.getHost().port for port in self.ports)
        board = busconfig.Board("1", 1, busconfig.DeviceSettings(slave_id=1, model="00"), definition)
        buses = (
            busconfig.Bus("LOCAL", busconfig.ModbusTcpSettings(port=modbus), (board,)),
            busconfig.Bus("OWFS", busconfig.OneWireSettings(port=onewire, interval=0.5, owpower="1"), ()),
        )
        self.unit = Unit(cfg.Config(buses=buses), reactor, Problems())
        self.power = []
        self.unit.events.subscribe(self._changed)
        self.desk = desk_of(self.unit)
        self.unit.startService()

    def _changed(self, changes):
        self.power += [change.state.value for change in changes.changes if change.device.kind == "owpower"]

    async def until(self, condition, what):
        deadline = reactor.seconds() + 10
        while not condition():
            assert reactor.seconds() < deadline, f"not within 10 s: {what}"
            await turn(0.002)

    def scanned(self):
        return self.unit.registry.of_kind("temp") and slave_of(self.unit).online

    async def stop(self):
        if self.unit.running:
            await self.unit.drain()
            await self.unit.stopService()
        self.boards.drop_connections()
        self.owserver.drop_connections()
        for port in self.ports:
            await port.stopListening()


@pytest_twisted.async_yield_fixture
async def together():
    together = Together()
    await together.until(together.scanned, "the sensor was found, the board read")
    yield together
    await together.stop()


@pytest_twisted.ensureDeferred
async def test_a_reset_switches_the_power_off_and_on_and_scans(together):
    together.owserver.sensors["26.A1B2C3000000"] = thermometer("26.A1B2C3000000", reactor, 20.0)
    device = await together.desk.set("owbus", "OWFS", {"do_reset": True})
    assert device.kind == "owbus"
    assert together.power == [1, 0]
    assert len(together.unit.registry.of_kind("temp")) == 2


@pytest_twisted.ensureDeferred
async def test_a_stop_in_the_middle_of_a_reset_leaves_the_power_on(together):
    reset = together.desk.set("owbus", "OWFS", {"do_reset": True})
    outcome = []
    reset.addBoth(outcome.append)
    await together.until(lambda: together.power == [1], "the power is off")
    await together.unit.drain()
    await together.unit.stopService()
    assert together.power == [1, 0]
    await together.until(lambda: outcome, "the client is told")


@pytest.mark.parametrize("name", ["temp", "sensor", "1wdevice"])
@pytest_twisted.ensureDeferred
async def test_a_sensor_is_found_by_each_of_its_names(together, name):
    assert together.unit.registry.find(name, "2895DCD509000035", "classic").state.type == "DS18B20"


def test_a_1_wire_bus_takes_as_many_commands_as_the_configuration_says():
    unit = Unit(
        cfg.Config(buses=(busconfig.Bus("OWFS", busconfig.OneWireSettings(max_waiting=3), ()),)), reactor, Problems()
    )
    bus, failed = unit.registry.find("owbus", "OWFS", "v3"), []
    for n in range(4):
        (done,) = unit.segments["OWFS"].writer.submit_all([Assignment(bus, {"do_scan": n}, BY)])
        done.addErrback(failed.append)
    assert [failure.type for failure in failed] == [Busy]
    Deferred.fromCoroutine(unit.segments["OWFS"].writer.stop())


def infos_of(*models, bus_info=None):
    definition = load_definition(DEFINITIONS / "00.yaml", Problems())
    boards = tuple(
        busconfig.Board(f"b{n}", n, busconfig.DeviceSettings(slave_id=n, model=model), definition)
        for n, model in enumerate(models, 1)
    )
    bus = busconfig.Bus("TCP", busconfig.ModbusTcpSettings(device_info=bus_info), boards)
    unit = Unit(cfg.Config(buses=(bus,)), reactor, Problems())
    return [
        (one.state.family, one.state.model, one.circuit_in("classic")) for one in unit.registry.of_kind("device_info")
    ]


def test_boards_of_which_nothing_is_said_have_what_evok_makes_of_them():
    assert infos_of("xS51", "xG18") == [
        ("Extension", "xS51", "Extension_xS51_0"),
        ("Extension", "xG18", "Extension_xG18_0"),
    ]
    assert infos_of("IAQ") == [("unknown", "IAQ", "unknown_IAQ_0")]


def test_of_boards_in_a_unit_the_unit_tells():
    neuron = busconfig.DeviceInfoSettings(family="Neuron", model="L203", sn=5, board_count=2)
    assert infos_of("00", "13", bus_info=neuron) == [("Neuron", "L203", "Neuron_L203_5")]


@pytest.mark.parametrize(("settings", "may"), [({}, True), ({"join": False}, False)])
def test_a_board_may_forbid_that_its_blocks_are_read_together(settings, may):
    definition = load_definition(DEFINITIONS / "xS11.yaml", Problems())
    board = busconfig.Board("1", 1, busconfig.DeviceSettings(model="xS11", **settings), definition)
    unit = Unit(cfg.Config(buses=(busconfig.Bus("A", busconfig.ModbusTcpSettings(), (board,)),)), reactor, Problems())
    assert {block.join for block in slave_of(unit).blocks} == {may}


def test_dead_bands_are_those_of_kinds_and_of_single_circuits_and_one_of_no_circuit_is_told():
    definition = load_definition(DEFINITIONS / "xS51.yaml", Problems())
    bands = {"ai": 0.02, "ai/x_01": 0.5, "ao": 0.0, "ai/y_01": 1.0}
    board = busconfig.Board("x", 1, busconfig.DeviceSettings(model="xS51", deadband=bands), definition)
    problems = Problems()
    unit = Unit(cfg.Config(buses=(busconfig.Bus("A", busconfig.ModbusTcpSettings(), (board,)),)), reactor, problems)
    assert [device.deadband for device in unit.registry.of_kind("ai")][:3] == [0.5, 0.02, 0.02]
    assert {device.deadband for kind in ("ao", "di", "ro") for device in unit.registry.of_kind(kind)} == {0.0}
    (told,) = map(str, problems.found)
    assert told.endswith("A.devices.x.deadband.ai/y_01: there is no such circuit on this board")
