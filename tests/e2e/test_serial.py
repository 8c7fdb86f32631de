"""``twistd evok`` on a serial line: an adapter that is unplugged, a slave that is dead, RTU frames over TCP."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time

import pytest
import websocket

BUS = """
  LINE:
    type: MODBUSRTU
    port: {tty}
    baudrate: 115200
    timeout: 0.1
    devices:
      xS11: {{slave-id: 7, model: xS11, scan_frequency: 20}}
      xS51: {{slave-id: 8, model: xS51, scan_frequency: 20}}
"""
DEAD = "      dead: {slave-id: 9, model: xS11, scan_frequency: 20}\n"
TUNNEL = """
  TUNNEL:
    type: MODBUSTCP
    framer: rtu
    hostname: 127.0.0.1
    port: {port}
    devices:
      1: {{slave-id: 1, model: xS11}}
"""


@pytest.fixture
def tty(tmp_path):
    return tmp_path / "ttyUSB9"


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def configured(tmp_path):
    def configured(name, channels):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "config.yaml").write_text("comm_channels:" + channels)
        return directory

    return configured


def ask(ws, given, **message):
    ws.send(json.dumps({**message, "id": given}))
    while True:
        answer = json.loads(ws.recv())
        if isinstance(answer, dict) and answer["id"] == given:
            return answer


def wait_until(condition, what, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def test_an_adapter_that_is_unplugged_is_told_once_and_heals(twistd, configured, tty):
    """Off at the start, in, out, in again: commands fail at once while it is out, and nothing is written late."""
    config = configured("all", BUS.format(tty=tty))
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for(r"bus LINE cannot be connected.*No such file")
    ws = websocket.create_connection(service.url + "?dialect=v3", timeout=5)

    def plug():
        return twistd("evok-simulator", "--config", config, "--pty", tty)

    first = plug()
    service.wait_for(r"slave xS11 .* answers")
    service.wait_for(r"slave xS51 .* answers")
    assert ask(ws, 1, cmd="set", dev="ro", circuit="xS11_01", value=1)["result"]["value"] == 1
    slave = ask(ws, 2, cmd="full", dev="modbus_slave", circuit="xS51")["result"]
    assert (slave["modbus_type"], slave["modbus_spec"]) == ("RTU", str(tty))

    first.stop(signal.SIGTERM)
    service.wait_for(r"bus LINE lost its connection after .*(the device is gone|Input/output error)")
    begun = time.monotonic()
    answer = ask(ws, 3, cmd="set", dev="ro", circuit="xS11_02", value=1)
    assert answer["error"]["code"] == "offline"
    assert time.monotonic() - begun < 0.5

    plug().wait_for("Modbus RTU at")
    begun = time.monotonic()
    service.wait_for(r"slave xS11 .* answers", times=2)
    assert time.monotonic() - begun < 3.5
    service.wait_for(r"bus LINE is connected, after \d+\.\d s", times=2)

    def value(circuit):
        return ask(ws, 4, cmd="full", dev="ro", circuit=circuit)["result"]["value"]

    wait_until(lambda: value("xS11_01") == 0, "a fresh board is read")
    assert value("xS11_02") == 0
    ws.close()
    assert service.stop(signal.SIGTERM) == 0
    about = [line for line in service.lines if "bus LINE" in line]
    assert len(about) == 4, about
    assert "Traceback" not in "\n".join(service.lines)


@pytest.fixture
def cable(tmp_path):
    """Plugs a cable between two serial devices, A and B; those that are plugged in are pulled."""
    plugged = []

    def plug():
        links = [tmp_path / "A", tmp_path / "B"]
        plugged.append(subprocess.Popen(["socat", *(f"pty,raw,echo=0,link={link}" for link in links)]))
        wait_until(lambda: all(link.exists() for link in links), "socat is up")
        return plugged[-1]

    yield plug
    for socat in plugged:
        socat.kill()
        socat.wait(5)


@pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
def test_both_ends_of_a_cable_come_back(twistd, configured, tmp_path, cable):
    socat = cable()
    config = configured("all", BUS.format(tty=tmp_path / "B"))
    twistd("evok-simulator", "--config", config, "--serial", tmp_path / "A")
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for(r"slave xS11 .* answers")
    ws = websocket.create_connection(service.url, timeout=5)
    assert ask(ws, 1, cmd="set", dev="relay", circuit="xS11_01", value=1)["result"]["value"] == 1
    socat.terminate()  # it takes its links away: what they name may be somebody else's next
    socat.wait(5)
    service.wait_for(r"bus LINE lost its connection")
    cable()
    service.wait_for(r"slave xS11 .* answers", times=2)
    assert ask(ws, 2, cmd="set", dev="relay", circuit="xS11_01", value=0)["result"]["value"] == 0
    ws.close()


def test_a_dead_slave_does_not_keep_the_others_from_being_read_and_written(twistd, configured, tty):
    twistd("evok-simulator", "--config", configured("alive", BUS.format(tty=tty)), "--pty", tty).wait_for("RTU at")
    service = twistd("evok", "--config", configured("all", BUS.format(tty=tty) + DEAD), "--port", "0")
    service.wait_for(r"slave dead .* does not answer")
    service.wait_for(r"slave xS51 .* answers")
    ws = websocket.create_connection(service.url, timeout=5)
    for n in range(20):
        begun = time.monotonic()
        circuit = ("xS11_01", "xS51_01")[n % 2]
        assert ask(ws, n, cmd="set", dev="relay", circuit=circuit, value=n // 2 % 2)["result"]["value"] == n // 2 % 2
        assert time.monotonic() - begun < 0.5
    assert ask(ws, "dead", cmd="set", dev="relay", circuit="dead_01", value=1)["error"]["code"] == "offline"
    ws.close()


def test_rtu_frames_are_spoken_over_tcp(twistd, configured, free_port):
    config = configured("tunnel", TUNNEL.format(port=free_port))
    twistd("evok-simulator", "--config", config, "--rtu-port", free_port).wait_for("Modbus RTU over TCP at")
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for(r"slave 1 .* answers")
    ws = websocket.create_connection(service.url, timeout=5)
    assert ask(ws, 1, cmd="set", dev="relay", circuit="1_02", value=1)["result"]["value"] == 1
    ws.close()


def test_check_tells_of_serial_lines(run, configured, tty):
    done = run("evok", "--check", "--config", configured("both", BUS.format(tty=tty) + TUNNEL.format(port=4196)))
    assert done.returncode == 0, done.stderr
    assert f"bus LINE: Modbus RTU, {tty}, 115200 baud, 8N1" in done.stdout
    assert "bus TUNNEL: Modbus RTU over TCP, 127.0.0.1:4196" in done.stdout
    assert "board xS51: model xS51, slave 8, 20 scans a second" in done.stdout
    assert "no errors" in done.stdout
