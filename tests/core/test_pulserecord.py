"""Pulses that survive a crash: what is recorded, in which order, and what becomes of it at the next start."""

from __future__ import annotations

import json
import os

import pytest
from fakes import Rig
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from evok_twisted.core.audit import Audit
from evok_twisted.core.pulserecord import FORGOTTEN, PulseRecord
from evok_twisted.errors import Offline, Unavailable

WALL = 1_800_000_000.0


class Disk:
    """Runs what blocks at once, when the test says so, or not at all."""

    def __init__(self):
        self.at_once, self.full = True, False
        self.waiting = []

    def __call__(self, blocking):
        if self.full:
            return fail(OSError(28, "No space left on device"))
        if self.at_once:
            return succeed(blocking())
        done = Deferred()
        self.waiting.append((blocking, done))
        return done

    def go_on(self):
        while self.waiting:
            blocking, done = self.waiting.pop(0)
            done.callback(blocking())


class House:
    """A unit that can crash: its board and its disk stay as they are."""

    def __init__(self, tmp_path):
        self.file = tmp_path / "run" / "pulses.json"
        self.clock = Clock()
        self.clock.advance(1000)
        self.boot, self.ahead = "first", 0.0
        self.words = {}
        self.start()

    def start(self, answering=True):
        self.disk = Disk()
        self.record = PulseRecord(
            self.file, self.clock, self.disk, wall=lambda: WALL + self.ahead + self.clock.seconds(), boot=self.boot
        )
        self.record.load()
        self.rig = Rig(self.clock, record=self.record)
        self.rig.bus.words = self.words or self.rig.bus.words
        self.words = self.rig.bus.words
        if not answering:
            self.rig.bus.refusing = Offline("not there")
        self.rig.scanner.start()
        self.rig.writer.resume(self.rig.registry)
        self.clock.advance(0.02)
        return self

    def crash(self):
        """Nothing more comes of this run, whatever it had under way."""
        self.rig.scanner.stop()
        for call in self.clock.getDelayedCalls():
            call.cancel()
        self.rig.bus.online = False
        return self

    def set(self, circuit="1_01", dev="led", **parameters):
        done = self.rig.set(dev, circuit, **parameters)
        done.addErrback(lambda failure: failure.value)
        return done

    def recorded(self):
        """What the file says: circuit, value during the pulse, and after."""
        if not self.file.exists():
            return []
        return [(one["circuit"], one["during"], one["value"]) for one in json.loads(self.file.read_text())]

    def value(self, circuit="1_01", dev="led"):
        return self.rig.device(dev, circuit).state.value

    def wait(self, seconds, step=0.05):
        for _ in range(round(seconds / step)):
            self.clock.advance(step)


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.crash()


def result(deferred):
    found = []
    deferred.addBoth(lambda outcome: found.append(outcome) or outcome)
    return found[0] if found else None


def test_a_pulse_is_recorded_before_anything_is_written(house):
    house.disk.at_once = False
    done = house.set(value=1, timeout=5)
    assert (house.rig.bus.written, result(done)) == ([], None)
    house.disk.go_on()
    assert house.recorded() == [("1_01", 1, 0)]
    assert house.value() == 1
    house.disk.at_once = True
    house.wait(6)
    assert (house.value(), house.recorded()) == (0, [])


def test_a_pulse_that_cannot_be_recorded_is_refused_and_nothing_is_written(house, log):
    house.disk.full = True
    error = result(house.set(value=1, timeout=5))
    assert isinstance(error, Unavailable)
    assert (error.sent, house.rig.bus.written, house.record.count) == (False, [], 0)
    assert "No space left" in str(error)
    assert result(house.set(value=1)).state.value == 1, "what is no pulse needs no record"
    house.disk.full = False
    assert result(house.set(value=0, timeout=5)).state.value == 0
    assert [text for text in log.texts("error") if "what needs it is refused" in text]
    assert any("is written again" in text for text in log.texts("info"))


def test_after_a_crash_the_end_that_is_due_is_done_as_soon_as_the_board_answers(house, log):
    house.set(value=1, timeout=5)
    house.wait(2)
    house.crash()
    house.clock.advance(10)
    house.start(answering=False)
    house.wait(3)
    assert house.words[20] & 1 == 1
    house.rig.bus.refusing = None
    house.wait(6)
    assert (house.value(), house.recorded()) == (0, [])
    assert any("its pulse ended while the service did not run" in text for text in log.texts("warn"))


