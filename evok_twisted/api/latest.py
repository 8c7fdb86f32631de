"""What somebody is to hear of when they are ready: each device once, however often it changed meanwhile."""

from __future__ import annotations

from collections.abc import Iterable

from evok_twisted.core.events import Change, ChangeSet
from evok_twisted.model.device import Device


class Latest:
    """Change sets that wait, and become as few as can be; so what waits has a bound, the number of devices."""

    __slots__ = ("_first", "_gone", "_last", "_numbers")

    def __init__(self) -> None:
        #: by device, the number of its last change
        self._numbers: dict[Device, int] = {}
        self._gone: dict[Device, int] = {}
        self._first = 0
        self._last: ChangeSet | None = None

    def __bool__(self) -> bool:
        return self._last is not None

    @property
    def before(self) -> int:
        """The number of the last change set that does not wait."""
        return self._first - 1

    def add(self, changes: ChangeSet) -> None:
        """Let ``changes`` wait, too."""
        if self._last is None:
            self._first = changes.number if changes.known is None else changes.known + 1
            self._last = changes
        else:
            self._last = changes._replace(cause=None)  # together they have more than one
        for device in changes.gone:
            self._numbers.pop(device, None)
            self._gone[device] = changes.number
        for device, _ in changes.changes:
            self._numbers[device] = changes.number

    def after(self, number: int) -> list[ChangeSet]:
        """What waits of the changes after ``number``, with the states of now: what is gone, then what has changed.

        Whoever has heard of the first of two only does not know the second.
        """
        if self._last is None:
            return []
        gone = tuple([device for device, then in self._gone.items() if then > number])
        changes = tuple([Change(device, device.state) for device, then in self._numbers.items() if then > number])
        sets = []
        if gone:
            sets.append(self._last._replace(changes=(), gone=gone, cause=None, known=None))
        if changes:
            sets.append(self._last._replace(changes=changes, gone=(), known=None))
        if len(sets) > 1:
            sets[0] = sets[0]._replace(known=max(self.before, number))
        return sets

    def take(self) -> list[ChangeSet]:
        """All that waits; it waits no more."""
        taken = self.after(-1)
        self._numbers, self._gone, self._last = {}, {}, None
        return taken

    def give_back(self, taken: Iterable[ChangeSet]) -> None:
        """They were taken, and nobody heard of them; they come before what has changed since."""
        later = self.take()
        for changes in (*taken, *later):
            self.add(changes)
