"""The file as a queue: what of the changes another place does not have yet. All of it blocks, and is for a thread."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from evok_twisted.history import flushes
from evok_twisted.history.batch import Series
from evok_twisted.history.store import HOUR, Run, mark, runs, series, set_mark

_T = TypeVar("_T")

#: Rows of which something is made before there is a break, in a quarter of a millisecond, and the seconds of that.
FEW, BREAK = 50, 0.001


class Row(NamedTuple):
    """From ``time`` on, in milliseconds of the Unix epoch, a series showed ``value``; None where that is not known.

    :ivar cause: whose command it was.
    """

    time: int
    series: Series
    value: float | None
    cause: str | None


class Place(NamedTuple):
    """How far a file was taken over.

    :ivar file: which one it is.
    :ivar run: with all of this run up to, and with, this
    :ivar flush: of it.
    :ivar offset: what made times of the day of its rows.
    :ivar until: up to when that is, in milliseconds of the Unix epoch.
    """

    file: int
    run: int
    flush: int
    offset: int
    until: int


class Moved(NamedTuple):
    """The clock was set: the rows from ``since`` on are later by ``by`` milliseconds than they were."""

    since: int
    by: int


class Piece(NamedTuple):
    """What follows on a place.

    :ivar place: how far it was taken over when this is.
    :ivar moved: what is to be done to the rows of before, first.
    :ivar lost: milliseconds before it of which there is nothing any more, for it had to wait for too long.
    """

    rows: list[Row]
    place: Place
    moved: Moved | None
    lost: int


def gently(many: Iterable[_T]) -> Iterator[_T]:
    """All of them, with a break after each few: while a thread computes, the reactor's has to wait for it."""
    for n, one in enumerate(many, 1):
        if n % FEW == 0:
            time.sleep(BREAK)
        yield one


def beginning(db: sqlite3.Connection) -> Place:
    """The place of who has nothing of a file."""
    file = mark(db, "file")
    if file is None:
        file = secrets.randbits(62)
        set_mark(db, "file", file)
    return Place(file, 0, -1, 0, 0)


def following(db: sqlite3.Connection, place: Place, most: int) -> Piece | None:
    """What follows on a place: whole flushes, as many as have ``most`` rows or a few more; None where nothing does."""
    known = {number: one for one, number in series(db).items()}
    moved, lost, rows = None, 0, []
    there = [run for run in runs(db) if run.id >= place.run]
    if there and there[0].id == place.run and there[0].offset != place.offset:
        by = there[0].offset - place.offset
        moved = Moved(place.offset + there[0].base, by)
        place = place._replace(offset=there[0].offset, until=place.until + by)
    begun = place
    for run, flush, data in _flushes(db, there, place):
        head = data[0]
        if place is begun:
            lost = _lost(db, place, run.offset + flush)
        if place.run and (run.id != place.run or (lost and place is begun)):
            rows += [Row(place.until, one, None, None) for one in known.values()]
        rows += gently(_rows(run.offset + flush, head[1], data, known))
        place = Place(place.file, run.id, flush, run.offset, run.offset + flush + head[0])
        if len(rows) >= most:
            break
    return None if place is begun and moved is None else Piece(rows, place, moved, lost)


def _flushes(
    db: sqlite3.Connection, there: Sequence[Run], place: Place
) -> Iterator[tuple[Run, int, Mapping[int, Sequence[Any]]]]:
    for run in there:
        for flush in flushes.through(db, max(run.base, place.flush + 1), run.end):
            yield run, flush, flushes.read(db, flush)


def _lost(db: sqlite3.Connection, place: Place, begin: int) -> int:
    """For how long before ``begin`` there were changes that nobody has."""
    gone = (mark(db, "changes from") or 0) - HOUR
    return max(0, begin - place.until) if place.run and gone > place.offset + place.flush else 0


def _rows(begin: int, head: int, data: Mapping[int, Sequence[Any]], known: Mapping[int, Series]) -> Iterator[Row]:
    if head == 2:  # what was before is lost
        told = (number for number in known if data.get(number, (1,))[0] != 0)
        yield from (Row(begin, known[number], None, None) for number in told)
    for number, steps in data.items():
        if number > 0:
            causes = data.get(-number, ())
            of = dict(zip(causes[::2], causes[1::2], strict=True))
            for since, value in zip(steps[::2], steps[1::2], strict=True):
                yield Row(begin + since, known[number], value, of.get(since))
