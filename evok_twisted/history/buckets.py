"""What a value was over time: from steps to buckets, and from buckets to wider ones.

Times are whole milliseconds of the Unix epoch. Buckets begin at multiples of their width.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, groupby
from typing import NamedTuple

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


def merged(buckets: Iterable[Bucket], width: int) -> list[Bucket]:
    """Wider buckets of narrower ones, in the order of time.

    :param width: a multiple of theirs.
    """
    return [
        _joined(start, list(several))
        for start, several in groupby(buckets, lambda bucket: bucket.start - bucket.start % width)
    ]


def _joined(start: int, several: list[Bucket]) -> Bucket:
    known = sum(one.known for one in several)
    low, high = min(one.low for one in several), max(one.high for one in several)
    mean = sum(one.mean * one.known for one in several) / known if known else several[-1].mean
    on, edges = sum(one.on for one in several), sum(one.edges for one in several)
    return Bucket(start, low, min(max(mean, low), high), high, on, edges, known)
