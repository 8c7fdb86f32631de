"""A state that is posted back, whole or with a field changed, is taken by every kind, on all fronts."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from fakes import BY
from onewire import OneWireRig
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from web import Client, Talk

from evok_twisted.core.commands import UNCHANGED
from evok_twisted.core.dialects import IDENTITY, fragment, settable
from evok_twisted.model.aliases import AliasTable, Target
from evok_twisted.model.system import DeviceInfo, DeviceInfoState

DIALECTS = ("classic", "v3")

#: Boards with every kind that a board may have, and what makes it show all of its fields.
BOARDS = {
    "00": {0: 0b1010, 1: 0b10, 17: 1234, 1017: 7, 1018: 4999, 1014: 0b10, 1015: 0b10, 1019: 0, 3000: 0, 3001: 0x4104},
    "13": {1: 0b10101, 2: 1000, 14: 3, 1019: 1, 1020: 9},
    "xS51": {1: 0b10101, 2: 1000},
    "IAQ": {},
    "xG18": {},
}


@pytest.fixture(scope="module", params=BOARDS)
def client(request):
    client = Client(request.param)
    client.rig.bus.words.update(BOARDS[request.param])
    client.rig.clock.pump([0.02] * 120)
    client.rig.registry.add(DeviceInfo("1", DeviceInfoState("Neuron", "L533", 7, 3)))
    client.rig.registry.add(AliasTable(lambda: {"door": Target(("ro",), "1_01")}))
    return client


def state_object(device, dialect):
    """What a client is shown."""
    return json.loads(fragment(device, dialect))


def devices(client):
    return [device for kind in client.rig.registry._by_kind.values() for device in kind]


def form(state):
    """A state as a form has it: text, and of lists and objects what a page makes of them."""
    return urlencode({key: value if isinstance(value, str) else json.dumps(value) for key, value in state.items()})


def path_of(device, dialect):
    state = state_object(device, dialect)
    return f"/rest/{state['dev']}/{state['circuit']}?dialect={dialect}"


def by_form(client, device, state, dialect):
    return client.post(path_of(device, dialect), form(state).encode()).json


def by_json(client, device, state, dialect):
    return client.post(path_of(device, dialect), state).json


def by_bulk(client, device, state, dialect):
    one = {"device_type": state["dev"], "device_circuit": state["circuit"], "assigned_values": state}
    (answer,) = client.post(f"/bulk?dialect={dialect}", {"individual_assignments": [one]}).json[
        "individual_assignments"
    ]
    return {"success": True, **answer}


def by_message(client, device, state, dialect):
    (answer,) = Talk(dialect, rig=client.rig).say({"cmd": "set", **state, "id": 1})
    return answer


def by_message_with_an_object(client, device, state, dialect):
    message = {"cmd": "set", "dev": state["dev"], "circuit": state["circuit"], "value": state, "id": 1}
    (answer,) = Talk(dialect, rig=client.rig).say(message)
    return answer


FRONTS = [by_form, by_json, by_bulk, by_message, by_message_with_an_object]


@pytest.mark.parametrize("front", FRONTS, ids=lambda front: front.__name__)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_state_is_taken_as_it_is_and_stays(client, dialect, front):
    for device in devices(client):
        state = state_object(device, dialect)
        answer = front(client, device, state, dialect)
        assert answer["success"], (device, answer)
        after = state_object(device, dialect)
        assert {**after, "last_comm": 0} == {**state, "last_comm": 0}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_given_back_unchanged_of_a_whole_state_is_not_written(client, dialect):
    for device in devices(client):
        client.rig.bus.written.clear()
        by_json(client, device, state_object(device, dialect), dialect)
        whole = len(state_object(device, dialect).keys() - IDENTITY) > 2
        assert client.rig.bus.written == [] or not whole, device


@pytest.fixture
def main():
    client = Client("00")
    client.rig.bus.words.update(BOARDS["00"])
    client.rig.clock.pump([0.02] * 120)
    return client


@pytest.mark.parametrize("front", FRONTS, ids=lambda front: front.__name__)
def test_of_a_whole_state_what_differs_is_set(main, front):
    output = main.rig.device("output", "1_01")
    state = {**state_object(output, "classic"), "value": 1}
    assert front(main, output, state, "classic")["success"]
    assert (output.state.value, len(main.rig.bus.written)) == (1, 1)


def test_a_value_that_is_alone_is_set_though_it_is_what_is_shown(main):
    output = main.rig.device("output", "1_02")
    assert output.state.value == 1
    assert main.post("/rest/output/1_02", b"value=1").status == 200
    assert len(main.rig.bus.written) > 0


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("input/1_01", {"value": 1}),
        ("ai/1_01", {"value": 5}),
        ("input/1_01", {"circuit": "1_02", "debounce": 5}),
        ("input/1_01", {"glob_dev_id": 99, "debounce": 5}),
        ("input/1_01", {"strange": 1}),
        ("input/1_01", {}),
    ],
)
def test_what_cannot_be_set_and_is_not_what_is_shown_is_a_mistake(main, target, wanted):
    assert main.post(f"/rest/{target}", wanted).error == (400, "BadParameter")
    assert main.rig.bus.written == []


def test_what_cannot_be_set_and_is_what_is_shown_may_stand_by(main):
    assert main.post("/rest/input/1_01", {"value": 0, "dev": "input", "debounce": 60}).status == 200
    assert main.rig.device("input", "1_01").state.debounce == 60


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_kind_of_the_1_wire_takes_its_state(dialect):
    sensors = {
        "28.000000000001": {"type": "DS18B20", "temperature": "21.5"},
        "26.000000000001": {"type": "DS2438", "temperature": "21.5", "VDD": "5", "VAD": "2", "vis": "1"},
        "29.000000000001": {"type": "DS2408", "sensed.ALL": "0,1,0,1,0,1,0,1", "PIO.ALL": "1,0,1,0,1,0,1,0"},
        "12.000000000001": {"type": "DS2406", "sensed.ALL": "0,1", "PIO.ALL": "1,0"},
        "01.000000000001": {"type": "DS2401"},
        "77.000000000001": {"type": "77"},
    }
    rig = OneWireRig(Clock(), sensors=sensors).start()
    assert len(list(rig.registry)) == 7
    for device in rig.registry:
        state = state_object(device, dialect)
        assert device.kind == "owbus" or settable(device, state, dialect) is UNCHANGED
        left = settable(device, {**state, "interval": 5}, dialect)
        assert left["interval"] == 5
        done = Deferred.fromCoroutine(rig.commands.set(device, left, BY))
        rig.advance(1)
        assert done.result.state.interval == 5


# UniPi's web page posts the form of an output with its mode


@pytest.mark.parametrize("mode", ["Simple", "simple", "SIMPLE"])
def test_an_output_takes_the_mode_that_it_has(main, mode):
    answer = main.post("/rest/relay/1_01", urlencode({"mode": mode, "value": 1, "alias": "lamp"}).encode())
    assert (answer.status, answer.json["result"]["value"]) == (200, 1)


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"mode": "PWM", "pwm_duty": 50}, 200),
        ({"mode": "Simple", "pwm_duty": 0}, 200),
        ({"mode": "Simple", "value": 1}, 200),
        ({"mode": "PWM", "value": 1}, 409),
        ({"mode": "Simple", "pwm_duty": 50}, 409),
        ({"mode": "PWM"}, 409),
        ({"mode": "Servo"}, 400),
    ],
)
def test_a_mode_goes_with_what_else_is_said(main, wanted, status):
    answer = main.post("/rest/relay/1_01", wanted)
    assert answer.status == status
    assert status == 200 or main.rig.bus.written == []


def test_a_relay_takes_its_only_mode():
    client = Client("13")
    assert client.post("/rest/relay/1_01", b"mode=simple&value=1").status == 200
    assert client.post("/rest/relay/1_01", b"mode=PWM").status == 400
