"""What is taken down of what circuits come to show."""

from __future__ import annotations

import pytest
from fakes import BY, Rig
from twisted.internet.task import Clock

from evok_twisted.history.batch import Series
from evok_twisted.history.recorder import FIELDS, Recorder
from evok_twisted.history.store import HOUR

NOON = 1_795_694_400.0


class House:
    """A board 00, and a clock for the time of day that can be set."""

    def __init__(self, devices=("di", "ai"), most=1000):
        self.clock = Clock()
        self.ahead = NOON
        self.rig = Rig(self.clock, "00")
        self.rig.events.wall = lambda: self.clock.seconds() + self.ahead
        self.rig.start()
        self.desk = self.rig.desks(BY, "v3")
        self.recorder = Recorder(self.desk, self.desk.wanted(devices)[0], self.clock, most)
        self.recorder.begin({}, 0)
        self.desk.subscribe(self.recorder.note, self.desk.wanted(["all"])[0])

    def shows(self, register, word):
        self.rig.bus.words[register] = word
        self.clock.advance(0.02)

    def number(self, kind, circuit, field="value"):
        return self.recorder.numbers[Series(kind, circuit, field)]

    def taken(self, kind, circuit):
        """The values of a circuit that wait, batch by batch."""
        number = self.number(kind, circuit)
        return [batch.rows.get(number, [])[1::2] for batch in self.recorder.take()]


@pytest.fixture
def house():
    return House()


def test_it_begins_with_what_everything_shows(house):
    (batch,) = house.recorder.take()
    assert batch.whole
    assert {house.number("di", "1_01"), house.number("ai", "1_01")} <= batch.rows.keys()
    assert all(when == 0 for row in batch.rows.values() for when in row[::2])


def test_each_change_is_taken_down_once_with_its_time(house):
    house.recorder.take()
    house.clock.advance(1.0)
    began = house.recorder.now()
    house.shows(0, 1)
    house.clock.advance(1.0)
    house.shows(0, 0)
    (batch,) = house.recorder.take()
    assert not batch.whole
    row = batch.rows[house.number("di", "1_01")]
    assert row[1::2] == [1, 0]
    assert row[2] - row[0] == pytest.approx(1020, abs=21)
    assert batch.begin + row[0] >= began


def test_what_is_not_wanted_is_not_taken_down():
    house = House(devices=("ai/1_*",))
    assert {series.kind for series in house.recorder.numbers} == {"ai"}


def test_whose_command_it_was_is_taken_down(house):
    house = House(devices=("do",))
    house.recorder.take()
    house.desk.set("do", "1_01", {"value": 1})
    (batch,) = house.recorder.take()
    number = house.number("do", "1_01")
    assert batch.rows[number][1::2] == [1]
    assert batch.causes[number][1::2] == ["somebody (test)"]


def test_of_a_board_that_does_not_answer_nothing_is_known_until_it_does(house):
    house.shows(0, 1)
    house.recorder.take()
    house.rig.bus.turn(False)
    house.clock.advance(0.1)
    assert house.taken("di", "1_01") == [[None]]
    house.rig.bus.turn(True)
    house.clock.pump([0.1] * 50)
    assert house.taken("di", "1_01")[-1] == [1]


def test_of_a_device_that_is_no_more_nothing_is_known(house):
    house.recorder.take()
    device = house.desk.find("di", "1_01")
    house.rig.registry.remove(device)
    house.rig.events.withdraw([device])
    assert house.taken("di", "1_01") == [[None]]


@pytest.mark.parametrize("by", [-HOUR / 1000, HOUR / 1000])
def test_a_clock_that_is_set_begins_a_batch_with_everything_by_the_new_time(house, by):
    house.recorder.take()
    house.ahead += by
    house.clock.advance(10)
    house.shows(0, 1)
    batches = house.recorder.take()
    assert batches[-1].whole
    assert batches[-1].offset == round(1000 * (NOON + by + 0.02))  # it began after a scan
    assert batches[-1].rows[house.number("di", "1_01")][1] == 1


def test_a_clock_that_drifts_is_not_set(house):
    house.recorder.take()
    for _ in range(10):
        house.ahead += 0.1
        house.clock.advance(1)
        house.shows(0, 1)
    assert not any(batch.whole for batch in house.recorder.take())


def test_a_clock_that_is_behind_the_last_run_does_not_count(house):
    after = round(1000 * NOON) + 5 * HOUR
    house.recorder.begin({}, after)
    assert house.recorder.wall == after
    house.clock.advance(60)
    assert house.recorder.wall == after + 60_000


def test_what_cannot_wait_is_counted_and_the_oldest():
    house = House(devices=("di",), most=20)
    for n in range(60):
        house.shows(0, n % 2)
        batches = house.recorder.take()
        house.recorder.give_back(batches)
    assert house.recorder.waiting <= 22
    assert house.recorder.lost > 0
    assert house.recorder.take()[0].cut


def test_that_the_service_was_there_is_taken_down_though_nothing_changed(house):
    house.recorder.take()
    house.clock.advance(60)
    (batch,) = house.recorder.take()
    assert (batch.rows, batch.until) == ({}, house.recorder.now())


def test_numbers_that_measure_something_are_kept_and_others_are_not():
    assert FIELDS["temp"][0] == "value"
    assert {"humidity", "vdd", "temp"} <= set(FIELDS["1wdevice"]) | set(FIELDS["temp"])
    assert "time" not in FIELDS["temp"] and "interval" not in FIELDS["temp"]
