"""Analog inputs and outputs: from registers to values, and from a set to writes."""

from __future__ import annotations

import struct

import pytest
from msgspec import UNSET

from evok_twisted.definitions import AnalogInputs, AnalogOutputs, BrainAnalogOutput, Mode, Transformation
from evok_twisted.errors import BadParameter, BadValue, Conflict
from evok_twisted.model.analog import ShownMode
from evok_twisted.model.device import Pulse
from evok_twisted.model.registers import WriteRegister, WriteRegisters

# Board 00: one AI, one AO with a choice of modes.
BAO_VALUE, BAO_MODE, RESISTANCE = 3000, 1019, 3004
AI_VALUE, AI_MODE = 3002, 1024

VOLTAGE = Mode(value=0, unit="V", range=(0, 10))
CURRENT = Mode(value=1, unit="mA", range=(0, 20))

NAN, INFINITY, NEGATIVE_INFINITY = (0, 0x7FC0), (0, 0x7F80), (0, 0xFF80)


def low_first(code, number):
    """The two registers of a number, low word first."""
    high, low = struct.unpack(">HH", struct.pack(f">{code}", number))
    return low, high


def at(register, words):
    return dict(enumerate(words, register))


@pytest.fixture
def main(board):
    return board("00")


# Inputs


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (low_first("f", 8.703), 8.703),
        (low_first("f", 0.0004), 0.0),
        (low_first("f", 19.99951), 20.0),
        (low_first("f", -5.0), -5.0),
        (NAN, None),
        (INFINITY, None),
        (NEGATIVE_INFINITY, None),
        ((0x0001, 0x7F80), None),
    ],
)
def test_an_input_is_a_float_of_two_registers_shown_to_three_decimals(main, words, value):
    main.put(at(AI_VALUE, words))
    assert main.state("ai 1_01").value == value


@pytest.mark.parametrize("number", [-0.0, -0.0001])
def test_no_value_is_a_negative_zero(main, number):
    main.put(at(AI_VALUE, low_first("f", number)))
    assert str(main.state("ai 1_01").value) == "0.0"


def test_inputs_have_two_registers_each_and_a_mode_each(board):
    inputs = board("xS51")
    inputs.put({**at(6 + 2 * 3, low_first("f", 1.5)), 1019 + 3: 3})
    states = [inputs.state(f"ai 1_{n:02}") for n in (1, 2, 3, 4)]
    assert [(state.value, state.mode, state.unit) for state in states] == [
        (0.0, "Disabled", None),
        (0.0, "Disabled", None),
        (0.0, "Disabled", None),
        (1.5, "Current20m", "mA"),
    ]


@pytest.mark.parametrize(
    ("register", "mode", "unit", "reach"),
    [(0, "Voltage", "V", (0, 10)), (1, "Current", "mA", (0, 20)), (2, None, None, None), (65535, None, None, None)],
)
def test_unit_and_range_are_those_of_the_mode(main, register, mode, unit, reach):
    main.put({AI_MODE: register})
    state = main.state("ai 1_01")
    assert (state.mode, state.unit, state.range) == (mode, unit, reach)


def test_the_modes_are_shown_with_what_is_known_of_them(board):
    inputs = board(
        AnalogInputs(val_reg=0, modes={"Off": Mode(value=0), "Voltage": Mode(unit="V", range=(0, 2.5))}),
    )
    assert inputs.state("ai 1_01").modes == {
        "Off": ShownMode(0, UNSET, UNSET),
        "Voltage": ShownMode(UNSET, "V", (0, 2.5)),
    }


@pytest.mark.parametrize(("modes", "mode"), [(["Voltage"], "Voltage"), (["Voltage", "Current"], None), ([], None)])
def test_without_a_mode_register_an_only_mode_is_the_mode(board, modes, mode):
    inputs = board(AnalogInputs(val_reg=0, modes={name: VOLTAGE for name in modes}))
    assert inputs.state("ai 1_01").mode == mode


