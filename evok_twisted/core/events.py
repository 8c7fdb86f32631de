"""Who is told what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

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
        self._subscribers: list[Subscriber] = []
        self._published = 0

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Tell ``subscriber`` from now on; returns what undoes it."""
        self._subscribers.append(subscriber)

        def undo() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return undo

    def publish(self, devices: Iterable[Device]) -> None:
        """Tell everybody that ``devices`` changed; nobody, when there are none. A subscriber's failure is logged."""
        changed = tuple(devices)
        if not changed:
            return
        self._published += 1
        changes = ChangeSet(self._published, self.clock.seconds(), changed)
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(changes)
            except Exception:  # one front's bug must not cost the others their events
                self._log.failure(
                    "{subscriber!r} failed on a change of {devices!r}", subscriber=subscriber, devices=changed
                )
