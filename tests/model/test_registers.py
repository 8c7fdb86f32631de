"""What is known of registers: what a scan and an acknowledged write change in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evok_twisted.definitions import Block
from evok_twisted.model.registers import COIL, INPUT, Registers, WriteCoil, WriteRegister, WriteRegisters, keys_of

HOLDING = Block(10, 3)
INPUTS = Block(10, 3, input=True)


@pytest.fixture
def registers():
    registers = Registers()
    registers.store(HOLDING, (1, 2, 3))
    return registers


def test_the_first_words_of_a_block_are_all_changes():
    assert list(Registers().store(HOLDING, (0, 0, 0))) == [10, 11, 12]


def test_an_unchanged_block_changes_nothing(registers):
    assert list(registers.store(HOLDING, (1, 2, 3))) == []


def test_only_the_words_that_changed_are_told(registers):
    assert list(registers.store(HOLDING, (1, 5, 3))) == [11]


def test_what_was_stored_is_there(registers):
    registers.store(HOLDING, (7, 8, 9))
    assert [registers[key] for key in (10, 11, 12)] == [7, 8, 9]


def test_a_register_that_was_not_read_is_not_there(registers):
    assert 13 not in registers
    with pytest.raises(KeyError):
        registers[13]


def test_input_registers_are_told_from_holding_registers(registers):
    assert list(registers.store(INPUTS, (1, 2, 3))) == [10 | INPUT, 11 | INPUT, 12 | INPUT]


def test_input_registers_leave_holding_registers_alone(registers):
    registers.store(INPUTS, (7, 8, 9))
    assert (registers[10], registers[10 | INPUT]) == (1, 7)


def test_a_block_takes_as_many_words_as_it_has(registers):
    with pytest.raises(ValueError):
        registers.store(HOLDING, (1, 2, 3, 4))


def test_the_keys_of_a_block_are_its_addresses():
    assert list(keys_of(HOLDING)) == [10, 11, 12]


def test_an_acknowledged_write_is_a_change(registers):
    assert list(registers.write_through(11, (2, 9))) == [12]


def test_an_acknowledged_write_of_what_was_there_is_no_change(registers):
    assert list(registers.write_through(11, (2, 3))) == []


def test_a_scan_that_finds_the_old_words_after_a_write_tells_them_again(registers):
    registers.write_through(11, (9,))
    assert list(registers.store(HOLDING, (1, 2, 3))) == [11]


def test_a_scan_that_finds_the_written_words_is_no_change(registers):
    registers.write_through(11, (9,))
    assert list(registers.store(HOLDING, (1, 9, 3))) == []


def test_of_two_blocks_with_a_register_in_common_the_one_that_was_read_last_holds(registers):
    registers.store(Block(12, 2), (9, 9))
    assert list(registers.store(HOLDING, (1, 2, 3))) == [12]


def test_a_block_that_changes_leaves_the_blocks_beside_it_unchanged(registers):
    registers.store(Block(13, 2), (8, 9))
    registers.store(HOLDING, (4, 5, 6))
    assert list(registers.store(Block(13, 2), (8, 9))) == []


@pytest.mark.parametrize(("value", "word"), [(1, 0b1100), (0, 0b1000)])
def test_a_coil_that_a_register_shows_changes_its_bit_and_no_other(value, word):
    registers = Registers()
    registers.write_through(20, (0b1100 if not value else 0b1000,))
    assert list(WriteCoil(5, value, (20, 2)).apply(registers)) == [20]
    assert registers[20] == word


def test_a_coil_that_already_is_so_changes_nothing():
    registers = Registers()
    registers.write_through(20, (0b100,))
    assert list(WriteCoil(5, 1, (20, 2)).apply(registers)) == []


def test_a_coil_whose_register_was_not_read_changes_nothing():
    registers = Registers()
    assert list(WriteCoil(5, 1, (20, 2)).apply(registers)) == []
    assert 20 not in registers


def test_a_coil_that_nothing_shows_keeps_what_was_acknowledged_last(registers):
    assert registers.last_written(12) == 0
    assert list(WriteCoil(12, 1).apply(registers)) == [12 | COIL]
    assert (registers.last_written(12), registers[12]) == (1, 3)


@pytest.mark.parametrize(
    ("write", "keys"),
    [
        (WriteCoil(5, 1, (10, 2)), [10]),
        (WriteCoil(5, 1), [5 | COIL]),
        (WriteRegister(10, 7), [10]),
        (WriteRegisters(10, (7, 8)), [10, 11]),
    ],
)
def test_a_write_says_which_keys_it_touches_and_changes_just_these(registers, write, keys):
    assert list(write.touches) == keys
    assert list(write.apply(registers)) == keys


@pytest.mark.parametrize("cls", [WriteCoil, WriteRegister, WriteRegisters])
def test_a_write_does_not_change(cls):
    assert cls.__struct_config__.frozen


WORD = st.integers(0, 3)
BLOCKS = (Block(0, 3), Block(3, 2), Block(2, 2), Block(0, 2, input=True))
STEPS = st.one_of(
    st.sampled_from(BLOCKS).flatmap(
        lambda block: st.tuples(st.just(block), st.tuples(*[WORD] * block.count)),
    ),
    st.tuples(st.integers(0, 4), st.tuples(WORD)),
)


@settings(derandomize=True, deadline=None)
@given(st.lists(STEPS, max_size=20))
def test_exactly_what_differs_from_before_is_told_whatever_came_before(steps):
    registers, known = Registers(), {}
    for where, words in steps:
        if isinstance(where, Block):
            changed, keys = registers.store(where, words), keys_of(where)
        else:
            changed, keys = registers.write_through(where, words), range(where, where + 1)
        new = dict(zip(keys, words, strict=True))
        assert set(changed) == {key for key, word in new.items() if known.get(key) != word}
        known |= new
        assert {key: registers[key] for key in known} == known
