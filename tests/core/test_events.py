"""Events: everybody is told, whatever one subscriber does."""

from __future__ import annotations

from twisted.internet.task import Clock

from evok_twisted.core.events import Events
from evok_twisted.model.device import Device, State

DEVICE = Device("1", "1", None, State())


def test_every_subscriber_is_told():
    events, told = Events(Clock()), []
    for n in range(3):
        events.subscribe(lambda changes, n=n: told.append((n, changes.devices)))
    events.publish([DEVICE])
    assert told == [(0, (DEVICE,)), (1, (DEVICE,)), (2, (DEVICE,))]


def test_a_subscription_can_be_undone_twice():
    events, told = Events(Clock()), []
    subscription = events.subscribe(told.append)
    subscription.stop()
    subscription.stop()
    events.publish([DEVICE])
    assert told == []


def test_no_devices_are_no_event():
    events, told = Events(Clock()), []
    events.subscribe(told.append)
    events.publish([])
    assert told == []


def test_a_subscriber_that_fails_is_logged_and_costs_the_others_nothing(log):
    events, told = Events(Clock()), []
    events.subscribe(lambda changes: 1 / 0)
    events.subscribe(told.append)
    events.publish([DEVICE])
    assert len(told) == 1
    log.expected("division by zero")
