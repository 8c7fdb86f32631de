"""What can be read of a block that is refused as a whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed

from evok_twisted.core.explore import explore, ranges
from evok_twisted.definitions import Block
from evok_twisted.errors import Refused, Timeout


def found(block, illegal, error=None):
    asked = []

    def read(part):
        asked.append(part)
        if error is not None:
            return fail(error)
        registers = range(part.start, part.start + part.count)
        return fail(Refused("refused", 2)) if illegal & set(registers) else succeed((0,) * part.count)

    done = Deferred.fromCoroutine(explore(block, read))
    assert done.called
    return done, asked


@given(st.integers(0, 500), st.integers(1, 125), st.sets(st.integers(0, 130), min_size=1, max_size=10))
def test_every_register_is_either_readable_or_refused(start, count, offsets):
    block = Block(start, count, 7, True)
    illegal = {start + offset for offset in offsets}
    done, _ = found(block, illegal)
    readable, refused = done.result
    covered = [register for part in readable for register in range(part.start, part.start + part.count)]
    assert sorted([*covered, *refused]) == list(range(start, start + count))
    assert set(refused) == illegal & set(range(start, start + count))
    assert {(part.frequency, part.input) for part in readable} <= {(7, True)}


def test_one_bad_register_of_a_block_costs_a_few_questions():
    _, asked = found(Block(0, 64, 1), {17})
    assert len(asked) == 2 * 6


def test_what_is_readable_is_in_as_few_blocks_as_there_can_be():
    done, _ = found(Block(10, 20, 1), {15, 16})
    assert done.result == ((Block(10, 5, 1), Block(17, 13, 1)), (15, 16))


@pytest.mark.parametrize("error", [Timeout("no answer"), Refused("busy", 6)])
def test_nothing_is_concluded_from_another_error(error):
    done, _ = found(Block(0, 8, 1), set(), error)
    done.addErrback(lambda failure: failure.value)
    assert done.result is error


@pytest.mark.parametrize(
    ("registers", "text"), [((), ""), ((5,), "5"), ((5, 6), "5 to 6"), ((1, 3, 4, 5, 9), "1, 3 to 5, 9")]
)
def test_registers_are_told_as_ranges(registers, text):
    assert ranges(registers) == text
