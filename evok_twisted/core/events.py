"""Who is told what changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec
from twisted.internet.interfaces import IReactorTime

from evok_twisted.conditions import Signal, Subscription
from evok_twisted.core.identity import Identity
from evok_twisted.logs import Logger
from evok_twisted.model.device import Device, State


class Change(NamedTuple):
    """What a device has come to show. Whoever is late has that, too, and not what came after it."""

    device: Device
    state: State


class ChangeSet(NamedTuple):
    """Devices that changed together: in one scan, or by one command.

    :ivar number: counts up by one a set.
    :ivar time: seconds of the clock that scans and commands run on; it only goes forward.
    :ivar wall: the time of day, in seconds of the Unix epoch.
    :ivar cause: whose command it was; None of what a scan has found.
    :ivar gone: devices that are no more.
    :ivar known: up to which number somebody knows all who has heard of this; None is up to this.
    """

    number: int
    time: float
    wall: float
    changes: tuple[Change, ...]
    cause: Identity | None = None
    gone: tuple[Device, ...] = ()
    known: int | None = None


Subscriber = Callable[[ChangeSet], None]


class Events:
    """Hands every ``ChangeSet`` to every subscriber, in the order in which they came.

    :param wall: the time of day, in seconds of the Unix epoch.
    :ivar wall: the same.
    :ivar clock: what their times are of.
    :ivar number: of the last one; 0 before there was any.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, wall: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.number = 0
        self.wall = wall
        #: of devices with a dead band, what was told last: the state, and the alias
        self._told: dict[Device, tuple[State, str]] = {}
        self._changed: Signal[[ChangeSet]] = Signal(self._log)

    def subscribe(self, subscriber: Subscriber) -> Subscription:
        """Tell ``subscriber`` from now on."""
        return self._changed.watch(subscriber)

    def publish(self, devices: Iterable[Device], cause: Identity | None = None) -> None:
        """Tell everybody that ``devices`` changed; nobody, when there are none. A subscriber's failure is logged.

        Of a value that moves within its dead band nothing is told.

        :param cause: whose command changed them.
        """
        changes = tuple(
            [Change(one, one.state) for one in devices if not one.deadband or self._has_moved(one, cause is not None)]
        )
        if changes:
            self._emit(changes, cause)

    def _has_moved(self, device: Device, by_command: bool) -> bool:
        """Whether a device with a dead band shows something else than what was told of it last, and not by jitter."""
        state, alias = device.state, device.alias
        before = self._told.get(device)
        if before is not None and not by_command and before[1] == alias and _jitters(before[0], state, device.deadband):
            return False
        self._told[device] = state, alias
        return True

    def withdraw(self, devices: Iterable[Device]) -> None:
        """Tell everybody that ``devices`` are no more."""
        gone = tuple(devices)
        for device in gone:
            self._told.pop(device, None)
        if gone:
            self._emit((), None, gone)

    def _emit(self, changes: tuple[Change, ...], cause: Identity | None, gone: tuple[Device, ...] = ()) -> None:
        self.number += 1
        self._changed.emit(ChangeSet(self.number, self.clock.seconds(), self.wall(), changes, cause, gone))


def _jitters(before: State, now: State, band: float) -> bool:
    """Whether two states differ, and in nothing but a value that moved by less than ``band``."""
    old, new = getattr(before, "value", None), getattr(now, "value", None)
    if not isinstance(old, int | float) or not isinstance(new, int | float) or old == new:
        return False
    return abs(new - old) < band and msgspec.structs.replace(now, value=old) == before
