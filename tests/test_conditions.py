import pytest
from twisted.internet.task import Clock

from evok_twisted import conditions
from evok_twisted.conditions import Condition, Signal, Timer, backoff
from evok_twisted.logs import Logger

LOG = Logger(namespace="test")


def test_waits_double_up_to_the_longest():
    assert [backoff(attempt, 0.5, 5.0) for attempt in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_wait_is_bounded_however_often_it_was_waited():
    assert backoff(10**9, 1.0, 60.0) == 60.0


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 10.0), (0.5, 9.5), (1.0, 9.0)])
def test_a_wait_is_shorter_by_chance_by_up_to_a_tenth(monkeypatch, chance, wait):
    monkeypatch.setattr(conditions, "JITTER", 0.1)
    assert backoff(5, 1.0, 10.0, lambda: chance) == pytest.approx(wait)


def test_everybody_who_watches_is_called_in_order():
    signal, called = Signal(LOG), []
    for name in "abc":
        signal.watch(lambda value, name=name: called.append((name, value)))
    signal.emit(7)
    assert called == [("a", 7), ("b", 7), ("c", 7)]


def test_the_same_watcher_can_watch_twice_and_each_is_stopped_by_itself():
    signal, called = Signal(LOG), []
    first, second = signal.watch(called.append), signal.watch(called.append)
    signal.emit(1)
    first.stop()
    first.stop()
    signal.emit(2)
    second.stop()
    signal.emit(3)
    assert called == [1, 1, 2]


def test_who_is_stopped_by_one_before_is_not_called_any_more():
    signal, called = Signal(LOG), []
    signal.watch(lambda: second.stop())
    second = signal.watch(lambda: called.append("second"))
    signal.watch(lambda: called.append("third"))
    signal.emit()
    assert called == ["third"]


def test_who_begins_to_watch_meanwhile_is_called_from_the_next_time_on():
    signal, called = Signal(LOG), []
    signal.watch(lambda: signal.watch(lambda: called.append("new")))
    signal.emit()
    assert called == []
    signal.emit()
    assert called == ["new"]


def test_the_failure_of_one_is_logged_and_costs_the_others_nothing(log):
    signal, called = Signal(LOG), []
    signal.watch(lambda: 1 / 0)
    signal.watch(lambda: called.append("other"))
    signal.emit()
    assert called == ["other"]
    log.expected("division by zero")


def test_a_timer_calls_once_when_its_time_is_over():
    clock, called = Clock(), []
    timer = Timer(clock, lambda: called.append(clock.seconds()))
    timer.start(2.0)
    clock.pump([1.0, 1.0, 1.0])
    assert (called, timer.running) == ([2.0], False)


def test_a_timer_that_is_started_anew_forgets_when_it_was_to_call():
    clock, called = Clock(), []
    timer = Timer(clock, lambda: called.append(clock.seconds()))
    timer.start(1.0)
    timer.start(3.0)
    clock.pump([1.0] * 5)
    assert called == [3.0]


@pytest.mark.parametrize(("first", "then", "at"), [(1.0, 3.0, 1.0), (3.0, 1.0, 1.0)])
def test_a_timer_that_is_to_call_within_a_time_keeps_the_sooner_one(first, then, at):
    clock, called = Clock(), []
    timer = Timer(clock, lambda: called.append(clock.seconds()))
    timer.start_within(first)
    timer.start_within(then)
    clock.pump([1.0] * 5)
    assert called == [at]


def test_a_timer_can_be_stopped_twice_and_in_its_own_call():
    clock = Clock()
    timer = Timer(clock, lambda: timer.stop())
    timer.start(1.0)
    clock.advance(1.0)
    timer.start(1.0)
    timer.stop()
    timer.stop()
    assert clock.getDelayedCalls() == []


def test_a_timer_can_be_started_in_its_own_call():
    clock, called = Clock(), []

    def tick():
        called.append(clock.seconds())
        timer.start(1.0)

    timer = Timer(clock, tick)
    timer.start(1.0)
    clock.pump([1.0] * 3)
    assert called == [1.0, 2.0, 3.0]


def test_what_lasts_is_told_when_it_begins_and_when_it_ends_with_how_long_it_was(log):
    clock = Clock()
    condition = Condition(LOG, clock)
    clock.advance(5.0)
    for _ in range(3):
        condition.begin("{what} is broken, after {lasted:g} s", what="it")
        clock.advance(1.0)
    for _ in range(3):
        condition.end("{what} works again, after {lasted:g} s", what="it")
    assert log.texts("warn") == ["it is broken, after 5 s"]
    assert log.texts("info") == ["it works again, after 3 s"]


def test_whether_it_is_news_is_said():
    condition = Condition(LOG, Clock())
    assert [condition.end(""), condition.begin(""), condition.begin(""), condition.end("")] == [
        False,
        True,
        False,
        True,
    ]


def test_of_what_is_not_known_yet_either_is_news(log):
    assert Condition(LOG, Clock(), lasts=None).begin("bad")
    assert Condition(LOG, Clock(), lasts=None).end("good")
    assert log.texts() == ["bad", "good"]


def test_what_is_worse_than_a_warning_is_an_error(log):
    assert Condition(LOG, Clock()).begin_badly("bad")
    assert log.texts("error") == ["bad"]
