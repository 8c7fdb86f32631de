"""Watchdogs, registers, data points, coils that stand for themselves, slaves and units; and what every device has."""

from __future__ import annotations

import math
import struct

import pytest
from msgspec import UNSET

from evok_twisted.definitions import DataPoints, NvSave, OneWirePower, RawRegisters, UnitRegisters, Watchdog
from evok_twisted.errors import BadParameter, BadValue
from evok_twisted.model.device import BoardDevice, Plan, Pulse, State
from evok_twisted.model.registers import INPUT, Registers, WriteCoil, WriteRegister
from evok_twisted.model.system import NEVER, DataPoint, DeviceInfo, DeviceInfoState, ModbusSlave, WatchdogState

# Watchdogs

VALUE, TIMEOUT, NV_SAVE, RESET = 6, 1008, 1003, 1002


@pytest.fixture
def main(board):
    return board("00")


@pytest.mark.parametrize(
    ("word", "value", "was_reset"), [(0, 0, 0), (1, 1, 0), (2, 2, 1), (3, 3, 1), (0xFFFC, 0, 0), (0xFFFF, 3, 1)]
)
def test_a_watchdog_is_two_bits(main, word, value, was_reset):
    main.put({VALUE: word, TIMEOUT: 5000})
    assert main.state("wd 1_01") == WatchdogState(value, 5000, was_reset, 0)


@pytest.mark.parametrize(
    ("given", "writes"),
    [
        ({"value": 1}, [WriteRegister(VALUE, 1)]),
        ({"value": "0"}, [WriteRegister(VALUE, 0)]),
        ({"timeout": "65535"}, [WriteRegister(TIMEOUT, 65535)]),
        ({"nv_save": 1}, [WriteCoil(NV_SAVE, 1)]),
        ({"nv_save": 0}, [WriteCoil(NV_SAVE, 0)]),
        ({"reset": 1}, [WriteCoil(RESET, 1)]),
        ({"reset": 0}, []),
        (
            {"reset": True, "nv_save": True, "timeout": 100, "value": True},
            [WriteRegister(VALUE, 1), WriteRegister(TIMEOUT, 100), WriteCoil(NV_SAVE, 1), WriteCoil(RESET, 1)],
        ),
        ({}, []),
    ],
)
def test_what_a_set_of_a_watchdog_writes(main, given, writes):
    assert main.writes("wd 1_01", **given) == writes


@pytest.mark.parametrize("given", [{"value": 2}, {"timeout": 65536}, {"timeout": -1}, {"nv_save": "yes"}, {"reset": 3}])
def test_a_set_of_a_watchdog_that_does_not_fit_is_refused(main, given):
    with pytest.raises(BadValue):
        main.plan("wd 1_01", **given)


def test_a_watchdog_keeps_what_was_acknowledged_last_for_nv_save(main):
    shown = [main.state("wd 1_01").nv_save, *(main.set("wd 1_01", nv_save=value).nv_save for value in (1, 0))]
    assert shown == [0, 1, 0]


def test_a_reset_is_not_taken_for_a_save(main):
    assert main.set("wd 1_01", reset=1).nv_save == 0


def test_a_watchdog_is_decoded_anew_when_its_save_is_acknowledged(main):
    changed = WriteCoil(NV_SAVE, 1).apply(main.registers)
    assert set(changed) <= main["wd 1_01"].watches


@pytest.mark.parametrize("name", ["nv_save", "reset"])
def test_a_watchdog_without_those_coils_has_no_such_parameter(board, name):
    with pytest.raises(BadParameter, match="allowed are value, timeout$"):
        board(Watchdog(val_reg=0, timeout_reg=1)).plan("wd 1_01", **{name: 1})


@pytest.mark.parametrize("timeout", [0, 65535])
def test_the_limits_of_a_watchdogs_timeout_are_within(main, timeout):
    assert main.set("wd 1_01", timeout=timeout).timeout == timeout


def test_several_watchdogs_have_their_registers_one_after_the_other(board):
    watchdogs = board(Watchdog(count=2, start_index=3, val_reg=0, timeout_reg=10))
    watchdogs.put({1: 1, 11: 500})
    assert watchdogs.state("wd 1_05") == WatchdogState(1, 500, 0, 0)


def test_a_watchdog_without_a_coil_to_save_shows_0(board):
    assert board(Watchdog(val_reg=0, timeout_reg=1)).state("wd 1_01").nv_save == 0


# Registers