def test_after_a_crash_a_pulse_goes_on_to_its_end(house, log):
    house.set(value=1, timeout=5)
    house.wait(1)
    house.crash()
    house.clock.advance(1)
    house.start()
    house.wait(2.5)
    assert house.value() == 1
    house.wait(1)
    assert house.value() == 0
    assert not any("did not run" in text for text in log.texts("warn"))


def test_the_end_comes_before_whatever_a_client_wants(house):
    house.set(value=1, timeout=1)
    house.crash()
    house.clock.advance(10)
    house.start(answering=False)
    house.rig.bus.refusing = None
    while isinstance(result(house.set("1_02", value=1)), Exception):
        house.clock.advance(0.001)
    first, second = house.rig.bus.written
    assert (first.value, second.value, second.address) == (0, 1, first.address + 1)


def test_an_output_that_somebody_has_put_back_meanwhile_is_left_alone(house, log):
    house.set(value=1, timeout=1)
    house.crash()
    house.words[20] = 0
    house.clock.advance(10)
    house.start()
    house.rig.bus.written.clear()
    house.wait(1)
    assert (house.rig.bus.written, house.recorded()) == ([], [])
    assert "led 1_01: its pulse of before is over, it is at 0" in log.texts("info")


def test_a_pulse_that_was_recorded_and_never_begun_ends_nothing(house):
    house.rig.bus.answering = False
    house.set(value=1, timeout=1)
    assert house.recorded() == [("1_01", 1, 0)]
    house.crash()
    house.clock.advance(10)
    house.start()
    house.wait(1)
    assert (house.value(), house.recorded()) == (0, [])


def test_of_a_pulse_that_takes_the_place_of_another_the_one_that_the_output_shows_is_ended(house):
    house.set(value=1, timeout=5)
    house.rig.bus.answering = False
    house.set(value=0, timeout=8)  # and back to 1: recorded, and never begun
    assert house.recorded() == [("1_01", 1, 0), ("1_01", 0, 1)]
    house.crash()
    house.clock.advance(20)
    house.start()
    house.wait(1)
    assert (house.value(), house.recorded()) == (0, [])


def test_a_lease_that_is_renewed_ends_after_its_last_renewal(house):
    house.set(value=1, timeout=3)
    house.wait(2)
    house.set(value=1, timeout=3)
    assert house.recorded() == [("1_01", 1, 0)]
    house.crash()
    house.start()
    house.wait(2.5)
    assert house.value() == 1
    house.wait(1)
    assert house.value() == 0


def test_a_set_that_ends_a_pulse_is_acknowledged_when_the_record_says_so_too(house):
    house.set(value=1, timeout=5)
    house.disk.at_once = False
    done = house.set(value=1)
    assert result(done) is None
    assert house.recorded() == [("1_01", 1, 0)]
    house.disk.go_on()
    assert result(done).state.value == 1
    assert house.recorded() == []
    house.crash().start()
    house.wait(10)
    assert house.value() == 1


def test_analog_outputs_go_back_after_a_crash_too(house):
    before = house.value(dev="ao")
    house.set(dev="ao", value=4.4, timeout=2)
    house.wait(0.5)
    assert house.value(dev="ao") == 4.4
    house.crash()
    house.clock.advance(5)
    house.start()
    house.wait(1)
    assert house.value(dev="ao") == before


def test_the_end_of_a_pulse_is_in_the_audit(house, log):
    house.rig.commands.audit = Audit(house.clock)
    house.set(value=1, timeout=0.5)
    house.wait(1)
    assert any(text.startswith("set led 1_01 value=0 by evok over pulse: done") for text in log.texts("info"))


def test_after_another_boot_the_time_of_day_counts_and_never_for_longer_than_the_pulse_is(house):
    house.set(value=1, timeout=60)
    house.crash()
    house.boot, house.ahead = "second", -(10**6)  # and the clock is wrong, as without a battery
    house.start()
    house.wait(59)
    assert house.value() == 1
    house.wait(2)
    assert house.value() == 0


