"""A unit on a real broker: mosquitto, with whatever may happen to either of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest
import trustme
from brokers import HAS_MOSQUITTO, WHY_NOT, Mosquitto, free_port, wait_until
from witness import TWO_BOARDS, Boards

pytestmark = pytest.mark.skipif(not HAS_MOSQUITTO, reason=WHY_NOT)

APIS = """
apis:
  port: {http}
  alias_file: {directory}
  mqtt: {{enabled: true, broker: "{broker}", unit: {unit}{more}}}
"""

SLAVE, RELAYS = 2, 1  # of board 2: its unit id, and the register of its relays


class Heard:
    """What a client of the broker hears: mosquitto_sub."""

    def __init__(self, port, pattern, *more):
        self.process = subprocess.Popen(
            ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", pattern, "-F", "%r\t%q\t%t\t%p", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self._rest = b""
        self.messages = []

    def read(self):
        while data := self.process.stdout.read():
            *lines, self._rest = (self._rest + data).split(b"\n")
            self.messages += [tuple(line.decode().split("\t", 3)) for line in lines]
        return self.messages

    def payloads(self, topic):
        return [payload for _, _, heard, payload in self.read() if heard == topic]

    def stop(self):
        self.process.kill()
        self.process.wait(5)
        self.process.stdout.close()


@pytest.fixture
def place(tmp_path):
    """Starts brokers, units and those who listen, and ends them."""
    house = Place(tmp_path)
    yield house
    house.stop()


class Place:
    def __init__(self, directory):
        self.directory = directory
        self.modbus = free_port()
        self.brokers, self.listeners = [], []

    def broker(self, *lines, **more):
        self.brokers.append(Mosquitto(self.directory, *lines, **more))
        return self.brokers[-1]

    def listen(self, broker, pattern="#", *more):
        self.listeners.append(Heard(broker.port, pattern, *more))
        return self.listeners[-1]

    def config(self, broker, unit="plc1", more="", kind="tcp"):
        where = self.directory / unit
        where.mkdir(exist_ok=True)
        address = broker if isinstance(broker, str) else f"{kind}:127.0.0.1:{broker.port}"
        settings = {"directory": where, "broker": address, "unit": unit, "http": free_port()}
        apis = APIS.format(more=f", {more}" if more else "", **settings)
        (where / "config.yaml").write_text(apis + TWO_BOARDS.format(port=self.modbus))
        return where

    def stop(self):
        for one in self.listeners:
            one.stop()
        for one in self.brokers:
            one.stop(signal.SIGKILL)


@pytest.fixture
def unit(twistd, place):
    """Starts a unit, and the boards that it has."""

    def start(broker, *, boards=True, **more):
        config = place.config(broker, **more)
        if boards:
            simulator = twistd("evok-simulator", "--config", config, "--port", f"tcp:{place.modbus}")
            simulator.wait_for(r"starting on \d+")
        started = twistd("evok", "--config", config)
        started.config = config
        return started

    return start


def online(broker, unit="plc1", *more):
    topic = f"evok/{unit}/status"
    wait_until(lambda: broker.retained(topic, *more).get(topic) == "online", f"{unit} online", 15)


VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


@VERSIONS
def test_everything_is_retained_and_commands_are_carried_out_by_the_boards(place, unit, version):
    broker = place.broker()
    unit(broker, more=f'version: "{version}"')
    online(broker)
    retained = broker.retained()
    assert json.loads(retained["evok/plc1/ro/2_01"]) == {"dev": "ro", "circuit": "2_01", "value": 0}
    assert retained["evok/plc1/boards/2/status"] == retained["evok/plc1/buses/LOCAL/status"] == "online"
    assert json.loads(retained["evok/plc1/info"])["boards"] == ["1", "2"]
    assert "homeassistant/device/evok_plc1/board_2/config" in retained
    heard = place.listen(broker, "evok/plc1/#")
    wait_until(lambda: heard.payloads("evok/plc1/status"), "what is retained")
    boards = Boards(place.modbus)
    # retained, and live: it is carried out once
    broker.publish("evok/plc1/ro/2_01/set", '{"value":1,"id":7}', "-r", "-q", "1")
    answer = wait_until(lambda: heard.payloads("evok/plc1/reply"), "an answer")
    assert json.loads(answer[0])["id"] == 7 and boards.read(SLAVE, RELAYS) & 1 == 1
    broker.publish("evok/plc1/ro/2_02/set", "TOGGLE")
    wait_until(lambda: boards.read(SLAVE, RELAYS) == 0b11, "relay 2")
    wait_until(lambda: len(heard.payloads("evok/plc1/reply")) == 2, "the second answer")
    assert [json.loads(one)["value"] for one in heard.payloads("evok/plc1/ro/2_01")] == [0, 1]
    live = [one for one in heard.read() if one[2] == "evok/plc1/ro/2_02"]
    assert [retain for retain, *_ in live] == ["1", "0"]
    boards.close()


@VERSIONS
def test_commands_that_the_broker_keeps_are_never_carried_out(place, unit, version):
    broker = place.broker()
    broker.publish("evok/plc1/ro/2_01/set", "ON", "-r")
    heard = place.listen(broker, "evok/plc1/reply")
    process = unit(broker, more=f'version: "{version}"')
    online(broker)
    answer = wait_until(lambda: heard.payloads("evok/plc1/reply"), "an answer")
    assert json.loads(answer[0])["error"]["code"] == "refused_retained"
    wait_until(lambda: "evok/plc1/ro/2_01/set" not in broker.retained(), "it is cleared")
    boards = Boards(place.modbus)
    assert boards.read(SLAVE, RELAYS) == 0
    # while it is away, too
    process.stop(signal.SIGKILL)
    broker.publish("evok/plc1/ro/2_01/set", "ON", "-r")
    broker.publish("evok/plc1/ro/2_02/set", "ON", "-q", "1")
    unit(broker, boards=False, more=f'version: "{version}"')
    online(broker)
    wait_until(lambda: len(heard.payloads("evok/plc1/reply")) == 2, "the second answer")
    assert boards.read(SLAVE, RELAYS) == 0
    boards.close()


@VERSIONS
def test_the_end_is_told_however_it_comes(place, unit, version):
    broker = place.broker()
    heard = place.listen(broker, "evok/plc1/status")
    process = unit(broker, more=f'version: "{version}"')
    online(broker)
    process.stop(signal.SIGTERM)
    wait_until(lambda: heard.payloads("evok/plc1/status")[-1:] == ["offline"], "offline")
    process = unit(broker, boards=False, more=f'version: "{version}"')
    online(broker)
    assert heard.payloads("evok/plc1/status") == ["online", "offline", "online"]  # and no will
    process.stop(signal.SIGKILL)
    wait_until(lambda: heard.payloads("evok/plc1/status")[-1:] == ["offline"], "the will")


@VERSIONS
def test_a_new_process_at_once_ends_online_however_late_the_old_will_comes(place, unit, version):
    broker = place.broker()
    heard = place.listen(broker, "evok/plc1/status")
    process = unit(broker, more=f'version: "{version}"')
    online(broker)
    process.process.send_signal(signal.SIGSTOP)  # the broker does not notice that it is gone
    other = unit(broker, boards=False, more=f'version: "{version}"')
    other.wait_for("MQTT: connected")
    wait_until(lambda: heard.payloads("evok/plc1/status")[-1:] == ["online"], "online", 15)
    process.stop(signal.SIGKILL)
    before = len(heard.payloads("evok/plc1/status"))
    broker.publish("evok/plc1/status", "offline", "-r")  # what a will does
    wait_until(lambda: "offline" in heard.payloads("evok/plc1/status")[before:], "offline")
    wait_until(lambda: heard.payloads("evok/plc1/status")[-1] == "online", "online again", 15)
    assert broker.retained("evok/plc1/status")["evok/plc1/status"] == "online"


def test_another_client_of_the_same_id_is_told_of_and_left_alone(place, unit):
    broker = place.broker()
    process = unit(broker)
    online(broker)
    place.listen(broker, "x", "-i", "evok-plc1", "-V", "5")
    process.wait_for("another client uses the client id 'evok-plc1'.*trying again in 60 s")


@pytest.mark.parametrize("persistent", [True, False])
def test_a_broker_that_begins_again_knows_everything_soon(place, unit, persistent):
    broker = place.broker(persistent=persistent)
    process = unit(broker)
    online(broker)
    before = broker.retained()
    broker.stop(signal.SIGTERM if persistent else signal.SIGKILL)
    process.wait_for("MQTT: no connection to")
    boards = Boards(place.modbus)
    boards.write(1, 20, 0b1)  # an LED of board 1
    broker.start()
    process.wait_for("MQTT: connected", times=2, seconds=40)
    online(broker)
    after = broker.retained()
    assert json.loads(after.pop("evok/plc1/led/1_01"))["value"] == 1
    moving = ("modbus_slave", "ai/")  # what differs from one moment to the next
    assert {t for t in after if not any(one in t for one in moving)} == {
        t for t in before if t != "evok/plc1/led/1_01" and not any(one in t for one in moving)
    }
    boards.close()


def test_a_frozen_broker_costs_nothing_and_gets_the_latest(place, unit):
    broker = place.broker()
    process = unit(broker, more="keepalive: 60")
    online(broker)
    boards = Boards(place.modbus)
    broker.freeze()

    def resident():
        with open(f"/proc/{process.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before, begun, n = resident(), time.monotonic(), 0
    while time.monotonic() - begun < 4:
        n += 1
        boards.write(1, 20, n & 0xF)
    assert n > 300
    assert resident() - before < 4 << 20
    boards.write(1, 20, 0b1010)
    broker.thaw()

    def leds():
        found = broker.retained("evok/plc1/led/#")
        return [json.loads(found[f"evok/plc1/led/1_0{n}"])["value"] for n in (1, 2, 3, 4)]

    wait_until(lambda: leds() == [0, 1, 0, 1], "the latest states", 20)
    boards.close()


def test_two_units_on_one_broker_do_not_touch_each_other(place, unit):
    broker = place.broker()
    unit(broker)
    online(broker)
    first = {topic: payload for topic, payload in broker.retained().items() if "plc1" in topic}
    unit(broker, boards=False, unit="plc2", more="home_assistant: {enabled: false}")
    online(broker, "plc2")
    retained = broker.retained()
    moving = ("modbus_slave", "ai/")
    still = {topic: one for topic, one in first.items() if not any(part in topic for part in moving)}
    assert {topic: retained[topic] for topic in still} == still
    assert any(topic.startswith("homeassistant/device/evok_plc1/") for topic in retained)
    assert not any(topic.startswith("homeassistant/device/evok_plc2/") for topic in retained)


# Who may


def passwords(directory):
    file = directory / "passwords"
    file.touch()
    for name in ("plc1", "reader"):
        subprocess.run(["mosquitto_passwd", "-b", file, name, f"{name}-secret"], check=True, timeout=10)
    return file


@VERSIONS
def test_a_password_and_acls(place, unit, tmp_path, version):
    acl = tmp_path / "acl"
    acl.write_text(
        "user plc1\ntopic readwrite evok/plc1/#\ntopic readwrite homeassistant/device/evok_plc1/#\n"
        "topic read homeassistant/status\nuser reader\ntopic readwrite #\ntopic read $SYS/#\n"
    )
    broker = place.broker("allow_anonymous false", f"password_file {passwords(tmp_path)}", f"acl_file {acl}")
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    settings = f'version: "{version}", username: plc1, password_file: {secret}'
    process = unit(broker, more=settings)
    process.wait_for("(?i)not authori[sz]ed|bad user name")
    process.stop(signal.SIGKILL)  # it would try again in half a minute
    secret.write_text("plc1-secret\n")
    process = unit(broker, boards=False, more=settings)
    online(broker, "plc1", "-u", "reader", "-P", "reader-secret")
    assert "secret" not in "\n".join(process.lines).replace(str(secret), "")
    broker.publish("evok/plc1/ro/2_01/set", "1", "-u", "reader", "-P", "reader-secret")
    boards = Boards(place.modbus)
    wait_until(lambda: boards.read(SLAVE, RELAYS) == 1, "the relay")
    boards.close()


def test_what_an_acl_denies_is_told_of(place, unit, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text("user plc1\ntopic readwrite evok/plc1/#\n")
    broker = place.broker("allow_anonymous false", f"password_file {passwords(tmp_path)}", f"acl_file {acl}")
    secret = tmp_path / "secret"
    secret.write_text("plc1-secret")
    process = unit(broker, more=f"username: plc1, password_file: {secret}")
    process.wait_for(r"the broker does not take homeassistant/device/evok_plc1/\S+: Not authorized")


@pytest.fixture
def authority(tmp_path):
    """An authority, with a certificate of a broker and one of a client."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, of in (("broker", made.issue_cert("127.0.0.1")), ("client", made.issue_cert("plc1"))):
        of.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        of.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    return tmp_path


