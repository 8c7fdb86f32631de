"""Life: what moves, how often, and what does not."""

from __future__ import annotations

import pytest
from fakes import DEFINITIONS
from twisted.internet.task import Clock

from evok_twisted.definitions import load_definition
from evok_twisted.model.codec import decode
from evok_twisted.problems import Problems
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.life import Life

VOLTAGE_10 = 1


def board_of(model):
    return SimulatedBoard(load_definition(DEFINITIONS / f"{model}.yaml", Problems()))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def boards():
    found = [board_of("00"), board_of("13"), board_of("13")]
    for board in found[1:]:
        board.holding.write(1019, [VOLTAGE_10] * 4)
    return found


def volts(board, register):
    return decode(board.holding.read(register, 2), "float32", wordorder="little")


def digital(boards):
    return [board.get_input(number) for board in boards for number in board.digital_inputs]


def analog(boards):
    return [tuple(boards[0].holding.read(3002, 2))] + [
        tuple(board.holding.read(register, 2)) for board in boards[1:] for register in (6, 8, 10, 12)
    ]


def changes(before, after):
    return sum(one != other for one, other in zip(before, after, strict=True))


def living(boards, clock, **how):
    life = Life(boards, clock, **how)
    life.startService()
    return life


def test_each_second_one_digital_input_switches(boards, clock):
    living(boards, clock)
    for _ in range(30):
        before = digital(boards)
        clock.pump([0.2] * 5)
        assert changes(before, digital(boards)) == 1


def test_in_time_every_digital_input_switches(boards, clock):
    living(boards, clock)
    seen = [set() for _ in digital(boards)]
    for _ in range(300):
        clock.advance(0.2)
        for values, value in zip(seen, digital(boards), strict=True):
            values.add(value)
    assert all(values == {0, 1} for values in seen)


def test_each_second_some_analog_inputs_move_and_not_all(boards, clock):
    living(boards, clock)
    for _ in range(20):
        before = analog(boards)
        clock.pump([0.2] * 5)
        assert 3 <= changes(before, analog(boards)) <= 5


def test_a_lone_analog_input_moves_once_a_second(clock):
    boards = [board_of("00")]
    living(boards, clock)
    seen = set()
    for _ in range(50):
        clock.advance(0.2)
        seen.add(tuple(boards[0].holding.read(3002, 2)))
    assert len(seen) == 10


def test_an_analog_input_moves_smoothly_over_much_of_its_range(clock):
    board = board_of("00")
    living([board], clock)
    clock.advance(0.2)
    values = []
    for _ in range(70):
        clock.pump([0.2] * 5)
        values.append(volts(board, 3002))
    assert all(0 <= value <= 10 for value in values)
    assert max(values) - min(values) > 7
    assert max(abs(one - other) for one, other in zip(values, values[1:], strict=False)) < 0.6


def test_an_analog_input_keeps_to_the_range_of_its_mode(clock):
    board = board_of("13")
    board.holding[1019] = 2
    living([board], clock)
    for _ in range(400):
        clock.advance(0.2)
        assert 0 <= volts(board, 6) <= 2.5


def test_a_disabled_analog_input_stands_still_until_it_is_put_in_a_mode(clock):
    board = board_of("13")
    living([board], clock)
    clock.pump([0.2] * 20)
    assert board.holding.read(6, 8) == [0] * 8
    board.holding[1020] = VOLTAGE_10
    clock.pump([0.2] * 20)
    assert volts(board, 6) == 0
    assert volts(board, 8) != 0


def test_outputs_and_settings_are_left_alone(boards, clock):
    def others(board):
        inputs = {0, 3002, 3003, *range(6, 16), *range(16, 24)}
        return {address: word for address, word in board.holding.items() if address not in inputs}

    before = [others(board) for board in boards], [dict(board.coils) for board in boards]
    living(boards, clock)
    clock.pump([0.2] * 500)
    assert ([others(board) for board in boards], [dict(board.coils) for board in boards]) == before


def test_the_same_seed_gives_the_same_life(clock):
    first, second, other = ([board_of("00")] for _ in range(3))
    for boards, seed in ((first, 5), (second, 5), (other, 6)):
        living(boards, clock, seed=seed)
    clock.pump([0.2] * 100)
    assert dict(first[0].holding) == dict(second[0].holding) != dict(other[0].holding)


def test_boards_without_inputs_are_no_trouble(clock, log):
    living([board_of("EMO-R8")], clock)
    living([], clock)
    clock.pump([0.2] * 20)


def test_it_stops_and_starts_again(boards, clock):
    life = living(boards, clock)
    life.stopService()
    before = analog(boards), digital(boards)
    clock.pump([0.2] * 20)
    assert (analog(boards), digital(boards)) == before
    assert clock.getDelayedCalls() == []
    life.startService()
    clock.pump([0.2] * 20)
    assert (analog(boards), digital(boards)) != before


def test_a_life_that_ended_by_an_error_is_logged(boards, clock, log):
    living(boards, clock)
    boards[0].set_analog = None
    clock.pump([0.2] * 2)
    log.expected("not callable")