@pytest.mark.parametrize(
    ("how", "words", "value"),
    [
        (Transformation(), low_first("f", 1.23456), 1.235),
        (Transformation(datatype="int32"), low_first("i", -70000), -70000.0),
        (Transformation(datatype="uint32"), low_first("i", -70000), 2**32 - 70000.0),
        (Transformation(datatype="int32", wordorder="big"), (0x0001, 0x0002), 65538.0),
        (Transformation(datatype="int32", byteorder="little"), (0x0200, 0x0100), 65538.0),
        (Transformation(datatype="int32", byteorder="little", wordorder="big"), (0x0100, 0x0200), 65538.0),
        (Transformation(datatype="int32", ratio=0.01), low_first("i", 2157), 21.57),
        (Transformation(datatype="int32", ratio=0.001, decimals=1), low_first("i", 2157), 2.2),
        (Transformation(decimals=0), low_first("f", 1.6), 2.0),
        (Transformation(decimals=5), low_first("f", 0.25), 0.25),
        (Transformation(ratio=1e300), low_first("f", 1e30), None),
        (Transformation(ratio=-2), low_first("f", 1.5), -3.0),
        (Transformation(datatype="int32"), NAN, 0x7FC00000),
    ],
)
def test_a_mode_may_transform_its_registers_to_the_value(board, how, words, value):
    inputs = board(AnalogInputs(val_reg=0, modes={"Only": Mode(transformation=how)}))
    inputs.put(at(0, words))
    assert inputs.state("ai 1_01").value == value


def test_each_mode_has_its_own_transformation(board):
    raw = {"Float": Mode(value=0), "Raw": Mode(value=1, transformation=Transformation(datatype="uint32"))}
    inputs = board(AnalogInputs(val_reg=0, mode_reg=10, modes=raw))
    inputs.put({**at(0, low_first("f", 1.0)), 10: 0})
    as_float = inputs.state("ai 1_01").value
    inputs.put({10: 1})
    assert (as_float, inputs.state("ai 1_01").value) == (1.0, 0x3F800000)


def test_an_input_in_an_unknown_mode_is_read_as_a_float(main):
    main.put({AI_MODE: 9, **at(AI_VALUE, low_first("f", 1.5))})
    assert main.state("ai 1_01").value == 1.5


@pytest.mark.parametrize(
    ("given", "writes"),
    [({"mode": "Current"}, [WriteRegister(AI_MODE, 1)]), ({"mode": "Voltage"}, [WriteRegister(AI_MODE, 0)]), ({}, [])],
)
def test_what_a_set_of_an_input_writes(main, given, writes):
    assert main.writes("ai 1_01", **given) == writes


def test_the_mode_of_each_input_has_its_register(board):
    assert board("xS51").writes("ai 1_04", mode="Resistance2W") == [WriteRegister(1022, 5)]


@pytest.mark.parametrize("mode", ["Resistance", "voltage", 1, None])
def test_a_mode_that_the_board_does_not_have_is_refused(main, mode):
    with pytest.raises(BadValue, match="mode: got .*, expected one of Voltage, Current"):
        main.plan("ai 1_01", mode=mode)


def test_an_input_cannot_be_set_to_a_value(main):
    with pytest.raises(BadParameter, match="allowed are mode"):
        main.plan("ai 1_01", value=1)


def test_a_mode_without_a_register_may_be_named_and_writes_nothing(board):
    assert board("UNIPI11").writes("ai 1_02", mode="Voltage") == []


def test_of_two_modes_without_a_register_neither_can_be_chosen(board):
    inputs = board(AnalogInputs(val_reg=0, modes={"Voltage": VOLTAGE, "Current": CURRENT}))
    with pytest.raises(BadParameter, match="allowed are none"):
        inputs.plan("ai 1_01", mode="Voltage")


