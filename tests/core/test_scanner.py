"""The scan: what is read when, and what becomes of the answers."""

from __future__ import annotations

import pytest
from fakes import Rig
from twisted.internet.task import Clock

from evok_twisted.definitions import Block
from evok_twisted.errors import BadAnswer, Refused, Timeout

FAST = Block(0, 2, 1)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def rig(clock):
    return Rig(clock).start()


def ticks(rig, n):
    for _ in range(n):
        rig.clock.advance(0.02)


def test_the_first_scan_reads_every_block(clock):
    rig = Rig(clock)
    rig.scanner.start()
    assert set(rig.bus.read_log) == set(rig.slave.blocks)


def test_before_the_first_answer_values_are_null(clock):
    rig = Rig(clock)
    rig.bus.answering = False
    rig.scanner.start()
    assert rig.device("di", "1_01").state.value is None


def test_after_the_first_scan_every_device_has_a_state(rig):
    assert [device for device in rig.registry if getattr(device.current, "value", 0) is None] == []


def test_a_block_is_read_at_its_frequency(rig):
    ticks(rig, 100)
    read = {block: rig.bus.read_log.count(block) for block in rig.slave.blocks}
    assert read == {block: 100 // block.frequency for block in rig.slave.blocks}


def test_slow_blocks_take_turns(rig):
    most = 0
    for _ in range(50):
        rig.bus.read_log.clear()
        ticks(rig, 1)
        most = max(most, len([block for block in rig.bus.read_log if block.frequency > 1]))
    assert most == 1


def test_all_due_blocks_are_asked_for_at_once(rig):
    rig.bus.answering = False
    ticks(rig, 10)
    assert len(rig.bus.asked) > 1


def test_the_next_tick_waits_for_the_answers_and_missed_ticks_are_not_made_up_for(rig):
    rig.bus.answering = False
    ticks(rig, 1)
    asked = len(rig.bus.asked)
    ticks(rig, 20)
    assert len(rig.bus.asked) == asked
    rig.bus.answering = True
    rig.bus.answer_all()
    rig.bus.read_log.clear()
    ticks(rig, 1)
    assert rig.bus.read_log.count(FAST) == 1


def test_an_unchanged_scan_publishes_nothing(rig):
    ticks(rig, 20)
    assert rig.changes == []


def test_a_change_is_published_with_the_devices_it_concerns(rig):
    rig.bus.words[0] = 0b0101
    ticks(rig, 1)
    assert rig.changed() == [["di 1_01", "di 1_03", "register 1_0"]]


def test_all_changes_of_a_tick_are_one_change_set(rig):
    rig.bus.words.update({0: 1, 20: 1})
    ticks(rig, 1)
    assert len(rig.changes) == 1
    assert {"di 1_01", "led 1_01"} <= {repr(device) for device in rig.changes[0].devices}


def test_change_sets_are_numbered_and_timed(rig):
    for value in (1, 0):
        rig.bus.words[0] = value
        ticks(rig, 1)
    first, second = rig.changes
    assert (second.number, second.time) == (first.number + 1, pytest.approx(first.time + 0.02))


@pytest.mark.parametrize("error", [Timeout("late"), BadAnswer("junk")])
def test_a_failed_read_changes_no_value_and_is_made_up_for_on_the_next_tick(rig, error):
    slow = next(block for block in rig.slave.blocks if block.start == 1000)
    rig.bus.words[1010] = 77  # a debounce, in the block that is due every fifth tick
    rig.bus.answering = False
    while slow not in [what for what, _ in rig.bus.asked]:
        rig.bus.answer_all()
        ticks(rig, 1)
    while rig.bus.asked:
        rig.bus.answer(error=error if rig.bus.asked[0][0] == slow else None)
    assert rig.device("di", "1_01").state.debounce == 0
    rig.bus.answering = True
    ticks(rig, 1)
    assert rig.device("di", "1_01").state.debounce == 77


def test_an_unexpected_error_is_logged_and_the_scan_goes_on(rig, log):
    broken = rig.slave.take
    rig.slave.take = lambda *_: 1 / 0
    ticks(rig, 1)
    log.expected("division by zero")
    rig.slave.take = broken
    rig.bus.words[0] = 1
    ticks(rig, 1)
    assert rig.device("di", "1_01").state.value == 1


def test_an_unexpected_error_at_the_end_of_a_scan_is_logged_and_the_scan_goes_on(rig, log):
    heard = rig.slave.heard
    rig.slave.heard = lambda: 1 / 0
    ticks(rig, 1)
    log.expected("division by zero")
    rig.slave.heard = heard
    rig.bus.words[0] = 1
    ticks(rig, 1)
    assert rig.device("di", "1_01").state.value == 1


def test_a_slave_without_blocks_is_asked_nothing(clock):
    rig = Rig(clock)
    rig.slave.blocks = ()
    rig.scanner._dirty.clear()
    rig.scanner.start()
    ticks(rig, 5)
    assert rig.bus.read_log == []


def test_a_refused_block_costs_its_devices_only_and_is_logged_once(rig, log):
    rig.bus.answering = False
    for value in (1, 0, 1):
        rig.bus.words.update({0: value, 3000: value})
        for _ in range(10):
            ticks(rig, 1)
            while rig.bus.asked:
                refused = rig.bus.asked[0][0].start == 3000
                rig.bus.answer(error=Refused("refused: illegal data address (2)", 2) if refused else None)
    (told,) = log.texts("error")
    assert "3000 to 3005" in told
    assert "illegal data address" in told
    assert rig.device("di", "1_01").state.value == 1
    assert rig.device("ao", "1_01").state.value == 0


def test_a_refused_block_that_is_read_again_is_told(rig, log):
    rig.bus.refusing = Refused("refused: illegal data address (2)", 2)
    ticks(rig, 1)
    rig.bus.refusing = None
    ticks(rig, 1)
    assert [text for text in log.texts("info") if "again" in text] != []


def test_a_silent_slave_goes_offline_after_three_polls_and_says_so(rig, log):
    rig.bus.refusing = Timeout("no answer within 1 s")
    ticks(rig, 30)
    assert not rig.slave.online
    assert [text for text in log.texts("warn") if "went offline" in text and "no answer" in text] != []
    assert len(log.texts("warn")) == 1


def test_a_silent_slave_is_asked_for_one_block_less_and_less_often(rig):
    rig.bus.refusing = Timeout("no answer")
    ticks(rig, 50)
    rig.bus.read_log.clear()
    ticks(rig, 50 * 60)
    assert set(rig.bus.read_log) == {rig.slave.blocks[0]}
    assert 10 <= len(rig.bus.read_log) <= 20  # every 4 s


@pytest.mark.parametrize("outage", [1, 60, 48 * 3600])
def test_after_any_outage_the_slave_is_back_within_five_seconds(clock, outage):
    rig = Rig(clock, interval=1.0)
    rig.start()
    rig.bus.refusing = Timeout("no answer")
    for _ in range(0, outage, 1 if outage < 100 else 4):
        clock.advance(1 if outage < 100 else 4)
    rig.bus.refusing = None
    rig.bus.words[0] = 1
    for _ in range(5):
        clock.advance(1)
    assert rig.slave.online
    assert rig.device("di", "1_01").state.value == 1


def test_values_of_a_silent_slave_stay_as_they_were(rig):
    rig.bus.words[0] = 1
    ticks(rig, 1)
    rig.bus.refusing = Timeout("no answer")
    ticks(rig, 50)
    assert rig.device("di", "1_01").state.value == 1


def test_a_slave_that_is_off_at_start_comes_alive_by_itself(clock, log):
    rig = Rig(clock)
    rig.bus.refusing = Timeout("no answer")
    rig.scanner.start()
    ticks(rig, 500)
    assert rig.device("di", "1_01").state.value is None
    assert [text for text in log.texts("warn") if "does not answer" in text] != []
    rig.bus.refusing = None
    ticks(rig, 250)
    assert rig.device("di", "1_01").state.value == 0


def test_while_the_bus_is_down_nothing_is_asked(rig):
    rig.bus.turn(False)
    rig.bus.read_log.clear()
    ticks(rig, 50)
    assert rig.bus.read_log == []
    assert not rig.slave.online


def test_when_the_bus_is_back_everything_is_read_at_once(rig):
    rig.bus.turn(False)
    rig.bus.read_log.clear()
    rig.bus.turn(True)
    assert set(rig.bus.read_log) == set(rig.slave.blocks)


def test_a_slave_that_is_not_scanned_is_read_once(clock):
    rig = Rig(clock, periodic=False)
    rig.scanner.start()
    ticks(rig, 100)
    assert sorted(map(str, rig.bus.read_log)) == sorted(map(str, rig.slave.blocks))


def test_a_stopped_scanner_asks_nothing(rig):
    rig.scanner.stop()
    rig.scanner.stop()
    ticks(rig, 10)
    assert rig.bus.read_log == []


def test_what_a_stopped_scanner_misses_is_no_news(rig, log):
    rig.bus.answering = False
    ticks(rig, 1)
    rig.scanner.stop()
    rig.bus.turn(False)
    assert log.texts("warn") == []


def test_last_comm_counts_from_the_last_answer(rig):
    rig.scanner.stop()
    rig.clock.advance(7)
    assert rig.device("modbus_slave", "1").current.last_comm == pytest.approx(7)


def test_an_answer_that_is_older_than_an_acknowledged_write_is_passed_over(rig):
    rig.bus.answering = False
    ticks(rig, 1)
    stale = [words for words in rig.bus.asked]
    rig.bus.asked.clear()
    old = rig.bus.perform(FAST)
    done = rig.set("relay", "1_01", value=1)
    rig.bus.answer(0)  # the write
    for what, answer in stale:
        answer.callback(old if what == FAST else rig.bus.perform(what))
    assert rig.device("relay", "1_01").state.value == 1
    rig.bus.answer_all()
    assert rig.device("relay", "1_01").state.value == 1
    assert done.called
