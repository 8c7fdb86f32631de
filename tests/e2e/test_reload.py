"""A configuration that changes while a real service runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading

import pytest
import requests
import websocket
from brokers import free_port, wait_until
from witness import EVOK

from evok_twisted.reloading import command

BOARD = "      {name}: {{slave-id: {name}, model: {model}, scan_frequency: 50}}\n"


class Unit:
    """A service on three simulated boards, of which its configuration has those that it is told."""

    def __init__(self, directory, twistd):
        self.directory, self.file = directory, directory / "config.yaml"
        self.modbus, self.http = free_port(), free_port()
        self.configure(boards=("1", "2", "3"))
        simulated = directory / "simulated.yaml"
        simulated.write_text(self.file.read_text())
        twistd("evok-simulator", "--config", simulated, "--port", self.modbus).wait_for("listening")
        self.configure()
        self.service = twistd("evok", "--config", directory)
        self.service.wait_for("slave 2 .* answers")

    def configure(self, boards=("1", "2"), model="13", **apis):
        apis = {"port": self.http, "alias_file": "''", **apis}
        lines = "".join(f"  {key}: {value}\n" for key, value in apis.items())
        devices = "".join(BOARD.format(name=name, model=model) for name in boards)
        bus = f"  LOCAL:\n    type: MODBUSTCP\n    port: {self.modbus}\n    devices:\n{devices}"
        self.file.write_text(f"apis:\n{lines}comm_channels:\n{bus}")

    def reload(self, url=None):
        return subprocess.run(
            [EVOK, "reload", "--url", url or self.url],
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, "EVOK_CONFIG": str(self.directory)},
        )

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http}"

    def status(self, path):
        return requests.get(f"{self.url}{path}", timeout=5).status_code

    def slaves(self):
        return {
            one["circuit"]: one for one in requests.get(f"{self.url}/health", timeout=5).json()["buses"][0]["slaves"]
        }


def heard(ws, wanted):
    """The first object that ``wanted`` accepts; lists are for those who do not subscribe."""
    while True:
        message = json.loads(ws.recv())
        if isinstance(message, dict) and wanted(message):
            return message


@pytest.fixture
def unit(tmp_path, twistd):
    return Unit(tmp_path, twistd)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, twistd_of_module):
    """A unit of which nothing that is wanted is taken over."""
    return Unit(tmp_path_factory.mktemp("unit"), twistd_of_module)


def test_a_board_that_is_added_is_there_and_clients_hear_of_it(unit):
    ws = websocket.create_connection(f"ws://127.0.0.1:{unit.http}/ws", timeout=10)
    ws.send(json.dumps({"cmd": "subscribe", "devices": ["ro"], "id": 1}))
    heard(ws, lambda message: message.get("id") == 1)
    unit.configure(boards=("1", "2", "3"))
    done = unit.reload()
    assert (done.returncode, done.stdout, done.stderr) == (0, "board 3 is new\n", "")
    heard(ws, lambda message: any(state["circuit"] == "3_01" for state in message.get("states", ())))
    unit.configure()
    unit.service.process.send_signal(signal.SIGHUP)
    gone = heard(ws, lambda message: message.get("event") == "gone")
    assert all(one["circuit"].startswith("3_") for one in gone["devices"])
    unit.service.wait_for("read again, in .* board 3 is no more")
    ws.close()


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"model": "0Q"}, "config.yaml:9: comm_channels.LOCAL.devices.1.model: got '0Q'"),
        ({"port": "many"}, "config.yaml:2: apis.port: got 'many'"),
        ({"mqtt": "{enabled: true, broker: nowhere}"}, "apis.mqtt.broker"),
        ({"panel": "{confirm: 5}"}, "apis.panel.confirm"),
    ],
)
def test_a_configuration_with_an_error_is_refused_whole_and_all_goes_on(shared, settings, why):
    before = shared.slaves()
    shared.configure(**{"boards": ("1", "3"), **settings})
    done = shared.reload()
    assert (done.returncode, done.stdout) == (1, "") and why in done.stderr
    shared.service.wait_for("the configuration is refused, all goes on as before: error: ")
    wait_until(lambda: shared.slaves()["2"]["scans"] > before["2"]["scans"] + 5, "scans go on")
    assert set(shared.slaves()) == {"1", "2"}
    assert [one["timeouts"] + one["errors"] for one in shared.slaves().values()] == [0, 0]


def test_a_file_that_is_no_yaml_or_not_there_is_refused(shared):
    shared.file.write_text("apis: [")
    assert "config.yaml:1" in shared.reload().stderr
    shared.file.unlink()
    done = shared.reload()
    assert done.returncode == 1 and "there is no configuration" in done.stderr
    assert shared.status("/health") == 200


def test_a_port_that_moves_is_listened_on_and_the_old_one_is_not(unit):
    old, unit.http = unit.http, free_port()
    ws = websocket.create_connection(f"ws://127.0.0.1:{old}/ws", timeout=5)
    unit.configure()
    done = requests.post(f"http://127.0.0.1:{old}/reload", timeout=30)
    assert done.json() == {"changed": ["apis.port has changed"]}
    assert unit.status("/health") == 200
    wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", old)), "the old port is closed")
    ws.send(json.dumps({"cmd": "all", "id": 1}))  # who is there stays
    heard(ws, lambda message: message.get("id") == 1)
    ws.close()


def test_a_port_that_somebody_else_has_is_refused_and_nothing_is_half_done(unit):
    url = unit.url
    with socket.create_server(("127.0.0.1", 0)) as taken:
        unit.http = taken.getsockname()[1]
        unit.configure(boards=("1",))
        answer = requests.post(f"{url}/reload", timeout=30)
    assert answer.status_code == 422 and "a port cannot be had" in answer.json()["errors"]["ConfigError"]
    slaves = requests.get(f"{url}/health", timeout=5).json()["buses"][0]["slaves"]
    assert [one["circuit"] for one in slaves] == ["1", "2"]


def test_who_cannot_reach_the_new_port_yet_is_told_what_can(shared):
    done = shared.reload(f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1 and "systemctl reload evok does the same" in done.stderr


def test_a_few_reloads_wait_for_each_other_and_no_more_are_taken(shared):
    shared.configure()
    statuses = []
    post = [
        threading.Thread(target=lambda: statuses.append(requests.post(f"{shared.url}/reload", timeout=30).status_code))
        for _ in range(8)
    ]
    for one in post:
        one.start()
    for one in post:
        one.join(30)
    assert set(statuses) == {200, 503} and 1 <= statuses.count(200) <= 3


def test_fronts_come_and_go_and_the_description_follows(unit):
    ws = websocket.create_connection(f"ws://127.0.0.1:{unit.http}/ws", timeout=5)
    assert unit.status("/metrics") == 200
    unit.configure(metrics="{enabled: false}", webhook="{enabled: true, address: 'http://127.0.0.1:1/'}")
    assert set(unit.reload().stdout.splitlines()) == {"metrics is no more", "webhook is new"}
    assert unit.status("/metrics") == 404
    assert "/metrics" not in requests.get(f"{unit.url}/openapi.json", timeout=5).json()["paths"]
    assert len(requests.get(f"{unit.url}/health", timeout=5).json()["webhooks"]) == 1
    unit.configure(metrics="{circuits: [ai]}")
    assert set(unit.reload().stdout.splitlines()) == {"webhook is no more", "metrics is new"}
    assert "evok_circuit_value{" in requests.get(f"{unit.url}/metrics", timeout=5).text
    assert "webhooks" not in requests.get(f"{unit.url}/health", timeout=5).json()
    ws.ping()
    ws.send(json.dumps({"cmd": "all", "id": 1}))
    heard(ws, lambda message: message.get("id") == 1)
    ws.close()


def test_what_takes_a_restart_is_said_each_time(unit):
    unit.configure(max_connections=99)
    for _ in range(2):
        assert unit.reload().stdout == "apis.max_connections takes a restart\n"


def test_a_simulated_unit_has_nothing_to_read_again(twistd, tmp_path):
    port = free_port()
    twistd("evok", "--demo", "--port", f"tcp:{port}:interface=127.0.0.1").wait_for("listening")
    answer = requests.post(f"http://127.0.0.1:{port}/reload", timeout=30)
    assert answer.status_code == 422 and "a simulated unit has no configuration" in answer.text


class Listener(threading.Thread):
    """Takes all that a subscriber hears, until there is nothing to wait for."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.values, self.numbers, self.wrong = [], [], []
        self._socket = websocket.create_connection(f"ws://127.0.0.1:{port}/ws", timeout=20)
        self._socket.send(json.dumps({"cmd": "subscribe", "devices": ["ro/1_01"], "id": 1}))
        self.start()

    def run(self):
        try:
            while "end" not in self.values:
                message = heard(self._socket, lambda message: True)
                for state in message.get("result", message).get("states", ()):
                    self.values.append("end" if state.get("alias") == "end" else state["value"])
        except Exception as error:
            self.wrong.append(error)
        finally:
            self._socket.close()


