"""State objects on the wire, field by field and in their order."""

from __future__ import annotations

import json

import pytest
from fakes import Rig
from twisted.internet.task import Clock

from evok_twisted.core.dialects import fragment, listing, state_object
from evok_twisted.definitions import UnitRegisters
from evok_twisted.model.aliases import AliasTable, Target
from evok_twisted.model.onewirebus import OneWireBus
from evok_twisted.model.registers import INPUT, Registers
from evok_twisted.model.sensors import TYPES, sensor
from evok_twisted.model.system import DataPoint, DeviceInfo, DeviceInfoState


@pytest.fixture
def main():
    rig = Rig(Clock(), "00")
    rig.bus.words = {1010: 50, 1018: 4999, 1017: 1, 1008: 5000, 3000: 0x3333, 3001: 0x4123, 0: 0, 1019: 1}
    return rig.start()


CLASSIC = {
    ("input", "1_01"): '{"dev":"input","circuit":"1_01","value":0,"debounce":50,"counter_modes":["Enabled","Disabled"],'
    '"counter_mode":"Enabled","counter":0,"mode":"Simple","modes":["Simple","DirectSwitch"],"glob_dev_id":2}',
    ("relay", "1_01"): '{"dev":"relay","relay_type":"digital","circuit":"1_01","value":0,"pending":false,'
    '"mode":"Simple","modes":["Simple","PWM"],"glob_dev_id":2,"pwm_freq":4800.0,"pwm_duty":0}',
    ("ai", "1_01"): '{"dev":"ai","circuit":"1_01","value":0.0,"unit":"V","glob_dev_id":2,"mode":"Voltage",'
    '"modes":{"Voltage":{"value":0,"unit":"V","range":[0,10]},"Current":{"value":1,"unit":"mA","range":[0,20]}},'
    '"range":[0,10]}',
    ("ao", "1_01"): '{"dev":"ao","circuit":"1_01","mode":"Current","modes":{"Voltage":{"value":0,"unit":"V",'
    '"range":[0,10]},"Current":{"value":1,"unit":"mA","range":[0,20]},"Resistance":{"value":2,"unit":"Ohm",'
    '"range":[0,2000]}},"glob_dev_id":2,"unit":"mA","value":10.2}',
    ("led", "1_01"): '{"dev":"led","circuit":"1_01","value":0,"glob_dev_id":2}',
    ("wd", "1_01"): '{"dev":"wd","circuit":"1_01","value":0,"timeout":5000,"was_wd_reset":0,"nv_save":0,'
    '"glob_dev_id":2}',
    ("register", "1_1"): '{"dev":"register","circuit":"1_1","value":0,"glob_dev_id":2}',
    ("owpower", "1"): '{"dev":"owpower","circuit":"1","value":0,"glob_dev_id":2}',
}

V3 = {
    ("di", "1_01"): '{"dev":"di","circuit":"1_01","value":0,"debounce":50,"counter_modes":["Enabled","Disabled"],'
    '"counter_mode":"Enabled","counter":0,"mode":"Simple","modes":["Simple","DirectSwitch"]}',
    ("do", "1_01"): '{"dev":"do","circuit":"1_01","value":0,"pending":false,"mode":"Simple","modes":["Simple","PWM"],'
    '"pwm_freq":4800.0,"pwm_duty":0}',
    ("led", "1_01"): '{"dev":"led","circuit":"1_01","value":0}',
    ("modbus_slave", "1"): '{"dev":"modbus_slave","circuit":"1","last_comm":0.0,"slave_id":1,"modbus_type":"TCP",'
    '"modbus_spec":"127.0.0.1","scan_interval":0.02,"online":true,"errors":0,"timeouts":0}',
}

#: Of a slave, what Evok does not show.
NEW = ("online", "errors", "timeouts")


# 1-Wire: the same in both dialects

