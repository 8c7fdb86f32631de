"""``apis.mqtt``: what it may be, what it comes down to, and that its documentation has all of it."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import trustme
from brokers import House
from fakes import Rig
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from evok_twisted.api.front import Context
from evok_twisted.api.gate import Gate
from evok_twisted.api.mqtt.front import make
from evok_twisted.api.mqtt.settings import HomeAssistantSettings, MqttSettings, endpoint, read_files
from evok_twisted.errors import ConfigError
from evok_twisted.problems import Problems
from evok_twisted.typedyaml import Reader

DOCUMENT = (Path(__file__).parents[3] / "docs" / "mqtt.md").read_text("utf-8")


def read(**given):
    problems = Problems()
    return Reader("config.yaml", problems).struct(MqttSettings, given, "apis.mqtt"), problems.found


def test_the_document_has_every_key_with_its_default():
    table = DOCUMENT.partition("## Settings")[2]
    rows = {}
    for names, default in re.findall(r"^\| (`[^|]+) \| [^|]+ \| ([^|]+) \|", table, re.MULTILINE):
        for name in re.findall(r"`([a-z_.]+)`", names):
            rows[f"home_assistant{name}" if name.startswith(".") else name] = default.strip(" `")
    ours = {**defaults(MqttSettings()), **defaults(HomeAssistantSettings(), "home_assistant.")}
    del ours["home_assistant"]
    assert rows.keys() == ours.keys()
    said = {"enabled": "false", "unit": "the host's name", "client_id": "evok-{unit}", "devices": "[all]"}
    for key, value in ours.items():
        shown = said.get(key) or {True: "true", False: "false"}.get(value if isinstance(value, bool) else None)
        if shown is None:
            shown = "0" if value == 0 else str(value)
        if value in ("", ()) and key not in said:
            assert rows[key] in ("none", "those of the system"), key
        else:
            assert rows[key] == shown, key


def defaults(settings, before=""):
    return {f"{before}{field}": getattr(settings, field) for field in settings.__struct_fields__}


@pytest.mark.parametrize(
    ("broker", "where"),
    [
        ("tcp:broker.lan", ("broker.lan", 1883)),
        ("tcp:my_broker:1884", ("my_broker", 1884)),
        ("tcp:[fe80::1%eth0]:1884", ("fe80::1%eth0", 1884)),
        ("tcp:10.0.0.7", ("10.0.0.7", 1883)),
    ],
)
def test_a_broker_is_a_host_and_a_port(broker, where):
    found, problems = read(broker=broker)
    assert problems == []
    made = endpoint(found, read_files(found), MemoryReactorClock())
    assert (made._host, made._port) == where


def test_a_broker_may_be_a_socket():
    found, _ = read(broker="unix:/run/mosquitto.sock")
    assert endpoint(found, read_files(found), MemoryReactorClock())._path == "/run/mosquitto.sock"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("broker", "broker.lan"),
        ("broker", "mqtt://broker.lan"),
        ("broker", "tcp:host:port"),
        ("broker", "unix:relative"),
        ("version", "4"),
        ("unit", "Plant 1"),
        ("base", "evok/"),
        ("base", "$SYS"),
        ("base", "a+b"),
        ("qos", "2"),
        ("keepalive", "0"),
        ("every", "-1"),
        ("role", "king"),
        ("role", "none"),
        ("values", "xml"),
        ("max_rate", "0"),
    ],
)
def test_what_it_cannot_be_is_told_with_what_was_expected(key, value):
    found, (problem,) = read(**{key: value})
    assert found is None
    assert problem.path == f"apis.mqtt.{key}" and value in problem.message and "expected" in problem.message


def made(**settings):
    problems, rig = Problems(), Rig(Clock())
    front = make(Context(rig.desks, rig.clock, problems, {}, Gate()), MqttSettings(enabled=True, **settings))
    return front, [(one.path, one.message) for one in problems.found]


@pytest.mark.parametrize(
    ("settings", "path", "message"),
    [
        ({"devices": ("lamps",)}, "apis.mqtt.devices", "none of these kinds is known"),
        ({"base": "homeassistant"}, "apis.mqtt.base", "that of home_assistant.prefix"),
        ({"password_file": "/none"}, "apis.mqtt", "/none cannot be read: No such file"),
        ({"certificate": "/none"}, "apis.mqtt", "go together"),
        (
            {"home_assistant": HomeAssistantSettings(lights=("lamps",))},
            "apis.mqtt.home_assistant.lights",
            "none of these kinds is known",
        ),
    ],
)
def test_what_cannot_work_costs_the_front_and_is_told(settings, path, message):
    front, problems = made(**settings)
    assert front is None
    ((where, what),) = problems
    assert where == path and message in what


@pytest.mark.parametrize(
    ("settings", "path", "message"),
    [
        ({"devices": ("led", "lamps")}, "apis.mqtt.devices", "unknown kinds, ignored: lamps"),
        ({"values": "plain"}, "apis.mqtt.values", "they are published, too"),
    ],
)
def test_what_is_odd_is_a_warning(settings, path, message):
    front, ((where, what),) = made(**settings)
    assert front is not None and where == path and message in what


def test_names_that_cannot_stand_in_topics_are_encoded_and_told():
    problems, clock = Problems(), MemoryReactorClock()
    rig = Rig(clock, name="a/b+c%")
    front = make(Context(rig.desks, clock, problems, {}, Gate()), MqttSettings(enabled=True))
    assert front is not None
    assert "'a/b+c%' is 'a%2Fb%2Bc%25' in MQTT topics" in problems.found[0].message


def test_an_encoded_name_is_found():
    house = House(name="a/b+c").start()
    assert "evok/plc1/led/a%2Fb%2Bc_01" in house.broker.retained
    assert "evok/plc1/boards/a%2Fb%2Bc/status" in house.broker.retained
    (answer,) = house.say("led/a%2Fb%2Bc_01/set", "1")
    assert answer["result"] == {"dev": "led", "circuit": "a/b+c_01", "value": 1}


@pytest.fixture
def pems(tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("plc1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    (tmp_path / "nonsense.pem").write_text("nonsense")
    (tmp_path / "torn.pem").write_text((tmp_path / "ca.pem").read_text()[:200] + "\n-----END CERTIFICATE-----\n")
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"authorities": "nonsense.pem"}, "has no certificate in PEM format"),
        ({"authorities": "torn.pem"}, "a certificate in it cannot be read"),
        ({"authorities": "none.pem"}, "cannot be read: No such file"),
        ({"certificate": "nonsense.pem", "key": "key.pem"}, "are no certificate and its key in PEM format"),
        ({"certificate": "cert.pem", "key": "nonsense.pem"}, "are no certificate and its key in PEM format"),
    ],
)
def test_a_file_that_is_of_no_use_is_told_by_name(pems, settings, message):
    given = {key: str(pems / name) for key, name in settings.items()}
    with pytest.raises(ConfigError, match=message) as found:
        read_files(MqttSettings(**given))
    assert str(pems) in str(found.value)


def test_files_are_read_as_they_are_now(pems):
    password = pems / "password"
    settings = MqttSettings(password_file=str(password), authorities=str(pems / "ca.pem"))
    for secret in ("one", "two"):
        password.write_text(f"{secret}\n")
        assert read_files(settings).password == secret


def test_its_name_is_that_of_the_host_as_far_as_that_can_be(monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Plant 7.Example.com")
    assert MqttSettings().name == "plant-7-example-com"
    assert MqttSettings().client == "evok-plant-7-example-com"
    assert msgspec.structs.replace(MqttSettings(), unit="plc1", client_id="mine").client == "mine"
