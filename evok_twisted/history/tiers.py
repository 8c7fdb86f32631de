"""Minutes and hours: how they come of changes, how they are read, and what is let go. All of it blocks."""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from evok_twisted.history import flushes
from evok_twisted.history.buckets import Bucket, Columns, bucketed, columns_of, merged
from evok_twisted.history.chunks import pack, unpack
from evok_twisted.history.schema import size_of
from evok_twisted.history.store import HOUR, Live, mark, runs, set_mark, steps

MINUTE, DAY = 60_000, 24 * HOUR

#: Flushes that are deleted at once.
_AT_ONCE = 50
#: Of the bytes that the file may have, the part from which on the oldest goes, and the part of the file that then does.
_FULL, _LET_GO = 0.9, 0.05


class Tier(NamedTuple):
    """Buckets of one width, kept by the chunk.

    :ivar table: where; how far they are made is the mark of this name.
    :ivar width: of a bucket, and
    :ivar span: of a chunk, in milliseconds.
    """

    table: str
    width: int
    span: int


MINUTES, HOURS = TIERS = Tier("minutes", MINUTE, HOUR), Tier("hours", HOUR, DAY)


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
        return Found("minutes", width, merged(_buckets(db, MINUTES, number, begin, end, live), width))
    width = _rounded_up(wanted, HOUR)
    return Found("hours", width, merged(_buckets(db, HOURS, number, begin, end, live), width))


