"""Who is told what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

from evok_twisted.conditions import Signal, Subscription
from evok_twisted.logs import Logger
from evok_twisted.model.device import Device


class ChangeSet(NamedTuple):
    """Devices that changed together: in one scan, or by one command.

    :ivar number: counts up by one a set.
    :ivar time: seconds of the clock that scans and commands run on; it only goes forward.
    """

    number: int
    time: float
    devices: tuple[Device, ...]


Subscriber = Callable[[ChangeSet], None]


class Events:
    """Hands every ``ChangeSet`` to every subscriber, in the order in which they came.

    :ivar clock: what their times are of.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self._changed: Signal[[ChangeSet]] = Signal(self._log)
        self._published = 0

    def subscribe(self, subscriber: Subscriber) -> Subscription:
        """Tell ``subscriber`` from now on."""
        return self._changed.watch(subscriber)

    def publish(self, devices: Iterable[Device]) -> None:
        """Tell everybody that ``devices`` changed; nobody, when there are none. A subscriber's failure is logged."""
        changed = tuple(devices)
        if not changed:
            return
        self._published += 1
        self._changed.emit(ChangeSet(self._published, self.clock.seconds(), changed))
