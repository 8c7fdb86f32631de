"""The schedule of a 1-Wire bus: each sensor on its own, a lost one less and less often, new ones by scan."""

from __future__ import annotations

import pytest
from onewire import BOILER, CELLAR, GARDEN, MORNING, ROOF, OneWireRig, thermometer
from twisted.internet.defer import fail
from twisted.internet.task import Clock

from evok_twisted.errors import BadAnswer

TAG = "01.000000000001"
SWITCH = "29.000000000001"


@pytest.fixture
def clock():
    return Clock()


def rig_of(clock, *addresses, **options):
    return OneWireRig(clock, {address: thermometer() for address in addresses}, **options)


def reads(rig):
    return [line.removeprefix("read ") for line in rig.server.requests() if line.startswith("read ")]


def times_of(rig, what, seconds):
    """When, from now, each request for ``what`` is made."""
    began, times = rig.clock.seconds(), []
    for _ in range(round(seconds * 8)):
        rig.advance(0.125)
        times += [rig.clock.seconds() - began for line in rig.server.requests() if what in line]
    return times


# Finding sensors


def test_a_sensor_that_is_found_appears_with_an_event_and_then_has_its_value(clock):
    rig = rig_of(clock, BOILER)
    rig.scanner.start()
    rig.server.turn(True)
    rig.settle()
    one = rig.device(BOILER)
    assert (one.kind, one.circuit, one.group) == ("temp", "2800000000000140", "OWFS")
    assert (one.state.value, one.state.time) == (21.5, MORNING)
    assert rig.changed() == [[BOILER], [BOILER]]


def test_a_sensor_that_is_plugged_in_is_found_by_the_next_scan(clock):
    rig = rig_of(clock, BOILER).start()
    rig.server.sensors[CELLAR] = thermometer("8")
    rig.advance(59)
    assert [CELLAR] not in rig.changed()
    rig.advance(2)
    assert rig.device(CELLAR).state.value == 8.0


def test_scans_come_at_their_interval_and_look_past_the_cache(clock):
    rig = rig_of(clock, scan_interval=20).start()
    assert times_of(rig, "dir /uncached", 61) == [20, 40, 60]


def test_a_scan_interval_of_0_scans_at_the_start_only(clock):
    rig = rig_of(clock, BOILER, scan_interval=0).start()
    assert rig.device(BOILER).state.value == 21.5
    assert times_of(rig, "dir", 200) == []


def test_what_is_no_sensor_in_a_directory_is_passed_over(clock):
    rig = OneWireRig(clock, {"bus.0": {}, "settings": {}, "28.XYZ": {}, BOILER: thermometer()}).start()
    assert [one.kind for one in rig.registry] == ["temp", "owbus"]


def test_a_sensor_that_owserver_has_a_name_for_is_found_by_its_address(clock):
    rig = OneWireRig(clock, {BOILER: thermometer("60"), CELLAR: thermometer("12")})
    rig.server.names[BOILER] = "boiler"
    rig.start()
    assert [rig.device(one).state.value for one in (BOILER, CELLAR)] == [60.0, 12.0]


def test_the_type_is_that_which_owserver_tells(clock):
    rig = OneWireRig(clock, {"A6.000000000001": {"type": "DS2438", "VDD": "5"}}).start()
    assert rig.device("A6.000000000001").state.vdd == 5.0


def test_an_unknown_family_is_shown_with_its_address_and_no_value(clock):
    rig = OneWireRig(clock, {"77.000000000001": {}}).start()
    one = rig.device("77.000000000001")
    assert (one.kind, one.state.type, one.state.lost) == ("1wdevice", "77", False)
    assert not hasattr(one.state, "value")
    del rig.server.sensors["77.000000000001"]
    rig.advance(21)
    assert one.state.lost


def test_a_configured_sensor_is_there_before_it_is_found(clock):
    rig = rig_of(clock, known=[(BOILER, None)])
    assert rig.device(BOILER).state.value is None
    rig.start()
    rig.advance(5)
    assert rig.device(BOILER).state.lost