def test_nothing_is_lost_and_no_scan_missed_on_what_stays_while_all_else_changes(unit):
    listeners = [Listener(unit.http) for _ in range(20)]
    stop, sets = threading.Event(), [0]

    def switch():
        with requests.Session() as session:
            while not stop.is_set():
                value = (sets[0] + 1) % 2
                answer = session.post(f"{unit.url}/rest/ro/1_01?dialect=v3", data={"value": value}, timeout=10)
                assert answer.json()["result"]["value"] == value
                sets[0] += 1
            session.post(f"{unit.url}/rest/ro/1_01?dialect=v3", data={"alias": "end"}, timeout=10)

    switching = threading.Thread(target=switch, daemon=True)
    switching.start()
    for n in range(5):
        if n == 3:
            unit.configure(model="0Q")
            assert unit.reload().returncode == 1
        else:
            unit.configure(boards=(("1", "2"), ("1", "2", "3"), ("1", "3"))[n % 3])
            assert unit.reload().returncode == 0
    stop.set()
    switching.join(20)
    for listener in listeners:
        listener.join(20)
        assert not listener.wrong and listener.values[-1] == "end"
        # each change came, once and in order
        assert listener.values[1:-1] == [n % 2 for n in range(1, sets[0] + 1)] and sets[0] > 100
    board = unit.slaves()["1"]
    assert (board["errors"], board["timeouts"]) == (0, 0)
    assert board["missed"] <= board["scans"] / 10  # none, but that the machine has more to do; make bench BENCH=reload


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="this system has no idle work")
def test_what_reads_a_configuration_leaves_the_processor_to_scans(tmp_path):
    (tmp_path / "config.yaml").write_text("apis: {alias_file: ''}\n")
    reading = subprocess.Popen(command(["--config", str(tmp_path)]), stdout=subprocess.PIPE)
    try:
        wait_until(lambda: os.sched_getscheduler(reading.pid) == os.SCHED_IDLE, "it steps back")
    finally:
        read, _ = reading.communicate(timeout=30)
    assert reading.returncode == 0 and read