ONE_WIRE = {
    ("28.95DCD5090000", "DS18B20"): (
        {"temperature": "21.5"},
        '{"dev":"temp","circuit":"2895DCD509000035","address":"28.95DCD5090000.35","value":21.5,"lost":false,'
        '"time":1707740000.1,"interval":10,"type":"DS18B20"}',
    ),
    ("26.A1B2C3000000", "DS2438"): (
        {"temperature": "21.5", "VDD": "5.02", "VAD": "2.2"},
        '{"dev":"1wdevice","circuit":"26A1B2C300000077","address":"26.A1B2C3000000.77","humidity":null,"vdd":5.02,'
        '"vad":2.2,"vis":null,"temp":21.5,"lost":false,"time":1707740000.1,"interval":10,"type":"DS2438"}',
    ),
    ("3A.00003AC50700", "DS2413"): (
        {"sensed.ALL": "0,1", "PIO.ALL": "1,0"},
        '{"dev":"1wdevice","circuit":"3A00003AC50700C4","address":"3A.00003AC50700.C4","value":[0,1],"pio":[1,0],'
        '"lost":false,"time":1707740000.1,"interval":10,"type":"DS2413"}',
    ),
    ("01.000001FE0800", "DS2401"): (
        {},
        '{"dev":"1wdevice","circuit":"01000001FE0800BD","address":"01.000001FE0800.BD","value":1,"lost":false,'
        '"time":1707740000.1,"interval":10,"type":"DS2401"}',
    ),
    ("1D.00001DE20A00", "DS2423"): (
        {},
        '{"dev":"1wdevice","circuit":"1D00001DE20A0009","address":"1D.00001DE20A00.09","lost":false,'
        '"time":1707740000.1,"interval":10,"type":"DS2423"}',
    ),
}


@pytest.mark.parametrize("dialect", ["classic", "v3"])
@pytest.mark.parametrize("which", ONE_WIRE)
def test_a_sensor_shows_these_fields_in_this_order(which, dialect):
    texts, expected = ONE_WIRE[which]
    expected = expected.replace('"type":', '"typ":') if dialect == "classic" else expected
    one = sensor(*which, "OWFS", 10)
    one.take(texts, 1707740000.1)
    assert fragment(one, dialect).decode() == expected


@pytest.mark.parametrize("type", TYPES)
def test_every_type_of_sensor_has_its_fields(type):
    one = sensor("28.95DCD5090000", type, "OWFS", 10)
    assert json.loads(fragment(one, "classic"))["typ"] == type
    assert json.loads(fragment(one, "v3"))["type"] == type


@pytest.mark.parametrize("dialect", ["classic", "v3"])
def test_a_1_wire_bus_shows_these_fields_in_this_order(dialect):
    assert fragment(OneWireBus("OWFS", 10, 60), dialect).decode() == (
        '{"dev":"owbus","circuit":"OWFS","bus":"OWFS","scan_interval":60,"interval":10,"do_scan":false,"do_reset":false}'
    )


@pytest.mark.parametrize("target", CLASSIC)
def test_classic_shows_these_fields_in_this_order(main, target):
    assert fragment(main.device(*target), "classic").decode() == CLASSIC[target]


@pytest.mark.parametrize("target", V3)
def test_v3_shows_these_fields_in_this_order(main, target):
    assert fragment(main.registry.find(*target, "v3"), "v3").decode() == V3[target]


def test_a_relay_shows_its_type_in_classic_and_its_value_only_in_v3():
    rig = Rig(Clock(), "13").start()
    relay = rig.registry.find("ro", "1_01", "v3")
    assert fragment(relay, "classic") == (
        b'{"dev":"relay","relay_type":"physical","circuit":"1_01","value":0,"pending":false,"mode":"Simple",'
        b'"modes":["Simple"],"glob_dev_id":2}'
    )
    assert fragment(relay, "v3") == b'{"dev":"ro","circuit":"1_01","value":0}'


def test_an_analog_output_shows_its_range():
    rig = Rig(Clock(), "13")
    rig.bus.words = {2: 2360}
    shown = fragment(rig.start().device("ao", "1_01"), "classic")
    assert shown == (
        b'{"dev":"ao","circuit":"1_01","mode":"Voltage","modes":{"Voltage":{"unit":"V","range":[0,10]}},'
        b'"glob_dev_id":2,"value":5.9,"unit":"V","range":[0,10]}'
    )