def test_a_bus_that_cannot_be_scanned_is_logged_once_and_its_sensors_are_read(clock, log):
    rig = rig_of(clock, BOILER, scan_interval=10).start()
    rig.server.directory = lambda path: fail(BadAnswer("nonsense"))
    rig.advance(60)
    assert log.texts("warn") == ["owbus OWFS cannot be scanned: nonsense"]
    assert rig.device(BOILER).state.time >= MORNING + 50
    del rig.server.directory
    rig.advance(20)
    assert log.texts("info")[-1].startswith("owbus OWFS can be scanned again, after ")


# Reading them


def test_each_sensor_is_read_at_its_own_interval(clock):
    rig = rig_of(clock, BOILER, CELLAR, known=[(BOILER, 2.0)]).start()
    times = {BOILER: [], CELLAR: []}
    for _ in range(160):
        rig.advance(0.125)
        for path in reads(rig):
            times[path.partition("/")[0]].append(clock.seconds())
    assert times[BOILER] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
    assert times[CELLAR] == [10, 20]


def test_readings_look_past_the_cache_of_owserver(clock):
    rig = rig_of(clock, BOILER).start()
    rig.advance(10)
    assert rig.server.log == [f"read /uncached/{BOILER}/temperature"]


def test_a_new_value_is_an_event_and_the_same_is_none(clock):
    rig = rig_of(clock, BOILER).start()
    rig.advance(10)
    assert rig.changed() == []
    rig.server.sensors[BOILER]["temperature"] = "22"
    rig.advance(10)
    assert rig.changed() == [[BOILER]]
    assert rig.device(BOILER).state.time == MORNING + 20


def test_one_request_is_made_at_a_time(clock):
    rig = rig_of(clock, BOILER, CELLAR).start()
    rig.server.answering = False
    rig.advance(11)
    assert len(rig.server.asked) == 1
    rig.server.answer()
    rig.settle()
    assert [what[1] for what, _ in rig.server.asked] == [f"/uncached/{CELLAR}/temperature"]


def test_a_ds2438_shows_what_can_be_read_of_it(clock):
    rig = OneWireRig(clock, {"26.000000000001": {"type": "DS2438", "temperature": "20", "VDD": "5"}}).start()
    state = rig.device("26.000000000001").state
    assert (state.temp, state.vdd, state.vad, state.vis, state.humidity, state.lost) == (20, 5, None, None, None, False)


def test_a_tag_is_1_while_it_is_there_and_asked_as_often_while_not(clock):
    rig = OneWireRig(clock, {TAG: {"type": "DS2401"}}, interval=2.0, scan_interval=0).start()
    tag = rig.device(TAG)
    assert tag.state.value == 1
    del rig.server.sensors[TAG]
    rig.advance(4)
    assert (tag.state.value, tag.state.lost) == (0, True)
    assert len(times_of(rig, TAG, 100)) >= 50
    rig.server.sensors[TAG] = {}
    rig.advance(2)
    assert (tag.state.value, tag.state.lost) == (1, False)


# Converting all at once


def test_more_than_two_thermometers_convert_at_once(clock):
    rig = rig_of(clock, BOILER, CELLAR, GARDEN).start()
    rig.advance(10)
    assert rig.server.requests() == ["write /simultaneous/temperature 1"]
    rig.advance(0.75)
    assert rig.server.requests() == [], "before the conversion is over they would show the one before"
    rig.advance(0.125)
    assert rig.server.requests() == [f"read {one}/latesttemp" for one in (BOILER, CELLAR, GARDEN)]


def test_and_again_at_the_next_interval(clock):
    rig = rig_of(clock, BOILER, CELLAR, GARDEN).start()
    assert times_of(rig, "simultaneous", 45) == [10, 20, 30, 40]


