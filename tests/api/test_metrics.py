"""``/metrics``: what is in it, and that it is true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import pytest_twisted
from fakes import BY, Rig
from prometheus_client.parser import text_string_to_metric_families
from stack import Stack
from twisted.internet.task import Clock
from web import Client

from evok_twisted.api.front import Context
from evok_twisted.api.gate import Gate
from evok_twisted.api.limits import Doorkeeper
from evok_twisted.api.metrics import MetricsSettings, Punctuality, make, measure_door
from evok_twisted.core.measures import measure_commands, measure_events
from evok_twisted.errors import EvokError
from evok_twisted.problems import Problems

DOCS = Path(__file__).parents[2] / "docs"


def read(text):
    """The numbers, by name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Web(Client):
    def __init__(self, **settings):
        super().__init__(rig=Rig(Clock(), "00").start())
        self.problems = Problems()
        desks = self.rig.desks
        measure_commands(desks.meters, self.rig.commands)
        measure_events(desks.meters, self.rig.events)
        measure_door(desks, Doorkeeper())
        make(Context(desks, self.rig.clock, self.problems, self.tree, Gate()), MetricsSettings(**settings))
        self.site.resource.__init__(self.tree)

    def metrics(self):
        return read(self.get("/metrics").body.decode())

    def one(self, name, **labels):
        return self.metrics()[name, *sorted(labels.items())]


def test_it_is_text_as_prometheus_wants_it():
    answer = Web().get("/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")


def test_commands_are_counted_by_what_became_of_them():
    web = Web()
    web.get("/rest/relay/1_01")
    web.post("/rest/relay/1_01", b"value=1")
    web.post("/rest/relay/1_01", b"value=perhaps")
    web.post("/rest/relay/1_01", b"colour=1")
    web.rig.bus.online = False
    web.post("/rest/relay/1_01", b"value=0")
    found = web.metrics()
    outcomes = {dict(key[1:])["outcome"]: n for key, n in found.items() if key[0] == "evok_commands_total"}
    assert outcomes == {"done": 1, "bad_value": 1, "bad_parameter": 1, "offline": 1}
    assert found["evok_command_seconds_count",] == 1
    assert found["evok_commands_waiting",] == 0


def test_a_command_that_waits_is_told_of():
    web = Web()
    web.rig.bus.answering = False
    done = web.rig.set("relay", "1_01", value=1)
    assert web.one("evok_commands_waiting") == 1
    web.rig.bus.answer()
    assert done.called and web.one("evok_commands_waiting") == 0


def test_changes_are_counted_by_kind():
    web = Web()
    web.rig.set("relay", "1_01", value=1)
    assert web.one("evok_events_total", kind="do") == 1


def test_values_are_told_of_where_that_is_asked_for():
    assert not any(key[0] == "evok_circuit_value" for key in Web().metrics())
    web = Web(circuits=("do/1_0[12]",))
    web.rig.set("relay", "1_02", value=1)
    found = {key[1:]: n for key, n in web.metrics().items() if key[0] == "evok_circuit_value"}
    assert found == {
        (("circuit", "1_01"), ("dev", "do")): 0,
        (("circuit", "1_02"), ("dev", "do")): 1,
    }


def test_circuits_of_kinds_that_are_not_known_are_told_of_and_ignored():
    web = Web(circuits=("lamps", "ai"))
    assert [str(problem) for problem in web.problems.found if "unknown kinds, ignored: lamps" in str(problem)]
    assert not web.problems.errors


def test_timers_that_are_late_are_seen():
    clock = Clock()
    punctuality = Punctuality(clock)
    punctuality.startService()
    clock.advance(1.0)
    clock.advance(1.3)
    punctuality.stopService()
    assert punctuality.delays.sum == pytest.approx(0.3) and not clock.getDelayedCalls()
    assert dict(punctuality.delays.cumulative())["+Inf"] == 2


def test_connections_that_are_refused_are_counted():
    web = Web()
    assert web.one("evok_clients_refused_total", why="in_all") == 0
    door = Doorkeeper(most=1)
    door.enter(None)
    door.enter(None)
    assert door.refusals["in_all"] == 1


@pytest_twisted.ensureDeferred
async def test_requests_are_counted_as_the_board_counts_them():
    """One board behind a server that counts what it is asked, and by what function."""
    stack = Stack("xS11")
    asked, answer = [], stack.factory.answer
    stack.factory.answer = lambda frame: (asked.append(frame[7]), answer(frame))[1]
    try:
        stack.start()
        await stack.until(stack.known, "everything is read")
        desk = stack.unit.core.desks("classic")(BY, None)
        for value in (1, 0, 1):
            await desk.set("relay", "1_01", {"value": value})
        stack.factory.exceptions[1] = 2
        with pytest.raises(EvokError):
            await desk.set("relay", "1_01", {"value": 0})
        del stack.factory.exceptions[1]
        await stack.until(lambda: len(asked) > 30, "some scans more")
    finally:
        await stack.stop()
    found = read(stack.unit.core.meters.text())
    requests = {
        (labels["kind"], labels["outcome"]): n
        for (name, *pairs), n in found.items()
        if name == "evok_modbus_requests_total" and (labels := dict(pairs))
    }
    writes = sum(function in (5, 6, 15, 16) for function in asked)
    assert requests["write", "answered"] == 3 and requests["write", "refused"] == 1 and writes == 4
    answered = sum(n for (_, outcome), n in requests.items() if outcome in ("answered", "refused"))
    # what was under way at the stop may have been asked, and is counted as offline
    assert answered <= len(asked) <= sum(requests.values()) <= answered + 8
    of_bus = ("bus", "TEST")
    assert found["evok_modbus_request_seconds_count", of_bus] == answered
    assert 0 < found["evok_bus_busy_seconds_total", of_bus] <= found["evok_modbus_request_seconds_sum", of_bus] + 1
    assert found["evok_scans_total", ("board", "1"), ("bus", "TEST")] > 1


TABLE = (DOCS / "operating.md").read_text("utf-8").partition("| `evok_...` |")[2].splitlines()
DOCUMENTED = {f"evok_{name}" for line in TABLE for name in re.findall(r"`([a-z_]+)`", line.split(" | ")[0])}


def test_what_is_told_is_documented():
    told = set(re.findall(r"^# TYPE (evok_\S+)", Web(circuits=("do",)).get("/metrics").body.decode(), re.M))
    assert told and told <= DOCUMENTED


@pytest.mark.parametrize("file", ["prometheus-alerts.yml", "grafana-dashboard.json"])
def test_alerts_and_dashboard_ask_for_what_there_is(file):
    used = set(re.findall(r"\bevok_[a-z_]+", (DOCS / file).read_text("utf-8")))
    assert used and {re.sub("_(bucket|sum|count)$", "", name) for name in used} <= DOCUMENTED


def test_the_dashboard_is_whole():
    panels = json.loads((DOCS / "grafana-dashboard.json").read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 10
    assert all(target["expr"].count("(") == target["expr"].count(")") for one in panels for target in one["targets"])
