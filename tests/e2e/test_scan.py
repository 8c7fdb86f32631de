"""``evok scan`` on real lines: a pseudo-terminal with slaves at several speeds, Modbus TCP, RTU over TCP."""

from __future__ import annotations

import os
import pty
import random
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import tty
from pathlib import Path

import pytest
import yaml
from brokers import free_port
from witness import EVOK, TWO_BOARDS

from evok_twisted.definitions import load_definition
from evok_twisted.linescan import _lengths
from evok_twisted.problems import Problems
from evok_twisted.scan import Bar
from evok_twisted.simulator.server import crc

CONF = Path(__file__).parents[2] / "conf" / "hw_definitions"


def evok(*arguments, **environ):
    return subprocess.run(
        [EVOK, "scan", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environ},
    )


class SerialLine(threading.Thread):
    """A pseudo-terminal with slaves, each of which understands one speed only.

    :param slaves: the speed and the model of each, by its id.
    :param noise: how often bytes that mean nothing are before an answer, or an answer gets lost.
    """

    def __init__(self, slaves, noise=0.0):
        super().__init__(daemon=True)
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self.asked = []
        self._slaves = slaves
        self._maps = {
            model: _lengths(load_definition(CONF / f"{model}.yaml", Problems())) for _, model in slaves.values()
        }
        self._noise, self._random = noise, random.Random(7)
        self._over = threading.Event()
        self.start()

    def run(self):
        buffer = b""
        while not self._over.is_set():
            if not select.select([self._master], [], [], 0.05)[0]:
                buffer = b""
                continue
            buffer += os.read(self._master, 256)
            if len(buffer) >= 8:
                request, buffer = buffer[:8], b""
                if request[6:] == crc(request[:6]):
                    self._answer(request)

    def _answer(self, request):
        unit, function, start, count = struct.unpack(">BBHH", request[:6])
        speed = {getattr(termios, f"B{n}"): n for n in (9600, 19200, 115200)}.get(termios.tcgetattr(self._master)[5])
        self.asked.append((speed, unit))
        if unit not in self._slaves or self._slaves[unit][0] != speed:
            return
        lengths = self._maps[self._slaves[unit][1]]
        begin = 1000 if start >= 1000 else 0
        if start + count <= begin + lengths[begin]:
            pdu = struct.pack(f">BBB{count}H", unit, function, 2 * count, *range(count))
        else:
            pdu = struct.pack(">BBB", unit, function | 0x80, 2)
        chance = self._random.random()
        if chance < self._noise / 20:
            return
        noise = self._random.randbytes(3) if chance < self._noise else b""
        os.write(self._master, noise + pdu + crc(pdu))

    def close(self):
        self._over.set()
        self.join(5)
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def serial_line():
    made = []

    def make(*arguments):
        made.append(SerialLine(*arguments))
        return made[-1]

    yield make
    for line in made:
        line.close()


TEN = {
    1: (9600, "xS11"),
    2: (9600, "xS30"),
    5: (9600, "xS40"),
    7: (19200, "xS10"),
    8: (19200, "xS11"),
    11: (19200, "xS51"),
    12: (19200, "07"),
    20: (115200, "0A"),
    21: (115200, "08"),
    30: (115200, "IC-AiUC8-2"),
}


def found(text):
    """What a piece of configuration has: by speed, the models by slave."""
    buses = yaml.safe_load(text)["comm_channels"].values()
    return {bus["baudrate"]: {one["slave-id"]: str(one["model"]) for one in bus["devices"].values()} for bus in buses}


def alternatives(text, slave):
    """All models that are named for a slave."""
    line = next(line for line in text.splitlines() if f"slave-id: {slave}," in line)
    return {
        *re.findall(r'model: "([^"]+)"', line),
        *re.findall(r"[\w-]+", line.partition("# or ")[2].partition(":")[0]),
    }


def test_ten_slaves_at_three_speeds_are_found_among_noise_with_what_they_may_be(serial_line):
    line = serial_line(TEN, 0.2)
    done = evok(line.path, "--baud", "9600,19200,115200", "--slaves", "1-5,7-9,11,12,20,21,30", "--answer", "0.05")
    assert done.returncode == 0, done.stderr
    by_speed = found(done.stdout)
    assert {(slave, speed) for speed, slaves in by_speed.items() for slave in slaves} == {
        (slave, speed) for slave, (speed, _) in TEN.items()
    }
    assert all(model in alternatives(done.stdout, slave) for slave, (_, model) in TEN.items())
    assert "a line has one speed" in done.stdout


