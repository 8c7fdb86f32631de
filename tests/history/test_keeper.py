"""The history is kept in a real file, whatever happens to that, and the service goes on."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time

import pytest
import pytest_twisted
from fakes import BY, Rig
from stack import turn
from twisted.internet import reactor

from evok_twisted.history import schema, store
from evok_twisted.history.batch import Batch, Series
from evok_twisted.history.keeper import MANY, Keeper
from evok_twisted.history.store import HOUR
from evok_twisted.history.tiers import Keep

KEEP = Keep(7 * 24 * HOUR, 90 * 24 * HOUR, 5 * 8760 * HOUR, 64 << 20)
DI = Series("di", "1_01", "value")


class House:
    """A board 00 whose history is kept in ``file``."""

    def __init__(self, file):
        self.file = file
        self.rig = Rig(reactor, "00").start_for_ever()
        self.keeper = None

    def begin(self, keep=KEEP, write_every=0.05):
        desk = self.rig.desks(BY, "v3")
        self.keeper = Keeper(str(self.file), desk, desk.wanted(("di", "do"))[0], keep, write_every, reactor)
        self.keeper.startService()

    async def until(self, condition, what):
        deadline = reactor.seconds() + 5
        while not condition():
            assert reactor.seconds() < deadline, what
            await turn(0.005)

    async def ready(self):
        await self.until(lambda: self.keeper.ready, "the file is there")

    async def shows(self, value):
        self.rig.bus.words[0] = value
        await self.until(lambda: self.rig.device("di", "1_01").state.value == value, "it is seen")

    async def values(self):
        now = round(1000 * time.time())
        number = self.keeper.numbers[DI]
        found = await self.keeper.events({number: DI}, now - HOUR, now + HOUR, 100)
        return [event.value for event in reversed(found)]

    async def end(self):
        if self.keeper is not None and self.keeper.running:
            await self.keeper.stopService()


@pytest_twisted.async_yield_fixture
async def house(tmp_path):
    house = House(tmp_path / "history.sqlite")
    yield house
    await house.end()
    house.rig.scanner.stop()


def in_file(file):
    """The values of DI that are in a file, and whether that is sound."""
    db = sqlite3.connect(file)
    sound = db.execute("PRAGMA integrity_check").fetchall()
    number = store.series(db)[DI]
    values = [value for _, value in store.steps(db, number, 0, 1 << 50)]
    db.close()
    assert sound == [("ok",)]
    return values


@pytest_twisted.ensureDeferred
async def test_what_changes_can_be_read_before_and_after_it_is_written(house):
    house.begin(write_every=60)
    await house.ready()
    await house.shows(1)
    assert await house.values() == [1]
    await house.end()
    assert in_file(house.file) == [0, 1, None]


@pytest_twisted.ensureDeferred
async def test_another_run_goes_on_where_the_first_ended(house):
    for value in (1, 0):
        house.begin()
        await house.ready()
        await house.shows(value)
        await house.end()
    assert in_file(house.file) == [0, 1, None, 1, 0, None]


@pytest_twisted.ensureDeferred
async def test_many_changes_are_written_though_it_is_not_time(house):
    house.begin(write_every=3600)
    await house.ready()
    await house.shows(1)
    number = house.keeper.numbers[DI]
    for n in range(MANY):
        house.keeper._recorder._batches[-1].add(number, house.keeper._recorder.now(), n % 2)
    await house.shows(0)
    await house.until(lambda: house.keeper.report().waiting == 0, "they are written")


@pytest_twisted.ensureDeferred
async def test_a_file_that_is_no_database_is_set_aside_and_another_begun(house, log):
    house.file.write_bytes(b"this is no database at all" * 100)
    house.begin()
    await house.ready()
    await house.shows(1)
    (aside,) = house.file.parent.glob("history.sqlite.broken-*")
    assert aside.read_bytes().startswith(b"this is no database")
    assert any("is broken" in text and str(aside) in text for text in log.texts())
    await house.end()
    assert in_file(house.file) == [0, 1, None]


@pytest_twisted.ensureDeferred
async def test_a_file_that_breaks_while_it_is_used_is_set_aside_and_nothing_that_waits_is_lost(house):
    house.begin(write_every=0.05)
    await house.ready()
    await house.until(lambda: house.keeper.report().waiting == 0, "it was written")
    db = sqlite3.connect(house.file)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()
    with house.file.open("r+b") as file:
        file.seek(schema.PAGE)
        file.write(b"\xff" * 8 * schema.PAGE)
    await house.shows(1)
    await house.until(lambda: list(house.file.parent.glob("history.sqlite.broken-*")), "it is set aside")
    await house.until(lambda: house.keeper.ready and house.keeper.report().waiting == 0, "it goes on")
    assert house.keeper.report().problem is None
    await house.end()
    assert 1 in in_file(house.file)


@pytest_twisted.ensureDeferred
async def test_a_file_of_a_newer_version_is_left_as_it_is_and_that_is_said(house, log):
    db = sqlite3.connect(house.file)
    schema.prepare(db, 1 << 20)
    db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    db.commit()
    db.close()
    before = house.file.read_bytes()
    house.begin()
    await house.until(lambda: house.keeper.warnings(), "it is said")
    assert "version 2" in house.keeper.warnings()[0]
    assert not house.keeper.ready
    assert "version 2" in " ".join(log.texts())
    await house.end()
    assert house.file.read_bytes() == before


@pytest_twisted.ensureDeferred
async def test_a_directory_that_is_not_there_yet_is_tried_again(house, monkeypatch):
    monkeypatch.setattr("evok_twisted.history.keeper.AGAIN", 0.05)
    house.file = house.file.parent / "later" / "history.sqlite"
    house.begin()
    await house.until(lambda: house.keeper.report().problem, "it is said")
    await house.shows(1)
    house.file.parent.mkdir()
    await house.ready()
    assert house.keeper.report().problem is None
    await house.end()
    assert in_file(house.file) == [1, None]


@pytest_twisted.ensureDeferred
async def test_a_file_that_can_be_read_and_not_written_is_said_and_tried_again(house, monkeypatch):
    monkeypatch.setattr("evok_twisted.history.keeper.AGAIN", 0.05)
    house.begin()
    await house.ready()
    await house.end()
    other = sqlite3.connect(house.file, timeout=0)
    other.execute("CREATE TRIGGER full BEFORE INSERT ON run BEGIN SELECT RAISE(FAIL, 'no room'); END")
    other.commit()
    house.begin()
    await house.until(lambda: house.keeper.report().problem, "it is said")
    assert "no room" in house.keeper.report().problem
    assert not house.keeper.ready
    other.execute("DROP TRIGGER full")
    other.commit()
    other.close()
    await house.ready()
    assert house.keeper.report().problem is None
    await house.shows(1)
    await house.end()
    assert in_file(house.file)[-2:] == [1, None]


@pytest_twisted.ensureDeferred
async def test_a_full_disk_is_said_and_what_waits_is_written_when_there_is_room(house):
    disk = house.file.parent / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("making a disk that is full takes root, and mount")
    try:
        house.file = disk / "history.sqlite"
        house.begin()
        await house.ready()
        await house.until(lambda: house.keeper.report().waiting == 0, "it was written")
        (disk / "filler").write_bytes(b"x" * os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize)
        await house.shows(1)
        await house.until(lambda: house.keeper.report().problem, "it is said")
        assert "full" in house.keeper.report().problem or "I/O" in house.keeper.report().problem
        (disk / "filler").unlink()
        await house.until(lambda: house.keeper.report().problem is None, "it is over")
        await house.end()
        assert in_file(house.file)[-2:] == [1, None]
    finally:
        await house.end()
        subprocess.run(["umount", disk], check=True)


@pytest_twisted.ensureDeferred
async def test_a_disk_that_is_read_only_is_said_and_tried_again(house, monkeypatch):
    monkeypatch.setattr("evok_twisted.history.keeper.AGAIN", 0.05)
    disk = house.file.parent / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=False).returncode:
        pytest.skip("making a disk that is read-only takes root, and mount")
    try:
        house.file = disk / "history.sqlite"
        house.begin()
        await house.ready()
        await house.end()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        house.begin()
        await house.until(lambda: house.keeper.report().problem, "it is said")
        assert not house.keeper.ready
        await house.shows(1)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        await house.ready()
        assert house.keeper.report().problem is None
        await house.end()
        assert in_file(house.file)[-2:] == [1, None]
    finally:
        await house.end()
        subprocess.run(["umount", disk], check=True)


@pytest_twisted.ensureDeferred
async def test_hours_that_are_over_are_made_in_the_background(house):
    db = sqlite3.connect(house.file)
    schema.prepare(db, 1 << 24)
    then = round(1000 * time.time()) - 5 * HOUR
    batch = Batch(0, then, whole=True)
    batch.add(1, 0, 1)
    batch.until = HOUR
    store.write(db, store.begin_run(db, then), [batch], {1: DI})
    db.commit()
    house.begin()
    await house.ready()
    await house.until(lambda: db.execute("SELECT count(*) FROM minutes").fetchone()[0], "there are minutes")
    db.close()


def test_after_a_kill_at_any_time_the_file_is_sound_and_what_was_written_is_there(tmp_path):
    file, rnd = tmp_path / "history.sqlite", random.Random(1)
    written = 0
    for _ in range(100):
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            _write_for_ever(file, writes)
        os.close(writes)
        with os.fdopen(reads, "rb", buffering=0) as said:
            for _ in range(rnd.randint(1, 40)):
                written += len(said.read(1))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            written += len(said.read())
        values = [value for value in in_file(file) if value is not None]
        assert len(values) - written in range(2), "all that was written, and at most what was being written"
        written = len(values)
    assert written > 100


def _write_for_ever(file, pipe):
    try:
        db = sqlite3.connect(file)
        schema.prepare(db, 1 << 26)
        run = store.begin_run(db, round(1000 * time.time()))
        new = {} if store.series(db) else {1: DI}
        for n in range(1_000_000):
            batch = Batch(n, 0, whole=n % 100 == 0)
            (batch.offset,) = db.execute("SELECT base + offset FROM run WHERE id = ?", (run,)).fetchone()
            batch.add(1, n, n % 2)
            store.write(db, run, [batch], new)
            db.commit()
            new = {}
            os.write(pipe, b".")
    finally:
        os._exit(1)
