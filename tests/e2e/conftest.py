"""Real processes: ``twistd`` as a user starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import websocket
from asyncapi import Checked
from house import CHROMIUM, FLAGS, House, free_port
from playwright.sync_api import sync_playwright
from witness import SECRET

TWISTD = Path(sys.executable).with_name("twistd")


CONFIG = """
apis:
  port: 1
  alias_file: {directory}
comm_channels:
  LOCAL:
    type: MODBUSTCP
    hostname: 127.0.0.1
    port: {port}
    timeout: 0.2
    device_info: {{family: Neuron, model: L203, sn: 5, board_count: 2}}
    devices:
      1: {{slave-id: 1, model: 00}}
      xS11: {{slave-id: 7, model: xS11, scan_frequency: 20}}
"""


class Process:
    """A running ``twistd``, and what it says."""

    def __init__(self, *arguments, cwd):
        self.process = subprocess.Popen(
            [TWISTD, "--nodaemon", "--pidfile=", *map(str, arguments)],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self.lines = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._said:
                self.lines.append(line.rstrip("\n"))
                self._said.notify_all()
        with self._said:
            self._said.notify_all()

    def wait_for(self, pattern, seconds=10.0, times=1):
        """The match of ``pattern`` in a line that it says (for the ``times``-th time), within ``seconds``."""
        deadline = time.monotonic() + seconds
        with self._said:
            while True:
                found = [match for line in self.lines if (match := re.search(pattern, line))]
                if len(found) >= times:
                    return found[times - 1]
                left = deadline - time.monotonic()
                assert left > 0 and self.process.poll() is None, f"no {pattern!r} in:\n" + "\n".join(self.lines)
                self._said.wait(left)

    def stop(self, number=signal.SIGINT, seconds=5.0):
        """End it with a signal; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
            raise
        self._reader.join(5)
        self.process.stdout.close()
        return status

    @property
    def url(self):
        """Where its WebSocket is."""
        return self.wait_for(r"listening: (ws://\S+)")[1]


@pytest.fixture(scope="session")
def _described():
    return Checked()


@pytest.fixture(autouse=True)
def _as_described(monkeypatch, _described):
    """Every message that a client of a test gets is one that the description of the WebSocket has, and what it sent for
    it, too.
    """
    send, receive = websocket.WebSocket.send, websocket.WebSocket.recv

    def checked_send(line, payload, *more, **options):
        _described.sent(line, payload)
        return send(line, payload, *more, **options)

    def checked_receive(line):
        message = receive(line)
        if message:
            _described.got(line, message)
        return message

    monkeypatch.setattr(websocket.WebSocket, "send", checked_send)
    monkeypatch.setattr(websocket.WebSocket, "recv", checked_receive)
    yield
    wrong, _described.wrong = _described.wrong, []
    assert not wrong


def _started(directory):
    """Starts processes, and ends those that are left."""
    started = []

    def start(*arguments):
        process = Process(*arguments, cwd=directory)
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop(signal.SIGKILL)
        assert not [line for line in process.lines if SECRET.search(line)], "a log shows a secret"


@pytest.fixture
def twistd(tmp_path):
    """Starts processes, and ends those that are left."""
    yield from _started(tmp_path)


@pytest.fixture(scope="module")
def twistd_of_module(tmp_path_factory):
    """As ``twistd``, for all tests of a module."""
    yield from _started(tmp_path_factory.mktemp("twistd"))


@pytest.fixture
def run(tmp_path):
    """Runs ``twistd`` to its end."""

    def run(*arguments):
        return subprocess.run(
            [TWISTD, "--nodaemon", "--pidfile=", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


@pytest.fixture
def demo(twistd):
    """The demo, up, with everything on its boards read once."""
    demo = twistd("evok", "--demo", "--port", "0")
    ws = websocket.create_connection(demo.url, timeout=5)
    deadline = time.monotonic() + 10
    known = False
    while not known:
        assert time.monotonic() < deadline, "the boards were not read"
        ws.send('{"cmd":"all","id":0}')
        answer = json.loads(ws.recv())
        known = isinstance(answer, dict) and all(one.get("value", 0) is not None for one in answer["result"])
    ws.close()
    return demo


@pytest.fixture
def port():
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def config(tmp_path, port):
    (tmp_path / "config.yaml").write_text(CONFIG.format(port=port, directory=tmp_path))
    return tmp_path


@pytest.fixture
def simulator(twistd, config, port):
    def start():
        simulator = twistd("evok-simulator", "--config", config, "--port", f"tcp:{port}:interface=127.0.0.1")
        simulator.wait_for(r"starting on \d+")
        return simulator

    return start


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def build(browser, twistd, tmp_path):
    """Builds units that may be harmed."""
    houses = []

    def build(**how):
        houses.append(House(browser, twistd, tmp_path, free_port(), **how))
        return houses[-1]

    yield build
    for house in houses:
        house.close()
