"""Commands to a 1-Wire bus and its sensors."""

from __future__ import annotations

import pytest
from fakes import BY
from onewire import BOILER, CELLAR, GARDEN, OneWireRig, thermometer
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from evok_twisted.errors import (
    BadParameter,
    Busy,
    Conflict,
    EvokError,
    Offline,
    Refused,
    Superseded,
    Timeout,
)
from evok_twisted.model.system import DeviceInfo, DeviceInfoState

SWITCH = "29.000000000001"
LEVELS = "1,1,1,1,1,1,1,1"


class Power:
    """What switches a bus's power: 1 is off. The test says what goes wrong."""

    def __init__(self, clock):
        self.clock = clock
        self.log = []
        self.errors = []
        self.rig = None

    def __call__(self, value):
        self.log.append((self.clock.seconds(), value))
        error = self.errors.pop(0) if self.errors else None
        return succeed(None) if error is None else fail(error)

    @property
    def values(self):
        return [value for _, value in self.log]


def sent(error):
    error.sent = True
    return error


def result(deferred):
    got = []
    deferred.addBoth(got.append)
    assert got, "it has no result yet"
    return got[0].value if isinstance(got[0], Failure) else got[0]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def power(clock):
    return Power(clock)


@pytest.fixture
def rig(clock, power):
    sensors = {SWITCH: {"type": "DS2408", "sensed.ALL": LEVELS, "PIO.ALL": "0,0,0,0,0,0,0,0"}, BOILER: thermometer()}
    return OneWireRig(clock, sensors, power=power).start()


# Outputs


def test_an_output_is_switched_and_its_sensor_read_before_the_answer(rig):
    rig.server.answering = False
    done = rig.set(SWITCH, pio=0, value=1)
    assert [what for what, _ in rig.server.asked] == [("write", f"/{SWITCH}/PIO.0", "1")]
    rig.server.answer()
    assert not done.called
    rig.server.sensors[SWITCH] |= {"sensed.ALL": "0,1,1,1,1,1,1,1", "PIO.ALL": "1,0,0,0,0,0,0,0"}
    rig.server.answer()
    rig.server.answer()
    device = result(done)
    assert (device.state.value[0], device.state.pio[0]) == (0, 1)
    assert rig.changed() == [[SWITCH]]


def test_a_command_goes_before_what_is_due(rig):
    rig.server.answering = False
    rig.advance(10)
    rig.set(SWITCH, pio=0, value=1)
    rig.server.answer()
    rig.settle()
    assert rig.server.asked[0][0][0] in ("write", "read")
    while rig.server.asked[0][0][0] != "write":
        assert SWITCH in rig.server.asked[0][0][1], "the rest of the reading that was under way"
        rig.server.answer()
        rig.settle()


def test_what_owserver_refuses_is_told(rig):
    rig.server.refusing = "PIO.0"
    assert isinstance(result(rig.set(SWITCH, pio=0, value=1)), Refused)
    assert rig.changed() == []


def test_a_write_that_worked_is_a_success_whatever_becomes_of_the_reading_after_it(rig):
    rig.server.refusing = "ALL"
    assert result(rig.set(SWITCH, pio=0, value=1)).circuit == rig.device(SWITCH).circuit
    assert rig.server.sensors[SWITCH]["PIO.0"] == "1"


def test_without_owserver_a_set_fails_at_once(rig):
    rig.server.turn(False)
    assert isinstance(result(rig.set(SWITCH, pio=0, value=1)), Offline)
    assert isinstance(result(rig.set("OWFS", do_scan=1)), Offline)


def test_what_waits_when_owserver_goes_fails_and_is_never_sent(rig):
    rig.server.answering = False
    first, second = rig.set(SWITCH, pio=0, value=1), rig.set(SWITCH, pio=1, value=1)
    rig.server.turn(False)
    assert isinstance(result(first), Offline)
    assert isinstance(result(second), Offline)
    rig.server.answering = True
    rig.server.turn(True)
    rig.advance(10)
    assert not [line for line in rig.server.requests()[1:] if line.startswith("write /29")]


def test_what_has_not_had_its_turn_in_time_fails_and_is_never_sent(rig):
    rig.server.answering = False
    rig.set(SWITCH, pio=0, value=1).addErrback(lambda failure: failure.trap(EvokError))
    late = rig.set(SWITCH, pio=1, value=1)
    rig.advance(5)
    assert isinstance(result(late), Timeout)
    rig.server.answering = True
    while rig.server.asked:
        rig.server.answer()
    rig.advance(10)
    assert "PIO.1" not in rig.server.sensors[SWITCH]


