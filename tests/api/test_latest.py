"""What waits for somebody: each device once, with what it shows when they are ready."""

from __future__ import annotations

from evok_twisted.api.latest import Latest
from evok_twisted.core.events import Change, ChangeSet
from evok_twisted.core.identity import PULSES
from evok_twisted.model.device import Device, State

A, B, C = (Device(name, "1", None, State()) for name in "abc")


def changed(number, *devices, cause=None):
    return ChangeSet(number, number, number, tuple(Change(one, one.state) for one in devices), cause)


def gone(number, *devices):
    return ChangeSet(number, number, number, (), None, devices)


def told(sets):
    known = [one.number if one.known is None else one.known for one in sets]
    return [
        (number, [change.device for change in one.changes], list(one.gone))
        for number, one in zip(known, sets, strict=True)
    ]


def test_it_is_each_device_once_in_the_order_of_its_first_change():
    latest = Latest()
    assert not latest
    latest.add(changed(4, A, B))
    latest.add(changed(5, A))
    assert (bool(latest), latest.before) == (True, 3)
    taken = latest.take()
    assert told(taken) == [(5, [A, B], [])]
    assert not latest
    latest.add(changed(6, C, B))
    latest.give_back(taken)
    assert told(latest.take()) == [(6, [A, B, C], [])]


def test_a_cause_is_told_where_there_was_one_change_only():
    latest = Latest()
    latest.add(changed(1, A, cause=PULSES))
    assert latest.take()[0].cause is PULSES
    latest.add(changed(2, A, cause=PULSES))
    latest.add(changed(3, B, cause=PULSES))
    assert latest.take()[0].cause is None


def test_what_is_gone_comes_first_and_with_a_number_that_does_not_stand_for_what_follows():
    latest = Latest()
    latest.add(changed(7, A, B))
    latest.add(gone(8, A))
    latest.add(changed(9, C))
    assert told(latest.take()) == [(6, [], [A]), (9, [B, C], [])]
    latest.add(gone(10, B))
    assert told(latest.take()) == [(10, [], [B])]


def test_who_knows_some_of_it_is_told_the_rest():
    latest = Latest()
    latest.add(changed(1, A, B))
    latest.add(changed(2, B))
    latest.add(changed(3, C))
    assert told(latest.after(1)) == [(3, [B, C], [])]
    assert told(latest.after(3)) == []
