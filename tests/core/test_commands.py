"""Commands: what is checked, written, acknowledged, and what happens when something is in the way."""

from __future__ import annotations

import pytest
from fakes import Rig
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from evok_twisted.errors import (
    BadParameter,
    BadValue,
    Busy,
    Conflict,
    EvokError,
    Offline,
    Refused,
    Superseded,
    Timeout,
    UnknownCircuit,
    UnknownDevice,
)
from evok_twisted.model.registers import WriteCoil, WriteRegister


@pytest.fixture
def rig():
    rig = Rig(Clock())
    rig.bus.words[1018] = 4999  # the PWM cycle
    return rig.start()


def result(done: Deferred):
    """What a Deferred that has fired holds; an exception is returned, not raised."""
    held = []
    done.addBoth(held.append)
    assert held, "not answered yet"
    return getattr(held[0], "value", held[0])


def pending(done: Deferred):
    return not done.called


def test_a_set_is_written_and_the_reply_carries_the_new_state(rig):
    device = result(rig.set("relay", "1_01", value=1))
    assert rig.bus.written == [WriteCoil(0, 1, (1, 0))]
    assert device.state.value == 1


def test_a_set_answers_with_the_new_state_not_the_old_one(rig):
    """Defect 3 of Evok: set answers with the old value."""
    rig.bus.answering = False
    done = rig.set("relay", "1_01", value="1")
    assert pending(done)
    rig.bus.answer()
    assert result(done).state.value == 1


def test_the_change_is_published_at_the_acknowledgement(rig):
    rig.bus.answering = False
    rig.set("relay", "1_01", value=1)
    assert rig.changed() == []
    rig.bus.answer()
    assert rig.changed() == [["do 1_01", "register 1_1"]]


def test_the_block_is_read_again_after_a_write(rig):
    rig.bus.answering = False
    rig.set("relay", "1_01", value=1)
    rig.bus.answer()
    assert [what.start for what, _ in rig.bus.asked] == [0]


def test_a_slave_that_took_the_write_but_shows_another_value_has_the_last_word(rig):
    rig.bus.answering = False
    rig.set("relay", "1_01", value=1)
    rig.bus.answer()
    rig.changed()
    rig.bus.words[1] = 0
    rig.bus.answer()
    assert rig.changed() == [["do 1_01", "register 1_1"]]
    assert rig.device("relay", "1_01").state.value == 0


