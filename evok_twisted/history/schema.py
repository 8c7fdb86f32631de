"""The file: its tables, how it is opened, and when it cannot be used."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

#: ``user_version`` of what is described here.
VERSION = 1
PAGE = 4096
#: Bytes of the file, at least: a file must hold what is being made of it.
LEAST = 1 << 20

#: run: a start of the service; ``base`` is when that was in the file's own time, of which ``offset`` makes milliseconds
#: of the Unix epoch.
#: change: ``flushes.py`` has what an id is; ``data`` is a JSON list, in turns, of when (since the flush began)
#: and what. Of series 0: when it ended, and whether it holds all that can be known at its begin: 1, that all is in it;
#: 2, that what was before is lost; else 0. Of -N: causes of changes of the series N, null of what is none.
#: whole: those flushes that have everything, to begin reading at.
#: minutes, hours: buckets of an hour, and of a day, by time first, so that what is made at once stands together;
#: ``chunks.py`` has what their data is.
#: mark: how far something has come.
TABLES = """
CREATE TABLE series (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, circuit TEXT NOT NULL, field TEXT NOT NULL,
    UNIQUE (kind, circuit, field));
CREATE TABLE run (id INTEGER PRIMARY KEY, base INTEGER NOT NULL, offset INTEGER NOT NULL);
CREATE TABLE change (id INTEGER PRIMARY KEY, data TEXT NOT NULL);
CREATE TABLE whole (flush INTEGER PRIMARY KEY);
CREATE TABLE minutes (start INTEGER, series INTEGER, data BLOB NOT NULL, PRIMARY KEY (start, series)) WITHOUT ROWID;
CREATE TABLE hours (start INTEGER, series INTEGER, data BLOB NOT NULL, PRIMARY KEY (start, series)) WITHOUT ROWID;
CREATE TABLE mark (name TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
"""

#: In memory, of a unit that is only tried out.
MEMORY = ":memory:"


class Unusable(Exception):
    """The file cannot be used, and is left as it is."""


def prepare(db: sqlite3.Connection, at_most: int) -> None:
    """Set up a connection, which may be to a file that is new.

    :param at_most: bytes of the file.
    :raises Unusable: it is of a newer version.
    """
    db.execute(f"PRAGMA page_size = {PAGE}")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise Unusable(f"it is of version {version}, and this evok-twisted knows version {VERSION}")
    for setting in ("journal_mode = WAL", "synchronous = NORMAL", "journal_size_limit = 4194304"):
        db.execute(f"PRAGMA {setting}").fetchall()
    db.execute(f"PRAGMA max_page_count = {max(at_most, LEAST) // PAGE}").fetchall()
    if version == 0:
        db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")


def is_broken(error: Exception) -> bool:
    """Whether the file is no database, or not a sound one; as opposed to a disk that is full, or may not be written."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def set_aside(file: Path) -> Path:
    """Rename a file that is broken, with what belongs to it; its new name."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = file.with_name(f"{file.name}.broken-{stamp}")
    file.rename(aside)
    for more in ("-wal", "-shm"):
        other = file.with_name(file.name + more)
        if other.exists():
            other.rename(aside.with_name(aside.name + more))
    return aside


def size_of(db: sqlite3.Connection) -> tuple[int, int]:
    """Bytes of the file that are in use, and that it has."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    return (pages - free) * PAGE, pages * PAGE