def test_a_mode_whose_value_is_not_known_cannot_be_chosen(board):
    inputs = board(AnalogInputs(val_reg=0, mode_reg=10, modes={"Voltage": VOLTAGE, "Current": Mode()}))
    with pytest.raises(BadValue, match="expected one of Voltage$"):
        inputs.plan("ai 1_01", mode="Current")


@pytest.mark.parametrize(
    ("feature", "kind"),
    [
        (AnalogInputs(count=2, start_index=8, val_reg=0), "ai"),
        (AnalogOutputs(count=2, start_index=8, val_reg=0), "ao"),
        (BrainAnalogOutput(count=2, start_index=8, val_reg=0, mode_reg=10, res_val_reg=20), "ao"),
    ],
)
def test_a_start_index_numbers_analog_circuits_on(board, feature, kind):
    assert list(board(feature).devices) == [f"{kind} 1_09", f"{kind} 1_10"]


def test_before_the_first_read_an_analog_circuit_shows_its_modes_and_no_value(main):
    state = main["ai 1_01"].state
    assert (state.value, state.mode, list(state.modes)) == (None, None, ["Voltage", "Current"])


# Outputs of 4096 steps


@pytest.mark.parametrize(("step", "value"), [(0, 0.0), (1, 0.003), (2360, 5.9), (4000, 10.0), (4095, 10.238)])
def test_an_output_has_400_steps_a_volt(board, step, value):
    outputs = board("xS51")
    outputs.put({3: step})
    assert outputs.state("ao 1_02").value == value


def test_an_output_with_one_mode_is_in_it(board):
    state = board("xS51").state("ao 1_04")
    assert (state.mode, state.unit, state.range, state.modes) == (
        "Voltage",
        "V",
        (0, 10),
        {"Voltage": ShownMode(UNSET, "V", (0, 10))},
    )


@pytest.mark.parametrize(
    ("value", "step"),
    [
        (0, 0),
        (5.9, 2360),
        ("5.9", 2360),
        (10, 4000),
        (0.0012, 0),
        (0.0013, 1),
        (-0.001, 0),
        (-5, 0),
        (10.2374, 4095),
        (12, 4095),
        (1e9, 4095),
        (-1e9, 0),
    ],
)
def test_an_output_goes_to_the_nearest_step_that_there_is(board, value, step):
    assert board("xS51").writes("ao 1_02", value=value) == [WriteRegister(3, step)]


def test_an_output_with_a_mode_register_changes_the_mode_first(board):
    outputs = board(AnalogOutputs(count=2, val_reg=0, mode_reg=10, modes={"Voltage": VOLTAGE, "Current": CURRENT}))
    assert outputs.writes("ao 1_02", value=1, mode="Current") == [WriteRegister(11, 1), WriteRegister(1, 400)]


@pytest.mark.parametrize("value", ["nan", 1e300, "full", True, None])
def test_an_output_is_set_to_a_number(board, value):
    with pytest.raises(BadValue, match="value: got .*, expected a number"):
        board("xS51").plan("ao 1_01", value=value)


def test_an_output_that_is_told_nothing_does_nothing(board):
    assert board("xS51").writes("ao 1_01") == []


# The main board's output


@pytest.mark.parametrize(
    ("register", "mode", "value", "unit"),
    [
        (0, "Voltage", 8.301, "V"),
        (1, "Current", 8.301, "mA"),
        (2, "Resistance", 1234.5, "Ohm"),
        (3, "Resistance", 1234.5, "Ohm"),
        (65535, "Resistance", 1234.5, "Ohm"),
    ],
)
def test_the_main_output_shows_what_it_puts_out_or_the_resistance(main, register, mode, value, unit):
    main.put({BAO_MODE: register, **at(BAO_VALUE, low_first("f", 8.301)), **at(RESISTANCE, low_first("f", 1234.5))})
    state = main.state("ao 1_01")
    assert (state.mode, state.value, state.unit, state.range) == (mode, value, unit, UNSET)