def test_two_thermometers_convert_one_by_one(clock):
    rig = rig_of(clock, BOILER, CELLAR).start()
    rig.advance(10)
    assert rig.server.requests() == [f"read {one}/temperature" for one in (BOILER, CELLAR)]


def test_a_thermometer_that_did_not_convert_with_the_others_is_read_by_itself(clock):
    rig = rig_of(clock, BOILER, CELLAR, GARDEN).start()
    rig.server.refusing = f"{BOILER}/latesttemp"
    rig.advance(11)
    assert rig.server.requests()[-1] == f"read {BOILER}/temperature"
    assert rig.device(BOILER).state.time > MORNING + 10
    assert not rig.device(BOILER).state.lost


def test_where_a_common_conversion_is_not_possible_each_converts_by_itself(clock):
    rig = rig_of(clock, BOILER, CELLAR, GARDEN).start()
    rig.server.refusing = "simultaneous"
    rig.advance(10)
    assert rig.server.requests()[1:] == [f"read {one}/temperature" for one in (BOILER, CELLAR, GARDEN)]


def test_a_power_on_value_is_asked_for_again_at_once_and_by_itself(clock):
    rig = rig_of(clock, BOILER, CELLAR, GARDEN).start()
    rig.server.sensors[BOILER]["temperature"] = "85"
    rig.advance(11)
    rig.server.requests()
    assert rig.device(BOILER).state.value == 21.5
    rig.server.sensors[BOILER]["temperature"] = "23"
    rig.advance(1)
    assert rig.server.requests() == [f"read {BOILER}/temperature"]
    assert rig.device(BOILER).state.value == 23.0


# Losing them


def test_one_failed_reading_is_tried_again_and_no_news(clock):
    rig = rig_of(clock, BOILER).start()
    rig.server.refusing = BOILER
    rig.advance(10)
    rig.server.refusing = None
    rig.advance(1)
    assert rig.changed() == []
    assert rig.device(BOILER).state.time == MORNING + 11


def test_a_missing_sensor_is_lost_with_its_last_value_and_one_event(clock, log):
    rig = rig_of(clock, BOILER, CELLAR).start()
    del rig.server.sensors[BOILER]
    rig.advance(200)
    assert rig.changed() == [[BOILER]]
    state = rig.device(BOILER).state
    assert (state.lost, state.value, state.time) == (True, 21.5, MORNING)
    assert log.texts("warn") == ["temp 2800000000000140 on owbus OWFS is lost: owserver's error 1"]


def test_a_lost_sensor_is_asked_less_and_less_often_and_the_others_keep_their_interval(clock):
    rig = rig_of(clock, BOILER, CELLAR, scan_interval=0).start()
    del rig.server.sensors[BOILER]
    lost, kept = [], []
    for _ in range(2000):
        rig.advance(1, step=1)
        for path in reads(rig):
            (lost if path.startswith(BOILER) else kept).append(clock.seconds())
    waits = [round(later - sooner) for sooner, later in zip(lost[1:], lost[2:], strict=False)]
    assert waits[:6] == [10, 20, 40, 80, 160, 300]
    assert set(waits[5:]) == {300}
    assert kept == [10.0 * n for n in range(1, 201)]


def test_the_back_off_has_no_overflow(clock):
    rig = rig_of(clock, BOILER, scan_interval=0).start()
    del rig.server.sensors[BOILER]
    rig.advance(12)
    rig.scanner._entries[BOILER].failures = 10**9
    rig.advance(20)
    assert rig.scanner._entries[BOILER].due - clock.seconds() <= 300


def test_an_interval_over_five_minutes_is_not_shortened_by_being_lost(clock):
    rig = rig_of(clock, BOILER, interval=900.0, scan_interval=0).start()
    del rig.server.sensors[BOILER]
    rig.advance(903, step=1)
    rig.server.requests()
    assert len(times_of(rig, BOILER, 890)) == 0


