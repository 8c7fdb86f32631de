"""What sensors make of owserver's texts, and of what clients ask for."""

from __future__ import annotations

import pytest

from evok_twisted.errors import BadParameter, BadValue
from evok_twisted.model.onewirebus import OneWireBus
from evok_twisted.model.sensors import FAMILIES, TYPES, Sensor, Tag, Thermometer, sensor

ADDRESSES = {
    "DS18B20": "28.000028D70000",
    "DS2438": "26.000026590400",
    "DS2408": "29.000029D60500",
    "DS2413": "3A.00003AC50700",
    "DS2401": "01.000001FE0800",
}


def made(type, interval=10.0):
    return sensor(ADDRESSES[type], type, "OWFS", interval)


def thermometer(*readings):
    one = made("DS18B20")
    for n, text in enumerate(readings):
        one.take({"temperature": text}, float(n))
    return one


def test_a_sensor_is_nothing_but_its_address_before_it_is_read():
    state = made("DS18B20").state
    assert (state.value, state.lost, state.time, state.interval, state.type) == (None, False, None, 10.0, "DS18B20")


def test_a_reading_is_a_change_and_has_its_time():
    one = made("DS18B20")
    assert one.take({"temperature": "        21.5"}, 1700.5)
    assert (one.state.value, one.state.time) == (21.5, 1700.5)


def test_the_same_value_again_is_no_change_but_has_a_new_time():
    one = thermometer("21.5")
    before = one.state
    assert not one.take({"temperature": "21.5"}, 9.0)
    assert one.state.time == 9.0
    assert one.state is not before


@pytest.mark.parametrize("text", ["", "nonsense", "nan", "inf", "-273", "4095"])
def test_what_is_no_temperature_is_of_no_use(text):
    one = thermometer("21.5")
    with pytest.raises(ValueError, match="is no temperature"):
        one.take({"temperature": text}, 9.0)
    assert one.state.value == 21.5


def test_the_power_on_value_is_not_believed():
    one = thermometer("21.5", "85")
    assert one.doubted
    assert (one.state.value, one.state.time) == (21.5, 0.0)


def test_the_power_on_value_is_not_believed_as_the_first():
    assert thermometer("85").state.value is None


def test_the_power_on_value_is_believed_twice_in_a_row():
    one = thermometer("21.5", "85", "85")
    assert not one.doubted
    assert one.state.value == 85.0


def test_the_power_on_value_is_doubted_anew_after_another():
    assert thermometer("21.5", "85", "22", "85").state.value == 22.0


def test_the_power_on_value_is_believed_near_the_last_reading():
    assert thermometer("83.5", "85").state.value == 85.0


def test_it_stays_believed_while_it_lasts():
    one = thermometer("85", "85", "85")
    assert (one.state.value, one.state.time, one.doubted) == (85.0, 2.0, False)


def test_a_lost_sensor_keeps_its_value_and_is_lost_once():
    one = thermometer("21.5")
    assert one.miss()
    assert not one.miss()
    assert (one.state.value, one.state.lost) == (21.5, True)
    assert one.take({"temperature": "21.5"}, 9.0), "that it is back is a change"
    assert not one.state.lost


def test_a_tag_is_1_where_it_is_and_0_where_not():
    one = made("DS2401")
    assert one.take({}, 1.0)
    assert (one.state.value, one.state.lost) == (1, False)
    assert one.miss()
    assert (one.state.value, one.state.lost) == (0, True)


def test_a_tag_is_not_away_because_owserver_is():
    one = made("DS2401")
    one.take({}, 1.0)
    assert one.lose()
    assert (one.state.value, one.state.lost) == (1, True)


FULL = {"temperature": "21.53125", "VDD": "5.02", "VAD": "2.2", "vis": "0.00024", "humidity": "44.98"}


def test_a_ds2438_shows_all_that_it_measures():
    one = made("DS2438")
    assert one.take(FULL, 1.0)
    state = one.state
    assert (state.temp, state.vdd, state.vad, state.vis, state.humidity) == (21.53, 5.02, 2.2, 0.00024, 45.0)


@pytest.mark.parametrize(
    ("missing", "field"),
    [("temperature", "temp"), ("VDD", "vdd"), ("VAD", "vad"), ("vis", "vis"), ("humidity", "humidity")],
)
def test_what_cannot_be_read_of_a_ds2438_is_null_and_the_rest_stays(missing, field):
    one = made("DS2438")
    one.take(FULL, 1.0)
    assert one.take({key: text for key, text in FULL.items() if key != missing}, 2.0)
    assert [name for name in ("temp", "vdd", "vad", "vis", "humidity") if getattr(one.state, name) is None] == [field]


