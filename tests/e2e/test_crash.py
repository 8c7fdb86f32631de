"""Failsafes over crashes, kills and cut cables: the simulated boards are the witness of what becomes of outputs."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
import requests
import websocket
from witness import TWO_BOARDS, Boards

CONFIG = "apis: {{alias_file: {directory}, websocket: {{will_grace: 1}}}}" + TWO_BOARDS

#: Outputs: the name for a set, and where the board shows them (unit, register, bit).
OUTPUTS = [
    *((f"led/1_0{n}", (1, 20, n - 1)) for n in range(1, 5)),
    *((f"do/1_0{n}", (1, 1, n - 1)) for n in range(1, 5)),
    *((f"ro/2_{n:02}", (2, 1, n - 1)) for n in range(1, 6)),
]
#: Kills, each with all outputs at some other point of their pulses: a hundred in all.
KILLS = 8
#: Seconds that an output may be on for longer than its pulse and the restart are.
LATE = 2.0


class Outputs(Boards):
    """The outputs of the simulated boards, seen from outside."""

    def on(self):
        """Those that are on."""
        words = {(unit, register): self.read(unit, register) for _, (unit, register, _) in OUTPUTS}
        return {name for name, (unit, register, bit) in OUTPUTS if words[unit, register] >> bit & 1}


def stays(boards, names, seconds):
    """See that these outputs are on, and no others, for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert boards.on() == names


@pytest.fixture
def boards(twistd, tmp_path, port):
    (tmp_path / "config.yaml").write_text(CONFIG.format(directory=tmp_path, port=port))
    twistd("evok-simulator", "--config", tmp_path, "--port", port).wait_for("listening")
    boards = Outputs(port)
    yield boards
    boards.close()


@pytest.fixture
def start(twistd, tmp_path):
    def start():
        service = twistd("evok", "--config", tmp_path, "--port", "tcp:0:interface=127.0.0.1")
        service.wait_for("slave 2 .* answers")
        return service, service.url.replace("ws://", "http://").removesuffix("/ws")

    return start


def test_an_output_is_on_only_while_its_pulse_says_so(boards, start):
    chance = random.Random(13)
    service, url = start()
    began_on = boards.on()
    assert began_on == set()
    for _ in range(KILLS):
        ends = {}
        session = requests.Session()
        for name, _ in chance.sample(OUTPUTS, len(OUTPUTS)):
            seconds = chance.uniform(0.2, 1.5)
            answer = session.post(f"{url}/rest/{name}?dialect=v3", json={"value": 1, "timeout": seconds}, timeout=5)
            assert answer.json()["success"], answer.text
            ends[name] = time.monotonic() + seconds
        assert boards.on()
        killed = time.monotonic() + chance.uniform(0.0, 0.5)
        while time.monotonic() < killed:
            boards.on()
        service.stop(signal.SIGKILL)
        service, url = start()
        restart = time.monotonic() - killed
        while on := boards.on():
            now = time.monotonic()
            late = {name for name in on if now > ends[name] + restart + LATE}
            assert not late, f"{late} are on still, {restart:.1f} s after the restart"
    deadline = time.monotonic() + 5
    while requests.get(f"{url}/health", timeout=5).json()["pulses"]:
        assert time.monotonic() < deadline
    assert service.stop() == 0


def test_what_was_set_for_good_before_a_crash_stays_and_what_a_full_disk_cannot_keep_is_refused(
    boards, start, tmp_path
):
    service, url = start()
    assert requests.post(f"{url}/rest/led/1_01", json={"value": 1, "timeout": 0.2}, timeout=5).json()["success"]
    assert requests.post(f"{url}/rest/led/1_01", json={"value": 1}, timeout=5).json()["success"]
    service.stop(signal.SIGKILL)
    service, url = start()
    stays(boards, {"led/1_01"}, 0.5)
    record = tmp_path / "run" / "pulses.json"
    record.unlink()
    record.mkdir()  # nothing can be written in its place, whoever tries
    (record / "x").touch()
    refused = requests.post(f"{url}/rest/led/1_02", json={"value": 1, "timeout": 5}, timeout=5)
    assert (refused.status_code, list(refused.json()["errors"])) == (503, ["Unavailable"])
    assert boards.on() == {"led/1_01"}
    assert requests.post(f"{url}/rest/led/1_02", json={"value": 1}, timeout=5).json()["success"]
    assert service.stop() == 0


# Wills

WILL = {"cmd": "will", "id": 1, "sets": [{"dev": "led", "circuit": "1_03", "value": 1}]}
#: A client that says its will, tells that it has, and then does nothing more.
CLIENT = """
import sys, websocket
over = websocket.create_connection(sys.argv[1], timeout=30)
over.send(sys.argv[2])
while '"id":1' not in over.recv():
    pass
print("ready", flush=True)
sys.stdin.read()
"""


def until_on(boards, seconds=10.0):
    begun = time.monotonic()
    while boards.on() != {"led/1_03"}:
        assert time.monotonic() < begun + seconds, "the will was not carried out"
        time.sleep(0.01)
    return time.monotonic() - begun


def say(url, message):
    over = websocket.create_connection(url.replace("http://", "ws://") + "/ws", timeout=5)
    over.send(json.dumps(message))
    while True:
        reply = json.loads(over.recv())
        if isinstance(reply, dict) and reply.get("id") == 1:
            assert reply["success"], reply
            return over


def test_the_will_of_a_client_that_is_killed_is_carried_out(boards, start):
    _, url = start()
    address = url.replace("http://", "ws://") + "/ws"
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, address, json.dumps(WILL)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert client.stdout.readline() == b"ready\n"
    assert boards.on() == set()
    client.kill()
    client.communicate()
    assert until_on(boards) < 5


class Cable:
    """Passes bytes on between a client and the service, until it is cut: then it swallows them."""

    def __init__(self, port):
        self._target, self.cut = port, False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._sockets = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        client, _ = self._server.accept()
        service = socket.create_connection(("127.0.0.1", self._target), 5)
        self._sockets += [client, service]
        for source, sink in ((client, service), (service, client)):
            threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source, sink):
        with suppress(OSError):
            while data := source.recv(4096):
                if not self.cut:
                    sink.sendall(data)

    def close(self):
        for one in self._sockets:
            one.close()


def test_the_will_of_a_client_whose_cable_is_cut_is_carried_out_within_the_time_that_it_asked_for(boards, start):
    _, url = start()
    cable = Cable(int(url.rpartition(":")[2]))
    over = say(f"http://127.0.0.1:{cable.port}", {**WILL, "within": 3})
    over.settimeout(0.1)
    quiet = time.monotonic() + 4  # it answers pings meanwhile, and is taken to be there
    while time.monotonic() < quiet:
        with suppress(websocket.WebSocketTimeoutException):
            over.recv()
    assert boards.on() == set()
    cable.cut = True
    assert until_on(boards) < 4
    cable.close()


def test_wills_are_carried_out_when_the_service_stops(boards, start):
    service, url = start()
    say(url, WILL)
    assert service.stop() == 0
    assert boards.on() == {"led/1_03"}


def test_wills_are_carried_out_after_the_service_was_killed_unless_their_clients_come_back(boards, start):
    service, url = start()
    say(url, WILL)
    service.stop(signal.SIGKILL)
    service, url = start()
    over = say(url, WILL)
    stays(boards, set(), 2)
    service.stop(signal.SIGKILL)
    over.close()
    start()
    assert until_on(boards) < 5