def test_a_disabled_analog_input_has_no_unit_and_no_range():
    shown = json.loads(fragment(Rig(Clock(), "13").start().device("ai", "1_01"), "classic"))
    assert (shown["mode"], shown["unit"], shown["range"]) == ("Disabled", None, None)


def test_classic_slaves_do_not_show_what_v3_added(main):
    shown = json.loads(fragment(main.device("modbus_slave", "1"), "classic"))
    assert list(shown) == ["dev", "circuit", "glob_dev_id", "last_comm", "slave_id", "modbus_type", *NEW]


def test_before_the_first_answer_last_comm_is_as_large_as_it_gets():
    rig = Rig(Clock())
    assert json.loads(fragment(rig.device("modbus_slave", "1"), "v3"))["last_comm"] == 2147483647


@pytest.mark.parametrize(
    ("dialect", "dev", "valid"), [("classic", "unit_register", "true"), ("v3", "data_point", True)]
)
def test_the_validity_of_a_data_point_is_text_in_classic(dialect, dev, valid):
    feature = UnitRegisters(value_reg=2, valid_mask_reg=9, name="temperature", unit="°C", factor=0.5)
    point = DataPoint("G", 4, feature, 0)
    registers = Registers()
    registers.write_through(2 | INPUT, [41])
    registers.write_through(9 | INPUT, [0b100])
    point.refresh(registers)
    shown = json.loads(fragment(point, dialect))
    assert [*shown.items()][:3] == [("dev", dev), ("circuit", "G_2"), ("value", 20.5)]
    assert [key for key in shown if key in ("name", "valid", "unit")] == ["name", "valid", "unit"]
    assert shown["valid"] == valid


@pytest.mark.parametrize(("dialect", "circuit"), [("classic", "Neuron_L533_0"), ("v3", "L533")])
def test_unit_information_is_named_by_the_dialect(dialect, circuit):
    info = DeviceInfo("LOCAL", DeviceInfoState("Neuron", "L533", 0, 3))
    assert json.loads(fragment(info, dialect)) == {
        "dev": "device_info", "family": "Neuron", "model": "L533", "sn": 0, "board_count": 3, "circuit": circuit,
    }  # fmt: skip


def test_an_alias_comes_last_and_only_when_there_is_one(main):
    led = main.device("led", "1_01")
    assert "alias" not in json.loads(fragment(led, "classic"))
    main.registry.book.rename(led, "lamp")
    assert list(json.loads(fragment(led, "classic")).items())[-1] == ("alias", "lamp")


def test_a_value_that_is_no_number_is_null(main):
    """Defect 9 of Evok: NaN is sent as invalid JSON, on every scan."""
    main.bus.words.update({3002: 0, 3003: 0x7FC0})
    main.clock.pump([0.02] * 10)
    assert json.loads(fragment(main.device("ai", "1_01"), "classic"))["value"] is None
    main.changed()
    main.bus.words.update({3003: 0x7FC1})  # another NaN
    main.clock.pump([0.02] * 10)
    assert "ai 1_01" not in [name for names in main.changed() for name in names]


def test_a_rendering_is_kept_until_the_state_changes(main):
    led = main.device("led", "1_01")
    assert fragment(led, "classic") is fragment(led, "classic")
    before = fragment(led, "classic")
    main.bus.words[20] = 1
    main.clock.advance(0.02)
    assert fragment(led, "classic") != before


def test_a_listing_is_one_json_list(main):
    assert json.loads(listing(main.registry, "classic"))[0]["circuit"] == "1_01"
    assert listing((), "classic") == b"[]"


def test_the_table_of_aliases_is_shown_as_each_dialect_has_it():
    table = AliasTable(lambda: {"door": Target(("do",), "1_01"), "old": Target(("uart",), "7")})
    assert state_object(table, "classic") == {
        "dev": "run",
        "circuit": "alias",
        "save": False,
        "aliases": {"door": "relay_1_01", "old": "uart_7"},
    }
    assert state_object(table, "v3")["aliases"] == {
        "door": {"circuit": "do_1_01", "devtype": "do"},
        "old": {"circuit": "uart_7", "devtype": "uart"},
    }