@pytest.mark.parametrize(("register", "at_register"), [(0, BAO_VALUE), (3, RESISTANCE)])
def test_the_main_output_is_shown_to_three_decimals(main, register, at_register):
    main.put({BAO_MODE: register, **at(at_register, low_first("f", 8.30149))})
    assert main.state("ao 1_01").value == 8.301


@pytest.mark.parametrize("words", [NAN, INFINITY])
def test_a_main_output_that_holds_no_number_shows_none(main, words):
    main.put(at(BAO_VALUE, words))
    assert main.state("ao 1_01").value is None


def test_the_modes_of_the_main_output(main):
    assert main.state("ao 1_01").modes == {
        "Voltage": ShownMode(0, "V", (0, 10)),
        "Current": ShownMode(1, "mA", (0, 20)),
        "Resistance": ShownMode(2, "Ohm", (0, 2000)),
    }


def value_is(number):
    return WriteRegisters(BAO_VALUE, low_first("f", number))


@pytest.mark.parametrize(
    ("now", "given", "writes"),
    [
        (0, {"value": 5.5}, [value_is(5.5)]),
        (1, {"value": "15"}, [value_is(15)]),
        (0, {"value": 11}, [value_is(10)]),
        (0, {"value": -1}, [value_is(0)]),
        (1, {"value": 25}, [value_is(20)]),
        (0, {"mode": "Current"}, [WriteRegister(BAO_MODE, 1), value_is(8.25)]),
        (1, {"mode": "Voltage"}, [WriteRegister(BAO_MODE, 0), value_is(8.25)]),
        (3, {"mode": "Voltage"}, [WriteRegister(BAO_MODE, 0), value_is(8.25)]),
        (0, {"mode": "Resistance"}, [WriteRegister(BAO_MODE, 3)]),
        (0, {"value": 15, "mode": "Current"}, [WriteRegister(BAO_MODE, 1), value_is(15)]),
        (3, {"value": 5, "mode": "Voltage"}, [WriteRegister(BAO_MODE, 0), value_is(5)]),
        (0, {}, []),
        (3, {}, []),
    ],
)
def test_what_a_set_of_the_main_output_writes(main, now, given, writes):
    main.put({BAO_MODE: now, **at(BAO_VALUE, low_first("f", 8.25)), **at(RESISTANCE, low_first("f", 1234.5))})
    assert main.writes("ao 1_01", **given) == writes


def test_a_main_output_that_holds_no_number_begins_a_new_mode_with_0(main):
    main.put(at(BAO_VALUE, NAN))
    assert main.writes("ao 1_01", mode="Current") == [WriteRegister(BAO_MODE, 1), value_is(0)]


@pytest.mark.parametrize(("now", "given"), [(3, {"value": 1}), (0, {"value": 1, "mode": "Resistance"})])
def test_a_resistance_cannot_be_set(main, now, given):
    main.put({BAO_MODE: now})
    with pytest.raises(Conflict, match="ao 1_01: value cannot be set in mode Resistance"):
        main.plan("ao 1_01", **given)


@pytest.mark.parametrize("given", [{"value": "nan"}, {"mode": "Off"}])
def test_a_set_of_the_main_output_that_does_not_fit_is_refused(main, given):
    with pytest.raises(BadValue):
        main.plan("ao 1_01", **given)


def test_several_main_outputs_have_their_registers_one_after_the_other(board):
    modes = {"Voltage": VOLTAGE, "Resistance": Mode()}
    outputs = board(BrainAnalogOutput(count=2, val_reg=0, mode_reg=10, res_val_reg=20, modes=modes))
    outputs.put({**at(2, low_first("f", 1.5)), 11: 0, **at(22, low_first("f", 99))})
    voltage = outputs.state("ao 1_02").value
    outputs.put({11: 3})
    assert (voltage, outputs.state("ao 1_02").value) == (1.5, 99.0)


