"""What is logged of things that come again and again."""

from __future__ import annotations

import weakref

import pytest
from twisted.internet.task import Clock

from evok_twisted.logs import Logger, Repeats


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def repeats(clock):
    return Repeats(Logger(), clock)


def test_the_first_times_are_told_as_they_are(repeats, log):
    repeats.warn("it is {what}", what="gone")
    repeats.info("it is {what}", what="back")
    assert [(event["log_level"].name, text) for event, text in zip(log, log.texts(), strict=True)] == [
        ("warn", "it is gone"),
        ("info", "it is back"),
    ]


def test_what_goes_on_is_a_line_a_minute_with_how_often_and_the_last(repeats, clock, log):
    for n in range(600):
        repeats.warn("gone, for the {n}. time", n=n)
        clock.advance(0.25)
    assert log.texts()[:2] == ["gone, for the 0. time", "gone, for the 1. time"]
    assert log.texts()[2:] == [
        "gone, for the 239. time; 238 messages like this in 60 s, this is the last",
        "gone, for the 479. time; 240 messages like this in 60 s, this is the last",
    ]


def test_its_end_is_told_after_a_quiet_minute(repeats, clock, log):
    for n in range(100):
        repeats.warn("gone, for the {n}. time", n=n)
        clock.advance(1)
    log.clear()
    clock.pump([10] * 20)
    assert log.texts() == [
        "gone, for the 99. time; 40 messages like this in 60 s, this is the last",
        "this was the last of 98 more messages, and is over now: gone, for the 99. time",
    ]
    assert clock.getDelayedCalls() == []


def test_after_a_quiet_minute_the_next_is_told_at_once(repeats, clock, log):
    for _ in range(3):
        for _ in range(10):
            repeats.warn("gone")
        clock.pump([60, 60])
        log.clear()
        repeats.warn("gone again")
        assert log.texts() == ["gone again"]
        clock.advance(60)
    assert not repeats.going_on


def test_nothing_is_left_to_be_done_when_all_is_quiet(repeats, clock):
    repeats.warn("gone")
    clock.advance(60)
    assert clock.getDelayedCalls() == []


def test_a_minute_that_goes_on_keeps_nothing_of_who_told_it(clock):
    class Board:
        _log = Logger()

        def repeats(self):
            return Repeats(self._log, clock)

    board = Board()
    repeats, gone = board.repeats(), weakref.ref(board)
    repeats.warn("it is gone")
    del board
    assert repeats.going_on
    assert gone() is None