@pytest.mark.parametrize(
    ("reg_type", "circuits"),
    [("holding", ["register 1_9", "register 1_10"]), ("input", ["register 1_9_inp", "register 1_10_inp"])],
)
def test_a_register_is_called_by_its_address(board, reg_type, circuits):
    assert list(board(RawRegisters(count=2, start_reg=9, reg_type=reg_type)).devices) == circuits


@pytest.mark.parametrize(("reg_type", "circuit", "key"), [("holding", "1_9", 9), ("input", "1_9_inp", 9 | INPUT)])
def test_a_register_shows_its_word(board, reg_type, circuit, key):
    registers = board(RawRegisters(start_reg=9, reg_type=reg_type))
    registers.put({9: 1, 9 | INPUT: 1, key: 65535})
    assert registers.state(f"register {circuit}").value == 65535


@pytest.mark.parametrize(
    ("given", "writes"),
    [({"value": 65535}, [WriteRegister(10, 65535)]), ({"value": "7"}, [WriteRegister(10, 7)]), ({}, [])],
)
def test_what_a_set_of_a_register_writes(board, given, writes):
    assert board(RawRegisters(count=2, start_reg=9)).writes("register 1_10", **given) == writes


@pytest.mark.parametrize("value", [-1, 65536, 0.5, "many"])
def test_a_register_takes_sixteen_bits(board, value):
    with pytest.raises(BadValue, match="value: got .*, expected a whole number from 0 to 65535"):
        board(RawRegisters(start_reg=9)).plan("register 1_9", value=value)


def test_an_input_register_cannot_be_set(board):
    with pytest.raises(BadParameter, match="allowed are none"):
        board(RawRegisters(start_reg=9, reg_type="input")).plan("register 1_9_inp", value=1)


# Data points


def big_first(code, number):
    raw = struct.pack(f">{code}", number)
    return struct.unpack(f">{len(raw) // 2}H", raw)


@pytest.mark.parametrize(
    ("datatype", "words", "value"),
    [
        (None, (65535,), 65535),
        ("unsigned16", (40000,), 40000),
        ("signed16", (0xFFFE,), -2),
        ("float32", big_first("f", 20.5), 20.5),
        ("int32", big_first("i", -70000), -70000),
        ("uint32", big_first("I", 4_000_000_000), 4_000_000_000),
        ("float64", big_first("d", 1e-300), 1e-300),
        ("int64", big_first("q", -(2**62)), -(2**62)),
        ("uint64", big_first("Q", 2**64 - 1), 2**64 - 1),
        ("float32", (0x7FC0, 0), None),
        ("float32", (0xFF80, 0), None),
        ("float64", big_first("d", math.nan), None),
    ],
)
def test_a_data_point_is_a_number_of_its_type_high_word_first(board, datatype, words, value):
    given = {} if datatype is None else {"datatype": datatype}
    points = board(DataPoints(value_reg=5, **given))
    points.put(dict(enumerate(words, 5)))
    assert points.state("data_point 1_5").value == value


@pytest.mark.parametrize(
    ("datatype", "words", "given", "value"),
    [
        ("unsigned16", (2150,), {"factor": 0.01}, 21.5),
        ("signed16", (0xFFFE,), {"factor": 0.5, "offset": 10}, 9.0),
        ("unsigned16", (3,), {"offset": -273.15}, 3 - 273.15),
        ("float32", big_first("f", 1.5), {"factor": 2, "offset": 1}, 4.0),
        ("float32", big_first("f", 1e38), {"factor": 1e300}, None),
        ("float32", (0x7FC0, 0), {"factor": 2}, None),
        ("unsigned16", (7,), {"factor": 0}, 0),
    ],
)
def test_factor_and_offset_follow_in_this_order(board, datatype, words, given, value):
    points = board(DataPoints(value_reg=5, datatype=datatype, **given))
    points.put(dict(enumerate(words, 5)))
    assert points.state("data_point 1_5").value == pytest.approx(value)


@pytest.mark.parametrize(
    ("feature", "space"),
    [
        (UnitRegisters(value_reg=5), INPUT),
        (UnitRegisters(value_reg=5, reg_type="holding"), 0),
        (DataPoints(value_reg=5), 0),
        (DataPoints(value_reg=5, reg_type="input"), INPUT),
    ],
)
def test_a_unit_register_is_in_input_registers_and_a_data_point_in_holding_registers_unless_told(board, feature, space):
    points = board(feature)
    points.put({5 | space: 42})
    assert points.state("data_point 1_5").value == 42


def test_data_points_follow_register_by_register_and_are_called_by_their_address(board):
    points = board(DataPoints(count=3, value_reg=5))
    points.put({5: 1, 6: 2, 7: 3})
    assert {name: points.state(name).value for name in points.devices} == {
        "data_point 1_5": 1,
        "data_point 1_6": 2,
        "data_point 1_7": 3,
    }