@pytest.mark.parametrize(
    ("name", "circuit", "parameters", "error"),
    [
        ("lamp", "1_01", {"value": 1}, UnknownDevice),
        (None, "1_01", {"value": 1}, UnknownDevice),
        (["relay"], "1_01", {"value": 1}, UnknownDevice),
        ("relay", "1_09", {"value": 1}, UnknownCircuit),
        ("relay", ["1_01"], {"value": 1}, BadValue),
        ("relay", True, {"value": 1}, BadValue),
        ("relay", 1.5, {"value": 1}, BadValue),
        ("relay", "1_01", {}, BadParameter),
        ("relay", "1_01", {"valeu": 1}, BadParameter),
        ("relay", "1_01", {"__class__": 1}, BadParameter),
        ("relay", "1_01", {"value": 2}, BadValue),
        ("relay", "1_01", {"value": None}, BadValue),
        ("relay", "1_01", {"value": "nan"}, BadValue),
        ("relay", "1_01", {"value": 1, "timeout": 0}, BadValue),
        ("relay", "1_01", {"timeout": 5}, BadParameter),
        ("relay", "1_01", {"value": 1, "pwm_duty": 50}, Conflict),
        ("relay", "1_01", {"value": 1, "alias": "a b"}, BadValue),
        ("relay", "1_01", {"value": 1, "alias": "1_02"}, Conflict),
        ("modbus_slave", "1", {"value": 1}, BadParameter),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(rig, name, circuit, parameters, error):
    assert type(result(rig.desk.set(name, circuit, parameters))) is error
    assert rig.bus.written == []


def test_an_error_names_what_was_wrong_and_what_was_expected(rig):
    assert str(result(rig.set("relay", "1_01", value="maybe"))) == "value: got 'maybe', expected 0 or 1"


def test_a_value_is_checked_even_where_the_slave_is_offline(rig):
    rig.bus.turn(False)
    assert type(result(rig.set("relay", "1_01", value=2))) is BadValue


def test_a_write_to_a_dead_bus_fails_at_once(rig):
    """Defect 2 of Evok: it blocks, and is sent when the bus is back."""
    rig.bus.turn(False)
    assert type(result(rig.set("relay", "1_01", value=1))) is Offline
    rig.bus.turn(True)
    rig.clock.advance(10)
    assert rig.bus.written == []


def test_a_set_before_the_first_answer_fails_with_offline():
    rig = Rig(Clock())
    rig.bus.answering = False
    rig.scanner.start()
    assert type(result(rig.set("relay", "1_01", value=1))) is Offline


def test_a_set_whose_registers_were_not_read_yet_fails_with_offline():
    rig = Rig(Clock())
    rig.bus.answering = False
    rig.scanner.start()
    rig.bus.answer()  # the probe: the slave answers, one block is known
    assert type(result(rig.set("di", "1_01", mode="DirectSwitch"))) is Offline


def test_a_refused_write_is_told_with_the_exceptions_name(rig):
    """Defect 1 of Evok: a failed write answers success."""
    rig.bus.refusing = Refused("refused: illegal data address (2)", 2)
    error = result(rig.set("relay", "1_01", value=1))
    assert type(error) is Refused
    assert "illegal data address" in str(error)
    assert rig.device("relay", "1_01").state.value == 0


def test_failing_commands_are_logged_once_and_again_when_they_work(rig, log):
    rig.bus.refusing = Refused("refused: illegal data address (2)", 2)
    for _ in range(3):
        result(rig.set("relay", "1_01", value=1))
    rig.bus.refusing = None
    result(rig.set("relay", "1_01", value=1))
    told = [text for text in log.texts() if "do 1_01" in text]
    assert len(told) == 2
    assert "illegal data address" in told[0]


def test_plans_of_one_slave_do_not_interleave(rig):
    rig.bus.answering = False
    first = rig.set("di", "1_01", mode="DirectSwitch", ds_mode="Toggle")
    second = rig.set("relay", "1_01", value=1)
    seen = []
    while pending(second):
        what, _ = rig.bus.asked[0]
        if not hasattr(what, "count"):
            seen.append(what)
        rig.bus.answer()
    assert result(first).state.ds_mode == "Toggle"
    assert seen == [WriteRegister(1014, 1), WriteRegister(1015, 0), WriteRegister(1016, 1), WriteCoil(0, 1, (1, 0))]


def test_a_failed_step_ends_the_plan_and_what_was_acknowledged_is_shown(rig):
    rig.bus.answering = False
    done = rig.set("di", "1_01", mode="DirectSwitch", ds_mode="Toggle")
    rig.bus.answer()
    rig.bus.answer(error=Timeout("no answer"))
    assert type(result(done)) is Timeout
    assert rig.bus.written == [WriteRegister(1014, 1)]
    assert rig.device("di", "1_01").state.mode == "DirectSwitch"


def test_a_queued_plan_is_made_of_what_the_one_before_it_left(rig):
    rig.bus.answering = False
    rig.set("di", "1_01", mode="DirectSwitch")
    done = rig.set("di", "1_02", mode="DirectSwitch")
    while pending(done):
        rig.bus.answer()
    assert [write for write in rig.bus.written if write.address == 1014] == [
        WriteRegister(1014, 0b01),
        WriteRegister(1014, 0b11),
    ]


def test_a_set_that_cannot_be_sent_by_its_deadline_fails_and_is_never_sent(rig):
    rig.bus.answering = False
    rig.set("led", "1_01", value=1).addErrback(lambda _: None)  # holds the slave
    done = rig.set("relay", "1_01", value=1)
    rig.clock.advance(1.9)
    assert pending(done)
    rig.clock.advance(0.2)
    assert type(result(done)) is Timeout
    rig.bus.answer(error=Timeout("no answer"))
    rig.bus.answering = True
    rig.bus.answer_all()
    rig.clock.advance(10)
    assert rig.bus.written == []


def test_what_waits_for_a_slave_that_goes_offline_fails_at_once(rig):
    rig.bus.answering = False
    held = rig.set("led", "1_01", value=1)
    waiting = [rig.set("relay", f"1_0{n}", value=1) for n in (1, 2, 3)]
    rig.bus.turn(False)
    assert {type(result(done)) for done in (held, *waiting)} == {Offline}
    rig.bus.turn(True)
    rig.bus.answer_all()
    assert rig.bus.written == []


def test_a_newer_set_replaces_one_that_waits(rig):
    rig.bus.answering = False
    held = rig.set("led", "1_01", value=1)
    older, newer = (rig.set("relay", "1_01", value=value) for value in (1, 0))
    assert type(result(older)) is Superseded
    while pending(newer):
        rig.bus.answer()
    assert result(held)
    assert [write for write in rig.bus.written if write.address == 0] == [WriteCoil(0, 0, (1, 0))]


@pytest.mark.parametrize(
    ("older", "newer"),
    [({"debounce": 10}, {"counter": 5}), ({"debounce": 10, "counter": 5}, {"debounce": 20})],
)
def test_a_newer_set_of_something_else_replaces_nothing(rig, older, newer):
    rig.bus.answering = False
    rig.set("led", "1_01", value=1)
    first, second = rig.set("di", "1_01", **older), rig.set("di", "1_01", **newer)
    while pending(second):
        rig.bus.answer()
    assert not isinstance(result(first), EvokError)


def test_the_time_of_a_watchdog_is_not_lost_to_a_newer_set_of_its_value(rig):
    rig.bus.answering = False
    rig.set("led", "1_01", value=1)
    first, second = rig.set("wd", "1_01", timeout=5000), rig.set("wd", "1_01", value=1)
    while pending(second):
        rig.bus.answer()
    assert result(first).state.timeout == 5000


def test_a_pulse_that_waits_is_replaced_by_a_newer_set_of_its_output(rig):
    rig.bus.answering = False
    rig.set("led", "1_01", value=1)
    first, second = rig.set("relay", "1_01", value=1, timeout=5), rig.set("relay", "1_01", value=0)
    assert type(result(first)) is Superseded
    while pending(second):
        rig.bus.answer()


def test_a_set_with_an_alias_is_not_replaced(rig):
    rig.bus.answering = False
    rig.set("led", "1_01", value=1)
    first, second = rig.set("relay", "1_01", value=1, alias="lamp"), rig.set("relay", "1_01", value=0)
    while pending(second):
        rig.bus.answer()
    assert result(first).alias == "lamp"


def test_one_command_too_many_is_refused_with_busy(rig):
    rig.bus.answering = False
    waiting = [rig.set("register", f"1_{n}", value=1) for n in range(20)]
    waiting += [rig.set("di", f"1_0{n}", **{key: 1}) for n in (1, 2, 3, 4) for key in ("debounce", "counter")]
    waiting += [rig.set("relay", f"1_0{n}", value=1, alias=f"a{n}{m}") for n in (1, 2, 3, 4) for m in range(10)]
    assert [type(result(done)) for done in waiting if not pending(done)] == [Busy] * 3
    for done in waiting:
        done.addErrback(lambda _: None)
    rig.bus.turn(False)


def test_a_set_of_what_we_keep_ourselves_needs_no_write(rig):
    rig.bus.words[8] = 7
    rig.clock.advance(0.02)
    rig.changed()
    device = result(rig.set("di", "1_01", counter_mode="Disabled"))
    assert (device.state.counter_mode, device.state.counter) == ("Disabled", 0)
    assert rig.bus.written == []
    assert rig.changed() == [["di 1_01"]]


def test_an_error_in_a_plan_that_only_shows_when_its_turn_comes_is_told(rig):
    rig.bus.answering = False
    rig.set("di", "1_01", mode="Simple", debounce=5)
    rig.bus.words[1014] = 0
    switch = rig.set("di", "1_01", mode="DirectSwitch", counter=1)
    back = rig.set("di", "1_01", mode="Simple")
    late = rig.set("di", "1_02", debounce=1)
    while pending(late):
        rig.bus.answer()
    assert result(switch).state.mode == "Simple"
    assert not isinstance(result(back), EvokError)


# aliases


def test_an_alias_is_set_shown_and_found_with_and_without_its_prefix(rig):
    assert result(rig.set("relay", "1_01", alias="lamp")).alias == "lamp"
    assert rig.device("relay", "lamp") is rig.device("relay", "al_lamp") is rig.device("relay", "1_01")
    assert rig.changed() == [["do 1_01"]]


def test_an_alias_works_for_its_own_kind_only(rig):
    result(rig.set("relay", "1_01", alias="lamp"))
    with pytest.raises(UnknownCircuit):
        rig.device("led", "lamp")


def test_an_alias_is_unique_over_all_kinds_and_a_refused_one_leaves_the_old(rig):
    result(rig.set("relay", "1_01", alias="lamp"))
    result(rig.set("led", "1_01", alias="other"))
    assert type(result(rig.set("led", "1_01", alias="lamp"))) is Conflict
    assert type(result(rig.set("led", "1_01", alias="al_lamp"))) is Conflict
    assert rig.device("led", "other").alias == "other"


def test_an_empty_alias_removes_it(rig):
    result(rig.set("relay", "1_01", alias="lamp"))
    result(rig.set("relay", "1_01", alias=""))
    assert rig.device("relay", "1_01").alias == ""
    result(rig.set("led", "1_01", alias="lamp"))


def test_the_same_alias_again_changes_nothing(rig):
    result(rig.set("relay", "1_01", alias="lamp"))
    rig.changed()
    result(rig.set("relay", "1_01", alias="lamp"))
    assert rig.changed() == []


def test_a_set_that_fails_leaves_the_old_alias(rig):
    result(rig.set("relay", "1_01", alias="lamp"))
    rig.bus.refusing = Refused("refused", 4)
    result(rig.set("relay", "1_01", value=1, alias="door"))
    assert rig.device("relay", "1_01").alias == "lamp"


def test_an_alias_can_be_set_while_the_slave_is_offline(rig):
    rig.bus.turn(False)
    assert result(rig.set("relay", "1_01", alias="lamp")).alias == "lamp"


# pulses


def test_a_pulse_ends_at_the_opposite_value(rig):
    device = result(rig.set("relay", "1_01", value=1, timeout="0.5"))
    assert (device.state.value, device.state.pending) == (1, True)
    rig.clock.advance(0.5)
    assert (device.state.value, device.state.pending) == (0, False)


def test_a_pulse_of_zero_ends_at_one(rig):
    """Defect 10 of Evok: a value "0" with a timeout ends at 0."""
    result(rig.set("relay", "1_01", value=1))
    device = result(rig.set("relay", "1_01", value="0", timeout=0.5))
    assert device.state.value == 0
    rig.clock.advance(0.5)
    assert device.state.value == 1


def test_an_led_and_an_analog_output_go_back_too(rig):
    led = result(rig.set("led", "1_01", value=1, timeout=1))
    before = rig.device("ao", "1_01").state.value
    ao = result(rig.set("ao", "1_01", value=4, timeout=1))
    assert (led.state.value, ao.state.value) == (1, 4)
    ao = result(rig.set("ao", "1_01", value=5, timeout=1))  # a lease that is renewed
    rig.clock.advance(1)
    assert (led.state.value, ao.state.value) == (0, before)
    assert result(rig.set("ao", "1_01", value=4, timeout=1, then=1.5)).state.value == 4
    rig.clock.advance(1)
    assert ao.state.value == 1.5


def test_pending_ends_with_the_pulse(rig):
    """Defect 11 of Evok: pending stays true."""
    result(rig.set("relay", "1_01", value=1, timeout=1))
    rig.changed()
    rig.clock.advance(1)
    assert rig.changed() == [["do 1_01", "register 1_1"]]
    assert rig.device("relay", "1_01").state.pending is False


def test_a_later_set_cancels_a_pulse(rig):
    result(rig.set("relay", "1_01", value=1, timeout=1))
    device = result(rig.set("relay", "1_01", value=1))
    assert device.state.pending is False
    rig.clock.advance(5)
    assert device.state.value == 1


def test_a_later_pulse_replaces_the_first(rig):
    result(rig.set("relay", "1_01", value=1, timeout=1))
    rig.clock.advance(0.9)
    device = result(rig.set("relay", "1_01", value=1, timeout=1))
    rig.clock.advance(0.9)
    assert device.state.value == 1
    rig.clock.advance(0.2)
    assert (device.state.value, device.state.pending) == (0, False)


def test_an_alias_does_not_cancel_a_pulse(rig):
    result(rig.set("relay", "1_01", value=1, timeout=1))
    device = result(rig.set("relay", "1_01", alias="door"))
    assert device.state.pending is True


def test_a_later_set_that_fails_does_not_cancel_a_pulse(rig):
    device = result(rig.set("relay", "1_01", value=1, timeout=1))
    rig.bus.refusing = Refused("refused", 4)
    result(rig.set("relay", "1_01", value=1))
    rig.bus.refusing = None
    rig.clock.advance(1)
    assert device.state.value == 0


def test_the_end_of_a_pulse_is_tried_until_it_succeeds(rig, log):
    device = result(rig.set("relay", "1_01", value=1, timeout=1))
    rig.bus.turn(False)
    rig.clock.advance(60)
    rig.bus.turn(True)
    rig.clock.pump([0.5] * 4)
    assert (device.state.value, device.state.pending) == (0, False)
    assert len([text for text in log.texts("error") if "pulse" in text]) == 1
    assert [text for text in log.texts("info") if "pulse ended" in text] != []


def test_a_newer_set_while_the_end_of_a_pulse_waits_wins(rig):
    device = result(rig.set("relay", "1_01", value=1, timeout=1))
    rig.bus.answering = False
    newer = rig.set("relay", "1_01", value=1)
    rig.clock.advance(1)
    rig.bus.answering = True
    rig.bus.answer_all()
    rig.clock.advance(5)
    assert (result(newer), device.state.value, device.state.pending) == (device, 1, False)


def test_a_newer_set_has_the_last_word_over_what_was_asked_for_meanwhile(rig):
    rig.bus.answering = False
    rig.set("led", "1_01", value=1)
    older = rig.set("relay", "1_01", value=1)
    between = rig.set("relay", "1_01", pwm_duty=50)
    newest = rig.set("relay", "1_01", value=0)
    while pending(newest):
        rig.bus.answer()
    assert type(result(older)) is Superseded
    assert not isinstance(result(between), EvokError)
    state = result(newest).state
    assert (state.value, state.mode) == (0, "Simple")


def test_a_pulse_whose_set_fails_half_way_still_ends(rig):
    result(rig.set("relay", "1_01", pwm_duty=50))
    rig.bus.answering = False
    done = rig.set("relay", "1_01", value=1, timeout=1)
    rig.bus.answer()  # the coil is on
    rig.bus.answer(error=Timeout("no answer"))  # the duty
    assert type(result(done)) is Timeout
    assert rig.device("relay", "1_01").state.pending is True
    rig.bus.answering = True
    rig.bus.answer_all()
    rig.clock.advance(1)
    assert (rig.device("relay", "1_01").state.value, rig.device("relay", "1_01").state.pending) == (0, False)


def test_stop_fails_what_waits_and_puts_the_outputs_of_pulses_back(rig):
    result(rig.set("relay", "1_01", value=1, timeout=60))
    rig.bus.answering = False
    held = rig.set("led", "1_01", value=1)
    waiting = rig.set("led", "1_02", value=1)
    stopped = Deferred.fromCoroutine(rig.writer.stop())
    assert type(result(waiting)) is Offline
    while pending(stopped):
        rig.bus.answer()
    assert result(held)
    assert rig.device("relay", "1_01").state.value == 0
    written = len(rig.bus.written)
    rig.bus.answering = True
    rig.clock.advance(100)
    assert len(rig.bus.written) == written


def test_stop_says_which_pulse_it_could_not_end(rig, log):
    result(rig.set("relay", "1_01", value=1, timeout=60))
    rig.bus.turn(False)
    assert Deferred.fromCoroutine(rig.writer.stop()).called
    assert [text for text in log.texts("error") if "do 1_01" in text and "before the stop" in text] != []
    rig.clock.advance(100)


def test_a_set_while_the_service_stops_is_refused(rig):
    Deferred.fromCoroutine(rig.writer.stop())
    assert type(result(rig.set("relay", "1_01", value=1, timeout=5))) is Offline
    assert rig.bus.written == []


def test_a_pulse_that_begins_while_the_service_stops_is_put_back_too(rig):
    rig.bus.answering = False
    begun = rig.set("relay", "1_01", value=1, timeout=60)
    stopped = Deferred.fromCoroutine(rig.writer.stop())
    while pending(stopped):
        rig.bus.answer()
    assert not isinstance(result(begun), EvokError)
    assert rig.device("relay", "1_01").state.value == 0


def lost(error):
    error.sent = True
    return error


def test_a_pulse_whose_acknowledgement_is_lost_is_put_back(rig):
    rig.bus.answering = False
    done = rig.set("relay", "1_01", value=1, timeout=5)
    what, answer = rig.bus.asked.pop(0)
    rig.bus.perform(what)
    answer.errback(lost(Timeout("no answer within 1 s")))
    assert type(result(done)) is Timeout
    rig.bus.answering = True
    rig.bus.answer_all()
    assert rig.device("relay", "1_01").state.value == 1
    rig.clock.advance(5)
    assert rig.device("relay", "1_01").state.value == 0


@pytest.mark.parametrize("code", [4, 5, 6])
def test_a_pulse_whose_begin_may_have_been_done_though_it_was_refused_is_put_back(rig, code):
    rig.bus.answering = False
    done = rig.set("relay", "1_01", value=1, timeout=5)
    what, answer = rig.bus.asked.pop(0)
    rig.bus.perform(what)
    answer.errback(lost(Refused("refused", code)))
    assert type(result(done)) is Refused
    rig.bus.answering = True
    rig.bus.answer_all()
    rig.clock.advance(5)
    assert rig.device("relay", "1_01").state.value == 0


def test_the_end_of_a_pulse_that_is_refused_and_done_all_the_same_is_seen_by_a_read_and_not_tried_for_ever(rig, log):
    device = result(rig.set("relay", "1_01", value=1, timeout=1))
    write, attempts = rig.bus.write, []

    def done_but_refused(unit, what, deadline):
        attempts.append(what)
        rig.bus.perform(what)
        return fail(lost(Refused("refused: server device failure (4)", 4)))

    rig.bus.write = done_but_refused
    rig.clock.pump([0.02] * 500)
    rig.bus.write = write
    assert (device.state.value, device.state.pending) == (0, False)
    assert len(attempts) == 1
    assert [text for text in log.texts("info") if "the pulse ended, 1.0 s late" in text]


def test_the_end_of_a_pulse_that_is_refused_and_not_done_is_tried_on(rig):
    device = result(rig.set("relay", "1_01", value=1, timeout=1))
    rig.bus.write, write = lambda *_: fail(lost(Refused("refused", 4))), rig.bus.write
    rig.clock.pump([0.02] * 500)
    assert (device.state.value, device.state.pending) == (1, True)
    rig.bus.write = write
    rig.clock.pump([0.02] * 100)
    assert (device.state.value, device.state.pending) == (0, False)


def test_a_pulse_that_was_never_sent_does_nothing_later(rig):
    rig.bus.refusing = Timeout("could not be sent in time")
    result(rig.set("relay", "1_01", value=1, timeout=5))
    rig.bus.refusing = None
    rig.clock.advance(10)
    assert rig.bus.written == []


def test_a_numeric_alias_of_a_set_that_fails_is_taken_back(rig):
    rig.bus.refusing = Refused("refused", 4)
    result(rig.set("relay", "1_01", value=1, alias=7))
    assert rig.device("relay", "1_01").alias == ""


def test_a_reset_that_waits_is_not_replaced(rig):
    rig.bus.answering = False
    rig.set("led", "1_01", value=1)
    reset, later = rig.set("wd", "1_01", reset=1), rig.set("wd", "1_01", reset=0)
    while pending(later):
        rig.bus.answer()
    assert not isinstance(result(reset), EvokError)
    assert WriteCoil(1002, 1) in rig.bus.written


@pytest.mark.parametrize("alias", ["1_02", "al_1_02"])
def test_an_alias_cannot_hide_a_circuit_with_or_without_its_prefix(rig, alias):
    done = rig.set("relay", "1_01", alias=alias)
    assert type(result(done)) is Conflict


def test_a_bug_in_a_plan_is_not_taken_for_a_board_that_is_offline(rig):
    device = rig.device("relay", "1_01")
    device.plan = lambda *_: {}["bug"]
    with pytest.raises(KeyError, match="bug"):
        rig.writer.check(device, {"value": 1})
