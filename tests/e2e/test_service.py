"""``twistd evok`` with a configuration: options, errors, a pulled cable."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import websocket


def ask(ws, given, **message):
    ws.send(json.dumps({**message, "id": given}))
    while True:
        answer = json.loads(ws.recv())
        if isinstance(answer, dict) and answer["id"] == given:
            return answer


def test_check_says_what_would_run(run, config):
    done = run("evok", "--config", config, "--check")
    assert done.returncode == 0
    assert "bus LOCAL: Modbus TCP, 127.0.0.1:" in done.stdout
    assert "board xS11: model xS11, slave 7, 20 scans a second" in done.stdout
    assert "13 ro: xS11_01, xS11_02" in done.stdout
    assert "no errors" in done.stdout


def test_check_prints_every_error_and_fails(run, config):
    text = (
        (config / "config.yaml").read_text().replace("model: 00", "model: 0B").replace("slave-id: 7", "slave-id: 700")
    )
    (config / "config.yaml").write_text(text)
    done = run("evok", "--config", config, "--check")
    assert done.returncode == 1
    assert "comm_channels.LOCAL.devices.1.model: got '0B'" in done.stderr
    assert "comm_channels.LOCAL.devices.xS11.slave-id: got '700', expected a Modbus unit id" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_configuration_does_not_start_and_is_told(run, config):
    (config / "config.yaml").write_text("apis: {port: eighty}\n")
    done = run("evok", "--config", config)
    assert done.returncode == 78
    assert "apis.port: got 'eighty', expected a port number from 1 to 65535" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_no_configuration_is_told_with_what_to_do(run, tmp_path):
    done = run("evok", "--config", tmp_path / "nowhere")
    assert done.returncode == 78
    assert "warning" not in done.stderr
    (example,) = re.findall(r"; (\S+) is a commented example", done.stderr)
    assert Path(example).is_file()
    for hint in ("nowhere: there is no configuration", "--config PATH", "config.yaml is a commented example", "--demo"):
        assert hint in done.stderr


def test_a_bad_feature_costs_itself_only(run, config, twistd):
    (config / "hw_definitions").mkdir()
    (config / "hw_definitions" / "xS11.yaml").write_text(
        "modbus_register_blocks: [{start_reg: 0, count: 2}]\n"
        "modbus_features:\n"
        "  - {type: RO, count: 3, val_reg: 1, val_coil: 0}\n"
        "  - {type: LED, count: 3, val_reg: 31, val_coil: 25}\n"
        "  - {type: DI, count: 3, val_reg: zero}\n"
    )
    done = run("evok", "--config", config, "--check")
    assert done.returncode == 1
    assert "3 ro: xS11_01, xS11_02, xS11_03" in done.stdout
    assert "modbus_features.1: no register block reads register 31" in done.stderr
    assert "modbus_features.2.val_reg: got 'zero'" in done.stderr
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for(r"error.*modbus_features\.1")
    assert service.url


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["--dialect", "latin"], "classic or v3"), (["--bogus"], "bogus"), (["--port", "tcp:http:x"], "endpoint")],
)
def test_bad_usage_is_told(run, arguments, hint):
    done = run("evok", "--demo", *arguments)
    assert done.returncode != 0
    assert hint in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_port_that_is_taken_is_told(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("evok", "--demo", "--port", taken.getsockname()[1])
    assert done.returncode == 1
    assert "Couldn't listen on" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["evok", "evok-simulator"])
def test_help_tells_the_options(run, command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert "--config" in done.stdout
    assert "--port" in done.stdout


def test_several_ports_can_be_listened_on(twistd, config, tmp_path):
    service = twistd("evok", "--config", config, "--port", "0", "--port", f"unix:{tmp_path}/evok.sock")
    service.wait_for("listening", times=2)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/evok.sock")
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.0 200")


def test_without_hardware_it_runs_and_says_so(twistd, tmp_path):
    (tmp_path / "config.yaml").write_text("apis: {alias_file: .}\ncomm_channels: {}\n")
    service = twistd("evok", "--config", tmp_path, "--port", "0")
    service.wait_for("no hardware is configured")
    ws = websocket.create_connection(service.url, timeout=5)
    assert ask(ws, 1, cmd="all")["result"] == []
    ws.close()


def test_a_pulled_cable_is_told_and_heals(twistd, simulator, config):
    """Boards that are off at start come alive, an outage fails commands at once, and nothing is written late."""
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for(r"bus LOCAL cannot be connected")
    ws = websocket.create_connection(service.url, timeout=5)
    states = ask(ws, "begin", cmd="all")["result"]
    assert {one["value"] for one in states if one["dev"] == "input"} == {None}

    first = simulator()
    service.wait_for(r"slave xS11 .* answers")
    assert ask(ws, 1, cmd="set", dev="relay", circuit="xS11_01", value=1)["result"]["value"] == 1

    first.stop(signal.SIGKILL)
    service.wait_for(r"bus LOCAL lost its connection")
    begun = time.monotonic()
    answer = ask(ws, 2, cmd="set", dev="relay", circuit="xS11_02", value=1)
    assert answer["error"]["code"] == "offline"
    assert time.monotonic() - begun < 0.5
    assert ask(ws, 3, cmd="full", dev="relay", circuit="xS11_01")["result"]["value"] == 1  # as last read

    simulator()
    service.wait_for(r"slave xS11 .* answers", times=2)
    service.wait_for(r"bus LOCAL is connected", times=2)
    deadline = time.monotonic() + 5
    while ask(ws, 4, cmd="full", dev="relay", circuit="xS11_01")["result"]["value"] != 0:  # a fresh board
        assert time.monotonic() < deadline
    assert ask(ws, 5, cmd="full", dev="relay", circuit="xS11_02")["result"]["value"] == 0
    ws.close()


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGQUIT, 0), (signal.SIGABRT, -signal.SIGABRT)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_outputs_of_pulses_are_put_back_at_the_stop(twistd, simulator, config, number, status):
    simulator()
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for(r"slave xS11 .* answers")
    ws = websocket.create_connection(service.url, timeout=5)
    answer = ask(ws, 1, cmd="set", dev="relay", circuit="xS11_01", value=1, timeout=600)
    assert answer["result"]["pending"] is True
    assert service.stop(number) == status
    again = twistd("evok", "--config", config, "--port", "0")
    again.wait_for(r"slave xS11 .* answers")
    ws = websocket.create_connection(again.url, timeout=5)
    deadline = time.monotonic() + 5
    while (value := ask(ws, 2, cmd="full", dev="relay", circuit="xS11_01")["result"]["value"]) is None:
        assert time.monotonic() < deadline
    assert value == 0
    ws.close()


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2], ids=lambda value: value.name)
def test_signals_that_mean_nothing_to_it_do_not_end_it(demo, number):
    demo.process.send_signal(number)
    demo.wait_for(f"{number.name} is ignored")
    ws = websocket.create_connection(demo.url, timeout=5)
    assert ask(ws, 1, cmd="set", dev="relay", circuit="2_01", value=1)["result"]["value"] == 1
    ws.close()


def test_its_timers_do_not_depend_on_the_time_of_day():
    program = (
        "import time; from twisted.internet import reactor; from evok_twisted import tap; "
        "options = tap.Options(); options.parseOptions(['--demo']); tap.makeService(options); "
        "print(abs(reactor.seconds() - time.monotonic()) < 1, abs(reactor.seconds() - time.time()) > 1)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "True True\n"


@pytest.mark.parametrize("arguments", [["--bogus"], ["--dialect", "latin"], ["--config"], ["extra"]])
def test_a_command_line_that_cannot_be_understood_is_exit_status_2(run, arguments):
    done = run("evok", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("twistd evok: ")
    assert "twistd evok --help lists the options" in done.stderr


def test_health_tells_of_a_server_that_is_gone_and_of_its_return(twistd, simulator, config):
    def health():
        response = requests.get(service.url.replace("ws://", "http://").replace("/ws", "/health"), timeout=5)
        return response.status_code, response.json()

    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for("listening")
    assert health()[0] == 503
    assert health()[1]["reasons"] == ["bus LOCAL is down"]
    simulator()
    service.wait_for(r"slave xS11 .* answers")
    service.wait_for(r"slave 1 .* answers")
    status, report = health()
    assert (status, report["healthy"], report["status"]) == (200, True, "2 of 2 boards online")
    assert [slave["circuit"] for slave in report["buses"][0]["slaves"]] == ["1", "xS11"]


def test_systemd_is_told(twistd, config, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        service = twistd("evok", "--config", config, "--port", "0")
        assert manager.recv(1000) == b"READY=1\nSTATUS=0 of 2 boards online, bus LOCAL is down"
        assert manager.recv(1000) == b"WATCHDOG=1"
        assert service.stop(signal.SIGTERM) == 0
        told = []
        while "STOPPING=1" not in told:
            told += manager.recv(1000).decode().split("\n")


def test_the_end_of_the_service_is_told_to_its_clients_and_does_not_wait_for_a_server_that_hangs(
    twistd, simulator, config
):
    board = simulator()
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for(r"slave xS11 .* answers")
    ws = websocket.create_connection(service.url, timeout=5)
    board.process.send_signal(signal.SIGSTOP)  # it takes what is sent, and does nothing
    ws.send(json.dumps({"cmd": "set", "dev": "relay", "circuit": "xS11_01", "value": 1, "id": 1}))
    ask(ws, 2, cmd="filter", devices=[])  # the set was taken before
    begun = time.monotonic()
    status = service.stop(signal.SIGTERM)
    board.process.send_signal(signal.SIGCONT)
    assert status == 0
    assert time.monotonic() - begun < 4  # three seconds, and what a busy machine adds
    replies, code = [], None
    while code is None:
        opcode, data = ws.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            code = int.from_bytes(data[:2], "big")
        else:
            replies += [message for message in [json.loads(data)] if isinstance(message, dict)]
    assert code == 1001
    assert [reply["error"]["code"] in ("timeout", "offline") for reply in replies] == [True]


def test_a_client_that_does_not_read_gets_the_latest_states_once_it_does(twistd, simulator, config, port):
    """Defect 7 of Evok: it grows the server's memory without limit."""
    simulator()
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for(r"slave xS11 .* answers")
    stalled = websocket.create_connection(
        service.url, timeout=10, sockopt=((socket.SOL_SOCKET, socket.SO_RCVBUF, 4096),)
    )
    reading = websocket.create_connection(service.url, timeout=5)
    for n in range(500):
        stalled.send(json.dumps({"cmd": "all", "id": n}))  # more answers, of 20 KiB each, than the system keeps for it

    def resident():
        with open(f"/proc/{service.process.pid}/statm") as statm:
            return int(statm.read().split()[1]) * 4  # KiB

    def count(first, seconds):
        """Set a counter again and again; the last that it was set to."""
        until, n = time.monotonic() + seconds, first
        while time.monotonic() < until:
            begun = time.monotonic()
            assert ask(reading, n, cmd="set", dev="input", circuit="xS11_02", counter=n)["result"]["counter"] == n
            delays.append(time.monotonic() - begun)
            n += 1
        return n - 1

    delays = []
    last = count(1, 3.0)  # until it is stalled, for it may ask 200 times a second
    before = resident()
    last = count(last + 1, 1.0)
    assert resident() - before < 1024
    assert sorted(delays)[len(delays) // 2] < 0.1
    told = []
    while not told or told[-1] != last:
        message = json.loads(stalled.recv())
        if isinstance(message, list):
            told += [one["counter"] for one in message if (one["dev"], one["circuit"]) == ("input", "xS11_02")]
    assert len(told) < last
    stalled.close()
    reading.close()


@pytest.mark.parametrize("port", ["tcp:99999999999", "99999999999", "tcp:port=65536:interface=127.0.0.1"])
def test_a_port_that_cannot_be_is_told_as_a_mistake_of_the_configuration(run, port):
    done = run("evok", "--demo", "--port", port)
    assert done.returncode == 78
    assert "--port: got " in done.stderr
    assert "expected a port number of at most 65535" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize("encoding", ["iso-8859-1", "ascii"])
def test_a_name_that_the_locale_cannot_write_costs_no_line(twistd, run, simulator, config, monkeypatch, encoding):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    text = (config / "config.yaml").read_text()
    (config / "config.yaml").write_text(text.replace("xS11: {slave-id", "kotelň: {slave-id"), encoding="utf-8")
    done = run("evok", "--config", config, "--check")
    assert done.returncode == 0
    assert "board kotel\\u0148: model xS11" in done.stdout
    simulator()
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for(r"slave kotel\\u0148 .* answers")
    assert service.stop() == 0


def test_one_bad_board_costs_itself_and_is_told_wherever_somebody_looks(twistd, run, simulator, config):
    text = (config / "config.yaml").read_text()
    (config / "config.yaml").write_text(f"{text}      bad: {{slave-id: 9, model: unheard-of}}\n")
    checked = run("evok", "--config", config, "--check")
    assert checked.returncode == 1
    (told, summary) = checked.stderr.splitlines()
    assert told.startswith(f"error: {config}/config.yaml:15: comm_channels.LOCAL.devices.bad.model: got 'unheard-of'")
    assert told.endswith("; the rest would run")
    assert summary == "1 error"
    simulator()
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for(r"error.*config.yaml:15: comm_channels.LOCAL.devices.bad.model: got 'unheard-of'")
    service.wait_for(r"slave xS11 .* answers")
    service.wait_for(r"slave 1 .* answers")
    health = requests.get(service.url.replace("ws://", "http://").replace("/ws", "/health"), timeout=5)
    assert health.status_code == 503
    (reason,) = health.json()["reasons"]
    assert "comm_channels.LOCAL.devices.bad.model: got 'unheard-of'" in reason
    assert health.json()["status"] == "2 of 2 boards online, the configuration has errors"


def test_of_what_keeps_it_from_starting_check_says_so(run, config):
    (config / "config.yaml").write_text("apis: {port: eighty}\ncomm_channels: {A: {type: FOO}}\n")
    checked = run("evok", "--config", config, "--check")
    first, second, summary = checked.stderr.splitlines()
    assert "apis.port" in first and first.endswith("; the service would not start")
    assert "comm_channels.A.type" in second and second.endswith("; the rest would run")
    assert (summary, checked.returncode) == ("2 errors", 1)


def test_the_start_names_the_version_and_the_configuration(twistd, config):
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for(rf"evok-twisted \S+, with {config}/config.yaml")


def test_the_version_is_ours(run):
    done = run("evok", "--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "evok-twisted")
    assert "Twisted" in done.stdout


def test_a_log_file_is_written_and_put_aside_when_it_is_large(twistd, config, monkeypatch):
    file = config / "evok.log"
    file.write_bytes(b"x" * 1_000_000)
    (config / "config.yaml").write_text(f"logging: {{file: {file}}}\n" + (config / "config.yaml").read_text())
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for("bus LOCAL cannot be connected")
    assert service.stop() == 0
    assert "bus LOCAL cannot be connected" in file.read_text()
    assert (config / "evok.log.1").stat().st_size >= 1_000_000


def test_a_log_file_that_cannot_be_written_is_a_warning(twistd, config):
    (config / "config.yaml").write_text("logging: {file: /nowhere/evok.log}\n" + (config / "config.yaml").read_text())
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for(r"logging.file: got '/nowhere/evok.log', which cannot be written: No such file")
    service.wait_for("listening")


def test_without_websocket_there_is_http_and_no_websocket(twistd, config):
    text = (config / "config.yaml").read_text().replace("apis:\n", "apis:\n  websocket: {enabled: false}\n")
    (config / "config.yaml").write_text(text)
    service = twistd("evok", "--config", config, "--port", "0")
    url = service.wait_for(r"listening: (http://127.0.0.1:\d+/)")[1]
    assert requests.get(f"{url}version", timeout=5).status_code == 200
    assert requests.get(f"{url}ws", timeout=5).status_code == 404
    assert service.stop() == 0
