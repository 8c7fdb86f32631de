"""Buckets are what the changes they came from say, whichever way they came about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evok_twisted.history.buckets import Bucket, bucketed, columns_of, merged

VALUES = st.one_of(
    st.none(), st.sampled_from([0, 1]), st.integers(-20, 20), st.floats(-1e3, 1e3).map(lambda x: round(x, 2))
)


@st.composite
def steps(draw):
    times = sorted(draw(st.lists(st.integers(0, 240), max_size=20)))
    return [(time, draw(VALUES)) for time in times]


def slowly(steps, begin, end, width):
    """The same, millisecond by millisecond."""
    found = {}
    for time in range(begin, end):
        value = next((value for at, value in reversed(steps) if at <= time), None)
        shown = [value for at, value in steps if at == time]
        held = next((value for at, value in reversed(steps) if at < time), None)
        if value is not None or any(one is not None for one in shown):
            seen, areas, edges = found.setdefault(time - time % width, ([], [], []))
            seen += [one for one in (*shown, value) if one is not None]
            areas += [value] if value is not None else []
            edges += [0 == before and bool(now) for before, now in zip([held, *shown], shown, strict=False)]
    return {
        start: (min(seen), max(seen), len(areas), sum(map(bool, areas)), sum(edges), sum(areas))
        for start, (seen, areas, edges) in found.items()
    }


@given(steps(), st.integers(0, 100), st.integers(0, 240), st.sampled_from([1, 7, 60, 240]))
def test_buckets_say_what_is_so_at_every_millisecond(steps, begin, length, width):
    end = begin + length
    found = bucketed(steps, begin, end, width)
    expected = slowly(steps, begin, end, width)
    assert [bucket.start for bucket in found] == sorted(expected)
    for bucket in found:
        low, high, known, on, edges, area = expected[bucket.start]
        assert (bucket.low, bucket.high, bucket.known, bucket.on, bucket.edges) == (low, high, known, on, edges)
        if known:
            assert bucket.mean * known == pytest.approx(area, abs=1e-6)


@given(steps(), st.sampled_from([(5, 10), (6, 60), (60, 240)]))
def test_buckets_of_buckets_are_those_of_the_changes(steps, widths):
    narrow, wide = widths
    direct = bucketed(steps, 0, 240, wide)
    over = merged(columns_of(bucketed(steps, 0, 240, narrow)), wide)
    assert [one[:2] + one[3:] for one in over] == [one[:2] + one[3:] for one in direct]
    assert [one.mean for one in over if one.known] == pytest.approx([one.mean for one in direct if one.known])


def test_a_gap_is_no_time_that_anything_is_known_of():
    minute = bucketed([(0, 20.0), (15_000, None), (45_000, 10.0)], 0, 60_000, 60_000)
    assert minute == [Bucket(0, 10.0, 15.0, 20.0, 30_000, 0, 30_000)]


def test_what_comes_back_on_after_a_gap_is_no_edge():
    assert bucketed([(0, 0), (10, None), (20, 1), (30, 0), (40, 1)], 0, 60, 60)[0].edges == 1


def test_nothing_is_said_of_a_time_of_which_nothing_is_known():
    found = bucketed([(0, 5.0), (90, None), (310, 6.0)], 0, 400, 100)
    assert [bucket.start for bucket in found] == [0, 300]
