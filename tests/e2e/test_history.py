"""The history of a real service: over HTTP, the WebSocket and the command, and over restarts."""

from __future__ import annotations

import json
import os
import signal
import sqlite3

import pytest
import requests
import websocket
from brokers import wait_until
from witness import Boards, Unit

SETTINGS = ", history: {{enabled: true, file: '{file}', write_every: 1s, devices: [ro, di, ai]}}"


class Remembering(Unit):
    def __init__(self, directory, twistd):
        self.file = directory / "history.sqlite"
        super().__init__(directory, twistd, apis=SETTINGS.format(file=self.file))
        self.wait()

    def wait(self):
        wait_until(lambda: requests.get(f"{self.url}/history/events", timeout=5).status_code == 200, "it is read")

    def switch(self, value, circuit="2_01"):
        done = requests.post(f"{self.url}/rest/ro/{circuit}", data={"value": value}, timeout=5)
        assert done.status_code == 200

    def ask(self, path, **query):
        answer = requests.get(f"{self.url}/history/{path}", params={"from": "-1h", **query}, timeout=5)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def events(self, **query):
        return [(one["circuit"], one["value"]) for one in reversed(self.ask("events", **query)["events"])]


@pytest.fixture(scope="module")
def unit(tmp_path_factory, twistd_of_module):
    unit = Remembering(tmp_path_factory.mktemp("unit"), twistd_of_module)
    unit.switch(1)
    unit.switch(0)
    return unit


def test_who_switched_what_and_when_is_there_at_once(unit):
    first, second = unit.ask("events", dev="ro", circuit="2_01", limit=2)["events"]
    assert (first["value"], second["value"]) == (0, 1)
    assert first["cause"] == "anonymous (rest)"
    assert first["time"] > second["time"]


def test_a_change_that_nobody_commanded_has_no_cause(unit):
    boards = Boards(unit.modbus)
    boards.write(1, 0, 1)
    wait_until(lambda: unit.events(dev="di") == [("1_01", 1)], "it is there")
    boards.close()
    assert "cause" not in unit.ask("events", dev="di")["events"][0]


def test_a_circuit_over_time_is_known_by_any_of_its_names(unit):
    requests.post(f"{unit.url}/rest/ro/2_01", data={"alias": "pump"}, timeout=5)
    named = [unit.ask(path, points=60) for path in ("ro/2_01", "relay/2_01", "relay/pump")]
    assert [one["circuit"] for one in named] == ["2_01"] * 3
    assert named[0]["tier"] == "minutes"
    assert sum(bucket["edges"] for bucket in named[0]["buckets"]) == 1
    assert 0 < sum(bucket["on"] for bucket in named[0]["buckets"]) < 60


def test_csv_is_for_who_asks_for_it_either_way(unit):
    url = f"{unit.url}/history/ai/1_01"
    for more in ({"params": {"format": "csv"}}, {"headers": {"Accept": "text/csv"}}):
        answer = requests.get(url, timeout=5, **more)
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        head, first = answer.text.splitlines()[:2]
        assert head == "time,min,mean,max,on,edges,known"
        assert len(first.split(",")) == 7
    assert requests.get(f"{unit.url}/history/events?format=csv", timeout=5).text.startswith(
        "time,dev,circuit,value,cause"
    )


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("ro/2_01?from=yesteryear", 400, "from: got 'yesteryear', expected ISO 8601"),
        ("ro/2_01?from=2026-01-02&to=2026-01-01", 400, "not before to"),
        ("ro/2_01?points=0", 400, "points: got '0', expected a number from 1 to 5000"),
        ("ro/2_01?field=colour", 400, "expected one of what is kept of ro: value"),
        ("ro/9_99", 404, "no circuit or alias '9_99'"),
        ("zz/1_01", 404, "there is no kind of device"),
        ("led/1_01", 404, "nothing is kept of led 1_01; apis.history.devices"),
        ("events?circuit=1_01", 400, "without dev"),
        ("ro/2_01?format=xml", 400, "expected json or csv"),
        ("ro", 404, "there is no such path"),
    ],
)
def test_what_cannot_be_answered_says_why(unit, path, status, says):
    answer = requests.get(f"{unit.url}/history/{path}", timeout=5)
    assert answer.status_code == status
    assert says in answer.text


def test_the_websocket_answers_the_same(unit):
    ws = websocket.create_connection(f"ws://127.0.0.1:{unit.http}/ws", timeout=5)
    for n, message in enumerate(({"dev": "ro", "circuit": "2_01", "from": "-1h", "points": 60}, {"dev": "ro"})):
        ws.send(json.dumps({"cmd": "history", "id": n, **message}))
    answers = {}
    while len(answers) < 2:
        message = json.loads(ws.recv())
        answers |= {message["id"]: message} if isinstance(message, dict) and "id" in message else {}
    ws.close()
    assert answers[0]["result"]["tier"] == "minutes"
    assert answers[1]["error"]["code"] == "bad_parameter"


def test_the_command_shows_it(unit):
    table = unit.evok("history", "ro", "2_01", "--since", "1h")
    assert table.returncode == 0
    assert table.stdout.splitlines()[0].split() == ["time", "min", "mean", "max", "on", "edges", "known"]
    assert "# ro 2_01; each line is" in table.stdout
    assert "anonymous (rest)" in unit.evok("history").stdout
    assert unit.evok("history", "ai", "1_01", "--since", "today", "--csv").stdout.startswith("time,min,mean")
    assert json.loads(unit.evok("history", "--json").stdout)["events"]
    wrong = unit.evok("history", "ro", "2_01", "--since", "soon")
    assert wrong.returncode == 1 and "expected today, yesterday" in wrong.stderr
    assert "which circuit of it" in unit.evok("history", "ro").stderr


def test_health_tells_of_it(unit):
    found = requests.get(f"{unit.url}/health", timeout=5).json()["history"]
    assert (found["file"], found["lost"], found["problem"]) == (str(unit.file), 0, None)


def test_a_restart_is_a_gap_and_a_kill_costs_what_was_not_written(tmp_path, twistd):
    unit = Remembering(tmp_path, twistd)
    unit.switch(1)
    unit.service.process.send_signal(signal.SIGINT)
    unit.service.process.wait(10)
    unit.service = unit.begin()
    unit.wait()
    unit.switch(0)
    wait_until(lambda: requests.get(f"{unit.url}/health", timeout=5).json()["history"]["waiting"] == 0, "it is written")
    os.kill(unit.service.process.pid, signal.SIGKILL)
    unit.service.process.wait(10)
    db = sqlite3.connect(unit.file)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    unit.service = unit.begin()
    unit.wait()
    assert unit.events(dev="ro", circuit="2_01") == [("2_01", 1), ("2_01", 0)]
    (hour,) = unit.ask("ro/2_01", points=1)["buckets"][-1:]
    assert hour["known"] < hour["on"] + 60


def test_a_file_that_cannot_be_used_costs_nothing_else(tmp_path, twistd):
    (tmp_path / "history.sqlite").mkdir()
    unit = Unit(tmp_path, twistd, apis=SETTINGS.format(file=tmp_path / "history.sqlite"))
    wait_until(
        lambda: "history" in " ".join(requests.get(f"{unit.url}/health", timeout=5).json()["warnings"]), "it is said"
    )
    assert requests.post(f"{unit.url}/rest/ro/2_01", data={"value": 1}, timeout=5).status_code == 200
    answer = requests.get(f"{unit.url}/history/ro/2_01", timeout=5)
    assert answer.status_code == 503 and "cannot be read" in answer.text
    assert unit.service.process.poll() is None
