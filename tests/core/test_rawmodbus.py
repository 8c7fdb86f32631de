"""Registers of any slave: who may, and how many at once."""

from __future__ import annotations

import pytest
from fakes import BY
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from evok_twisted.conditions import Signal
from evok_twisted.core.identity import Identity, Scopes
from evok_twisted.core.rawmodbus import MOST_UNDER_WAY, RawModbus
from evok_twisted.errors import Busy, Forbidden, NotFound, Unauthorized
from evok_twisted.logs import Logger


class Line:
    name, write_timeout, framing = "LINE", 2.0, "mbtcp"

    def __init__(self):
        self.asked = []
        self.frames = Signal(Logger())

    def read_table(self, *wanted):
        self.asked.append(Deferred())
        return self.asked[-1]


@pytest.fixture
def line():
    return Line()


@pytest.fixture
def raw(line):
    raw = RawModbus(Clock(), Signal(Logger()))
    raw.attach(line)
    return raw


def read(raw, by=BY):
    return Deferred.fromCoroutine(raw.read("LINE", 1, "holding", 0, 1, by))


def failure_of(deferred):
    failures = []
    deferred.addErrback(failures.append)
    return failures[0].value


def test_no_more_requests_are_under_way_than_scans_can_wait_for(raw, line):
    done = [read(raw) for _ in range(MOST_UNDER_WAY)]
    assert isinstance(failure_of(read(raw)), Busy) and len(line.asked) == MOST_UNDER_WAY
    line.asked[0].callback((5,))
    assert done[0].result == [5]
    read(raw)
    assert len(line.asked) == MOST_UNDER_WAY + 1


@pytest.mark.parametrize(
    ("scopes", "error"),
    [
        (Scopes("none"), Unauthorized),
        (Scopes("viewer"), Forbidden),
        (Scopes("operator"), Forbidden),
        (Scopes("admin", ("ro",)), Forbidden),
    ],
)
def test_nobody_asks_who_may_not_do_everything(raw, line, scopes, error):
    by = Identity("anna", "rest", scopes)
    assert isinstance(failure_of(read(raw, by)), error)
    with pytest.raises(error):
        raw.capture("LINE", by, print)
    assert line.asked == [] and not line.frames


def test_a_bus_that_is_no_more_is_asked_no_more(raw, line):
    raw.detach(Line())
    read(raw)
    raw.detach(line)
    assert isinstance(failure_of(read(raw)), NotFound)