def test_a_newer_set_of_an_output_takes_the_place_of_the_one_that_waits(rig):
    rig.server.answering = False
    rig.set(SWITCH, pio=7, value=1)
    older, other, newer = (rig.set(SWITCH, pio=pio, value=value) for pio, value in ((0, 1), (1, 1), (0, 0)))
    assert isinstance(result(older), Superseded)
    rig.server.answering = True
    while rig.server.asked:
        rig.server.answer()
    rig.settle()
    assert result(other) is result(newer) is rig.device(SWITCH)
    assert (rig.server.sensors[SWITCH]["PIO.0"], rig.server.sensors[SWITCH]["PIO.1"]) == ("0", "1")


def test_too_many_commands_are_refused(clock):
    rig = OneWireRig(clock, {SWITCH: {"type": "DS2408", "sensed.ALL": LEVELS}}, limit=2).start()
    rig.server.answering = False
    sets = [rig.set(SWITCH, pio=n, value=1) for n in range(4)]
    assert isinstance(result(sets[3]), Busy)
    rig.server.turn(False)
    assert all(isinstance(result(one), Offline) for one in sets[:3])


# Intervals


def test_a_sensor_takes_an_interval_of_its_own(rig):
    device = result(rig.set(BOILER, interval="2"))
    assert device.state.interval == 2.0
    assert rig.changed() == [[BOILER]]
    rig.server.log.clear()
    rig.advance(10)
    assert len([line for line in rig.server.requests() if BOILER in line]) == 5


def test_the_interval_of_the_bus_is_that_of_all_sensors_without_their_own(clock):
    sensors = {one: thermometer() for one in (BOILER, CELLAR, GARDEN)}
    rig = OneWireRig(clock, sensors, known=[(BOILER, 30.0)]).start()
    result(rig.set(GARDEN, interval=20))
    rig.changed()
    assert result(rig.set("OWFS", interval=5)).state.interval == 5.0
    assert rig.changed() == [["OWFS", CELLAR]]
    assert [rig.device(one).state.interval for one in (BOILER, CELLAR, GARDEN)] == [30.0, 5.0, 20.0]


def test_intervals_can_be_set_without_owserver(rig):
    rig.server.turn(False)
    assert result(rig.set("OWFS", interval=5, scan_interval=7)).state.scan_interval == 7.0


def test_a_new_scan_interval_holds_from_now(rig):
    result(rig.set("OWFS", scan_interval=5))
    rig.server.requests()
    rig.advance(4.875)
    assert "dir /uncached" not in rig.server.requests()
    rig.advance(0.25)
    assert "dir /uncached" in rig.server.requests()


def test_a_scan_interval_of_0_ends_the_scans(rig):
    result(rig.set("OWFS", scan_interval=0))
    rig.server.requests()
    rig.advance(120)
    assert "dir /uncached" not in rig.server.requests()


# Scans


def test_a_scan_is_answered_when_its_sensors_are_known(rig):
    rig.server.sensors[CELLAR] = thermometer("8")
    assert result(rig.set("OWFS", do_scan="true")).kind == "owbus"
    assert rig.device(CELLAR).circuit == rig.registry.find("temp", rig.device(CELLAR).circuit, "v3").circuit


@pytest.mark.parametrize("given", [{"do_scan": 0}, {"do_reset": "false"}, {"do_scan": False, "do_reset": 0}])
def test_a_scan_or_reset_is_done_only_when_true(rig, power, given):
    result(rig.set("OWFS", **given))
    assert rig.server.requests() == []
    assert power.log == []


def test_a_scan_that_fails_is_told(rig):
    rig.server.directory = lambda path: fail(Refused("bus short", 44))
    assert isinstance(result(rig.set("OWFS", do_scan=1)), Refused)


def test_what_a_bus_does_not_take_is_refused(rig):
    assert isinstance(result(rig.set("OWFS", value=1)), BadParameter)


