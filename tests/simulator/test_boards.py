"""A simulated board: which addresses it has, what they hold at first, and how they hang together."""

from __future__ import annotations

import math

import pytest
from fakes import DEFINITIONS
from hypothesis import given, settings
from hypothesis import strategies as st

from evok_twisted.definitions import (
    AnalogInputs,
    Block,
    DataPoints,
    Definition,
    DigitalInputs,
    Mode,
    Relays,
    load_definition,
)
from evok_twisted.definitions import Transformation as Transform
from evok_twisted.model.boards import build
from evok_twisted.model.codec import decode, encode, words_of
from evok_twisted.model.registers import Registers
from evok_twisted.problems import Problems
from evok_twisted.simulator.boards import SimulatedBoard

MODELS = sorted(file.stem for file in DEFINITIONS.glob("*.yaml"))


def board_of(model):
    return SimulatedBoard(load_definition(DEFINITIONS / f"{model}.yaml", Problems()))


def custom(*features):
    blocks = (Block(0, 20),)
    return SimulatedBoard(Definition("T", "T.yaml", blocks, tuple((str(n), f) for n, f in enumerate(features))))


def states(board):
    """What a client is shown of a board: by kind and circuit."""
    registers = Registers()
    for block in board.definition.blocks:
        space = board.input if block.input else board.holding
        registers.store(block, tuple(space.read(block.start, block.count)))
    devices = build(board.definition, "1", 1, Problems())
    return {(device.kind, device.circuit): device.decode(registers) for device in devices}


def counter(board, register):
    low, high = board.holding.read(register, 2)
    return low | high << 16


# addresses


@pytest.mark.parametrize("model", MODELS)
def test_the_registers_are_those_of_the_blocks(model):
    board = board_of(model)
    blocks = board.definition.blocks
    assert set(board.holding) == {a for b in blocks if not b.input for a in range(b.start, b.start + b.count)}
    assert set(board.input) == {a for b in blocks if b.input for a in range(b.start, b.start + b.count)}


def test_the_coils_are_those_that_features_name():
    assert sorted(board_of("00").coils) == [0, 1, 2, 3, 8, 9, 10, 11, 1001, 1002, 1003]
    assert sorted(board_of("IAQ").coils) == []


@pytest.mark.parametrize("space", ["holding", "input", "coils"])
def test_another_address_cannot_be_read_or_written(space):
    numbers = getattr(board_of("00"), space)
    with pytest.raises(KeyError):
        numbers[500]
    with pytest.raises(KeyError):
        numbers[500] = 1
    with pytest.raises(KeyError):
        numbers.read(499, 3)


def test_a_write_that_reaches_beyond_a_block_writes_nothing():
    board = board_of("13")
    with pytest.raises(KeyError):
        board.holding.write(26, [7, 7, 7])
    assert board.holding.read(26, 2) == [0, 0]


def test_adjacent_blocks_are_read_as_one():
    assert len(board_of("00").holding.read(0, 21)) == 21


@pytest.mark.parametrize("word", [-1, 0x10000])
def test_a_register_takes_words_only(word):
    board = board_of("00")
    with pytest.raises(ValueError, match="65535"):
        board.holding[2] = word
    assert board.holding[2] == 0


# coils and the registers that they are bits of


def test_an_outputs_coil_is_a_bit_of_its_register():
    board = board_of("00")
    board.coils[2] = 1
    assert board.holding[1] == 0b0100
    board.holding[1] = 0b1010
    assert board.coils.read(0, 4) == [0, 1, 0, 1]
    board.coils[1] = 0
    assert board.holding[1] == 0b1000


def test_a_leds_coil_is_a_bit_of_its_own_register():
    board = board_of("xS11")
    board.coils[26] = 1
    assert board.holding[31] == 0b010


def test_the_seventeenth_relay_of_a_board_of_two_features_is_bit_0_of_the_second_register():
    board = board_of("07")
    board.coils[16] = 1
    assert (board.holding[0], board.holding[1]) == (0, 1)


def test_the_coil_of_1_wire_power_stands_alone():
    board = board_of("00")
    before = dict(board.holding)
    board.coils[1001] = 1
    assert board.coils[1001] == 1
    assert dict(board.holding) == before


@pytest.mark.parametrize("coil", [1002, 1003])
def test_reset_and_nv_save_return_to_0_by_themselves(coil):
    board = board_of("00")
    board.coils[coil] = 1
    assert board.coils[coil] == 0


def test_the_coil_of_an_output_without_a_register_stands_alone():
    board = custom(Relays(val_reg=99, val_coil=5))
    board.coils[5] = 1
    assert board.coils[5] == 1
    assert set(board.holding.values()) == {0}


# counters


def test_an_input_counts_its_rising_edges():
    board = board_of("00")
    for value in (1, 1, 0, 0, 1):
        board.set_input(2, value)
    assert [counter(board, register) for register in (8, 10, 12, 14)] == [0, 2, 0, 0]


def test_inputs_that_rise_in_one_write_all_count():
    board = board_of("00")
    board.holding[0] = 0b1001
    board.holding[0] = 0b1011
    assert [counter(board, register) for register in (8, 10, 12, 14)] == [1, 1, 0, 1]


def test_a_counter_carries_into_its_high_word():
    board = board_of("13")
    board.holding.write(16, [0xFFFF, 2])
    board.set_input(1, 1)
    assert board.holding.read(16, 2) == [0, 3]


def test_a_counter_wraps():
    board = board_of("13")
    board.holding.write(16, [0xFFFF, 0xFFFF])
    board.set_input(1, 1)
    assert counter(board, 16) == 0


