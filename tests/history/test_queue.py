"""The file as a queue: each change once, with gaps, clocks that are set, and what is lost."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evok_twisted.history import queue, schema, store, tiers
from evok_twisted.history.batch import Batch, Series
from evok_twisted.history.flushes import IS_HEAD
from evok_twisted.history.queue import Moved
from evok_twisted.history.store import HOUR

#: 2026-11-26T00:00:00Z
DAY = 1_795_651_200_000
AI, RO = Series("ai", "1_01", "value"), Series("ro", "2_01", "value")


@pytest.fixture
def db():
    made = opened()
    yield made
    made.close()


def opened():
    made = sqlite3.connect(":memory:")
    schema.prepare(made, 64 << 20)
    return made


def batch(begin, *changes, offset=DAY, whole=False, until=None, cause=""):
    made = Batch(begin, offset, whole=whole)
    for time, value in changes:
        made.add(1, time, value, cause)
    made.until = until or made.until
    return made


def told(piece):
    return [(row.time - DAY, row.value) for row in piece.rows if row.series == AI]


def test_each_change_comes_once_in_pieces_of_a_size(db):
    run = store.begin_run(db, DAY)
    store.write(db, run, [batch(n * 1000, *((n * 1000 + k, k) for k in range(10))) for n in range(20)], {1: AI})
    place, seen, sizes = queue.beginning(db), [], []
    while (piece := queue.following(db, place, 25)) is not None:
        place = piece.place
        seen += told(piece)
        sizes.append(len(piece.rows))
    assert seen == [(n * 1000 + k, k) for n in range(20) for k in range(10)]
    assert max(sizes) == 30


def test_who_commanded_a_change_comes_with_it(db):
    store.write(db, store.begin_run(db, DAY), [batch(0, (0, 0)), batch(1000, (1500, 1), cause="ada (rest)")], {1: AI})
    rows = queue.following(db, queue.beginning(db), 100).rows
    assert [row.cause for row in rows] == [None, "ada (rest)"]


def test_a_file_is_the_same_one_for_ever_and_no_other(db):
    other = opened()
    assert queue.beginning(db) == queue.beginning(db) != queue.beginning(other)
    other.close()


def test_where_a_run_ends_nothing_is_known_any_more(db):
    store.write(db, store.begin_run(db, DAY), [batch(0, (0, 1), until=5000)], {1: AI, 2: RO})
    store.write(db, store.begin_run(db, DAY + 60_000), [batch(0, (0, 1), offset=DAY + 60_000, whole=True)], {})
    piece = queue.following(db, queue.beginning(db), 100)
    assert told(piece) == [(0, 1), (5000, None), (60_000, 1)]
    assert [row.time - DAY for row in piece.rows if row.series == RO] == [5000]
    assert piece.place.until == DAY + 60_000


def test_that_a_flush_had_to_be_thrown_away_is_a_gap_too(db):
    cut = batch(10_000, (12_000, 3))
    cut.cut = True
    store.write(db, store.begin_run(db, DAY), [batch(0, (0, 1)), cut], {1: AI})
    assert told(queue.following(db, queue.beginning(db), 100)) == [(0, 1), (10_000, None), (12_000, 3)]


def test_a_clock_that_was_set_moves_what_was_taken_over_before(db):
    run = store.begin_run(db, DAY)
    store.write(db, run, [batch(0, (0, 1), until=5000)], {1: AI})
    place = queue.following(db, queue.beginning(db), 100).place
    store.write(db, run, [batch(6000, (6000, 2), offset=DAY + HOUR)], {})
    piece = queue.following(db, place, 100)
    assert piece.moved == Moved(DAY, HOUR)
    assert told(piece) == [(HOUR + 6000, 2)]
    assert piece.place.offset - place.offset == HOUR


def test_a_clock_that_was_set_is_told_though_nothing_follows(db):
    run = store.begin_run(db, DAY)
    store.write(db, run, [batch(0, (0, 1), until=5000)], {1: AI})
    place = queue.following(db, queue.beginning(db), 100).place
    db.execute("UPDATE run SET offset = offset - ?", (HOUR,))
    piece = queue.following(db, place, 100)
    assert (piece.moved, piece.rows) == (Moved(DAY, -HOUR), [])
    assert queue.following(db, piece.place, 100) is None


def test_what_is_not_taken_over_is_not_let_go_for_its_age(db):
    store.write(db, store.begin_run(db, DAY), [batch(n * HOUR, (n * HOUR, n), whole=True) for n in range(50)], {1: AI})
    now, keep = DAY + 50 * HOUR, tiers.Keep(HOUR, 90 * tiers.DAY, 90 * tiers.DAY, 64 << 20)
    for taken_over, left in ((0, 50), (DAY + 20 * HOUR, 30), (None, 1)):
        for _ in (*tiers.roll_up(db, now), *tiers.let_go(db, now, keep, taken_over)):
            pass
        assert db.execute(f"SELECT count(*) FROM change WHERE {IS_HEAD}").fetchone() == (left,)


def test_what_was_let_go_before_it_was_taken_over_is_told_as_lost_and_is_a_gap(db):
    run = store.begin_run(db, DAY)
    store.write(db, run, [batch(n * HOUR, (n * HOUR, n), until=n * HOUR + 1) for n in range(50)], {1: AI})
    place = queue.following(db, queue.beginning(db), 1).place
    assert place.until == DAY + 1
    for _ in tiers._drop_changes(db, DAY + 30 * HOUR):
        pass
    piece = queue.following(db, place, 1)
    assert piece.lost == 30 * HOUR - 1
    assert told(piece) == [(1, None), (30 * HOUR, 30)]
    assert queue.following(db, piece.place, 1).lost == 0


def test_what_was_taken_over_and_let_go_is_not_lost(db):
    store.write(db, store.begin_run(db, DAY), [batch(n * HOUR, (n * HOUR, n)) for n in range(50)], {1: AI})
    place = queue.following(db, queue.beginning(db), 30).place
    for _ in tiers._drop_changes(db, place.until):
        pass
    assert queue.following(db, place, 1).lost == 0


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=8),
    st.integers(1, 12),
)
def test_in_whatever_pieces_it_is_taken_it_is_the_same(runs, most):
    db, at = opened(), DAY
    new = {1: AI}
    for flushes in runs:
        run = store.begin_run(db, at)
        store.write(
            db,
            run,
            [batch(n * 100, *((n * 100 + k, k) for k in range(many)), offset=at) for n, many in enumerate(flushes)],
            new,
        )
        new = {}
        at += 10_000
    whole = queue.following(db, queue.beginning(db), 10_000)
    place, seen = queue.beginning(db), []
    while (piece := queue.following(db, place, most)) is not None:
        place = piece.place
        seen += piece.rows
    assert seen == (whole.rows if whole else [])
    changes = [row for row in seen if row.value is not None]
    assert len(changes) == sum(map(sum, runs))
    db.close()