def test_a_data_point_shows_its_name_and_unit(board):
    state = board(DataPoints(value_reg=5, name="temperature", unit="°C")).state("data_point 1_5")
    assert (state.name, state.unit) == ("temperature", "°C")


def test_without_a_mask_nothing_is_said_of_validity(board):
    assert board(DataPoints(value_reg=5)).state("data_point 1_5").valid is UNSET


@pytest.mark.parametrize(("given", "valid"), [({}, UNSET), ({"valid_mask_reg": 100}, None)])
def test_before_the_first_read_nothing_is_known_of_validity(board, given, valid):
    assert board(DataPoints(value_reg=5, **given))["data_point 1_5"].state.valid is valid


@pytest.mark.parametrize(
    ("given", "mask", "valid"),
    [
        ({}, 0b10_0000, True),
        ({}, 0b01_1111, False),
        ({}, 0xFFFF, True),
        ({"valid_mask": 0b110}, 0b100, True),
        ({"valid_mask": 0b110}, 0b10_0000, False),
    ],
)
@pytest.mark.parametrize(("cls", "space"), [(DataPoints, 0), (UnitRegisters, INPUT)])
def test_a_data_point_is_valid_by_its_mask_or_else_by_the_bit_of_its_address(board, cls, space, given, mask, valid):
    points = board(cls(value_reg=5, valid_mask_reg=100, **given))
    points.put({100 | space: mask})
    assert points.state("data_point 1_5").valid is valid


def test_each_of_several_data_points_has_its_bit(board):
    gateway = board("xG18")
    gateway.put({9 | INPUT: 0b1_0000_0010})
    assert [n for n in range(1, 9) if gateway.state(f"data_point 1_{n}").valid] == [1, 8]


def test_a_data_point_cannot_be_set(board):
    with pytest.raises(BadParameter, match="allowed are none"):
        board(DataPoints(value_reg=5)).plan("data_point 1_5", value=1)


# Coils that nothing shows


@pytest.mark.parametrize(("cls", "kind"), [(OneWirePower, "owpower"), (NvSave, "nv_save")])
class TestCoils:
    def test_one_alone_is_called_as_the_device(self, board, cls, kind):
        assert list(board(cls(val_coil=1001)).devices) == [f"{kind} 1"]

    def test_several_are_numbered(self, board, cls, kind):
        assert list(board(cls(count=2, start_index=4, val_coil=1001)).devices) == [f"{kind} 1_05", f"{kind} 1_06"]

    def test_several_have_their_coils_one_after_the_other(self, board, cls, kind):
        assert board(cls(count=2, val_coil=1001)).writes(f"{kind} 1_02", value=1) == [WriteCoil(1002, 1)]

    @pytest.mark.parametrize("value", [0, 1])
    def test_it_is_set_by_its_coil(self, board, cls, kind, value):
        assert board(cls(val_coil=1001)).writes(f"{kind} 1", value=value) == [WriteCoil(1001, value)]

    def test_it_keeps_what_was_acknowledged_last(self, board, cls, kind):
        coils = board(cls(val_coil=1001))
        shown = [coils.state(f"{kind} 1").value, *(coils.set(f"{kind} 1", value=value).value for value in (1, 1, 0))]
        assert shown == [0, 1, 1, 0]

    def test_it_is_decoded_anew_when_its_coil_is_acknowledged(self, board, cls, kind):
        coils = board(cls(val_coil=1001))
        assert set(WriteCoil(1001, 1).apply(coils.registers)) == coils[f"{kind} 1"].watches

    def test_it_has_a_value_before_anything_was_read(self, board, cls, kind):
        assert board(cls(val_coil=1001))[f"{kind} 1"].state.value == 0

    def test_it_is_0_or_1(self, board, cls, kind):
        with pytest.raises(BadValue, match="expected 0 or 1"):
            board(cls(val_coil=1001)).plan(f"{kind} 1", value=2)

    def test_told_nothing_it_writes_nothing(self, board, cls, kind):
        assert board(cls(val_coil=1001)).writes(f"{kind} 1") == []


# Slaves and units


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def slave(now):
    return ModbusSlave("xS51", 3, lambda: now[0], 17, "TCP", "127.0.0.1", 0.02)


def test_a_slave_that_never_answered_says_so_with_the_largest_number(slave):
    assert slave.state.last_comm == NEVER == 2147483647


def test_a_slave_computes_its_state_each_time(slave, now):
    slave.answered = now[0]
    before = slave.state
    now[0] += 5
    assert (before.last_comm, slave.state.last_comm) == (0, 5)


