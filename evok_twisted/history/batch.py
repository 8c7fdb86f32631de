"""What has changed and is not in the file yet."""

from __future__ import annotations

from typing import NamedTuple

#: Milliseconds by which the clock may be off what was expected before it counts as set.
CLOCK_IS_SET = 2000


class Series(NamedTuple):
    """A number that a circuit shows.

    :ivar kind: a key of ``KINDS``.
    :ivar circuit: in the dialect v3.
    :ivar field: of its state, such as ``value``.
    """

    kind: str
    circuit: str
    field: str


class Batch:
    """Changes of some time, in the order in which they came.

    Times are milliseconds since the run began; ``offset`` makes milliseconds of the Unix epoch of them.

    :ivar whole: whether it begins with what every series shows, so that who reads needs nothing from before.
    :ivar cut: whether changes just before it are lost, so that nothing from before says what holds then.
    :ivar rows: by the number of a series, in turns: when, since ``begin``, and what; None from when on it is not known.
    :ivar causes: likewise: when, and whose command it was; None of what was not known before, which is no change.
    """

    __slots__ = ("begin", "causes", "count", "cut", "offset", "rows", "until", "whole")

    def __init__(self, begin: int, offset: int, *, whole: bool) -> None:
        self.begin = self.until = begin
        self.offset = offset
        self.whole = whole
        self.cut = False
        self.count = 0
        self.rows: dict[int, list[float | int | None]] = {}
        self.causes: dict[int, list[int | str | None]] = {}

    @property
    def head(self) -> int:
        """What it says of what was before: 1, that all is in it; 2, that something is lost; else 0."""
        return 1 if self.whole else 2 if self.cut else 0

    def add(self, number: int, time: int, value: float | None, cause: str | None = "") -> None:
        """A series shows something else."""
        self.rows.setdefault(number, []).extend((time - self.begin, value))
        if cause != "":
            self.causes.setdefault(number, []).extend((time - self.begin, cause))
        self.count += 1
        self.until = max(self.until, time)