def test_a_counter_is_reset_by_writing_it():
    board = board_of("13")
    board.set_input(1, 1)
    board.holding.write(16, [0, 0])
    assert counter(board, 16) == 0
    board.set_input(1, 0)
    board.set_input(1, 1)
    assert counter(board, 16) == 1


def test_inputs_of_two_features_are_numbered_on():
    board = board_of("xS30")
    assert board.digital_inputs == list(range(1, 25))
    board.set_input(17, 1)
    assert (board.holding[0], board.holding[1], counter(board, 35)) == (0, 1, 1)
    assert [board.get_input(number) for number in (1, 16, 17, 18)] == [0, 0, 1, 0]


def test_an_input_whose_register_no_block_has_is_none():
    board = custom(DigitalInputs(val_reg=99, counter_reg=3, deboun_reg=10))
    assert board.digital_inputs == []


def test_an_input_without_counter_registers_does_not_count():
    board = custom(DigitalInputs(val_reg=0, counter_reg=19, deboun_reg=10))
    board.set_input(1, 1)
    assert board.holding[19] == 0


# at first


@pytest.mark.parametrize("model", MODELS)
def test_every_shipped_board_can_be_shown(model):
    shown = states(board_of(model))
    assert [circuit for circuit, state in shown.items() if state.value is None] == []


def test_what_a_main_board_holds_at_first():
    shown = states(board_of("00"))
    assert shown["di", "1_01"].debounce == 50
    assert shown["wd", "1_01"].timeout == 5000
    output = shown["do", "1_01"]
    assert (output.mode, output.pwm_freq, output.pwm_duty) == ("Simple", 4800.0, 0)
    assert (shown["ai", "1_01"].mode, shown["ai", "1_01"].value) == ("Voltage", 2.5)
    assert (shown["ao", "1_01"].mode, shown["ao", "1_01"].value) == ("Voltage", 0.0)


def test_the_main_output_measures_a_resistance_in_that_mode():
    board = board_of("00")
    board.holding[1019] = 3
    assert states(board)["ao", "1_01"].value == 100.0


def test_analog_inputs_are_in_their_first_mode():
    assert {state.mode for (kind, _), state in states(board_of("13")).items() if kind == "ai"} == {"Disabled"}


def test_an_air_quality_sensor_measures_plausible_things():
    shown = {state.name: state.value for (kind, _), state in states(board_of("IAQ")).items() if kind == "data_point"}
    assert shown["temperature"] == 21.5
    assert shown["CO2"] == 640.0
    assert shown["atm_pressure"] == 1013.25


def test_thermometers_with_a_factor_and_a_mask_are_valid():
    thermometers = [state for (kind, _), state in states(board_of("xG18")).items() if kind == "data_point"]
    assert len(thermometers) == 8
    assert {(state.value, state.valid) for state in thermometers} == {(21.5, True)}


def test_a_data_point_may_be_in_a_holding_register():
    board = custom(DataPoints(value_reg=4, datatype="signed16", unit="°C", factor=0.1, offset=40))
    assert board.holding[4] == 0x10000 - 185


# analog inputs


@pytest.mark.parametrize(("model", "number", "value"), [("00", 1, 7.25), ("13", 3, -1.5), ("IC-AiUC8-2", 8, 0.0)])
def test_an_analog_input_measures_what_it_is_set_to(model, number, value):
    board = board_of(model)
    board.set_analog(number, value)
    assert states(board)["ai", f"1_{number:02}"].value == value


def test_the_range_is_that_of_the_mode():
    board = board_of("13")
    assert board.analog_range(2) is None
    board.holding[1020] = 3
    assert board.analog_range(2) == (0, 20)
    board.holding[1020] = 77
    assert board.analog_range(2) is None


def test_the_range_of_a_board_with_one_mode_needs_no_mode_register():
    assert board_of("UNIPI11").analog_range(1) == (0, 10)


@pytest.mark.parametrize("datatype", ["float32", "int32", "uint32"])
@pytest.mark.parametrize("byteorder", ["big", "little"])
@pytest.mark.parametrize("wordorder", ["big", "little"])
def test_an_analog_input_keeps_to_its_modes_transformation(datatype, byteorder, wordorder):
    how = Transform(datatype=datatype, byteorder=byteorder, wordorder=wordorder, ratio=0.5)
    board = custom(AnalogInputs(val_reg=2, modes={"Weight": Mode(unit="kg", range=(0, 1000), transformation=how)}))
    board.set_analog(1, 123.5)
    assert states(board)["ai", "1_01"].value == 123.5


@given(st.floats(width=32) | st.integers(-(2**70), 2**70), st.data())
@settings(max_examples=150, derandomize=True, deadline=None)
def test_what_is_encoded_is_decoded_the_same_or_as_near_as_the_type_can(value, data):
    datatype = data.draw(
        st.sampled_from(["unsigned16", "signed16", "float32", "int32", "uint32", "float64", "int64", "uint64"])
    )
    byteorder = data.draw(st.sampled_from(["big", "little"]))
    wordorder = data.draw(st.sampled_from(["big", "little"]))
    words = encode(value, datatype, byteorder, wordorder)
    assert len(words) == words_of(datatype)
    assert all(0 <= word <= 0xFFFF for word in words)
    shown = decode(words, datatype, byteorder, wordorder)
    if datatype.startswith("float"):
        assert shown == pytest.approx(value, rel=1e-6, nan_ok=True)
    elif not math.isnan(value):
        bits = 16 * len(words)
        least, most = (0, 2**bits - 1) if "u" in datatype else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        assert shown == round(min(max(value, least), most))


def test_a_float_that_is_too_large_is_infinite():
    assert decode(encode(-1e300, "float32"), "float32") == -math.inf
