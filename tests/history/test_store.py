"""What is written is what is read, over runs, gaps, clocks that are set, and files of a bounded size."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evok_twisted.history import schema, store, tiers
from evok_twisted.history.batch import Batch, Series
from evok_twisted.history.buckets import bucketed
from evok_twisted.history.store import HOUR

#: 2026-11-26T00:00:00Z
DAY = 1_795_651_200_000
AI = Series("ai", "1_01", "value")
MB = 1 << 20


@pytest.fixture
def db():
    made = opened()
    yield made
    made.close()


def opened(file=":memory:", at_most=64 * MB):
    db = sqlite3.connect(file)
    schema.prepare(db, at_most)
    return db


def batch(begin, *changes, offset=DAY, whole=False, number=1, until=None):
    made = Batch(begin, offset, whole=whole)
    for time, value in changes:
        made.add(number, time, value)
    made.until = until or made.until
    return made


def seen(db, begin, end, number=1):
    return list(store.steps(db, number, begin, end))


def test_changes_are_read_as_they_were_written(db):
    run = store.begin_run(db, DAY)
    store.write(db, run, [batch(0, (0, 20.5), (1500, 21)), batch(60_000, (61_000, None))], {1: AI})
    assert seen(db, DAY, DAY + HOUR) == [
        (DAY, 20.5),
        (DAY + 1500, 21),
        (DAY + 61_000, None),
        (DAY + 61_000, None),
    ]
    assert store.series(db) == {AI: 1}


def test_between_two_runs_nothing_is_known(db):
    store.write(db, store.begin_run(db, DAY), [batch(0, (0, 1), until=5000)], {1: AI})
    store.write(db, store.begin_run(db, DAY + 60_000), [batch(0, (0, 1), offset=DAY + 60_000, whole=True)], {})
    (bucket,) = bucketed(seen(db, DAY, DAY + HOUR), DAY, DAY + HOUR, HOUR)
    assert bucket.known == 5000


def test_what_holds_at_the_begin_is_read_from_the_last_time_that_everything_was_written(db):
    run = store.begin_run(db, DAY)
    batches = [batch(n * 1000, (n * 1000, n), whole=n % 10 == 0) for n in range(100)]
    store.write(db, run, batches, {1: AI})
    times = [time - DAY for time, _ in seen(db, DAY + 55_500, DAY + 60_000)]
    assert times[0] == 50_000 and times[-1] == 60_000


def test_what_is_not_there_when_everything_is_written_is_not_known_from_then_on(db):
    run = store.begin_run(db, DAY)
    store.write(db, run, [batch(0, (0, 7), whole=True), batch(5000, number=2, whole=True, until=9000)], {1: AI})
    assert seen(db, DAY, DAY + HOUR) == [(DAY, 7), (DAY + 5000, None), (DAY + 9000, None)]


def test_after_changes_that_are_lost_nothing_is_known_until_there_is_another(db):
    run = store.begin_run(db, DAY)
    cut = batch(5000, (7000, 8), until=9000)
    cut.cut = True
    store.write(db, run, [batch(0, (0, 7), whole=True), cut], {1: AI})
    assert seen(db, DAY, DAY + HOUR) == [(DAY, 7), (DAY + 5000, None), (DAY + 7000, 8), (DAY + 9000, None)]


def test_two_batches_of_one_millisecond_are_both_there(db):
    run = store.begin_run(db, DAY)
    store.write(db, run, [batch(0, (0, 7), whole=True), batch(0, (1, 8))], {1: AI})
    assert [value for _, value in seen(db, DAY, DAY + HOUR)][:2] == [7, 8]


@pytest.mark.parametrize("by", [-3 * HOUR, 3 * HOUR])
def test_a_clock_that_is_set_moves_what_was_before_it_in_this_run_and_folds_nothing(db, by):
    run = store.begin_run(db, DAY)
    store.write(db, run, [batch(0, (0, 1), (HOUR, 2), whole=True)], {1: AI})
    for _ in tiers.roll_up(db, DAY + HOUR):
        pass
    moved = store.write(db, run, [batch(2 * HOUR, (2 * HOUR, 3), offset=DAY + by, whole=True)], {})
    assert moved == min(DAY, DAY + by)
    tiers.unroll(db, moved)
    for _ in tiers.roll_up(db, DAY + by + 3 * HOUR):
        pass
    begin = DAY + by
    assert [time - begin for time, value in seen(db, begin, begin + 9 * HOUR) if value] == [0, HOUR, 2 * HOUR]
    found = tiers.find(db, 1, begin, begin + 2 * HOUR, 2)
    assert [(one.start - begin, one.mean, one.known) for one in found.buckets] == [(0, 1, HOUR), (HOUR, 2, HOUR)]


@st.composite
def days(draw):
    """Changes of two days, with gaps and restarts of the service."""
    times = sorted(draw(st.sets(st.integers(0, 48 * HOUR // 1000), min_size=1, max_size=40)))
    return [(1000 * time, draw(st.sampled_from([0, 1, 2.5, None, "restart"]))) for time in times]


def written(db, changes):
    run, new = store.begin_run(db, DAY), {1: AI}
    for time, value in changes:
        if value == "restart":
            run = store.begin_run(db, DAY + time)
        (offset,) = db.execute("SELECT base + offset FROM run WHERE id = ?", (run,)).fetchone()
        at = time - (offset - DAY)
        store.write(db, run, [batch(at, (at, None if value == "restart" else value), offset=offset, whole=True)], new)
        new = {}


@settings(deadline=None, max_examples=60)
@given(days(), st.integers(0, 47), st.integers(1, 48), st.sampled_from([1, 7, 48, 500]))
def test_every_tier_says_what_the_changes_say(changes, first, hours, points):
    db = opened()
    written(db, changes)
    begin, end = DAY + first * HOUR, DAY + min(first + hours, 48) * HOUR
    direct = tiers.find(db, 1, begin, end, points)
    expected = bucketed(store.steps(db, 1, begin, end), begin, end, direct.width)
    for _ in tiers.roll_up(db, DAY + 48 * HOUR):
        pass
    rolled = tiers.find(db, 1, begin, end, points)
    assert (rolled.tier, rolled.width) == (direct.tier, direct.width)
    for found in (direct.buckets, rolled.buckets):
        assert [one[:2] + one[3:] for one in found] == [one[:2] + one[3:] for one in expected]
        assert [one.mean for one in found] == pytest.approx([one.mean for one in expected])
    db.close()


def test_what_is_too_old_goes_tier_by_tier(db):
    keep = tiers.Keep(changes=24 * HOUR, minutes=48 * HOUR, hours=1000 * HOUR, at_most=64 * MB)
    run = store.begin_run(db, DAY)
    store.write(db, run, [batch(n * HOUR, (n * HOUR, n), whole=True) for n in range(96)], {1: AI})
    now = DAY + 96 * HOUR
    for step in (tiers.roll_up(db, now), tiers.let_go(db, now, keep)):
        for _ in step:
            pass
    assert store.runs(db)[0].begin == DAY + 72 * HOUR
    assert db.execute("SELECT min(start) FROM minutes").fetchone() == (DAY + 48 * HOUR,)
    assert tiers.find(db, 1, DAY, now, 96).buckets[0].start == DAY


def test_what_is_not_rolled_up_is_kept(db):
    keep = tiers.Keep(changes=HOUR, minutes=HOUR, hours=HOUR, at_most=64 * MB)
    store.write(db, store.begin_run(db, DAY), [batch(0, (0, 1), whole=True)], {1: AI})
    for _ in tiers.let_go(db, DAY + 96 * HOUR, keep):
        pass
    assert store.runs(db)


def test_a_file_that_gets_too_large_lets_the_oldest_go(db):
    keep = tiers.Keep(changes=1000 * HOUR, minutes=1000 * HOUR, hours=1000 * HOUR, at_most=MB)
    run = store.begin_run(db, DAY)
    for n in range(300):
        at = n * HOUR // 4
        changes = [(at + 10 * k, (k * 7919) % 1000 / 10) for k in range(500)]
        store.write(db, run, [batch(at, *changes, whole=True)], {1: AI} if n == 0 else {})
        for step in (tiers.roll_up(db, DAY + at), tiers.let_go(db, DAY + at, keep)):
            for _ in step:
                pass
        assert schema.size_of(db)[0] <= MB
    assert store.runs(db)[0].begin > DAY
    assert tiers.find(db, 1, DAY, DAY + 75 * HOUR, 75).buckets[0].start == DAY


def test_a_file_of_a_newer_version_is_left_alone(tmp_path):
    file = tmp_path / "history.sqlite"
    opened(file).close()
    db = sqlite3.connect(file)
    db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    db.commit()
    with pytest.raises(schema.Unusable, match="version 2"):
        schema.prepare(db, MB)
    db.close()


def test_a_file_that_is_no_database_is_told_from_one_that_cannot_be_written(tmp_path):
    file = tmp_path / "history.sqlite"
    file.write_bytes(b"no database" * 1000)
    with pytest.raises(sqlite3.DatabaseError) as broken:
        opened(file)
    assert schema.is_broken(broken.value)
    with pytest.raises(sqlite3.OperationalError) as absent:
        opened(tmp_path / "nowhere" / "history.sqlite")
    assert not schema.is_broken(absent.value)
