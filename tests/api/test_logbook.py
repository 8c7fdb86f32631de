"""The last lines of the log, over HTTP."""

from __future__ import annotations

import pytest
from fakes import Rig
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from web import Client

from evok_twisted.api.front import AlwaysThere, Context
from evok_twisted.api.gate import Gate
from evok_twisted.api.logbook import LONGEST_LINE, MOST_LINES, make
from evok_twisted.logs import Logger
from evok_twisted.problems import Problems

_log = Logger()


class Web(Client):
    def __init__(self):
        super().__init__(rig=Rig(Clock()).start())
        self.book = make(Context(self.rig.desks, self.rig.clock, Problems(), self.tree, Gate()), AlwaysThere())
        self.site.resource.__init__(self.tree)
        self.book.startService()

    def texts(self, query=""):
        return [one["text"] for one in self.get(f"/log{query}").json["lines"]]


@pytest.fixture
def web():
    web = Web()
    yield web
    web.book.stopService()


def test_lines_come_with_their_numbers_and_what_they_are(web):
    _log.info("{what} began", what="it")
    _log.warn("it ended")
    page = web.get("/log").json
    assert [(one["number"], one["level"], one["text"]) for one in page["lines"]] == [
        (1, "info", "it began"),
        (2, "warn", "it ended"),
    ]
    assert page["last"] == 2 and page["lines"][0]["time"].endswith("Z")


def test_what_is_asked_for_comes_and_no_more(web):
    _log.info("a bus")
    _log.warn("a Board")
    _log.error("a board, badly")
    assert web.texts("?after=1") == ["a Board", "a board, badly"]
    assert web.texts("?level=error") == ["a board, badly"]
    assert web.texts("?contains=BOARD&level=info") == ["a Board", "a board, badly"]
    assert web.get("/log?after=3").json == {"lines": [], "last": 3}


def test_the_last_lines_are_kept_and_none_is_long(web):
    for n in range(MOST_LINES + 10):
        _log.info("{n} {text}", n=n, text="x" * 5000)
    lines = web.get("/log").json["lines"]
    assert len(lines) == MOST_LINES and lines[0]["number"] == 11
    assert {len(one["text"]) for one in lines} == {LONGEST_LINE}


def test_a_failure_is_a_line_with_its_reason(web, log):
    _log.failure("at the stop", Failure(ValueError("why")))
    log.expected("why")
    assert web.texts() == ["at the stop: why"]


@pytest.mark.parametrize("query", ["?level=loud", "?after=-1", "?after=x", "?after=²"])
def test_what_cannot_be_asked_for_is_told(web, query):
    from urllib.parse import quote

    assert web.get("/log" + quote(query, safe="?=")).error == (400, "BadValue")


def test_nothing_is_noted_when_it_has_ended(web):
    web.book.stopService()
    _log.info("afterwards")
    assert web.texts() == []
    web.book.startService()