def secured(place, authority, *more):
    port = free_port()
    lines = [f"listener {port} 127.0.0.1", f"cafile {authority}/ca.pem"]
    lines += [f"certfile {authority}/broker.pem", f"keyfile {authority}/broker.key", *more]
    return place.broker(*lines), port


@VERSIONS
def test_with_tls_the_broker_is_verified_and_shown_who_we_are(place, unit, authority, version):
    broker, port = secured(place, authority, "require_certificate true")
    files = f"certificate: {authority}/client.pem, key: {authority}/client.key, authorities: {authority}/ca.pem"
    unit(f"tls:127.0.0.1:{port}", more=f'version: "{version}", {files}')
    online(broker)


def test_a_directory_of_authorities_is_as_good_as_a_file(place, unit, authority):
    broker, port = secured(place, authority)
    (authority / "trusted").mkdir()
    for name in ("ca", "other"):
        (authority / "trusted" / f"{name}.pem").write_bytes((authority / f"{name}.pem").read_bytes())
    unit(f"tls:127.0.0.1:{port}", more=f"authorities: {authority}/trusted")
    online(broker)


@pytest.mark.parametrize(
    ("host", "trusted", "why"),
    [
        ("127.0.0.1", "other.pem", "not by an authority that is trusted here"),
        ("localhost", "ca.pem", "not for the name or address"),
    ],
)
def test_a_broker_that_is_not_who_it_should_be_is_told_nothing(place, unit, authority, host, trusted, why):
    _, port = secured(place, authority)
    process = unit(f"tls:{host}:{port}", more=f"authorities: {authority}/{trusted}")
    process.wait_for(why)
    assert not any("MQTT: connected" in line for line in process.lines)


