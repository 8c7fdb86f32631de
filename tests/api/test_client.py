"""One client that listens, without what carries it."""

import json

import pytest
from fakes import BY, Rig
from twisted.internet.task import Clock

from evok_twisted.api.client import PING_INTERVAL, STALL_LIMIT, UNANSWERED_PINGS, Client
from evok_twisted.api.hub import Hub
from evok_twisted.core.filters import DEFAULT


class Carrier:
    """Keeps what it is told."""

    name = "somebody"

    def __init__(self):
        self.sent = []
        self.done = []
        self.client = None
        self.takes = []

    def send(self, payload):
        self.sent.append([one["circuit"] for one in json.loads(payload)])

    send_prepared = send

    def resume(self):
        self.done.append("resume")

    def __getattr__(self, name):
        return lambda *_: self.done.append(name)


@pytest.fixture
def rig():
    return Rig(Clock()).start()


@pytest.fixture
def carrier():
    return Carrier()


@pytest.fixture
def client(rig, carrier):
    client = Client(carrier, rig.desk, Hub(lambda message: message), rig.clock, rate=10)
    client.listen(rig.desk.wanted(["led"])[0])
    yield client
    client.leave()


def change(rig, value):
    rig.bus.words[20] = value
    rig.clock.advance(0.02)


def test_it_hears_what_it_listens_to(client, carrier, rig):
    change(rig, 0b11)
    assert carrier.sent == [["1_01", "1_02"]]


def test_another_filter_takes_the_place_of_the_first(client, carrier, rig):
    client.listen(rig.desk.wanted(["ai"])[0])
    change(rig, 1)
    assert carrier.sent == []


def test_who_reads_again_when_it_is_given_up_hears_nothing_more(client, carrier, rig):
    client.stall()
    change(rig, 1)
    rig.clock.advance(STALL_LIMIT)
    client.go_on()
    assert carrier.sent == []
    assert [one for one in carrier.done if one != "ping"] == ["pause", "refuse", "resume"]


def test_while_it_does_not_read_the_latest_is_kept_and_told_once(client, carrier, rig):
    client.stall()
    for value in (1, 0, 0b10):
        change(rig, value)
    assert carrier.sent == []
    client.go_on()
    assert carrier.sent == [["1_01", "1_02"]]
    assert carrier.done == ["pause", "resume"]


def test_one_that_does_not_read_for_a_minute_is_refused_and_hears_nothing_more(client, carrier, rig, log):
    client.stall()
    rig.clock.advance(STALL_LIMIT)
    assert "refuse" in carrier.done
    assert log.texts("info")[-1] == "somebody has read nothing for 60 s; closed"


def test_it_may_send_so_much_a_second_and_is_taken_up_again_when_it_has_waited(client, carrier, rig):
    client.begin_turn()
    taken = [client.may_take() for _ in range(12)]
    assert taken == [True] * 10 + [False] * 2
    assert carrier.done == ["pause"]
    assert not client.may_read
    rig.clock.advance(0.11)
    assert carrier.done == ["pause", "resume"]
    client.begin_turn()
    assert client.may_take()


def test_what_it_sends_waits_when_it_has_kept_the_service_busy(client, carrier, rig):
    client.begin_turn()
    rig.clock.rightNow += 0.01  # that is how long the first took
    assert not client.may_take()
    rig.clock.advance(0.039)
    assert "resume" not in carrier.done
    rig.clock.advance(0.002)
    assert "resume" in carrier.done


def test_what_it_sends_waits_while_it_does_not_read(client):
    client.stall()
    assert not client.may_take()


def test_one_that_gives_no_sign_of_life_is_dropped(client, carrier, rig):
    for _ in range(UNANSWERED_PINGS):
        rig.clock.advance(PING_INTERVAL)
    assert carrier.done == ["ping"] * UNANSWERED_PINGS
    rig.clock.advance(PING_INTERVAL)
    assert carrier.done[-1] == "drop"


def test_any_sign_of_life_will_do(client, carrier, rig):
    for _ in range(10):
        rig.clock.advance(PING_INTERVAL)
        client.heard()
    assert "drop" not in carrier.done


def test_nothing_is_left_of_one_that_has_gone(rig, carrier):
    hub = Hub(lambda message: message)
    before = len(rig.clock.getDelayedCalls())
    client = Client(carrier, rig.desks(BY, "v3"), hub, rig.clock, rate=1)
    client.listen(DEFAULT)
    client.stall()
    client.leave()
    client.leave()
    assert (len(hub), len(rig.clock.getDelayedCalls())) == (0, before)


@pytest.mark.parametrize(("within", "limit"), [(5, 5.0), (75, 75.0), (1, 1.0)])
def test_one_that_is_watched_closely_is_dropped_in_time_and_not_while_it_answers(client, carrier, rig, within, limit):
    client.watch_closely(within)
    for _ in range(20):
        rig.clock.advance(limit / 3)
        client.heard()
    assert "drop" not in carrier.done
    for _ in range(3):
        rig.clock.advance(limit / 3)
    assert carrier.done[-1] == "drop"


def test_one_that_is_not_to_be_watched_closely_any_more_has_its_time_again(client, carrier, rig):
    client.watch_closely(3)
    client.watch_closely(None)
    for _ in range(8):
        rig.clock.advance(PING_INTERVAL / 4)
    assert "drop" not in carrier.done
