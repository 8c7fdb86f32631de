"""What has changed since."""

import pytest
from twisted.internet.task import Clock

from evok_twisted.core import journal as module
from evok_twisted.core.events import Events
from evok_twisted.core.journal import Journal
from evok_twisted.model.device import Device, State


class Thing(Device):
    kind = "led"


@pytest.fixture
def events():
    return Events(Clock())


@pytest.fixture
def journal(events):
    return Journal(events)


DEVICES = [Thing(str(n), "1", None, State()) for n in range(4)]
A, B, C, D = DEVICES


def test_before_anything_has_changed_there_is_nothing(journal):
    assert journal.since(0) == ([], [])


def test_what_changed_after_a_number_is_told_once_in_the_order_of_its_last_change(events, journal):
    for devices in ([A, B], [C], [A], [D]):
        events.publish(devices)
    assert journal.since(0).devices == [B, C, A, D]
    assert journal.since(1).devices == [C, A, D]
    assert journal.since(3).devices == [D]
    assert journal.since(events.number) == ([], [])


@pytest.mark.parametrize("number", [-1, 2, 99, 10**30, -(10**30)])
def test_a_number_that_is_not_one_of_ours_is_known_as_such(events, journal, number):
    events.publish([A])
    assert journal.since(number) is None


def test_every_run_of_the_service_has_an_epoch_of_its_own(events):
    assert len({Journal(events).epoch for _ in range(10)}) == 10


def test_it_grows_with_the_devices_and_not_with_the_changes(events, journal):
    for n in range(1000):
        events.publish([DEVICES[n % 4]])
    assert len(journal.since(0).devices) == 4


def test_a_device_that_is_gone_is_told_of_and_until_it_comes_again(events, journal):
    events.publish([A, B])
    events.withdraw([A])
    assert journal.since(0) == ([B], [A])
    assert journal.since(1) == ([], [A])
    assert journal.since(2) == ([], [])
    events.publish([Thing(A.circuit, "2", None, State())])
    assert journal.since(1).gone == []


def test_of_what_is_gone_only_so_much_is_remembered_and_what_was_before_is_not_known(events, journal, monkeypatch):
    monkeypatch.setattr(module, "MOST_GONE", 2)
    for device in DEVICES:
        events.withdraw([device])
    assert journal.since(1) is None
    assert journal.since(2) == ([], [C, D])