def _rounded_up(wanted: int, width: int) -> int:
    return -(-wanted // width) * width


def _chunks(db: sqlite3.Connection, tier: Tier, number: int, begin: int, end: int) -> Columns:
    found = columns_of([])
    query = f"SELECT data FROM {tier.table} WHERE start = ? AND series = ?"  # noqa: S608
    for start in range(begin - begin % tier.span, end, tier.span):
        row = db.execute(query, (start, number)).fetchone()
        if row is not None:
            for column, more in zip(found, unpack(row[0], start, tier.width), strict=True):
                column.extend(more)
    inside = slice(bisect_left(found[0], begin), bisect_left(found[0], end))
    return [column[inside] for column in found]


def _buckets(db: sqlite3.Connection, tier: Tier, number: int, begin: int, end: int, live: Live | None) -> Columns:
    """The buckets of a tier: those that are made, and, from where they end, what they would be made from."""
    begin -= begin % tier.width
    made = mark(db, tier.table) or 0
    found = _chunks(db, tier, number, begin, min(end, made))
    begin = max(begin, made)
    if begin < end:
        if tier is MINUTES:
            rest = bucketed(steps(db, number, begin, end, live), begin, end, MINUTE)
        else:
            rest = merged(_buckets(db, MINUTES, number, begin, end, live), HOUR)
        for column, more in zip(found, columns_of(rest), strict=True):
            column.extend(more)
    return found


# Making them


def roll_up(db: sqlite3.Connection, until: int) -> Iterator[None]:
    """Make minutes of all hours, and hours of all days, that are over at ``until``; a little at each step."""
    numbers = [number for (number,) in db.execute("SELECT id FROM series ORDER BY id")]
    there = runs(db)
    if not there:
        return
    hour = _next(db, MINUTES, there[0].begin)
    while hour + HOUR <= until:
        if any(run.begin < hour + HOUR and run.until >= hour for run in there):
            for number in numbers:
                made = bucketed(steps(db, number, hour, hour + HOUR), hour, hour + HOUR, MINUTE)
                _keep(db, MINUTES, number, hour, made)
                yield
        hour += HOUR
        set_mark(db, MINUTES.table, hour)
        yield
    day = _next(db, HOURS, there[0].begin)
    while day + DAY <= hour:
        for number in numbers:
            _keep(db, HOURS, number, day, merged(_chunks(db, MINUTES, number, day, day + DAY), HOUR))
            yield
        day += DAY
        set_mark(db, HOURS.table, day)
        yield


def _next(db: sqlite3.Connection, tier: Tier, first: int) -> int:
    """What is to be made next of a tier, where the first change is at ``first``."""
    made = mark(db, tier.table)
    return first - first % tier.span if made is None else made


def _keep(db: sqlite3.Connection, tier: Tier, number: int, start: int, buckets: list[Bucket]) -> None:
    if buckets:
        row = start, number, pack(buckets, start, tier.width)
        db.execute(f"INSERT OR REPLACE INTO {tier.table} (start, series, data) VALUES (?, ?, ?)", row)  # noqa: S608
    else:
        db.execute(f"DELETE FROM {tier.table} WHERE start = ? AND series = ?", (start, number))  # noqa: S608


def unroll(db: sqlite3.Connection, moved: int) -> None:
    """The clock was set: what is later than ``moved`` is made anew, as far as its changes are still there."""
    there = runs(db)
    first = max(moved, there[0].begin if there else moved)
    for tier in TIERS:
        at = mark(db, tier.table)
        if at is not None:
            set_mark(db, tier.table, min(at, first - first % tier.span))


# Letting go


def let_go(db: sqlite3.Connection, now: int, keep: Keep, taken_over: int | None = None) -> Iterator[None]:
    """Delete what is older than it is to be, and the oldest where there is no room; a little at each step.

    :param taken_over: up to when another place has the changes, which wait for that; None where there is no such place.
    """
    rolled = mark(db, "minutes") or 0
    yield from _drop_changes(db, min(now - keep.changes, rolled, rolled if taken_over is None else taken_over))
    for tier, age in zip(TIERS, (keep.minutes, keep.hours), strict=True):
        yield from _drop_chunks(db, tier, now - age)
    while size_of(db)[0] > _FULL * keep.at_most:
        target = size_of(db)[0] - _LET_GO * keep.at_most
        yield from _make_room(db, now, target)
        if size_of(db)[0] > target:
            return  # there is nothing more that could go


def _make_room(db: sqlite3.Connection, now: int, target: float) -> Iterator[None]:
    """Delete the oldest of each, more and more of it, until no more than ``target`` bytes are in use."""
    for share in range(1, 21):
        for tier in (None, *TIERS):
            oldest = _oldest(db, tier)
            if oldest is not None and oldest < now:
                before = oldest + max(HOUR, (now - oldest) * share // 20)
                yield from _drop_changes(db, before) if tier is None else _drop_chunks(db, tier, before)
            if size_of(db)[0] <= target:
                return


def _oldest(db: sqlite3.Connection, tier: Tier | None) -> int | None:
    """When the oldest of a tier begins; of None, that of the changes."""
    if tier is None:
        return next((run.begin for run in runs(db)), None)
    (oldest,) = db.execute(f"SELECT min(start) FROM {tier.table}").fetchone()  # noqa: S608
    return None if oldest is None else int(oldest)


def _drop_changes(db: sqlite3.Connection, before: int) -> Iterator[None]:
    there = runs(db)
    for run in there:
        last = min(before, run.until) - run.offset
        while run.begin < before:
            some = list(islice(flushes.through(db, run.base, min(last, run.end)), _AT_ONCE))
            if not some:
                break
            end = some[-1] + 1
            db.execute("DELETE FROM change WHERE id >= ? AND id < ?", (flushes.key(run.base), flushes.key(end)))
            db.execute("DELETE FROM whole WHERE flush >= ? AND flush < ?", (run.base, end))
            _raise_mark(db, "changes from", run.offset + some[-1] + HOUR)
            yield
        if run is not there[-1] and flushes.first(db, run.base, run.end) is None:
            db.execute("DELETE FROM run WHERE id = ?", (run.id,))


def _drop_chunks(db: sqlite3.Connection, tier: Tier, before: int) -> Iterator[None]:
    _raise_mark(db, f"{tier.table} from", before)
    table = tier.table
    query = f"DELETE FROM {table} WHERE start = (SELECT min(start) FROM {table} WHERE start <= ?)"  # noqa: S608
    while db.execute(query, (before - tier.span,)).rowcount:
        yield


def _raise_mark(db: sqlite3.Connection, name: str, at: int) -> None:
    set_mark(db, name, max(mark(db, name) or 0, at))
