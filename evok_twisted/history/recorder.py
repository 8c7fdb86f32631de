"""Takes down what circuits come to show, until it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime

from evok_twisted.core.desk import Desk
from evok_twisted.core.events import ChangeSet
from evok_twisted.core.filters import Filter
from evok_twisted.history.batch import CLOCK_IS_SET, Batch, Series
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import KINDS
from evok_twisted.model.meaning import meanings

#: Quantities that say something of the circuit and not of what it measures.
_NOT_KEPT = frozenset({"duration", "timestamp"})

#: By kind, the fields of its states that are numbers worth keeping; ``value`` first.
FIELDS: Mapping[str, tuple[str, ...]] = {
    name: tuple(
        dict.fromkeys(
            field
            for device in kind.devices
            for field, meaning in meanings(device.shows).items()
            if field == "value" or (meaning.measures is not None and meaning.measures not in _NOT_KEPT)
        )
    )
    for name, kind in KINDS.items()
}


class Recorder:
    """Makes batches of changes.

    :param desk: whose devices they are.
    :param wanted: what of them.
    :param most: changes that may wait; more of them cost the oldest.
    :ivar numbers: of all series that there are, or were.
    :ivar offset: what makes milliseconds of the Unix epoch of those since the run began.
    :ivar lost: changes that could not wait, for they were too many.
    """

    def __init__(self, desk: Desk, wanted: Filter, clock: IReactorTime, most: int) -> None:
        self._desk = desk
        self._wanted = wanted
        self._clock = clock
        self._most = most
        self._begun = clock.seconds()
        self._not_before = self.offset = 0
        #: of each, what was taken down last
        self._shown: dict[int, float | None] = {}
        self.numbers: dict[Series, int] = {}
        #: by device, the numbers of what it shows, and in which fields
        self._known: dict[Device, list[tuple[str, int]]] = {}
        self._offline: set[str] = set()
        self._batches: list[Batch] = []
        self.lost = 0

    def begin(self, series: Mapping[Series, int], not_before: int) -> None:
        """Begin, where a file has some already.

        :param series: their numbers.
        :param not_before: when the run before ended: a clock that is behind that is wrong.
        """
        if series:
            self.lost += self.waiting  # by other numbers
            self._batches.clear()
            self._known.clear()
            self.numbers = dict(series)
        self._not_before = not_before - self.now()
        self.offset = self._offset_now()
        self.begin_anew()

    # When it is

    def now(self) -> int:
        """Milliseconds since the run began."""
        return round(1000 * (self._clock.seconds() - self._begun))

    def _offset_now(self) -> int:
        return max(round(1000 * self._desk.wall()) - self.now(), self._not_before)

    def _watch_clock(self) -> None:
        """Learn when the clock was set: what was taken down in this run was then, by the new time, too."""
        offset = self._offset_now()
        if abs(offset - self.offset) > CLOCK_IS_SET:
            self.offset = offset
            self.begin_anew()

    @property
    def wall(self) -> int:
        """Milliseconds of the Unix epoch, as the run has them."""
        return self.offset + self.now()

    # What is taken down

    def begin_anew(self) -> None:
        """Begin a batch with what everything shows now."""
        now = self.now()
        self._batches.append(Batch(now, self.offset, whole=True))
        self._shown.clear()
        self._note([device for device in self._desk if self._wanted.accepts(device)], now, "", "")

    def note(self, changes: ChangeSet) -> None:
        """Take down what has changed."""
        self._watch_clock()
        cause = "" if changes.cause is None else f"{changes.cause} ({changes.cause.via})"
        self._note_boards(changes)
        if changes.changes:
            self._note(
                [change.device for change in changes.changes if self._wanted.accepts(change.device)], self.now(), cause
            )
        for device in changes.gone:
            self._forget(device)

    def _note_boards(self, changes: ChangeSet) -> None:
        """A board that does not answer shows nothing, though what it showed last can still be seen."""
        for device, state in changes.changes:
            online = getattr(state, "online", None)
            if online is False and device.group not in self._offline:
                self._offline.add(device.group)
            elif online and device.group in self._offline:
                self._offline.discard(device.group)
            else:
                continue
            self._note([one for one in self._known if one.group == device.group], self.now(), "")

    def _note(self, devices: Iterable[Device], now: int, cause: str, first: str | None = None) -> None:
        """Take down what devices show; ``first`` is the cause of what was not known before."""
        batch = self._open(now)
        shown = self._shown
        for device in devices:
            known = self._known.get(device)
            if known is None:
                known = self._known[device] = self._number(device)
            state = device.state
            away = device.group in self._offline or getattr(state, "lost", False)
            for field, number in known:
                value = None if away else _number_of(getattr(state, field, None))
                if shown.get(number) != value:
                    batch.add(number, now, value, cause if number in shown else first)
                    shown[number] = value
        self._bound()

    def _open(self, now: int) -> Batch:
        """The batch for what changes now: another, when the last has enough, so that what is too much can go."""
        if not self._batches or self._batches[-1].count >= self._most // 10:
            self._batches.append(Batch(now, self.offset, whole=False))
        return self._batches[-1]

    def _number(self, device: Device) -> list[tuple[str, int]]:
        found = []
        for field in FIELDS[device.kind]:
            series = Series(device.kind, device.circuit_in("v3"), field)
            if series not in self.numbers:
                self.numbers[series] = len(self.numbers) + 1
            found.append((field, self.numbers[series]))
        return found

    def _forget(self, device: Device) -> None:
        batch = self._open(self.now())
        for _, number in self._known.pop(device, ()):
            if self._shown.pop(number, None) is not None:
                batch.add(number, self.now(), None)

    def _bound(self) -> None:
        while len(self._batches) > 1 and self.waiting > self._most:
            self.lost += self._batches.pop(0).count
            self._batches[0].cut = True

    # What is written

    @property
    def waiting(self) -> int:
        """Changes that are not written."""
        return sum(batch.count for batch in self._batches)

    def take(self) -> list[Batch]:
        """What is to be written: all that there is. Where nothing has changed, that the service was there."""
        self._watch_clock()
        now = self.now()
        if not self._batches:
            self._open(now)
        taken, self._batches = self._batches, []
        taken[-1].until = now
        return taken

    def give_back(self, batches: list[Batch]) -> None:
        """They could not be written, and wait again."""
        self._batches[:0] = batches
        self._bound()

    def flushes(self) -> list[tuple[int, int, dict[int, tuple[Any, ...]]]]:
        """What waits, for who reads: of each batch when it begins, what its head says, and what is in it."""
        return [
            (batch.begin, batch.head, {number: tuple(row) for number, row in (batch.rows | _negated(batch)).items()})
            for batch in self._batches
        ]

    def series_from(self, number: int) -> dict[int, Series]:
        """The series from a number on."""
        return {their: series for series, their in self.numbers.items() if their >= number}


def _negated(batch: Batch) -> dict[int, list[Any]]:
    return {-number: causes for number, causes in batch.causes.items()}


def _number_of(value: Any) -> float | None:
    return value + 0 if isinstance(value, int | float) else None
