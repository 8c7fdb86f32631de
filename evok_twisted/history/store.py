"""What is in the file: writing changes, reading a series. All of it blocks, and is for a thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from evok_twisted.history.batch import CLOCK_IS_SET, Batch, Series
from evok_twisted.history.buckets import Step

HOUR = 3_600_000

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode

#: Flushes of a run from one on, to another, each found from the one before (there are few, of many rows each), with
#: what is in each of a series.
_ROWS = """
WITH RECURSIVE hop(flush) AS (
    SELECT min(flush) FROM change WHERE run = :run AND flush >= :from
    UNION ALL
    SELECT (SELECT min(flush) FROM change WHERE run = :run AND flush > hop.flush) FROM hop WHERE hop.flush < :to
)
SELECT hop.flush, head.data, of.data FROM hop
JOIN change AS head ON head.run = :run AND head.flush = hop.flush AND head.series = 0
LEFT JOIN change AS of ON of.run = :run AND of.flush = hop.flush AND of.series = :series
WHERE hop.flush <= :to
"""


class Run(NamedTuple):
    """A run of the service.

    :ivar begin: of its first change, in milliseconds of the Unix epoch.
    :ivar until: when it was last known to run.
    """

    id: int
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
    found = []
    for number, offset in db.execute("SELECT id, offset FROM run ORDER BY id").fetchall():
        first, last = db.execute("SELECT min(flush), max(flush) FROM change WHERE run = ?", (number,)).fetchone()
        if first is not None:
            (head,) = db.execute(
                "SELECT data FROM change WHERE run = ? AND flush = ? AND series = 0", (number, last)
            ).fetchone()
            found.append(Run(number, offset, offset + first, offset + last + _decode(head)[0]))
    return found


def begin_run(db: sqlite3.Connection, offset: int) -> int:
    """Begin a run; its number."""
    number = db.execute("INSERT INTO run (offset) VALUES (?)", (offset,)).lastrowid
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
    (offset,) = db.execute("SELECT offset FROM run WHERE id = ?", (run,)).fetchone()
    for batch in batches:
        if abs(batch.offset - offset) > CLOCK_IS_SET:
            db.execute("UPDATE run SET offset = ? WHERE id = ?", (batch.offset, run))
            (first,) = db.execute("SELECT min(flush) FROM change WHERE run = ?", (run,)).fetchone()
            if first is not None:
                earliest = min(offset, batch.offset) + first
                moved = earliest if moved is None else min(moved, earliest)
            offset = batch.offset
        flush = _free(db, run, batch.begin)
        head = [batch.until - flush, batch.head]
        rows = [(run, flush, 0, _text(head))]
        rows += [(run, flush, number, _text(data)) for number, data in batch.rows.items()]
        rows += [(run, flush, -number, _text(data)) for number, data in batch.causes.items()]
        db.executemany("INSERT INTO change (run, flush, series, data) VALUES (?, ?, ?, ?)", sorted(rows))
        if batch.whole:
            db.execute("INSERT INTO whole (run, flush) VALUES (?, ?)", (run, flush))
    return moved


def _free(db: sqlite3.Connection, run: int, flush: int) -> int:
    """The first millisecond from ``flush`` on at which nothing was written."""
    (last,) = db.execute("SELECT max(flush) FROM change WHERE run = ?", (run,)).fetchone()
    return flush if last is None or last < flush else int(last) + 1


def _text(data: Sequence[object]) -> str:
    return _encode(data).decode()


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
        flushes: list[tuple[int, int, Sequence[Any]]] = [
            (flush, _decode(head)[1], _decode(data) if data else ())
            for flush, head, data in db.execute(_ROWS, _range(db, run, begin, end) | {"series": number})
        ]
        if live is not None and run.id == live.run:
            flushes += [(flush, head, rows.get(number, ())) for flush, head, rows in live.flushes]
        known = False
        for flush, head, rows in flushes:
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
    return [*there, Run(live.run, live.offset, begin, live.offset + live.until)]


def events(
    db: sqlite3.Connection, numbers: Container[int], begin: int, end: int, most: int, live: Live | None = None
) -> list[Event]:
    """The last changes of some series before ``end``, down to ``begin``; the latest first."""
    found: list[Event] = []
    for run in reversed(_runs_with(db, live)):
        if run.until < begin or run.begin >= end:
            continue
        for flush, head, rows in _flushes_back(db, run, end, live, numbers):
            if run.offset + flush + HOUR < begin or len(found) >= most:
                break
            if run.offset + flush < end:
                found += _events_of(run.offset + flush, head, rows, numbers, begin, end)
    return sorted(found, key=lambda event: event.time, reverse=True)[:most]


def _flushes_back(
    db: sqlite3.Connection, run: Run, end: int, live: Live | None, numbers: Container[int]
) -> Iterator[tuple[int, int, Mapping[int, Sequence[Any]]]]:
    if live is not None and run.id == live.run:
        yield from reversed(live.flushes)
    flush = end - run.offset
    while True:
        (last,) = db.execute("SELECT max(flush) FROM change WHERE run = ? AND flush < ?", (run.id, flush)).fetchone()
        if last is None:
            return
        rows = dict(db.execute("SELECT series, data FROM change WHERE run = ? AND flush = ?", (run.id, last)))
        wanted = {number: _decode(data) for number, data in rows.items() if abs(number) in numbers}
        yield last, _decode(rows[0])[1], wanted
        flush = last


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


def _range(db: sqlite3.Connection, run: Run, begin: int, end: int) -> dict[str, int]:
    """The flushes that say what was from ``begin`` to ``end``."""
    from_ = begin - run.offset
    (whole,) = db.execute("SELECT max(flush) FROM whole WHERE run = ? AND flush <= ?", (run.id, from_)).fetchone()
    return {"run": run.id, "from": -1 if whole is None else whole, "to": end - run.offset}


def mark(db: sqlite3.Connection, name: str) -> int | None:
    """How far something has come; None of what has not begun."""
    row = db.execute("SELECT at FROM mark WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def set_mark(db: sqlite3.Connection, name: str, at: int) -> None:
    """Something has come so far."""
    db.execute("INSERT OR REPLACE INTO mark (name, at) VALUES (?, ?)", (name, at))
