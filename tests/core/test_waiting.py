"""Sets that wait for their turn."""

import pytest
from fakes import BY
from twisted.internet.task import Clock

from evok_twisted.core.commands import Assignment
from evok_twisted.core.waiting import Queue, Waiting
from evok_twisted.errors import Busy, Offline, Superseded, Timeout
from evok_twisted.model.device import Device, State
from evok_twisted.model.parameters import Bit, Real, Whole

PARAMETERS = {
    "value": Bit(),
    "timeout": Real(0, 10).marked(qualifies=True),
    "debounce": Whole(0, 10),
    "reset": Bit().marked(once=True),
    "pin": Whole(0, 7).marked(selects=True),
}


class Pin(Device):
    kind = "pin"


DEVICES = [Pin(str(n), "1", None, State(), parameters=PARAMETERS) for n in range(4)]
LAMP, PUMP = DEVICES[:2]


class Line:
    """A queue, and what became of those that waited in it."""

    def __init__(self, limit=64):
        self.clock = Clock()
        self.dropped = []
        self.queue = Queue(self.clock, 2.0, limit, "the board", self.dropped.append)

    def ask(self, *sets, replaceable=True):
        asked = [Assignment(device, parameters, BY, replaceable) for device, parameters in sets]
        outcomes = [[] for _ in asked]
        for done, outcome in zip(self.queue.ask(asked), outcomes, strict=True):
            done.addErrback(lambda failure: failure.value).addCallback(outcome.append)
        return outcomes

    def order(self):
        return [(job.device, dict(job.parameters)) for job in self.queue]


@pytest.fixture
def line():
    return Line()


def test_sets_wait_in_the_order_in_which_they_came(line):
    line.ask((LAMP, {"value": 1}))
    line.ask((PUMP, {"value": 1}), (LAMP, {"debounce": 5}))
    assert line.order() == [(LAMP, {"value": 1}), (PUMP, {"value": 1}), (LAMP, {"debounce": 5})]


def test_one_that_has_its_turn_waits_no_more_and_cannot_expire(line):
    (outcome,) = line.ask((LAMP, {"value": 1}))
    (job,) = line.queue
    line.queue.take([job])
    line.clock.advance(10)
    assert (list(line.queue), outcome, line.dropped) == ([], [], [])
    assert not line.queue
    job.succeed()
    assert outcome == [None]


def test_one_whose_time_is_over_fails_and_is_gone(line):
    (outcome,) = line.ask((LAMP, {"value": 1}))
    line.clock.advance(1.9)
    assert outcome == []
    line.clock.advance(0.1)
    assert type(outcome[0]) is Timeout
    assert str(outcome[0]).endswith("could not be sent within 2 s")
    assert len(line.dropped) == 1
    assert not line.queue


def test_each_has_its_deadline(line):
    line.clock.advance(7)
    line.ask((LAMP, {"value": 1}))
    assert [job.deadline for job in line.queue] == [9.0]


@pytest.mark.parametrize(
    ("older", "newer", "replaced"),
    [
        ({"value": 1}, {"value": 0}, True),
        ({"value": 1}, {"value": 0, "debounce": 3}, True),
        ({"value": 1, "debounce": 3}, {"value": 0}, False),
        ({"value": 1, "timeout": 5}, {"value": 0}, True),
        ({"value": 1}, {"value": 0, "timeout": 5}, True),
        ({"value": 1, "reset": 1}, {"value": 0, "reset": 1}, False),
        ({"value": 1, "pin": 3}, {"value": 0, "pin": 3}, True),
        ({"value": 1, "pin": 3}, {"value": 0, "pin": 4}, False),
        ({"value": 1, "pin": 3}, {"value": 0}, False),
        ({"value": 1}, {"debounce": 3}, False),
    ],
)
def test_a_newer_set_takes_the_place_of_an_older_of_which_nothing_would_be_missed(line, older, newer, replaced):
    (outcome,) = line.ask((LAMP, older))
    line.ask((LAMP, newer))
    assert [type(one) for one in outcome] == [Superseded] * replaced
    assert line.order()[-1] == (LAMP, newer)
    assert len(line.order()) == 2 - replaced
    assert len(line.dropped) == replaced


def test_a_set_of_another_device_replaces_nothing(line):
    line.ask((LAMP, {"value": 1}))
    line.ask((PUMP, {"value": 1}))
    assert len(line.order()) == 2


def test_sets_of_one_request_do_not_replace_each_other(line):
    line.ask((LAMP, {"value": 1}), (LAMP, {"value": 0}))
    assert line.order() == [(LAMP, {"value": 1}), (LAMP, {"value": 0})]


def test_one_that_must_be_done_is_not_replaced(line):
    (outcome,) = line.ask((LAMP, {"value": 1}), replaceable=False)
    line.ask((LAMP, {"value": 0}))
    assert outcome == []


def test_one_request_too_many_is_refused_at_once():
    line = Line(limit=2)
    outcomes = [line.ask((device, {"value": 1}))[0] for device in DEVICES]
    assert [list(map(type, outcome)) for outcome in outcomes] == [[], [], [Busy], [Busy]]
    assert len(line.order()) == 2


def test_what_one_client_asks_for_at_once_counts_as_one():
    line = Line(limit=2)
    line.ask(*((device, {"value": 1}) for device in DEVICES))
    assert line.ask((LAMP, {"debounce": 1})) == [[]]
    assert type(line.ask((PUMP, {"debounce": 3}))[0][0]) is Busy


def test_there_is_room_again_when_one_has_had_its_turn():
    line = Line(limit=1)
    line.ask((LAMP, {"value": 1}))
    line.queue.take(list(line.queue))
    assert line.ask((PUMP, {"value": 1})) == [[]]


def test_what_the_service_does_on_its_own_waits_however_many_do():
    line = Line(limit=1)
    line.ask((LAMP, {"value": 1}))
    line.queue.append(Waiting(Assignment(PUMP, {"value": 0}, BY, False), object()))
    assert line.order()[-1] == (PUMP, {"value": 0})


def test_those_that_cannot_be_done_any_more_fail_and_the_others_wait_on(line):
    lamp, pump = line.ask((LAMP, {"value": 1}), (PUMP, {"value": 1}))
    line.queue.fail(lambda job: Offline("gone") if job.device is LAMP else None)
    assert ([type(one) for one in lamp], pump) == ([Offline], [])
    assert line.order() == [(PUMP, {"value": 1})]


def test_a_client_that_asks_again_when_it_hears_of_a_failure_finds_the_queue_as_it_is(line):
    (done,) = line.queue.ask([Assignment(LAMP, {"value": 1}, BY)])
    done.addErrback(lambda _: line.ask((PUMP, {"value": 1})) and None)
    line.queue.fail(lambda job: Offline("gone"))
    assert line.order() == [(PUMP, {"value": 1})]


def test_a_client_is_told_once(line):
    (outcome,) = line.ask((LAMP, {"value": 1}))
    (job,) = line.queue
    job.fail(Offline("gone"))
    job.fail(Offline("gone twice"))
    job.succeed()
    assert len(outcome) == 1
