"""What has changed since: all that is needed to go on where a client has left off."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from evok_twisted.core.events import ChangeSet, Events
from evok_twisted.model.device import Device

#: Devices of which it is remembered that they are no more.
MOST_GONE = 1024


class Missed(NamedTuple):
    """What has happened since a change set: what changed, in the order of the last changes, and what is no more."""

    devices: list[Device]
    gone: list[Device]


class Journal:
    """Keeps the number of the last change of each device, and no values: it grows with the devices alone.

    :param epoch: as which run of the service numbers are known; by default, of this one.
    """

    def __init__(self, events: Events, epoch: str = "") -> None:
        self.epoch = epoch or secrets.token_hex(8)
        self._events = events
        #: the device that changed last is the last
        self._numbers: dict[Device, int] = {}
        #: by kind and circuit, those that are gone, and when they went: likewise
        self._gone: dict[tuple[str, str], tuple[int, Device]] = {}
        #: what went before this number is not known any more
        self._floor = 0
        events.subscribe(self._note)

    def _note(self, changes: ChangeSet) -> None:
        for device, _ in changes.changes:
            self._numbers.pop(device, None)
            self._numbers[device] = changes.number
            self._gone.pop((device.kind, device.circuit), None)
        for device in changes.gone:
            self._numbers.pop(device, None)
            self._gone[device.kind, device.circuit] = changes.number, device
        while len(self._gone) > MOST_GONE:
            self._floor, _ = self._gone.pop(next(iter(self._gone)))

    def since(self, number: int) -> Missed | None:
        """What has happened after the change set ``number``; None where that is not one of ours, or is too long ago."""
        if not self._floor <= number <= self._events.number:
            return None
        found = []
        for device in reversed(self._numbers):
            if self._numbers[device] <= number:
                break
            found.append(device)
        return Missed(found[::-1], [device for then, device in self._gone.values() if then > number])