def test_after_another_boot_a_pulse_that_ended_meanwhile_is_ended_at_once(house):
    house.set(value=1, timeout=60)
    house.crash()
    house.boot, house.ahead = "second", 3600.0
    house.start()
    house.wait(0.5)
    assert house.value() == 0


def test_what_could_not_be_put_back_at_the_stop_is_at_the_next_start(house, log):
    house.set(value=1, timeout=60)
    house.rig.bus.turn(False)
    Deferred.fromCoroutine(house.rig.writer.stop())
    assert any("it will be at the next start" in text for text in log.texts("error"))
    assert house.recorded() == [("1_01", 1, 0)]
    house.crash()
    house.clock.advance(100)
    house.start()
    house.wait(0.5)
    assert house.value() == 0


def test_a_stop_before_the_board_was_there_leaves_the_record_for_the_next_start(house):
    house.set(value=1, timeout=60)
    house.crash()
    house.start(answering=False)
    Deferred.fromCoroutine(house.rig.writer.stop())
    assert house.recorded() == [("1_01", 1, 0)]


@pytest.mark.parametrize("content", ["", "{", "[]x", '[{"kind":"led"}]', "5", "[5]"])
def test_a_record_that_cannot_be_used_is_put_aside_and_told_of(tmp_path, log, content):
    file = tmp_path / "run" / "pulses.json"
    file.parent.mkdir()
    file.write_text(content)
    house = House(tmp_path)
    assert (tmp_path / "run" / "pulses.bad").read_text() == content
    assert any("cannot be used" in text for text in log.texts("error"))
    assert result(house.set(value=1, timeout=1)).state.value == 1
    house.crash()


def test_what_is_very_old_is_of_no_matter_any_more(house):
    house.set(value=1, timeout=60)
    house.crash()
    house.boot, house.ahead = "second", FORGOTTEN + 3600
    house.start()
    assert house.record.count == 0


def test_without_a_file_pulses_run_as_ever_and_nothing_is_kept():
    clock = Clock()
    record = PulseRecord(None, clock)
    rig = Rig(clock, record=record).start()
    rig.set("led", "1_01", value=1, timeout=1)
    assert (rig.device("led", "1_01").state.value, record.count) == (1, 1)
    clock.advance(1.1)
    assert (rig.device("led", "1_01").state.value, record.count) == (0, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pulse"), st.integers(0, 1), st.sampled_from([0.3, 1.0, 3.0]), st.sampled_from([None, 0, 1])),
        st.tuples(st.just("set"), st.integers(0, 1)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 0.5, 2.0])),
        st.tuples(st.just("slow disk"), st.booleans()),
        st.tuples(st.just("slow board"), st.booleans()),
        st.tuples(st.just("crash"), st.sampled_from([0.0, 0.4, 5.0])),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_whatever_happens_an_output_ends_where_its_last_pulse_or_set_says(tmp_path_factory, steps):
    """A crash loses what was not acknowledged, and nothing else: an acknowledged set, or a pulse's end, is left."""
    house = House(tmp_path_factory.mktemp("unit"))
    allowed = {0}  # values at which the output may end: those of what was acknowledged last, or asked for since

    def acknowledged(outcome, end):
        if not isinstance(outcome, Exception):
            allowed.clear()
            allowed.add(end)

    for step, *how in steps:
        if step == "pulse":
            value, seconds, then = how
            end = 1 - value if then is None else then
            allowed.add(end)
            more = {} if then is None else {"then": then}
            house.set(value=value, timeout=seconds, **more).addCallback(acknowledged, end)
        elif step == "set":
            allowed.add(how[0])
            house.set(value=how[0]).addCallback(acknowledged, how[0])
        elif step == "wait":
            house.wait(how[0])
        elif step == "slow disk":
            house.disk.at_once = not how[0]
            house.disk.go_on()
        elif step == "slow board":
            house.rig.bus.answering = not how[0]
            house.rig.bus.answer_all()
        else:
            house.crash()
            house.clock.advance(how[0])
            house.start()
    house.disk.at_once = house.rig.bus.answering = True
    for _ in range(100):
        house.disk.go_on()
        house.rig.bus.answer_all()
        house.wait(0.2)
    assert house.value() in allowed
    assert house.recorded() == []
    house.crash()
    os.unlink(house.file) if house.file.exists() else None
