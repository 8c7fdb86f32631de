"""The table of changes: what its keys are made of, and how it is gone through. All of it blocks.

What is written at once is a *flush*. Its number is when it began, in milliseconds of the file's own time, which is that
of all runs put one after the other. A key is the number of the flush, and behind it which series, so that whatever is
written comes at the end of the table: one page of the disk, where it would be four in the midst of others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

#: Bits of a key for the series, and whether these are its causes; there are 41 for the flush, or 69 years.
BITS = 22
#: SQL for the key of the head of a flush.
IS_HEAD = f"id & {(1 << BITS) - 1} = 0"

_decode = msgspec.json.decode
_encode = msgspec.json.Encoder().encode


def key(flush: int, series: int = 0) -> int:
    """The key of a series in a flush; of 0, that of the head, and the least. Those of -N are the causes of N."""
    return flush << BITS | abs(series) << 1 | (series < 0)


def series_of(key: int) -> int:
    """The series of a key, as ``key`` has it."""
    code = key & (1 << BITS) - 1
    return -(code >> 1) if code & 1 else code >> 1


def first(db: sqlite3.Connection, begin: int, end: int) -> int | None:
    """The first flush from ``begin`` on, before ``end``."""
    row = db.execute("SELECT min(id) FROM change WHERE id >= ? AND id < ?", (key(begin), key(end))).fetchone()
    return None if row[0] is None else int(row[0]) >> BITS


def last(db: sqlite3.Connection, begin: int, end: int) -> int | None:
    """The last flush from ``begin`` on, before ``end``."""
    row = db.execute("SELECT max(id) FROM change WHERE id >= ? AND id < ?", (key(begin), key(end))).fetchone()
    return None if row[0] is None else int(row[0]) >> BITS


def through(db: sqlite3.Connection, begin: int, end: int) -> Iterator[int]:
    """All flushes from ``begin`` on, before ``end``."""
    flush = first(db, begin, end)
    while flush is not None:
        yield flush
        flush = first(db, flush + 1, end)


def read(db: sqlite3.Connection, flush: int) -> dict[int, Sequence[Any]]:
    """What is in a flush, by series; that of 0 is its head."""
    rows = db.execute("SELECT id, data FROM change WHERE id >= ? AND id < ?", (key(flush), key(flush + 1)))
    return {series_of(id): _decode(data) for id, data in rows}


def write(db: sqlite3.Connection, flush: int, data: Mapping[int, Sequence[object]]) -> None:
    """Write a flush."""
    rows = sorted((key(flush, series), _encode(of).decode()) for series, of in data.items())
    db.executemany("INSERT INTO change (id, data) VALUES (?, ?)", rows)


#: Flushes from one on, to another, each found from the one before (there are few, of many rows each), with what is in
#: each of a series.
_ROWS = f"""
WITH RECURSIVE hop(flush) AS (
    SELECT min(id) >> {BITS} FROM change WHERE id >= :from << {BITS}
    UNION ALL
    SELECT (SELECT min(id) >> {BITS} FROM change WHERE id >= (hop.flush + 1) << {BITS}) FROM hop WHERE hop.flush < :to
)
SELECT hop.flush, head.data, of.data FROM hop
JOIN change AS head ON head.id = hop.flush << {BITS}
LEFT JOIN change AS of ON of.id = (hop.flush << {BITS}) + :code
WHERE hop.flush <= :to
"""  # noqa: S608 -- numbers of ours


def of_series(
    db: sqlite3.Connection, number: int, begin: int, end: int
) -> Iterator[tuple[int, Sequence[Any], Sequence[Any]]]:
    """All flushes from ``begin`` to ``end``: when, its head, and what is in it of a series."""
    for flush, head, data in db.execute(_ROWS, {"from": begin, "to": end, "code": key(0, number)}):
        yield flush, _decode(head), _decode(data) if data else ()
