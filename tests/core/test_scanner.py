"""The scan: what is read when, and what becomes of the answers."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from fakes import Rig
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from evok_twisted.core.probes import Probes
from evok_twisted.core.scanner import Scanner
from evok_twisted.definitions import Block
from evok_twisted.errors import BadAnswer, Offline, Refused, Timeout

FAST = Block(0, 2, 1)
#: What a slave is asked for to find out whether it is there.
PROBE = Block(0, 1, 1)


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
    assert rig.bus.read_log == [PROBE, *rig.slave.blocks]


def test_before_the_first_answer_values_are_null(clock):
    rig = Rig(clock)
    rig.bus.answering = False
    rig.scanner.start()
    assert rig.device("di", "1_01").state.value is None


def test_after_the_first_scan_every_device_has_a_state(rig):
    assert [device for device in rig.registry if getattr(device.state, "value", 0) is None] == []


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
    assert {"di 1_01", "led 1_01"} <= {repr(change.device) for change in rig.changes[0].changes}


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
    rig.slave.defined = rig.slave.blocks = ()
    rig.scanner._dirty.clear()
    rig.scanner.start()
    ticks(rig, 5)
    assert rig.bus.read_log == []


# A slave that refuses to read a register


def test_what_a_slave_refuses_to_read_costs_the_devices_on_it_and_nothing_else(clock, log):
    rig = Rig(clock)
    rig.bus.illegal = {1010, 3004, 3005}  # the debounce of an input, the resistance of the analog output
    rig.bus.words = {0: 0b10, 3003: 0x4120}
    rig.start()
    ticks(rig, 20)
    assert rig.device("di", "1_01").state.value is None
    assert rig.device("di", "1_02").state.value == 1
    assert rig.device("ao", "1_01").state.value is None
    assert rig.device("ai", "1_01").state.value == 10
    assert log.texts("error") == [
        "slave 1 (unit 1 on FAKE) refuses to read holding registers 1000 to 1031: refused: illegal data address (2); "
        "registers 1010 cannot be read",
        "slave 1 (unit 1 on FAKE) refuses to read holding registers 3000 to 3005: refused: illegal data address (2); "
        "registers 3004 to 3005 cannot be read",
    ]


def test_what_can_be_read_of_a_refused_block_is_read_in_as_few_blocks_as_there_can_be(clock):
    rig = Rig(clock)
    rig.bus.illegal = {1010}
    rig.start()
    rig.bus.read_log.clear()
    ticks(rig, 100)
    assert {block for block in rig.bus.read_log if block.start >= 1000} == {
        Block(1000, 10, 5),
        Block(1011, 21, 5),
        Block(3000, 6, 10),
    }
    assert rig.bus.read_log.count(Block(1011, 21, 5)) == 20  # as often as the whole


def test_a_block_that_is_refused_for_its_size_is_read_in_parts(clock, log):
    rig = Rig(clock)
    answer = rig.bus.read
    rig.bus.read = lambda unit, block, timeout=None: (
        fail(Refused("refused: illegal data value (3)", 3)) if block.count > 20 else answer(unit, block, timeout)
    )
    rig.start()
    ticks(rig, 20)
    assert [device for device in rig.registry if getattr(device.state, "value", 0) is None] == []
    (told,) = log.texts("error")
    assert told.endswith("illegal data value (3), but all of its parts")


def test_while_a_block_is_explored_the_others_are_read(rig):
    rig.bus.answering = False
    while not any(what.start == 3000 for what, _ in rig.bus.asked):
        rig.bus.answer_all()
        ticks(rig, 1)
    while rig.bus.asked:
        rig.bus.answer(error=Refused("refused", 2) if rig.bus.asked[0][0].start == 3000 else None)
        if rig.bus.asked and rig.bus.asked[0][0] == Block(3000, 3, 10):
            break
    rig.bus.words[0] = 1
    for _ in range(3):
        ticks(rig, 1)
        for n in reversed(range(len(rig.bus.asked))):
            if rig.bus.asked[n][0].start != 3000:
                rig.bus.answer(n)
    assert rig.device("di", "1_01").state.value == 1


def test_a_slave_that_falls_silent_while_it_is_explored_is_explored_later(clock):
    rig = Rig(clock)
    rig.bus.illegal = {1010}
    read = rig.bus.read
    rig.bus.read = lambda unit, block, timeout=None: (
        fail(Timeout("no answer")) if block == Block(1000, 16, 5) else read(unit, block, timeout)
    )
    rig.start()
    ticks(rig, 20)
    assert rig.device("register", "1_0").state.value == 0
    assert rig.device("wd", "1_01").state.value is None
    rig.bus.read = read
    ticks(rig, 20)
    assert rig.device("wd", "1_01").state.value == 0


def test_a_refusal_that_lasts_is_logged_once_however_often_the_slave_comes_back(clock, log):
    rig = Rig(clock)
    rig.bus.illegal = {1010}
    rig.start()
    for _ in range(3):
        rig.bus.turn(False)
        rig.bus.turn(True)
        ticks(rig, 10)
    assert len(log.texts("error")) == 1


def test_a_slave_that_comes_back_without_the_fault_is_read_whole_and_that_is_told(clock, log):
    rig = Rig(clock)
    rig.bus.illegal = {1010}
    rig.start()
    rig.bus.turn(False)
    rig.bus.illegal = set()
    rig.bus.turn(True)
    ticks(rig, 10)
    assert rig.slave.blocks == rig.slave.defined
    assert rig.device("di", "1_01").state.value == 0
    assert "reads holding registers 1000 to 1031 again, after " in log.texts("info")[-1]


def test_a_refusal_for_another_reason_is_told_once_and_nothing_is_explored(rig, log):
    rig.bus.refusing = Refused("refused: server device busy (6)", 6)
    ticks(rig, 20)
    blocks = len({block for block in rig.bus.read_log})
    assert blocks == len(rig.slave.blocks)
    assert len(log.texts("error")) == len(rig.slave.blocks)
    rig.bus.refusing = None
    ticks(rig, 20)
    assert len([text for text in log.texts("info") if " again, after " in text]) == len(rig.slave.blocks)


@pytest.mark.parametrize("code", [2, 3, 6])
@pytest.mark.parametrize("known", [True, False], ids=["known before", "never read"])
def test_a_board_that_refuses_everything_while_it_boots_is_read_when_it_has(clock, code, known):
    rig = Rig(clock)
    read = rig.bus.read
    refuse = lambda *_: fail(Refused("refused", code))  # noqa: E731
    if known:
        rig.start()
    rig.bus.read = refuse
    if not known:
        rig.scanner.start()
    ticks(rig, 500)
    assert not rig.slave.online
    assert not rig.health.report().healthy
    rig.bus.read, rig.bus.words = read, {0: 1}
    ticks(rig, 250)
    assert rig.slave.online
    assert rig.health.report().healthy
    assert rig.device("di", "1_01").state.value == 1
    assert rig.slave.blocks == rig.slave.defined


def test_a_board_that_refuses_everything_for_a_moment_stays_online(rig):
    read = rig.bus.read
    rig.bus.read = lambda *_: fail(Refused("refused", 2))
    ticks(rig, 50)
    rig.bus.read, rig.bus.words = read, {0: 1}
    ticks(rig, 250)
    assert rig.device("di", "1_01").state.value == 1
    assert "went offline" not in repr(rig.changes)
    assert rig.slave.online


def test_a_board_that_refuses_everything_is_not_asked_all_the_time(rig):
    asked = []
    rig.bus.read = lambda unit, block, timeout=None: asked.append(block) or fail(Refused("refused", 2))
    ticks(rig, 500)
    asked.clear()
    ticks(rig, 500)
    assert len(asked) < 500


def test_a_register_that_is_refused_is_asked_for_now_and_then_until_it_is_there(clock, log):
    rig = Rig(clock)
    rig.bus.illegal = {1010}
    rig.start()
    ticks(rig, 10)
    rig.bus.read_log.clear()
    ticks(rig, 3000)
    assert rig.bus.read_log.count(Block(1010, 1, 5)) in (3, 4)
    rig.bus.illegal = set()
    ticks(rig, 3000)
    assert rig.slave.blocks == rig.slave.defined
    assert rig.device("di", "1_01").state.value == 0
    assert "reads holding registers 1000 to 1031 again" in log.texts("info")[-1]


def test_what_cannot_be_read_any_more_is_a_reason_not_to_be_healthy_and_what_never_could_is_not(clock):
    rig = Rig(clock)
    rig.bus.illegal = {1010}
    rig.start()
    ticks(rig, 10)
    assert rig.health.report().healthy
    rig.bus.illegal = {1010, 3004}
    ticks(rig, 20)
    (reason,) = rig.health.report().reasons
    assert reason.startswith("slave 1 (unit 1 on FAKE) refuses to read holding registers 3000 to 3005: ")
    assert reason.endswith("registers 3004 cannot be read")
    rig.bus.illegal = {1010}
    ticks(rig, 250)
    assert rig.health.report().healthy


def test_a_slave_that_is_busy_every_second_time_is_told_of_by_the_minute(rig, log):
    read, count = rig.bus.read, itertools.count()
    busy = Refused("refused: server device busy (6)", 6)
    rig.bus.read = lambda *asked: fail(busy) if next(count) % 2 else read(*asked)
    ticks(rig, 3001)
    told = [text for text in log.texts() if "refuses" in text or "again" in text]
    assert len(told) <= 3 * len(rig.slave.blocks)
    assert [text for text in told if "messages like this in 60 s" in text]
    rig.bus.read = read
    ticks(rig, 6001)
    assert "and is over now" in log.texts()[-1]
    log.clear()
    ticks(rig, 3001)
    assert log.texts() == []


# A slave that does not answer


def test_a_silent_slave_goes_offline_after_three_polls_and_says_so(rig, log):
    rig.bus.refusing = Timeout("no answer within 1 s")
    ticks(rig, 30)
    assert not rig.slave.online
    assert [text for text in log.texts("warn") if "went offline" in text and "no answer" in text] != []
    assert len(log.texts("warn")) == 1


def test_a_silent_slave_is_asked_for_one_register_less_and_less_often(rig):
    rig.bus.refusing = Timeout("no answer")
    ticks(rig, 50)
    rig.bus.read_log.clear()
    ticks(rig, 50 * 60)
    assert set(rig.bus.read_log) == {PROBE}
    assert 10 <= len(rig.bus.read_log) <= 20  # every 4 s


def test_most_probes_wait_for_a_short_time_and_some_as_long_as_any_request(rig):
    rig.bus.refusing = Timeout("no answer")
    ticks(rig, 50)
    rig.bus.timeouts.clear()
    ticks(rig, 50 * 60)
    assert set(rig.bus.timeouts) == {Scanner.probe_timeout, rig.bus.timeout}
    assert rig.bus.timeouts.count(rig.bus.timeout) == pytest.approx(len(rig.bus.timeouts) / Scanner.unhurried, abs=1)


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
    assert rig.bus.read_log == [PROBE, *rig.slave.blocks]


def test_a_slave_that_is_not_scanned_is_read_once(clock):
    rig = Rig(clock, periodic=False)
    rig.scanner.start()
    ticks(rig, 100)
    assert rig.bus.read_log == [PROBE, *rig.slave.blocks]


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
    assert rig.device("modbus_slave", "1").state.last_comm == pytest.approx(7)


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


def test_a_slave_shows_whether_it_answers_and_what_went_wrong(rig):
    rig.bus.refusing = BadAnswer("junk")
    ticks(rig, 1)
    rig.bus.refusing = Timeout("no answer")
    ticks(rig, 30)
    shown = rig.device("modbus_slave", "1").state
    assert not shown.online
    assert shown.errors >= 1
    assert shown.timeouts >= 2
    rig.bus.refusing = None
    ticks(rig, 250)
    assert rig.device("modbus_slave", "1").state.online


def test_going_and_coming_back_are_events(rig):
    rig.bus.refusing = Timeout("no answer")
    ticks(rig, 30)
    assert rig.changed() == [["modbus_slave 1"]]
    rig.bus.refusing = None
    ticks(rig, 250)
    assert rig.changed()[0] == ["modbus_slave 1"]


def test_reads_that_fail_at_the_same_time_count_once(rig):
    rig.bus.answering = False
    for _ in range(6):
        rig.scanner.read_soon(rig.slave.blocks[:1])
    while rig.bus.asked:
        rig.bus.answer(error=Timeout("no answer"))
    assert (rig.slave.silent, rig.slave.online) == (1, True)


def test_a_round_that_the_end_of_the_bus_cuts_short_is_no_sign_of_life(rig):
    rig.bus.answering = False
    while len(rig.bus.asked) < 2:
        rig.bus.answer_all()
        ticks(rig, 1)
    rig.bus.answer()
    watched = []
    rig.slave.watch(watched.append)
    _, others = rig.bus.asked.pop()
    rig.bus.turn(False)
    others.errback(Offline("the connection was lost"))
    assert watched == [False]
    assert not rig.slave.online


def test_a_scan_that_stands_still_is_noticed(rig):
    rig.clock.advance(25)
    assert not rig.scanner.stuck
    rig.bus.answering = False
    ticks(rig, 1)
    rig.clock.advance(Scanner.longest_tick - 1)
    assert not rig.scanner.stuck
    rig.clock.advance(2)
    assert rig.scanner.stuck  # an answer that neither comes nor times out is a bug of the bus
    rig.scanner.stop()
    assert not rig.scanner.stuck


def test_a_block_that_is_not_answered_does_not_hold_up_the_others(rig, log):
    deaf = next(block for block in rig.slave.blocks if block.start == 1000)
    read = rig.bus.read
    asked = []

    def without_an_answer(unit, block, timeout=None):
        if block != deaf:
            return read(unit, block, timeout)
        asked.append(rig.clock.seconds())
        never = Deferred()
        rig.clock.callLater(1.0, never.errback, Timeout("no answer within 1 s"))
        return never

    rig.bus.read = without_an_answer
    rig.bus.read_log.clear()
    ticks(rig, 50 * 60)
    assert rig.slave.online
    assert rig.bus.read_log.count(FAST) > 50 * 60 * 0.7
    assert max(later - sooner for sooner, later in zip(asked, asked[1:], strict=False)) <= 5.1
    told = [text for text in log.texts("warn") if "1000 to 1031" in text]
    assert told == [
        "slave 1 (unit 1 on FAKE) answers, but not when asked for holding registers 1000 to 1031: no answer within 1 s"
    ]
    rig.bus.read = read
    ticks(rig, 300)
    assert "answers for holding registers 1000 to 1031 again, after " in log.texts("info")[-1]
    rig.bus.words[1010] = 9
    ticks(rig, 10)
    assert rig.device("di", "1_01").state.debounce == 9


# Blocks that one request reads


@pytest.fixture
def joining(clock):
    """A rig on a bus on which a gap of eight registers costs less than a request."""
    rig = Rig(clock)
    rig.bus.gap = 8
    rig.scanner = Scanner(rig.slave, 0.02, rig.events, clock, Probes(clock))
    rig.start()
    return rig


def requests(rig, n=1):
    """What was asked for in the next ``n`` ticks."""
    rig.bus.read_log.clear()
    ticks(rig, n)
    return [(block.start, block.count) for block in rig.bus.read_log]


def test_blocks_that_lie_close_are_one_request_and_each_has_its_own_words(joining):
    joining.bus.words.update({0: 0b10, 20: 0b100})
    asked = requests(joining)
    assert (0, 21) in asked
    assert joining.device("di", "1_02").state.value == 1
    assert joining.device("led", "1_03").state.value == 1


def test_every_block_is_read_as_often_as_its_frequency_promises_when_blocks_are_joined(joining):
    rig = joining
    joining.bus.read_log.clear()
    ticks(rig, 100)
    for block in rig.slave.blocks:
        keys = {block.start, block.start + block.count - 1}
        covering = [b for b in rig.bus.read_log if keys <= set(range(b.start, b.start + b.count))]
        assert len(covering) >= 100 // block.frequency


def test_what_is_read_in_vain_between_two_blocks_is_not_taken(joining):
    slow = next(block for block in joining.slave.blocks if (block.start, block.count) == (2, 3))
    taken = []
    take = joining.slave.take
    joining.slave.take = lambda block, words: taken.append(block) or take(block, words)
    ticks(joining, 100)
    assert taken.count(slow) == 100 // slow.frequency


def test_blocks_that_are_not_to_be_joined_are_each_read_by_itself(clock):
    rig = Rig(clock)
    rig.bus.gap = 8
    rig.slave.blocks = rig.slave.defined = tuple(
        msgspec.structs.replace(block, join=False) for block in rig.slave.blocks
    )
    rig.scanner = Scanner(rig.slave, 0.02, rig.events, clock, Probes(clock))
    rig.start()
    assert set(requests(rig, 10)) == {(block.start, block.count) for block in rig.slave.blocks}


@pytest.mark.parametrize("error", [Refused("refused: illegal data address (2)", 2), Timeout("no answer within 1 s")])
def test_blocks_that_are_not_answered_together_are_read_apart_and_nothing_is_told(joining, log, error):
    rig, read = joining, joining.bus.read
    rig.bus.read = lambda unit, block, timeout=None: (
        fail(error) if (block.start, block.count) == (0, 21) else read(unit, block, timeout)
    )
    ticks(rig, 1)
    rig.bus.words[0] = 1
    asked = requests(rig, 5)
    assert {(0, 2), (5, 16)} <= set(asked)
    assert rig.device("di", "1_01").state.value == 1
    assert rig.slave.online
    assert log.texts("warn") + log.texts("error") == []


def test_a_block_that_is_refused_by_itself_too_falls_apart_from_the_rest(joining, log):
    rig = joining
    rig.bus.illegal = {1}
    ticks(rig, 5)
    rig.bus.words[20] = 1
    asked = requests(rig, 3)
    assert {(0, 1), (5, 16)} <= set(asked)
    assert (0, 21) not in asked
    assert rig.device("led", "1_01").state.value == 1
    assert [text for text in log.texts("error") if "0 to 20" in text] == []


def test_a_write_that_was_acknowledged_while_blocks_were_read_together_is_not_undone_by_what_was_read(joining):
    rig = joining
    rig.bus.answering = False
    ticks(rig, 1)
    old = rig.bus.perform(next(what for what, _ in rig.bus.asked if what.start == 0))
    rig.bus.words[0] = 1
    done = rig.set("led", "1_01", value=1)
    rig.bus.answer(next(n for n, (what, _) in enumerate(rig.bus.asked) if not hasattr(what, "count")))
    n = next(n for n, (what, _) in enumerate(rig.bus.asked) if getattr(what, "count", 0) == 21)
    rig.bus.asked.pop(n)[1].callback(old)
    assert done.result.state.value == 1
    assert rig.device("led", "1_01").state.value == 1


def test_scans_and_such_as_there_was_no_time_for_are_counted():
    rig = Rig(Clock()).start()
    scans = rig.slave.scans
    for _ in range(5):
        rig.clock.advance(0.02)
    assert (rig.slave.scans - scans, rig.slave.scans_missed) == (5, 0)
    rig.bus.answering = False
    rig.clock.advance(0.02)
    for _ in range(9):
        rig.clock.advance(0.02)
    rig.bus.answering = True
    rig.bus.answer_all()
    rig.clock.advance(0.02)
    assert rig.slave.scans_missed == 9
