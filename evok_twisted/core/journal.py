"""What has changed since: all that is needed to go on where a client has left off."""

from __future__ import annotations

from evok_twisted.core.events import ChangeSet, Events
from evok_twisted.model.device import Device


class Journal:
    """Keeps the number of the last change of each device, and no values: it grows with the devices alone."""

    def __init__(self, events: Events) -> None:
        #: the device that changed last is the last
        self._numbers: dict[Device, int] = {}
        events.subscribe(self._note)

    def _note(self, changes: ChangeSet) -> None:
        for device, _ in changes.changes:
            self._numbers.pop(device, None)
            self._numbers[device] = changes.number

    def forget(self, device: Device) -> None:
        """``device`` is gone."""
        self._numbers.pop(device, None)

    def since(self, number: int) -> list[Device]:
        """The devices that changed after the change set ``number``, in the order in which they did so last."""
        found = []
        for device in reversed(self._numbers):
            if self._numbers[device] <= number:
                break
            found.append(device)
        return found[::-1]