def test_what_the_unit_is_takes_an_alias_and_nothing_else(rig):
    info = DeviceInfo("OWFS", DeviceInfoState("Unipi", "Gate", 1, 1))
    rig.registry.add(info)
    assert result(rig.desks(BY, "v3").set("device_info", "Gate", {"alias": "cabinet"})).alias == "cabinet"
    assert isinstance(result(rig.desks(BY, "v3").set("device_info", "Gate", {"serial": 2})), BadParameter)


def test_a_sensor_takes_an_alias_and_is_found_by_it(rig):
    result(rig.set(BOILER, alias="boiler"))
    assert rig.registry.find("temp", "boiler", "classic") is rig.device(BOILER)
    assert rig.changed() == [[BOILER]]


# The reset


def test_a_reset_takes_the_power_away_for_200_ms_and_scans_50_ms_after(rig, clock, power):
    begun = clock.seconds()
    done = rig.set("OWFS", do_reset=1)
    rig.server.requests()
    clock.advance(0.19)
    assert power.log == [(begun, 1)]
    clock.advance(0.01)
    assert power.log == [(begun, 1), (begun + 0.2, 0)]
    clock.advance(0.04)
    assert rig.server.requests() == []
    clock.advance(0.01)
    assert rig.server.requests() == ["dir /uncached"]
    assert result(done).kind == "owbus"


def test_nothing_is_read_while_the_power_is_off(rig, clock, power):
    rig.advance(9.875)
    rig.server.requests()
    rig.set("OWFS", do_reset=1)
    clock.advance(0.19)
    assert power.values == [1]
    assert rig.server.requests() == []


def test_without_owpower_a_reset_is_refused_and_says_why(clock):
    rig = OneWireRig(clock, {BOILER: thermometer()}).start()
    error = result(rig.set("OWFS", do_reset=1))
    assert isinstance(error, Conflict)
    assert "names no owpower" in str(error)


def test_a_power_that_cannot_be_switched_off_is_told_and_nothing_done(rig, power):
    power.errors = [Offline("slave 1 is offline")]
    error = result(rig.set("OWFS", do_reset=1))
    assert isinstance(error, Offline)
    assert power.values == [1]
    assert rig.server.requests() == []


def test_a_power_that_may_be_off_is_switched_on_again(rig, power):
    power.errors = [sent(Timeout("no acknowledgement"))]
    assert isinstance(result(rig.set("OWFS", do_reset=1)), Timeout)
    assert power.values == [1, 0]


def test_a_power_that_does_not_come_on_is_told_and_tried_until_it_does(rig, power, log):
    power.errors = [None, Timeout("no acknowledgement"), Offline("offline"), Offline("offline")]
    done = rig.set("OWFS", do_reset=1)
    rig.advance(0.25)
    assert isinstance(result(done), Timeout)
    rig.advance(5)
    assert power.values == [1, 0, 0, 0, 0]
    assert log.texts("error") == [
        "owbus OWFS is without power, which cannot be switched on: no acknowledgement; retrying"
    ]
    assert log.texts("info")[-1] == "owbus OWFS has power again, after 3.0 s"
    rig.advance(10)
    assert rig.device(BOILER).state.time >= 1_700_000_010, "the sensors are read again"


# The stop


def stopped(rig):
    done = []
    Deferred.fromCoroutine(rig.writer.stop()).addCallback(done.append)
    return done


def test_the_stop_fails_what_waits_and_takes_nothing_more(rig):
    rig.server.answering = False
    rig.set(SWITCH, pio=0, value=1).addErrback(lambda failure: failure.trap(EvokError))
    waiting = rig.set(SWITCH, pio=1, value=1)
    assert stopped(rig) == [None]
    assert isinstance(result(waiting), Offline)
    assert isinstance(result(rig.set(SWITCH, pio=1, value=1)), Offline)
    rig.server.turn(False)


def test_the_stop_waits_until_a_reset_has_switched_the_power_on(rig, clock, power):
    rig.set("OWFS", do_reset=1)
    done = stopped(rig)
    assert done == []
    clock.advance(0.2)
    assert power.values == [1, 0]
    assert done == [None]


def test_the_stop_does_not_wait_for_ever_for_the_power(rig, clock, power, log):
    power.errors = [None, Offline("offline"), Offline("offline"), Offline("offline")]
    rig.set("OWFS", do_reset=1).addErrback(lambda failure: failure.trap(Offline))
    rig.advance(0.25)
    done = stopped(rig)
    rig.advance(1.25)
    assert done == [None]
    assert log.texts("error")[-1] == "owbus OWFS is left without power"
