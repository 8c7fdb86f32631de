"""Which requests the blocks that are due become, and how much of a serial line they take."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from evok_twisted.bus.line import gap, request_time
from evok_twisted.core.reads import MOST, LineUse, Reads, due_at, joined, line_use
from evok_twisted.definitions import Block


def spans(reads):
    return [(read.span.start, read.span.count) for read in reads]


def together(*blocks, gap=8):
    return spans(joined(blocks, gap))


def test_blocks_next_to_each_other_are_one_request():
    assert together(Block(0, 2), Block(2, 3), Block(5, 16)) == [(0, 21)]


def test_a_gap_is_read_where_that_costs_less_than_a_request():
    assert together(Block(0, 2), Block(10, 2)) == [(0, 12)]
    assert together(Block(0, 2), Block(11, 2)) == [(0, 2), (11, 2)]


def test_blocks_that_overlap_are_one_request():
    assert together(Block(0, 10), Block(4, 2), Block(8, 6)) == [(0, 14)]


def test_the_order_in_which_blocks_are_defined_does_not_matter():
    assert together(Block(5, 16), Block(0, 2), Block(2, 3)) == [(0, 21)]


def test_a_request_has_no_more_registers_than_modbus_lets_it():
    assert together(Block(0, 100), Block(100, 25), Block(125, 1)) == [(0, 125), (125, 1)]


def test_holding_and_input_registers_are_asked_for_apart():
    assert together(Block(0, 2), Block(2, 2, input=True)) == [(0, 2), (2, 2)]


def test_a_block_that_forbids_it_is_asked_for_by_itself():
    assert together(Block(0, 2), Block(2, 2, join=False), Block(4, 2)) == [(0, 2), (2, 2), (4, 2)]


def test_a_bus_on_which_nothing_is_joined():
    assert together(Block(0, 2), Block(2, 2), gap=-1) == [(0, 2), (2, 2)]


def test_a_request_for_one_block_is_that_block():
    block = Block(7, 3, 5)
    (read,) = joined([block], 8)
    assert read.span is block


BLOCKS = st.lists(
    st.builds(Block, st.integers(0, 300), st.integers(1, 125), input=st.booleans(), join=st.booleans()),
    unique=True,
    max_size=12,
)


@given(BLOCKS, st.integers(-1, 40))
def test_every_block_gets_the_words_of_its_own_registers_in_one_piece(blocks, gap):
    reads = joined(blocks, gap)
    assert Counter(block for read in reads for block in read.blocks) == Counter(blocks)
    for read in reads:
        assert read.span.count <= MOST
        words = tuple(range(read.span.start, read.span.start + read.span.count))
        for block in read.blocks:
            assert block.input == read.span.input
            assert read.words_of(block, words) == tuple(range(block.start, block.start + block.count))


@given(BLOCKS, st.integers(0, 40))
def test_joining_never_takes_more_requests_and_no_longer_on_the_line(blocks, gap):
    apart, reads = joined(blocks, -1), joined(blocks, gap)
    assert len(reads) <= len(apart)


@pytest.mark.parametrize("baudrate", [1200, 9600, 19200, 38400, 115200])
def test_on_a_serial_line_a_gap_is_read_as_long_as_that_takes_no_longer_than_a_request(baudrate):
    most = gap(baudrate)
    extra = request_time(baudrate, most) - request_time(baudrate, 0)
    assert extra <= request_time(baudrate, 0) < extra + request_time(baudrate, 1) - request_time(baudrate, 0)
    assert 8 <= most <= 60


A, B, C = Block(0, 2), Block(2, 2), Block(4, 2)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def reads(clock):
    return Reads(8, clock)


def test_what_is_due_together_again_and_again_is_planned_once(reads):
    assert reads.of((A, B)) is reads.of((A, B))


def test_what_is_kept_is_bounded(reads):
    for n in range(10_000):
        reads.of((Block(n, 1),))
    assert len(reads._kept) <= reads.most_kept


def test_what_is_wrong_with_one_block_is_not_shared(reads):
    assert spans(reads.of((A, B, C), {B})) == [(0, 6), (2, 2)]
    assert reads.of((A, B, C), {B})[0].blocks == (A, C)


def test_blocks_that_were_not_answered_together_are_asked_for_apart_for_a_while(reads, clock):
    reads.part((A, B))
    assert spans(reads.of((A, B))) == [(0, 2), (2, 2)]
    clock.advance(9.9)
    assert spans(reads.of((A, B))) == [(0, 2), (2, 2)]
    clock.advance(0.1)
    assert spans(reads.of((A, B))) == [(0, 4)]


def test_blocks_that_are_never_answered_together_are_joined_less_and_less_often(reads, clock):
    tried = []
    for _ in range(20_000):
        if spans(reads.of((A, B))) == [(0, 4)]:
            tried.append(clock.seconds())
            reads.part((A, B))
        clock.advance(1.0)
    waits = [later - sooner for sooner, later in zip(tried, tried[1:], strict=False)]
    assert waits[:4] == [10, 20, 40, 80]
    assert waits[-1] == 3600


def test_once_they_are_answered_together_the_next_time_is_soon_again(reads, clock):
    for _ in range(3):
        reads.part((A, B))
    clock.advance(100)
    reads.work((A, B))
    reads.part((A, B))
    clock.advance(10)
    assert spans(reads.of((A, B))) == [(0, 4)]


def test_every_block_is_due_at_its_frequency_and_slow_ones_in_turns():
    blocks = (Block(0, 1, 1), Block(1, 1, 5), Block(2, 1, 5))
    ticks = [list(due_at(blocks, tick, 3)) for tick in range(100)]
    assert [sum(block in tick for tick in ticks) for block in blocks] == [100, 20, 20]
    assert max(map(len, ticks)) == 2


def use(boards, baudrate=19200):
    return line_use(boards, baudrate, gap(baudrate), lambda block: request_time(baudrate, block.count))


def test_what_scanning_asks_of_a_line_is_told_in_numbers():
    told = use([((Block(0, 27),), 50.0)] * 8)
    # 67 characters of 11 bits at 19200 baud, twice 3.5 of silence, 4 ms in which the slave thinks
    each = (67 + 7) * 11 / 19200 + 0.004
    assert told.round == pytest.approx(8 * each, abs=1e-4)
    assert told.percent == pytest.approx(100 * 50 * 8 * each, abs=0.1)
    assert told.text == "8 boards at 50 scans a second need 1856 % of this line at 19200 baud; expect 2.7"


def test_a_line_that_has_room_is_told_so():
    assert use([((Block(0, 10),), 2.0)]).text == "1 board at 2 scans a second need 5 % of this line at 19200 baud"


def test_boards_of_different_rates_each_have_what_to_expect():
    told = use([((Block(0, 27),), 50.0), ((Block(0, 27),), 10.0)])
    assert told.text == "2 boards at 10 to 50 scans a second need 278 % of this line at 19200 baud; expect 3.6 to 18"


def test_slow_blocks_ask_for_less():
    often, seldom = use([((Block(0, 10), Block(1000, 10)), 10)]), use([((Block(0, 10), Block(1000, 10, 10)), 10)])
    assert seldom.percent == pytest.approx(often.percent * 0.55, rel=0.01)


def test_what_is_not_scanned_asks_for_nothing():
    assert use([((Block(0, 10),), 0.0)]) is None


def test_the_figures_have_names_for_programs():
    assert LineUse.__struct_fields__ == ("baudrate", "round", "percent", "text")
