"""What has changed since."""

import pytest
from twisted.internet.task import Clock

from evok_twisted.core.events import Events
from evok_twisted.core.journal import Journal
from evok_twisted.model.device import Device, State


@pytest.fixture
def events():
    return Events(Clock())


@pytest.fixture
def journal(events):
    return Journal(events)


DEVICES = [Device(str(n), "1", None, State()) for n in range(4)]
A, B, C, D = DEVICES


def test_before_anything_has_changed_there_is_nothing(journal):
    assert journal.since(0) == []


def test_what_changed_after_a_number_is_told_once_in_the_order_of_its_last_change(events, journal):
    for devices in ([A, B], [C], [A], [D]):
        events.publish(devices)
    assert journal.since(0) == [B, C, A, D]
    assert journal.since(1) == [C, A, D]
    assert journal.since(3) == [D]
    assert journal.since(events.number) == []


def test_a_number_that_is_still_to_come_has_nothing_after_it(events, journal):
    events.publish([A])
    assert journal.since(99) == []


def test_it_grows_with_the_devices_and_not_with_the_changes(events, journal):
    for n in range(1000):
        events.publish([DEVICES[n % 4]])
    assert len(journal.since(0)) == 4


def test_a_device_that_is_gone_is_forgotten(events, journal):
    events.publish([A, B])
    journal.forget(A)
    journal.forget(A)
    assert journal.since(0) == [B]
