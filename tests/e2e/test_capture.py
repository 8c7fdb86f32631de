"""What goes over a bus, in a file that Wireshark's own tool reads."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time

import pytest
import requests
from brokers import wait_until
from witness import EVOK, Unit

TSHARK = shutil.which("tshark")
FIELDS = ("frame.comment", "modbus.func_code", "mbtcp.unit_id", "mbrtu.unit_id", "mbrtu.crc16.status")

pytestmark = pytest.mark.skipif(TSHARK is None, reason="apt-get install tshark")


class Captured(Unit):
    def __init__(self, directory, twistd, *, rtu=False):
        option, framer = ("--rtu-port", "    framer: rtu\n") if rtu else ("--port", "")
        super().__init__(directory, twistd, bus=f"    timeout: 0.2\n{framer}", option=option)

    def capture(self, *arguments):
        return subprocess.Popen(
            [EVOK, "capture", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environ
        )


def read(file):
    """What tshark makes of it: for each packet, what there is of ``FIELDS``."""
    fields = [word for name in FIELDS for word in ("-e", name)]
    command = [TSHARK, "-r", file, "-o", "mbrtu.crc_verification:TRUE", "-T", "fields", *fields]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "cut short" not in done.stderr and "malformed" not in done.stdout.lower()
    return [dict(zip(FIELDS, line.split("\t"), strict=True)) for line in done.stdout.splitlines()]


def test_requests_and_answers_are_read_by_tshark(twistd, tmp_path):
    unit, file = Captured(tmp_path, twistd), tmp_path / "local.pcapng"
    capture = unit.capture("LOCAL", "--seconds", 2, "-o", file)
    deadline = time.monotonic() + 10
    while not file.exists():
        assert time.monotonic() < deadline and capture.poll() is None
    requests.post(f"{unit.url}/rest/ro/2_01", data={"value": 1}, timeout=5)
    requests.post(f"{unit.url}/modbus/LOCAL/2/holding/1", json={"values": [0]}, timeout=5)
    _, errors = capture.communicate(timeout=20)
    packets = read(file)
    assert capture.returncode == 0 and f"{len(packets)} frames in {file}" in errors.decode()
    functions = [code for one in packets for code in one["modbus.func_code"].split(",")]  # several may come at once
    assert functions.count("5") == 2 and functions.count("6") == 2  # each with its answer
    assert functions.count("3") > 20
    assert {unit for one in packets for unit in one["mbtcp.unit_id"].split(",") if unit} == {"1", "2"}
    comments = [one["frame.comment"] for one in packets if one["frame.comment"]]
    assert comments == ["anonymous over rest sets ro 2_01 value=1:", "anonymous writes:"]


def test_rtu_frames_are_read_by_tshark_with_their_sums(twistd, tmp_path):
    unit, file = Captured(tmp_path, twistd, rtu=True), tmp_path / "line.pcapng"
    _, errors = unit.capture("LOCAL", "--seconds", 1, "-o", file).communicate(timeout=20)
    packets = read(file)
    assert len(packets) > 10 and {one["mbrtu.unit_id"] for one in packets} == {"1", "2"}
    assert {one["mbrtu.crc16.status"] for one in packets} <= {"1", "Good", ""}, errors


def test_what_goes_wrong_is_said_and_ctrl_c_leaves_a_whole_file(twistd, tmp_path):
    unit, file = Captured(tmp_path, twistd), tmp_path / "local.pcapng"
    capture = unit.capture("LOCAL", "-o", file)
    deadline = time.monotonic() + 20
    while not file.exists() or file.stat().st_size < 2000:
        assert time.monotonic() < deadline and capture.poll() is None
    unit.simulator.process.send_signal(signal.SIGSTOP)
    while b"the connection is dropped" not in file.read_bytes():
        assert time.monotonic() < deadline and capture.poll() is None
    unit.simulator.process.send_signal(signal.SIGCONT)
    capture.send_signal(signal.SIGINT)
    capture.communicate(timeout=10)
    assert capture.returncode == 0
    comments = [one["frame.comment"] for one in read(file)]
    assert "unit 1: no answer within 0.2 s" in comments
    assert any(comment.startswith("the connection is dropped: ") for comment in comments)


def test_what_cannot_be_captured_is_said(twistd, tmp_path):
    unit = Captured(tmp_path, twistd)
    for arguments, why in (
        (("NOWHERE", "-o", tmp_path / "x"), "there is no Modbus bus 'NOWHERE'; there is LOCAL"),
        (("LOCAL", "--seconds", 4000, "-o", tmp_path / "x"), "expected a number from 1 to 3600"),
        (("LOCAL", "-o", tmp_path / "no" / "x"), "No such file or directory"),
    ):
        capture = unit.capture(*arguments)
        assert why in capture.communicate(timeout=20)[1].decode() and capture.returncode == 1
    assert not (tmp_path / "x").exists()


def test_there_are_a_few_at_once_and_one_that_ends_makes_room(twistd, tmp_path):
    unit = Captured(tmp_path, twistd)
    url = f"{unit.url}/modbus/LOCAL/capture"
    open_ones = [requests.get(url, stream=True, timeout=5) for _ in range(4)]
    assert requests.get(url, stream=True, timeout=5).status_code == 503
    for one in open_ones:
        one.close()
    wait_until(lambda: requests.get(f"{url}?seconds=1", stream=True, timeout=5).status_code == 200, "there is room")