def test_a_lost_sensor_comes_back_by_itself(clock, log):
    rig = rig_of(clock, BOILER, scan_interval=0).start()
    del rig.server.sensors[BOILER]
    rig.advance(15)
    rig.changed()
    rig.server.sensors[BOILER] = thermometer("23")
    rig.advance(10)
    assert rig.changed() == [[BOILER]]
    assert (rig.device(BOILER).state.value, rig.device(BOILER).state.lost) == (23.0, False)
    assert log.texts("info")[-1] == "temp 2800000000000140 on owbus OWFS can be read again"


def test_a_scan_that_sees_a_lost_sensor_brings_it_back_before_its_turn(clock):
    rig = rig_of(clock, BOILER, scan_interval=60).start()
    sensors, rig.server.sensors = rig.server.sensors, {}
    rig.advance(205)
    rig.server.sensors = sensors
    rig.advance(36)
    assert not rig.device(BOILER).state.lost


# Losing owserver


def test_without_owserver_all_sensors_are_lost_as_one_event_and_keep_their_values(clock):
    rig = rig_of(clock, BOILER, CELLAR, GARDEN).start()
    rig.server.turn(False)
    assert rig.changed() == [[BOILER, CELLAR, GARDEN]]
    assert [rig.device(one).state.value for one in (BOILER, CELLAR)] == [21.5, 21.5]
    rig.advance(100)
    assert rig.server.log == []
    assert rig.changed() == []


def test_and_are_read_as_soon_as_it_is_back_with_those_that_are_new(clock, log):
    rig = rig_of(clock, BOILER, CELLAR).start()
    log.clear()
    rig.server.turn(False)
    rig.advance(100)
    rig.changed()
    rig.server.sensors[ROOF] = thermometer("-3")
    rig.server.turn(True)
    rig.settle()
    assert [rig.device(one).state.lost for one in (BOILER, CELLAR, ROOF)] == [False] * 3
    assert log.texts() == [f"temp {rig.device(ROOF).circuit} (DS18B20) was found on owbus OWFS"]


def test_owserver_that_goes_in_the_middle_of_a_reading_loses_nothing_else(clock):
    rig = rig_of(clock, BOILER).start()
    rig.server.answering = False
    rig.advance(10)
    rig.server.turn(False)
    rig.server.answering = True
    rig.server.turn(True)
    rig.settle()
    assert not rig.device(BOILER).state.lost
    assert rig.scanner._entries[BOILER].failures == 0


def test_configured_sensors_are_lost_where_owserver_is_not_there_from_the_start(clock):
    rig = rig_of(clock, known=[(BOILER, None)])
    rig.scanner.start()
    rig.server.turn(False)
    assert rig.device(BOILER).state.lost
    assert rig.changed() == [[BOILER]]


def test_a_bug_in_a_reading_is_logged_and_the_bus_goes_on(clock, log):
    rig = rig_of(clock, BOILER, CELLAR).start()

    def broken(texts, time):
        raise AssertionError("a bug")

    rig.device(BOILER).take = broken
    rig.advance(10)
    assert rig.device(CELLAR).state.time == MORNING + 10
    log.expected("a bug")


def test_nothing_is_asked_after_the_stop(clock):
    rig = rig_of(clock, BOILER).start()
    rig.scanner.stop()
    rig.advance(100)
    assert rig.server.log == []
    assert clock.getDelayedCalls() == []


def test_a_turn_that_never_ends_is_seen_and_waiting_for_the_next_is_none(clock):
    rig = OneWireRig(clock, {BOILER: thermometer()}, interval=3600, scan_interval=0).start()
    rig.advance(1000, step=10)
    assert not rig.scanner.stuck
    rig.server.answering = False
    rig.advance(3600, step=10)
    assert rig.scanner.stuck
    rig.server.answer()
    rig.settle()
    assert not rig.scanner.stuck


def test_a_bus_whose_owserver_is_away_is_not_stuck(clock):
    rig = OneWireRig(clock, {BOILER: thermometer()}).start()
    rig.server.turn(False)
    rig.advance(1000, step=10)
    assert not rig.scanner.stuck