@pytest.fixture
def bare(board):
    """A main output of which the definition names one mode, without a range."""
    return board(BrainAnalogOutput(val_reg=0, mode_reg=2, res_val_reg=4, modes={"Voltage": Mode(unit="V")}))


def test_a_main_output_in_a_mode_that_the_definition_does_not_name_has_none(bare):
    bare.put({2: 3})
    assert (bare.state("ao 1_01").mode, bare.state("ao 1_01").unit) == (None, None)


@pytest.mark.parametrize("now", [0, 3])
def test_without_a_range_a_main_output_takes_any_value(bare, now):
    bare.put({2: now})
    assert bare.writes("ao 1_01", value=1000) == [WriteRegisters(0, low_first("f", 1000))]


def test_a_main_output_has_only_the_modes_that_the_definition_names(bare):
    with pytest.raises(BadValue, match="expected one of Voltage$"):
        bare.plan("ao 1_01", mode="Current")


# Definitions of Evok 3.0.6 name no modes for some outputs


def test_an_output_without_modes_has_that_which_evok_gives_it(board):
    made = board(AnalogOutputs(val_reg=2))
    made.put({2: 2000})
    state = made.state("ao 1_01")
    assert (state.mode, state.unit, state.range, state.value) == ("Voltage", "V", (0, 10), 5.0)
    assert made.writes("ao 1_01", value=99) == [WriteRegister(2, 4095)]


def test_the_main_output_without_modes_has_those_which_evok_gives_it(board):
    made = board(BrainAnalogOutput(val_reg=10, mode_reg=12, res_val_reg=14))
    assert list(made.state("ao 1_01").modes) == ["Voltage", "Current", "Resistance"]
    assert (made.state("ao 1_01").mode, made.state("ao 1_01").unit) == ("Voltage", "V")
    assert made.set("ao 1_01", value=99).value == 10
    assert made.set("ao 1_01", value=-1).value == 0
    state = made.set("ao 1_01", mode="Current", value=99)
    assert (state.mode, state.value, state.unit) == ("Current", 20, "mA")
    assert made.set("ao 1_01", mode="Resistance").mode == "Resistance"


# Pulses


def test_an_output_goes_back_to_what_it_showed_or_to_what_the_set_says(board):
    made = board(AnalogOutputs(val_reg=0))
    made.put({0: 1000})
    assert made.plan("ao 1_01", value=5, timeout=2).pulse == Pulse(2.0, 2.5, 5.0)
    assert made.plan("ao 1_01", value=5.001, timeout=2, then=99).pulse == Pulse(2.0, 10.238, 5.0)


def test_an_output_whose_pulse_is_renewed_goes_back_to_what_was_before_the_first(board):
    made = board(AnalogOutputs(val_reg=0))
    made.put({0: 1000})
    made["ao 1_01"].local["back"] = 1.0
    assert made.plan("ao 1_01", value=5, timeout=2).pulse.value == 1.0


def test_the_main_output_goes_back_within_its_range(main):
    main.put({BAO_MODE: 0, **at(BAO_VALUE, low_first("f", 3.25))})
    assert main.plan("ao 1_01", value=7, timeout=1).pulse == Pulse(1.0, 3.25, 7.0)
    assert main.plan("ao 1_01", value=7, timeout=1, then=40).pulse == Pulse(1.0, 10.0, 7.0)
    main.put({BAO_MODE: 3})
    with pytest.raises(Conflict):
        main.plan("ao 1_01", value=7, timeout=1)


def test_a_timeout_of_an_analog_output_goes_with_a_value(board, main):
    for made in (board(AnalogOutputs(val_reg=0)), main):
        made.put({0: 0, BAO_MODE: 0, **at(BAO_VALUE, low_first("f", 0.0))})
        with pytest.raises(BadParameter, match="timeout goes with value"):
            made.plan("ao 1_01", timeout=1)
