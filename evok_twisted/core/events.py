"""Who is told what changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

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
    """

    number: int
    time: float
    wall: float
    changes: tuple[Change, ...]
    cause: Identity | None = None
    gone: tuple[Device, ...] = ()


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
        self._changed: Signal[[ChangeSet]] = Signal(self._log)

    def subscribe(self, subscriber: Subscriber) -> Subscription:
        """Tell ``subscriber`` from now on."""
        return self._changed.watch(subscriber)

    def publish(self, devices: Iterable[Device], cause: Identity | None = None) -> None:
        """Tell everybody that ``devices`` changed; nobody, when there are none. A subscriber's failure is logged.

        :param cause: whose command changed them.
        """
        changes = tuple([Change(device, device.state) for device in devices])
        if changes:
            self._emit(changes, cause)

    def withdraw(self, devices: Iterable[Device]) -> None:
        """Tell everybody that ``devices`` are no more."""
        gone = tuple(devices)
        if gone:
            self._emit((), None, gone)

    def _emit(self, changes: tuple[Change, ...], cause: Identity | None, gone: tuple[Device, ...] = ()) -> None:
        self.number += 1
        self._changed.emit(ChangeSet(self.number, self.clock.seconds(), self.wall(), changes, cause, gone))
