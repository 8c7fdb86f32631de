"""Silent slaves of one bus, and how little of its time they get."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from evok_twisted.core.probes import Probes


class Line:
    """Slaves that are asked, each for as long as the test lets it."""

    def __init__(self):
        self.clock = Clock()
        self.probes = Probes(self.clock)
        self.asked = []

    def add(self, name):
        def probe():
            self.asked.append((name, done := Deferred()))
            return done

        self.probes.add(probe)

    def answer(self, answered):
        self.asked[-1][1].callback(answered)

    @property
    def names(self):
        return [name for name, _ in self.asked]


@pytest.fixture
def line():
    return Line()


def test_one_is_asked_at_a_time_in_the_order_in_which_they_came(line):
    for name in "abc":
        line.add(name)
    assert line.names == ["a"]
    line.answer(True)
    assert line.names == ["a", "b"]
    line.answer(True)
    assert line.names == ["a", "b", "c"]


def test_after_one_that_did_not_answer_there_is_a_pause_of_nine_times_as_long(line):
    line.add("a")
    line.add("b")
    line.clock.advance(0.1)
    line.answer(False)
    line.clock.advance(0.89)
    assert line.names == ["a"]
    line.clock.advance(0.02)
    assert line.names == ["a", "b"]


def test_a_pause_is_four_seconds_at_most(line):
    line.add("a")
    line.add("b")
    line.clock.advance(60)
    line.answer(False)
    line.clock.advance(4)
    assert line.names == ["a", "b"]


def test_who_comes_in_the_pause_waits_for_its_end(line):
    line.add("a")
    line.clock.advance(0.1)
    line.answer(False)
    line.add("b")
    assert line.names == ["a"]
    line.clock.advance(1)
    assert line.names == ["a", "b"]


def test_many_that_answer_at_once_are_all_asked_without_recursion(line):
    asked = []

    def probe():
        asked.append(1)
        done = Deferred()
        done.callback(True)
        return done

    line.add("first")
    for _ in range(5000):
        line.probes.add(probe)
    line.answer(True)
    assert len(asked) == 5000


def test_nobody_is_asked_after_the_stop(line):
    line.add("a")
    line.add("b")
    line.clock.advance(0.1)
    line.answer(False)
    line.probes.stop()
    line.clock.advance(10)
    assert line.names == ["a"]
    assert line.clock.getDelayedCalls() == []


def test_one_that_goes_is_not_asked_and_the_others_are(line):
    line.add("a")
    probes = []
    for name in "bcd":
        probes.append(lambda name=name: line.asked.append((name, done := Deferred())) or done)
        line.probes.add(probes[-1])
    line.probes.remove(probes[1])
    line.probes.remove(probes[1])
    for _ in range(3):
        line.answer(True)
    assert line.names == ["a", "b", "d"]