# The command line


def test_the_demo_shows_itself_on_a_broker(place, twistd):
    broker = place.broker()
    twistd("evok", "--demo", "--port", "0", "--mqtt", f"tcp:127.0.0.1:{broker.port}").wait_for("MQTT: connected")
    wait_until(lambda: [one for one in broker.retained("evok/+/status").values()] == ["online"], "online")


def test_a_broker_that_cannot_be_one_is_told(run):
    done = run("evok", "--demo", "--mqtt", "localhost")
    assert done.returncode == 2 and "--mqtt: got 'localhost', expected tcp:HOST" in done.stderr + done.stdout


def test_check_says_what_is_wrong_with_the_settings(run, place, tmp_path):
    broken = (
        "devices: [lamps], base: homeassistant, certificate: /none, key: /none, home_assistant: {lights: [do/1_01]}"
    )
    config = place.config("tcp:broker.lan", more=broken)
    done = run("evok", "--config", config, "--check")
    for what in ("apis.mqtt.devices", "apis.mqtt.base", "/none cannot be read"):
        assert what in done.stderr, done.stderr
    assert done.returncode == 1
    config = place.config("http://broker.lan")
    done = run("evok", "--config", config, "--check")
    assert "apis.mqtt.broker: got 'http://broker.lan', expected tcp:HOST, tcp:HOST:PORT" in done.stderr
