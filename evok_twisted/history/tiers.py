"""Minutes and hours: how they come of changes, how they are read, and what is let go. All of it blocks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from evok_twisted.history.buckets import Bucket, bucketed, merged
from evok_twisted.history.chunks import pack, unpack
from evok_twisted.history.schema import size_of
from evok_twisted.history.store import HOUR, Live, mark, runs, set_mark, steps

MINUTE, DAY = 60_000, 24 * HOUR

#: Flushes that are deleted at once.
_AT_ONCE = 50
#: Of the bytes that the file may have, the part from which on the oldest goes, and the part of the file that then does.
_FULL, _LET_GO = 0.9, 0.05


class Keep(NamedTuple):
    """For how many milliseconds each is kept, and in how many bytes all of it."""

    changes: int
    minutes: int
    hours: int
    at_most: int


class Found(NamedTuple):
    """What was asked for.

    :ivar tier: what it was made from: changes, minutes or hours.
    :ivar width: of each bucket, in milliseconds.
    """

    tier: str
    width: int
    buckets: list[Bucket]


# Reading


def find(db: sqlite3.Connection, number: int, begin: int, end: int, points: int, live: Live | None = None) -> Found:
    """A series from ``begin`` to ``end``, in at most ``points`` buckets (and one that is cut by an end).

    The finest tier that has not more than that many, and still has the time.
    """
    wanted = max(1, -(-(end - begin) // points))
    if wanted < MINUTE and begin >= (mark(db, "changes from") or 0):
        return Found("changes", wanted, bucketed(steps(db, number, begin, end, live), begin, end, wanted))
    if wanted < HOUR and begin >= (mark(db, "minutes from") or 0):
        width = _rounded_up(wanted, MINUTE)
        return Found("minutes", width, merged(_minutes(db, number, begin, end, live), width))
    width = _rounded_up(wanted, HOUR)
    return Found("hours", width, merged(_hours(db, number, begin, end, live), width))


def _rounded_up(wanted: int, width: int) -> int:
    return -(-wanted // width) * width


def _chunks(db: sqlite3.Connection, table: str, number: int, begin: int, end: int) -> Iterator[Bucket]:
    span, width = (HOUR, MINUTE) if table == "minutes" else (DAY, HOUR)
    query = f"SELECT start, data FROM {table} WHERE series = ? AND start > ? AND start < ? ORDER BY start"  # noqa: S608
    for start, data in db.execute(query, (number, begin - span, end)).fetchall():
        yield from (one for one in unpack(data, start, width) if begin - width < one.start < end)


def _minutes(db: sqlite3.Connection, number: int, begin: int, end: int, live: Live | None) -> Iterator[Bucket]:
    begin -= begin % MINUTE
    rolled = mark(db, "minutes") or 0
    if begin < rolled:
        yield from _chunks(db, "minutes", number, begin, min(end, rolled))
    if end > rolled:
        begin = max(begin, rolled)
        yield from bucketed(steps(db, number, begin, end, live), begin, end, MINUTE)


def _hours(db: sqlite3.Connection, number: int, begin: int, end: int, live: Live | None) -> Iterator[Bucket]:
    begin -= begin % HOUR
    rolled = mark(db, "hours") or 0
    if begin < rolled:
        yield from _chunks(db, "hours", number, begin, min(end, rolled))
    if end > rolled:
        yield from merged(_minutes(db, number, max(begin, rolled), end, live), HOUR)


# Making them


def roll_up(db: sqlite3.Connection, until: int) -> Iterator[None]:
    """Make minutes of all hours, and hours of all days, that are over at ``until``; a little at each step."""
    numbers = [number for (number,) in db.execute("SELECT id FROM series ORDER BY id")]
    there = runs(db)
    if not there:
        return
    hour = mark(db, "minutes")
    hour = there[0].begin - there[0].begin % HOUR if hour is None else hour
    while hour + HOUR <= until:
        if any(run.begin < hour + HOUR and run.until >= hour for run in there):
            for number in numbers:
                made = bucketed(steps(db, number, hour, hour + HOUR), hour, hour + HOUR, MINUTE)
                _keep(db, "minutes", number, hour, made, MINUTE)
                yield
        hour += HOUR
        set_mark(db, "minutes", hour)
        yield
    day = mark(db, "hours")
    day = there[0].begin - there[0].begin % DAY if day is None else day
    while day + DAY <= hour:
        for number in numbers:
            _keep(db, "hours", number, day, merged(_chunks(db, "minutes", number, day, day + DAY), HOUR), HOUR)
            yield
        day += DAY
        set_mark(db, "hours", day)
        yield


def _keep(db: sqlite3.Connection, table: str, number: int, start: int, buckets: list[Bucket], width: int) -> None:
    if buckets:
        row = number, start, pack(buckets, start, width)
        db.execute(f"INSERT OR REPLACE INTO {table} (series, start, data) VALUES (?, ?, ?)", row)  # noqa: S608
    else:
        db.execute(f"DELETE FROM {table} WHERE series = ? AND start = ?", (number, start))  # noqa: S608


def unroll(db: sqlite3.Connection, moved: int) -> None:
    """The clock was set: what is later than ``moved`` is made anew, as far as its changes are still there."""
    there = runs(db)
    first = max(moved, there[0].begin if there else moved)
    for name, span in (("minutes", HOUR), ("hours", DAY)):
        at = mark(db, name)
        if at is not None:
            set_mark(db, name, min(at, first - first % span))


# Letting go


def let_go(db: sqlite3.Connection, now: int, keep: Keep) -> Iterator[None]:
    """Delete what is older than it is to be, and the oldest where there is no room; a little at each step."""
    rolled = mark(db, "minutes") or 0
    yield from _drop_changes(db, min(now - keep.changes, rolled))
    for table, age in (("minutes", keep.minutes), ("hours", keep.hours)):
        yield from _drop_chunks(db, table, now - age)
    while size_of(db)[0] > _FULL * keep.at_most:
        target = size_of(db)[0] - _LET_GO * keep.at_most
        there = runs(db)
        for share in range(1, 21):
            if size_of(db)[0] <= target:
                break
            for table, oldest in (("change", there[0].begin if there else now), ("minutes", None), ("hours", None)):
                since = oldest if oldest is not None else _oldest(db, table)
                if since is None or since >= now:
                    continue
                before = since + max(HOUR, (now - since) * share // 20)
                yield from _drop_changes(db, before) if table == "change" else _drop_chunks(db, table, before)
                if size_of(db)[0] <= target:
                    break
        else:
            return


def _oldest(db: sqlite3.Connection, table: str) -> int | None:
    (oldest,) = db.execute(f"SELECT min(start) FROM {table}").fetchone()  # noqa: S608
    return None if oldest is None else int(oldest)


def _drop_changes(db: sqlite3.Connection, before: int) -> Iterator[None]:
    there = runs(db)
    for run in there:
        last = min(before, run.until) - run.offset
        while run.begin < before:
            query = "SELECT flush FROM change WHERE run = ? AND flush < ? AND series = 0 ORDER BY flush LIMIT ?"
            flushes = db.execute(query, (run.id, last, _AT_ONCE)).fetchall()
            if not flushes:
                break
            for table in ("change", "whole"):
                db.execute(f"DELETE FROM {table} WHERE run = ? AND flush <= ?", (run.id, flushes[-1][0]))  # noqa: S608
            set_mark(db, "changes from", max(mark(db, "changes from") or 0, run.offset + flushes[-1][0] + HOUR))
            yield
        if run is not there[-1]:
            db.execute(
                "DELETE FROM run WHERE id = ? AND id NOT IN (SELECT run FROM change WHERE run = ?)", (run.id,) * 2
            )


def _drop_chunks(db: sqlite3.Connection, table: str, before: int) -> Iterator[None]:
    span = HOUR if table == "minutes" else DAY
    set_mark(db, f"{table} from", max(mark(db, f"{table} from") or 0, before))
    for (number,) in db.execute("SELECT id FROM series").fetchall():
        done = db.execute(f"DELETE FROM {table} WHERE series = ? AND start <= ?", (number, before - span))  # noqa: S608
        if done.rowcount:
            yield
