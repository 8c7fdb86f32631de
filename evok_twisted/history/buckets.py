"""What a value was over time: from steps to buckets, and from buckets to wider ones.

Times are whole milliseconds of the Unix epoch. Buckets begin at multiples of their width.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import mul
from typing import Any, NamedTuple

#: From when on a circuit shows what: a number, or None from when on that is not known.
Step = tuple[int, float | None]


class Bucket(NamedTuple):
    """What is known of a value for a while.

    :ivar start: when it begins.
    :ivar low: the least that it was.
    :ivar mean: over the time for which it is known.
    :ivar high: the greatest.
    :ivar on: milliseconds for which it was not 0.
    :ivar edges: how often it left 0.
    :ivar known: milliseconds for which it is known.
    """

    start: int
    low: float
    mean: float
    high: float
    on: int
    edges: int
    known: int


#: Many buckets: a list for each field of theirs, for what is done with thousands of them.
Columns = list[list[Any]]


class _Open:
    """A bucket that is not complete."""

    __slots__ = ("area", "edges", "high", "known", "low", "on", "start")

    def __init__(self, start: int, value: float) -> None:
        self.start = start
        self.low = self.high = value
        self.area = 0.0
        self.on = self.edges = self.known = 0

    def closed(self) -> Bucket:
        mean = self.area / self.known if self.known else self.high
        # a mean of one value is that value, whatever the sum has lost
        mean = min(max(mean, self.low), self.high)
        return Bucket(self.start, self.low, mean, self.high, self.on, self.edges, self.known)


def bucketed(steps: Iterable[Step], begin: int, end: int, width: int) -> list[Bucket]:
    """The buckets from ``begin`` up to ``end`` in which anything is known.

    :param steps: in the order of time; what the last one before ``begin`` says holds there, too.
    """
    found: list[_Open] = []

    def at(time: int, value: float) -> _Open:
        start = time - time % width
        if not found or found[-1].start != start:
            found.append(_Open(start, value))
        bucket = found[-1]
        bucket.low, bucket.high = min(bucket.low, value), max(bucket.high, value)
        return bucket

    value: float | None = None
    since = begin
    for time, now in chain(steps, ((end, None),)):
        until = min(max(time, begin), end)
        if value is not None:
            while since < until:
                bucket = at(since, value)
                stop = min(bucket.start + width, until)
                bucket.area += value * (stop - since)
                bucket.known += stop - since
                bucket.on += stop - since if value else 0
                since = stop
        since = until
        if time >= end:
            break
        if now is not None and time >= begin:
            bucket = at(time, now)
            bucket.edges += bool(now) and value == 0
        value = now
    return [bucket.closed() for bucket in found]


def columns_of(buckets: Sequence[Bucket]) -> Columns:
    """Buckets, as columns."""
    return [list(column) for column in zip(*buckets, strict=True)] or [[] for _ in Bucket._fields]


def merged(columns: Columns, width: int) -> list[Bucket]:
    """Wider buckets of narrower ones, in the order of time.

    :param width: a multiple of theirs.
    """
    starts, found, at = columns[0], [], 0
    while at < len(starts):
        start = starts[at] - starts[at] % width
        end = bisect_left(starts, start + width, at)
        found.append(_joined(start, [column[at:end] for column in columns]))
        at = end
    return found


def _joined(start: int, columns: Columns) -> Bucket:
    _, lows, means, highs, ons, edges, knowns = columns
    low, high, known = min(lows), max(highs), sum(knowns)
    mean = sum(map(mul, means, knowns)) / known if known else means[-1]
    return Bucket(start, low, min(max(mean, low), high), high, sum(ons), sum(edges), known)