@pytest.mark.parametrize(("later", "last_comm"), [(0, 0.0), (0.0036, 0.0036), (86400, 86400.0)])
def test_a_slave_tells_how_long_ago_it_last_answered(slave, now, later, last_comm):
    slave.answered = now[0]
    now[0] += later
    assert slave.state.last_comm == pytest.approx(last_comm)


def test_the_time_since_the_last_answer_is_told_to_the_microsecond(slave, now):
    slave.answered, now[0] = 1.0, 1.12345678
    assert slave.state.last_comm == 0.123457


def test_a_slave_tells_where_it_is(slave):
    state = slave.state
    assert (state.slave_id, state.modbus_type, state.modbus_spec, state.scan_interval) == (17, "TCP", "127.0.0.1", 0.02)


def test_a_slave_is_called_as_its_device_and_numbered_with_it(slave):
    assert (slave.circuit, slave.group, slave.number) == ("xS51", "xS51", 3)


@pytest.fixture
def unit():
    return DeviceInfo("LOCAL", DeviceInfoState("Neuron", "L533", 7, 3))


@pytest.mark.parametrize(("dialect", "circuit"), [("classic", "Neuron_L533_7"), ("v3", "L533")])
def test_a_unit_is_called_by_what_is_printed_on_it(unit, dialect, circuit):
    assert unit.circuit_in(dialect) == circuit


def test_a_unit_shows_what_is_printed_on_it(unit):
    assert unit.state == DeviceInfoState("Neuron", "L533", 7, 3)


def test_a_unit_has_no_number_on_the_wire(unit):
    assert unit.number is None


# What every device has


def all_below(cls):
    return [below for direct in cls.__subclasses__() for below in (direct, *all_below(direct))]


@pytest.mark.parametrize("cls", [Plan, Pulse, *all_below(State)], ids=lambda cls: cls.__name__)
def test_a_state_or_a_plan_does_not_change(cls):
    assert cls.__struct_config__.frozen


def test_most_devices_have_one_circuit_in_both_dialects(main):
    assert {main["di 1_01"].circuit_in(dialect) for dialect in ("classic", "v3")} == {"1_01"}


def test_before_the_registers_are_known_the_state_is_blank_and_stays(main):
    device = main["wd 1_01"]
    assert (device.refresh(Registers()), device.state) == (False, WatchdogState())


def test_a_device_waits_for_all_its_registers(main):
    some = Registers()
    some.write_through(VALUE, (1,))
    assert main["wd 1_01"].refresh(some) is False


def test_a_refresh_tells_whether_the_state_changed(board):
    registers = board(RawRegisters(start_reg=9))
    device = registers["register 1_9"]
    changed = [device.refresh(registers.registers), device.refresh(registers.registers)]
    registers.put({9: 5})
    assert [*changed, device.refresh(registers.registers), device.state.value] == [True, False, True, 5]


def test_while_the_registers_stay_the_state_is_the_very_same(board):
    registers = board(RawRegisters(start_reg=9))
    device = registers["register 1_9"]
    device.refresh(registers.registers)
    before = device.state
    device.refresh(registers.registers)
    assert device.state is before
    registers.put({9: 5})
    device.refresh(registers.registers)
    assert device.state is not before


def test_what_was_rendered_is_forgotten_when_the_alias_changes(slave):
    slave.fragments["classic"] = slave.state, b"{}"
    slave.alias = "door"
    assert (slave.alias, slave.fragments) == ("door", {})


def test_a_plan_that_needs_registers_that_were_not_read_cannot_be_made(main):
    with pytest.raises(KeyError):
        main["do 1_01"].plan({"value": 1}, Registers())


def test_a_device_of_no_kind_of_its_own_shows_its_blank_state_and_plans_nothing():
    device = BoardDevice("x", "x", None, State())
    assert (device.decode(Registers()), device.plan({}, Registers())) == (State(), Plan())


@pytest.mark.parametrize("kind", ["di", "do", "ai", "ao", "led", "wd", "owpower", "register"])
def test_a_device_has_the_name_and_the_number_of_its_board(main, kind):
    devices = [device for device in main.devices.values() if device.kind == kind]
    assert {(device.group, device.number) for device in devices} == {("1", 2)}


@pytest.mark.parametrize(("word", "value"), [(57, 0.57), (2153, 21.53), (1, 0.01)])
def test_a_scaled_data_point_shows_no_noise_of_floats(word, value):
    point = DataPoint("G", 2, DataPoints(value_reg=0, factor=0.01), 0)
    registers = Registers()
    registers.write_through(0, [word])
    point.refresh(registers)
    assert point.state.value == value
