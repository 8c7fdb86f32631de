"""What browsers get of the panel, and how little of it; the page itself is tried in one by tests/e2e."""

from __future__ import annotations

import gzip
import re

import pytest
from fakes import Rig
from twisted.internet.task import Clock
from web import Client

from evok_twisted.api.front import Context
from evok_twisted.api.gate import Gate
from evok_twisted.api.panel import POLICY, STATIC, PanelSettings, files, make
from evok_twisted.problems import Problems

#: Bytes of all that a browser loads at first, compressed, at most.
FIRST_LOAD = 40_000


class Web(Client):
    def __init__(self, **settings):
        super().__init__(rig=Rig(Clock()).start())
        self.problems = Problems()
        make(Context(self.rig.desks, self.rig.clock, self.problems, self.tree, Gate()), PanelSettings(**settings))
        self.site.resource.__init__(self.tree)


@pytest.fixture
def web():
    return Web()


def test_the_page_comes_with_what_it_may_do(web):
    answer = web.get("/panel/")
    assert answer.status == 200 and b"<main" in answer.body
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", [name for name in files() if name])
def test_each_file_is_of_its_type_and_compressed_for_who_takes_it(web, name):
    plain, zipped = web.get(f"/panel/{name}"), web.get(f"/panel/{name}", Accept_Encoding="gzip, br")
    assert plain.body == (STATIC / name).read_bytes()
    assert "content-encoding" not in plain.headers
    if len(plain.body) > 256:
        assert zipped.headers["content-encoding"] == "gzip" and gzip.decompress(zipped.body) == plain.body
    assert plain.headers["content-type"].partition(";")[0] in (
        "text/javascript",
        "text/css",
        "image/svg+xml",
        "application/manifest+json",
    )


def test_what_a_browser_has_is_not_sent_again(web):
    tag = web.get("/panel/main.js").headers["etag"]
    again = web.get("/panel/main.js", If_None_Match=tag)
    assert (again.status, again.body) == (304, b"")
    assert web.get("/panel/main.js", If_None_Match='"other"').status == 200


def test_a_head_has_no_body(web):
    answer = web.send("HEAD", "/panel/").received
    assert (answer.status, answer.body) == (200, b"") and int(answer.headers["content-length"]) > 100


@pytest.mark.parametrize(
    "path", ["/panel/none.js", "/panel/../tap.py", "/panel/%2e%2e/tap.py", "/panel/a/b", "/panel/index.html"]
)
def test_there_is_nothing_else(web, path):
    assert web.get(path).status == 404


def test_nothing_can_be_posted_to_it(web):
    assert web.post("/panel/", {}).status == 405
    assert web.send("OPTIONS", "/panel/main.js").received.headers["allow"] == "GET, HEAD, OPTIONS"


def test_people_are_led_there_and_programs_are_not(web):
    answer = web.get("/", Accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (answer.status, answer.headers["location"]) == (302, "panel/")
    assert web.get("/panel").headers["location"] == "panel/"
    for accept in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        assert web.get("/", **accept).json["service"] == "evok-twisted"


def test_a_page_loads_little():
    there, wanted, loaded = files(), ["", "style.css", "icon.svg", "main.js"], set()
    while wanted:
        name = wanted.pop()
        if name not in loaded:
            loaded.add(name)
            wanted += re.findall(r'^import (?:.* from )?"\./([\w.-]+)";$', there[name].body.decode(), re.M)
    assert {"past.js", "access.js"} < loaded
    assert sum(len(there[name].zipped or there[name].body) for name in loaded) < FIRST_LOAD


def test_it_asks_nobody_else_and_has_no_line_that_is_too_long():
    for path in STATIC.iterdir():
        text = path.read_text("utf-8")
        assert max(map(len, text.splitlines())) <= 512, path
        others = set(re.findall(r"https?://[\w.-]+", text)) - {"http://www.w3.org"}
        assert not others, path


def test_every_file_that_is_imported_is_there():
    for path in STATIC.glob("*.js"):
        for name in re.findall(r'from "\./([\w.-]+)"', path.read_text("utf-8")):
            assert (STATIC / name).is_file(), f"{path.name}: {name}"


def test_what_asks_first_is_told_by_circuit():
    rules = Web(confirm=("led/1_0[12]", "do")).get("/panel/rules").json
    assert rules["confirm"] == {"led": ["1_01", "1_02"], "do": ["1_01", "1_02", "1_03", "1_04"]}
    assert "value" in rules["operating"] and "wd" in rules["configuring"] and rules["tokens"] is False


def test_a_circuit_that_cannot_be_is_told():
    web = Web(confirm=("lamps",))
    ((path, message),) = [(one.path, one.message) for one in web.problems.found]
    assert path == "apis.panel.confirm" and "none of these kinds is known" in message
    assert web.get("/panel/").status == 404
    ((path, message),) = [(one.path, one.message) for one in Web(confirm=("led", "lamps")).problems.found]
    assert "unknown kinds, ignored: lamps" in message