def test_of_nothing_a_ds2438_makes_nothing():
    with pytest.raises(ValueError, match="none of its values"):
        made("DS2438").take({"VDD": "?"}, 1.0)


@pytest.mark.parametrize(("text", "humidity"), [("-25.8", None), ("-1.2", 0.0), ("101.7", 100.0), ("160", None)])
def test_a_humidity_far_from_any_is_that_of_no_humidity_sensor(text, humidity):
    one = made("DS2438")
    one.take({**FULL, "humidity": text}, 1.0)
    assert one.state.humidity == humidity


def test_a_ds2408_shows_its_inputs_and_outputs():
    one = made("DS2408")
    assert one.take({"sensed.ALL": "0,1,0,1,0,1,0,0", "PIO.ALL": "1,0,0,0,0,0,0,0"}, 1.0)
    assert (one.state.value, one.state.pio) == ((0, 1, 0, 1, 0, 1, 0, 0), (1, 0, 0, 0, 0, 0, 0, 0))


def test_outputs_that_cannot_be_read_are_null():
    one = made("DS2413")
    assert one.take({"sensed.ALL": "0,1"}, 1.0)
    assert (one.state.value, one.state.pio) == ((0, 1), None)


@pytest.mark.parametrize("text", ["", "0", "0,1,0", "0,2", "x,y"])
def test_what_is_not_a_level_for_each_pin_is_of_no_use(text):
    with pytest.raises(ValueError, match="inputs cannot be read"):
        made("DS2413").take({"sensed.ALL": text, "PIO.ALL": "0,0"}, 1.0)


@pytest.mark.parametrize(("type", "pio", "name"), [("DS2408", "7", "PIO.7"), ("DS2413", 1, "PIO.B")])
def test_an_output_is_written_by_its_name(type, pio, name):
    one = made(type)
    assert one.writes(one.checked({"pio": pio, "value": "on"})) == ((name, "1"),)


def test_an_interval_writes_nothing():
    one = made("DS2408")
    assert one.writes(one.checked({"interval": "5"})) == ()


@pytest.mark.parametrize("given", [{"pio": 0}, {"value": 1}, {"value": 1, "interval": 5}])
def test_an_output_needs_its_number_and_a_value(given):
    with pytest.raises(BadParameter, match="pio, its number from 0, and value together"):
        made("DS2408").checked(given)


@pytest.mark.parametrize("given", [{"pio": 2, "value": 1}, {"pio": 0, "value": 2}, {"interval": 0}, {"interval": 1e-9}])
def test_a_value_out_of_range_is_refused(given):
    with pytest.raises(BadValue):
        made("DS2413").checked(given)


def test_a_thermometer_takes_an_interval_and_nothing_else():
    assert made("DS18B20").checked({"interval": "2.5"}) == {"interval": 2.5}
    with pytest.raises(BadParameter, match="allowed are interval"):
        made("DS18B20").checked({"value": 20})


def test_every_type_that_a_family_stands_for_is_known():
    assert set(FAMILIES.values()) <= TYPES.keys()


def test_the_family_tells_the_type_where_nobody_does():
    assert isinstance(sensor("10.000010EF0100", None, "OWFS", 1.0), Thermometer)
    assert isinstance(sensor("81.0000817E0900", None, "OWFS", 1.0), Tag)


def test_the_type_that_is_told_comes_before_the_family():
    one = sensor("A6.0000A6590400", "DS2438", "OWFS", 1.0)
    assert one.properties == tuple(FULL)


def test_an_unknown_sensor_has_its_type_and_address_and_no_value():
    told, untold = (sensor("1D.00001DE20A00", type, "OWFS", 1.0) for type in ("DS2423", None))
    assert type(told) is type(untold) is Sensor
    assert (told.state.type, untold.state.type, told.circuit) == ("DS2423", "1D", "1D00001DE20A0009")


def test_a_bus_shows_its_intervals():
    bus = OneWireBus("OWFS", 10.0, 60.0)
    assert bus.checked({"do_scan": "true", "scan_interval": 0}) == {"do_scan": 1, "scan_interval": 0}
    assert bus.set_intervals(5.0, 60.0)
    assert not bus.set_intervals(5.0, 60.0)
    assert (bus.state.interval, bus.state.scan_interval) == (5.0, 60.0)