def test_who_interrupts_gets_what_was_found_up_to_there(serial_line):
    line = serial_line(TEN)
    scan = subprocess.Popen(
        [EVOK, "scan", line.path, "--baud", "9600", "--answer", "0.05"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while (9600, 9) not in line.asked:
        assert time.monotonic() < deadline and scan.poll() is None
        time.sleep(0.01)
    scan.send_signal(signal.SIGINT)
    output, errors = scan.communicate(timeout=10)
    assert scan.returncode == 130 and "interrupted; 3 found up to here" in errors
    assert set(found(output)[9600]) == {1, 2, 5}


def test_a_port_that_the_service_has_is_not_taken_from_it(twistd, tmp_path):
    port = tmp_path / "line"
    config = f"apis: {{port: {free_port()}, alias_file: ''}}\ncomm_channels:\n  LINE:\n    type: MODBUSRTU\n"
    config += f"    port: {port}\n    devices:\n      3: {{slave-id: 3, model: xS11}}\n"
    (tmp_path / "config.yaml").write_text(config)
    twistd("evok-simulator", "--config", tmp_path, "--pty", port).wait_for("serving|listening")
    twistd("evok", "--config", tmp_path).wait_for("slave 3 .* answers")
    done = evok(port, "--baud", "19200", "--slaves", "3")
    assert done.returncode == 1 and "look through that: evok scan BUS --through" in done.stderr
    done = evok("LINE", "--through", "--slaves", "2-4", EVOK_CONFIG=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout) == {
        "comm_channels": {"LINE": {"devices": {3: {"slave-id": 3, "model": "xS11"}}}}
    }


@pytest.mark.parametrize("rtu", [False, True], ids=["Modbus TCP", "RTU over TCP"])
def test_slaves_behind_a_server_are_found(twistd, tmp_path, rtu):
    port = free_port()
    config = TWO_BOARDS.format(port=port) + ("    framer: rtu\n" if rtu else "")
    (tmp_path / "config.yaml").write_text(config)
    option = "--rtu-port" if rtu else "--port"
    twistd("evok-simulator", "--config", tmp_path, option, port).wait_for("listening")
    done = evok(f"127.0.0.1:{port}", "--slaves", "1-6", *(["--rtu"] if rtu else []))
    assert done.returncode == 0, done.stderr
    (bus,) = yaml.safe_load(done.stdout)["comm_channels"].values()
    assert bus["port"] == port and bus.get("framer") == ("rtu" if rtu else None)
    assert set(bus["devices"]) == {1, 2}
    assert "00" in alternatives(done.stdout, 1) and "13" in alternatives(done.stdout, 2)


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (("/dev/nowhere", "--baud", "9600"), 1, "/dev/nowhere, 9600, N: cannot be opened"),
        (("127.0.0.1:99999",), 1, "expected the path of a serial port, or HOST or HOST:PORT"),
        (("host", "--slaves", "0"), 2, "expected numbers from 1 to 247"),
        (("host", "--slaves", "9-1"), 2, "expected numbers from 1 to 247"),
        (("host", "--parity", "X"), 2, "expected N, E, O"),
        (("BUS", "--through", "--url", "http://127.0.0.1:1"), 1, "is the service running?"),
    ],
)
def test_what_cannot_be_looked_at_is_said(arguments, status, why):
    done = evok(*arguments)
    assert (done.returncode, done.stdout) == (status, "") and why in done.stderr


def test_nothing_found_is_said_with_status_1(serial_line):
    done = evok(serial_line({}).path, "--baud", "9600", "--slaves", "1-3", "--answer", "0.02")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "nothing answers\n")


def test_a_terminal_sees_how_far_it_is_and_how_long_it_takes(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    times = iter([0.0, 10.0, 20.0])
    bar = Bar(lambda: next(times))
    bar.tell(0.25, "9600, slave 3")
    bar.tell(1.0, "done")
    assert "[######..................] 9600, slave 3, 30 s left" in capsys.readouterr().err
