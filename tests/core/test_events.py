"""Events: everybody is told, whatever one subscriber does."""

from __future__ import annotations

import pytest
from fakes import Rig
from twisted.internet.task import Clock

from evok_twisted.core.events import Change, Events
from evok_twisted.core.identity import EVERYTHING, Identity
from evok_twisted.model.device import Device, State

DEVICE = Device("1", "1", None, State())


def test_every_subscriber_is_told():
    events, told = Events(Clock()), []
    for n in range(3):
        events.subscribe(lambda changes, n=n: told.append((n, changes.changes)))
    events.publish([DEVICE])
    assert told == [(n, (Change(DEVICE, DEVICE.state),)) for n in range(3)]


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


def test_a_change_set_has_its_number_and_both_times_and_its_cause():
    clock, told = Clock(), []
    events = Events(clock, wall=lambda: 1_700_000_000.0 + clock.seconds())
    events.subscribe(told.append)
    clock.advance(5)
    events.publish([DEVICE])
    events.publish([DEVICE], Identity("nodered", "rest", EVERYTHING))
    assert [(one.number, one.time, one.wall) for one in told] == [(1, 5.0, 1_700_000_005.0), (2, 5.0, 1_700_000_005.0)]
    assert [one.cause for one in told] == [None, Identity("nodered", "rest", EVERYTHING)]
    assert events.number == 2


def test_a_state_belongs_to_its_change_however_late_the_subscriber_is():
    rig, told = Rig(Clock()).start(), []
    rig.events.subscribe(told.append)
    for value in (1, 0, 1):
        rig.set("led", "1_01", value=value)
    leds = [change for one in told for change in one.changes if change.device.kind == "led"]
    assert [change.state.value for change in leds] == [1, 0, 1]


class ShownValue(State, frozen=True):
    value: float | None = None
    mode: str = "Voltage"


class Measured(Device):
    kind = "ai"


@pytest.fixture
def measured():
    """Shows values, and returns those that were told."""
    device, events, told = Measured("1_01", "1", None, ShownValue()), Events(Clock()), []
    device.deadband = 0.05
    events.subscribe(lambda changes: told.append(changes.changes[0].state.value))

    def show(*values, cause=None, **more):
        told.clear()
        for value in values:
            device.state = ShownValue(value, **more)
            events.publish([device], cause)
        return list(told)

    show.device, show.events = device, events
    return show


def test_a_value_that_moves_within_its_dead_band_is_not_told_and_creeping_is(measured):
    assert measured(1.0, 1.04, 0.96, 1.02) == [1.0]
    assert measured(1.03, 1.049, 1.05, 1.07) == [1.05]
    assert measured(2.0, 1.99, 2.051) == [2.0, 2.051]


def test_everything_else_is_told_whatever_the_value_does(measured):
    assert measured(1.0) == [1.0]
    assert measured(1.01, mode="Current") == [1.01]
    assert measured(None, mode="Current") == [None]
    assert measured(1.02) == [1.02]
    measured.device.alias = "tank"
    assert measured(1.03) == [1.03]
    assert measured(1.03) == [1.03], "somebody has a reason to tell of it"


def test_what_a_command_did_is_told_however_little_it_was(measured):
    assert measured(1.0, 1.01) == [1.0]
    assert measured(1.02, cause=Identity("nodered", "rest", EVERYTHING)) == [1.02]


def test_without_a_dead_band_all_is_told(measured):
    measured.device.deadband = 0.0
    assert measured(1.0, 1.0001) == [1.0, 1.0001]
