"""What is in the file: writing changes, reading a series. All of it blocks, and is for a thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from evok_twisted.history import flushes
from evok_twisted.history.batch import CLOCK_IS_SET, Batch, Series
from evok_twisted.history.buckets import Step

HOUR = 3_600_000
#: Later than any time of a file.
NEVER = (1 << 41) - 1


class Run(NamedTuple):
    """A run of the service.

    :ivar base: when it began, in the time of the file, and
    :ivar end: before when its flushes are.
    :ivar offset: makes milliseconds of the Unix epoch of its times.
    :ivar begin: of its first change, in milliseconds of the Unix epoch.
    :ivar until: when it was last known to run.
    """

    id: int
    base: int
    end: int
    offset: int
    begin: int
    until: int


class Event(NamedTuple):
    """A change of a series.

    :ivar time: in milliseconds of the Unix epoch.
    :ivar value: what it shows from then on; None where that is not known.
    :ivar cause: whose command it was; empty where nobody knows.
    """

    time: int
    series: int
    value: float | None
    cause: str


def series(db: sqlite3.Connection) -> dict[Series, int]:
    """The series that there are, with their numbers."""
    rows = db.execute("SELECT kind, circuit, field, id FROM series")
    return {Series(kind, circuit, field): number for kind, circuit, field, number in rows}


def runs(db: sqlite3.Connection) -> list[Run]:
    """The runs of which there are changes, the first one first."""
    there = db.execute("SELECT id, base, offset FROM run ORDER BY id").fetchall()
    ends = (base for _, base, _ in [*there[1:], (0, NEVER, 0)])
    found = []
    for (number, base, offset), end in zip(there, ends, strict=False):
        first, last = flushes.first(db, base, end), flushes.last(db, base, end)
        if first is not None and last is not None:
            until = offset + last + flushes.read(db, last)[0][0]
            found.append(Run(number, base, end, offset, offset + first, until))
    return found


def begin_run(db: sqlite3.Connection, offset: int) -> int:
    """Begin a run; its number.

    :param offset: what makes milliseconds of the Unix epoch of times since its begin.
    """
    (base,) = db.execute("SELECT coalesce(max(base), 0) FROM run").fetchone()
    last = flushes.last(db, base, NEVER)
    if last is not None:
        base = last + int(flushes.read(db, last)[0][0])
    base += 1
    number = db.execute("INSERT INTO run (base, offset) VALUES (?, ?)", (base, offset - base)).lastrowid
    assert number is not None
    return number


def write(db: sqlite3.Connection, run: int, batches: Sequence[Batch], new: Mapping[int, Series]) -> int | None:
    """Write what has changed.

    :param new: series that are not there.
    :returns: when the clock was set: the earliest time that is now another, in milliseconds of the Unix epoch.
    """
    db.executemany(
        "INSERT INTO series (id, kind, circuit, field) VALUES (?, ?, ?, ?)", [(n, *one) for n, one in new.items()]
    )
    moved = None
    base, offset = db.execute("SELECT base, offset FROM run WHERE id = ?", (run,)).fetchone()
    for batch in batches:
        its = batch.offset - base
        if abs(its - offset) > CLOCK_IS_SET:
            db.execute("UPDATE run SET offset = ? WHERE id = ?", (its, run))
            first = flushes.first(db, base, NEVER)
            if first is not None:
                earliest = min(offset, its) + first
                moved = earliest if moved is None else min(moved, earliest)
            offset = its
        flush = _free(db, base, base + batch.begin)
        head = [base + batch.until - flush, batch.head]
        causes = {-number: of for number, of in batch.causes.items()}
        flushes.write(db, flush, {0: head, **batch.rows, **causes})
        if batch.whole:
            db.execute("INSERT INTO whole (flush) VALUES (?)", (flush,))
    return moved


def _free(db: sqlite3.Connection, base: int, flush: int) -> int:
    """The first millisecond from ``flush`` on at which nothing was written."""
    last = flushes.last(db, base, NEVER)
    return flush if last is None or last < flush else last + 1


class Live(NamedTuple):
    """What a run has that is not written yet, of some series.

    :ivar until: milliseconds since the run began.
    :ivar flushes: of each batch when it begins, what its head says, and of each series what is in it.
    """

    run: int
    offset: int
    until: int
    flushes: Sequence[tuple[int, int, Mapping[int, Sequence[Any]]]]


def steps(db: sqlite3.Connection, number: int, begin: int, end: int, live: Live | None = None) -> Iterator[Step]:
    """What a series was from ``begin`` to ``end``, and before that what holds at ``begin``."""
    for run in _runs_with(db, live):
        if run.until < begin or run.begin >= end:
            continue
        there = [
            (flush, head[1], rows) for flush, head, rows in flushes.of_series(db, number, *_range(db, run, begin, end))
        ]
        if live is not None and run.id == live.run:
            there += [(run.base + flush, head, rows.get(number, ())) for flush, head, rows in live.flushes]
        known = False
        for flush, head, rows in there:
            if head and known and not (rows and rows[0] == 0):
                yield run.offset + flush, None
            for since, value in zip(rows[::2], rows[1::2], strict=True):
                yield run.offset + flush + since, value
            known = known or bool(rows)
        if run.until < end:
            yield run.until, None


def _runs_with(db: sqlite3.Connection, live: Live | None) -> list[Run]:
    there = runs(db)
    if live is None:
        return there
    begin = live.offset + (live.flushes[0][0] if live.flushes else live.until)
    if there and there[-1].id == live.run:
        begin = there.pop().begin
    (base,) = db.execute("SELECT base FROM run WHERE id = ?", (live.run,)).fetchone()
    return [*there, Run(live.run, base, NEVER, live.offset - base, begin, live.offset + live.until)]


def events(
    db: sqlite3.Connection, numbers: Container[int], begin: int, end: int, most: int, live: Live | None = None
) -> list[Event]:
    """The last changes of some series before ``end``, down to ``begin``; the latest first."""
    found: list[Event] = []
    for run in reversed(_runs_with(db, live)):
        if run.until < begin or run.begin >= end:
            continue
        for flush, head, rows in _flushes_back(db, run, end, live):
            if run.offset + flush + HOUR < begin or len(found) >= most:
                break
            if run.offset + flush < end:
                found += _events_of(run.offset + flush, head, rows, numbers, begin, end)
    return sorted(found, key=lambda event: event.time, reverse=True)[:most]


def _flushes_back(
    db: sqlite3.Connection, run: Run, end: int, live: Live | None
) -> Iterator[tuple[int, int, Mapping[int, Sequence[Any]]]]:
    if live is not None and run.id == live.run:
        yield from ((run.base + flush, head, rows) for flush, head, rows in reversed(live.flushes))
    flush: int | None = min(end - run.offset, run.end)
    while flush is not None:
        flush = flushes.last(db, run.base, flush)
        if flush is not None:
            rows = flushes.read(db, flush)
            yield flush, rows[0][1], rows


def _events_of(
    at: int, head: int, rows: Mapping[int, Sequence[Any]], numbers: Container[int], begin: int, end: int
) -> Iterator[Event]:
    for number, data in rows.items():
        if number in numbers:
            causes = rows.get(-number, ())
            of = dict(zip(causes[::2], causes[1::2], strict=True))
            for since, value in zip(data[::2], data[1::2], strict=True):
                cause = of.get(since, "")
                # what is there at the begin of a flush that has everything is no change, either
                if begin <= at + since < end and cause is not None and not (head and since == 0):
                    yield Event(at + since, number, value, cause)


def _range(db: sqlite3.Connection, run: Run, begin: int, end: int) -> tuple[int, int]:
    """The flushes that say what was from ``begin`` to ``end``."""
    query = "SELECT max(flush) FROM whole WHERE flush >= ? AND flush <= ?"
    (whole,) = db.execute(query, (run.base, begin - run.offset)).fetchone()
    return run.base if whole is None else whole, min(end - run.offset, run.end - 1)


def mark(db: sqlite3.Connection, name: str) -> int | None:
    """How far something has come; None of what has not begun."""
    row = db.execute("SELECT at FROM mark WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def set_mark(db: sqlite3.Connection, name: str, at: int) -> None:
    """Something has come so far."""
    db.execute("INSERT OR REPLACE INTO mark (name, at) VALUES (?, ?)", (name, at))
