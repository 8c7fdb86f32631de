"""``evok`` against the running service, as a person in a shell and as a script has it."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest
from brokers import wait_until
from witness import EVOK, Boards, Unit

from evok_twisted.config import Apis
from evok_twisted.remote import address_of


@pytest.fixture(scope="module")
def shared(tmp_path_factory, twistd_of_module):
    return Unit(tmp_path_factory.mktemp("unit"), twistd_of_module)


@pytest.fixture
def unit(tmp_path, twistd):
    return Unit(tmp_path, twistd)


def test_status_says_whether_everything_works(shared):
    done = shared.evok("status")
    assert done.returncode == 0
    assert done.stdout.startswith("everything works\n")
    assert "board 2 (slave 2): answers for" in done.stdout
    assert json.loads(shared.evok("status", "--json").stdout)["healthy"] is True


def test_status_says_what_does_not_work(unit):
    unit.simulator.stop(signal.SIGKILL)
    unit.service.wait_for("slave 2 .* went offline")
    done = unit.evok("status")
    assert done.returncode == 1
    assert "something does not work:\n  bus LOCAL is down" in done.stdout
    assert "look at:\n  LOCAL: Is the device on, and is this its address?" in done.stdout


def test_circuits_are_listed_by_kind_and_pattern(shared):
    lines = shared.evok("list", "ro/2_0[12]").stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [["ro", "2_01", "0"], ["ro", "2_02", "0"]]
    assert len(json.loads(shared.evok("list", "ao", "--json").stdout)) == 5
    assert "modbus_slave" in shared.evok("list").stdout
    assert shared.evok("list", "ro/9_*").returncode == 1
    done = shared.evok("list", "lamps")
    assert done.returncode == 1 and "there is no kind of device 'lamps'" in done.stderr


def test_a_circuit_and_a_field_of_it_are_shown(shared):
    assert "circuit  " in shared.evok("get", "ai", "1_01").stdout
    assert shared.evok("get", "ai", "1_01", "unit").stdout == "V\n"
    assert shared.evok("get", "ai", "1_01", "unit", "--json").stdout == '"V"\n'
    done = shared.evok("get", "ai", "1_01", "colour")
    assert done.returncode == 1 and "shows no colour; it shows dev, circuit" in done.stderr


def test_a_set_is_done_when_it_is_said_to_be(shared):
    boards = Boards(shared.modbus)
    done = shared.evok("set", "ro", "2_03", "on")
    assert (done.returncode, json.loads(done.stdout)["value"], boards.read(2, 1)) == (0, 1, 0b100)
    assert json.loads(shared.evok("set", "ro", "2_03", "off").stdout)["value"] == 0
    assert json.loads(shared.evok("set", "do", "1_01", "pwm_duty=30").stdout)["pwm_duty"] == 30
    shared.evok("set", "ro", "2_04", "on", "timeout=0.5")
    wait_until(lambda: boards.read(2, 1) == 0, "the pulse's end")
    assert json.loads(shared.evok("alias", "ro", "2_03", "hall").stdout)["alias"] == "hall"
    assert json.loads(shared.evok("set", "ro", "hall", "on").stdout)["circuit"] == "2_03"
    shared.evok("set", "ro", "hall", "off", "alias=")
    boards.close()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("set", "ro", "9_01", "on"), "ro has no circuit or alias '9_01'"),
        (("set", "ro", "2_01", "perhaps"), "value: got 'perhaps', expected 0 or 1"),
        (("set", "ro", "2_01", "on", "off"), "value is given twice"),
        (("set", "ro", "2_01", "on", "--url", "ftp://x"), "got 'ftp://x', expected an address such as"),
        (("get", "ro", "2_01", "--url", "http://127.0.0.1:1"), "Connection refused; is the service running?"),
        (("watch", "--url", "unix:/x"), "watch takes an address of HTTP"),
    ],
)
def test_what_is_not_done_is_said_with_status_1(shared, arguments, why):
    done = shared.evok(*arguments)
    assert (done.returncode, done.stdout) == (1, "") and why in done.stderr


def test_an_answer_is_not_waited_for_for_ever(unit):
    unit.service.process.send_signal(signal.SIGSTOP)
    done = unit.evok("set", "ro", "2_01", "on", "--timeout", "0.5")
    unit.service.process.send_signal(signal.SIGCONT)
    assert done.returncode == 1 and "did not answer within 0.5 s; it may have been done" in done.stderr


def test_changes_are_watched_over_a_break(unit):
    watching = subprocess.Popen(
        [EVOK, "watch", "ro"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**unit.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert watching.stdout.readline() == "# connected\n"
        unit.evok("set", "ro", "2_01", "on")
        line = watching.stdout.readline()
        assert line.split()[1:4] == ["ro", "2_01", "1"] and line.endswith("(by anonymous, rest)\n")
        unit.service.stop(signal.SIGKILL)
        assert "the connection is lost" in watching.stdout.readline()
        unit.begin()
        assert watching.stdout.readline() == "# connected\n"
        unit.evok("set", "ro", "2_02", "on")
        assert watching.stdout.readline().split()[1:4] == ["ro", "2_02", "1"]
    finally:
        watching.send_signal(signal.SIGINT)
        watching.wait(5)
        watching.stdout.close()


def test_check_is_that_of_twistd(shared):
    done = shared.evok("check")
    assert done.returncode == 0 and "no errors" in done.stdout and "board 2: model 13" in done.stdout


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"address": "0.0.0.0", "port": 80}, "http://127.0.0.1:80"),
        ({"address": "10.0.0.7"}, "http://10.0.0.7:8080"),
        ({"listen": ("unix:/run/evok/proxy.sock:mode=660",)}, "unix:/run/evok/proxy.sock"),
        ({"listen": ("ssl:8443", "tcp:8081")}, "http://127.0.0.1:8081"),
        ({"listen": (r"tcp6:8081:interface=\:\:1",)}, "http://[::1]:8081"),
    ],
)
def test_the_service_is_looked_for_where_it_is_configured_to_be(settings, address):
    assert address_of(Apis(**settings)) == address


def test_a_socket_of_this_machine_is_as_good_as_a_port(twistd, tmp_path):
    path = tmp_path / "evok.sock"
    twistd("evok", "--demo", "--port", f"unix:{path}").wait_for("listening")
    done = subprocess.run(
        [EVOK, "get", "ro", "2_01", "--url", f"unix:{path}"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0 and '"2_01"' in done.stdout
