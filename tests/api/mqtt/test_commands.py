"""Commands from a broker: each is carried out once or not at all, and answered once."""

from __future__ import annotations

import json

import pytest
from brokers import House

from evok_twisted.api.mqtt.commands import LARGEST_BULK, LARGEST_SET
from evok_twisted.core.identity import Scopes
from evok_twisted.model.registers import WriteCoil


@pytest.fixture(params=[5, 3], ids=["5", "3.1.1"])
def house(request):
    return House(version=request.param).start()


def led(house, n=1):
    return house.rig.device("led", f"1_0{n}").state.value


@pytest.mark.parametrize(
    "payload", ["ON", " on ", "true", "1", '{"value":1}', "TOGGLE", "toggle", '{"value":"toggle"}']
)
@pytest.mark.parametrize("qos", [0, 1])
def test_an_output_is_switched_by_any_word_for_it(house, payload, qos):
    (answer,) = house.say("led/1_01/set", payload, qos=qos)
    assert led(house) == 1
    assert answer == {
        "id": None,
        "topic": "led/1_01/set",
        "success": True,
        "result": {"dev": "led", "circuit": "1_01", "value": 1},
    }
    assert house.broker.on("evok/plc1/reply")[-1].qos == qos
    assert not house.broker.on("evok/plc1/reply")[-1].retain


def test_a_state_is_told_before_the_answer(house):
    house.news()
    house.say("led/1_01/set", "1")
    assert [one.topic for one in house.news()] == ["evok/plc1/led/1_01", "evok/plc1/reply"]


def test_the_id_comes_back_and_the_cause_has_it(house):
    (answer,) = house.say("led/1_01/set", '{"value":1,"id":"a7"}')
    assert answer["id"] == "a7"
    cause = house.rig.changes[-1].cause
    assert (cause.name, cause.via, cause.command) == ("mqtt", "mqtt", "a7")


def test_one_parameter_has_a_topic_of_its_own(house):
    (answer,) = house.say("di/1_01/debounce/set", "60")
    assert answer["success"] and answer["result"]["debounce"] == 60
    (answer,) = house.say("di/1_01/debounce/set", '{"value":70,"id":1}')
    assert (answer["id"], answer["result"]["debounce"]) == (1, 70)


def test_a_pulse_is_one_command(house):
    house.say("led/1_01/set", '{"value":1,"timeout":0.5}')
    assert led(house) == 1
    house.wait(0.6)
    assert led(house) == 0


def test_an_alias_is_as_good_as_a_circuit(house):
    house.say("led/1_01/alias/set", "lamp")
    assert house.say("led/lamp/set", "1")[0]["success"]
    assert json.loads(house.broker.retained["evok/plc1/led/1_01"])["alias"] == "lamp"


def test_two_toggles_are_two_however_soon_they_come(house):
    house.rig.bus.answering = False
    for _ in range(2):
        house.broker.deliver("evok/plc1/led/1_01/set", "TOGGLE")
    house.rig.bus.answering = True
    house.rig.bus.answer_all()
    house.wait(0.5)
    assert led(house) == 0


def test_a_state_is_published_again_when_it_is_asked_for(house):
    house.news()
    (answer,) = house.say("led/1_01/get")
    assert answer["result"]["circuit"] == "1_01"
    assert len(house.broker.on("evok/plc1/led/1_01")) == 1
    house.news()
    (answer,) = house.say("all/get")
    assert answer["result"] == {"circuits": len(house.front._states.devices())}
    assert len(house.broker.on("evok/plc1/led/1_04")) == 1


def test_a_bulk_request_is_as_that_over_http(house):
    one = {"device_type": "led", "device_circuit": "1_02", "assigned_values": {"value": 1}}
    (answer,) = house.say("bulk", json.dumps({"id": 4, "individual_assignments": [one]}))
    assert (answer["id"], answer["success"], led(house, 2)) == (4, True, 1)
    assert answer["result"]["individual_assignments"][0]["value"] == 1


def test_a_bulk_request_that_fails_at_the_hardware_is_no_success(house):
    house.rig.bus.turn(False)
    house.wait(0.1)
    one = {"device_type": "led", "device_circuit": "1_02", "assigned_values": {"value": 1}}
    (answer,) = house.say("bulk", json.dumps({"individual_assignments": [one]}))
    assert (answer["success"], answer["error"]["code"]) == (False, "offline")
    assert "errors" in answer["result"]["individual_assignments"][0]


# What is refused


@pytest.mark.parametrize(
    ("topic", "payload", "code"),
    [
        ("lamp/1_01/set", "1", "unknown_device"),
        ("led/9_99/set", "1", "unknown_circuit"),
        ("led/1_01/colour/set", "1", "bad_parameter"),
        ("led/1_01/set", "perhaps", "bad_value"),
        ("led/1_01/set", '{"value":', "bad_request"),
        ("led/1_01/set", '{"value":1,"id":[1]}', "bad_request"),
        ("led/1_01/set", b"\xff\xfe", "bad_request"),
        ("led/1_01/value/set", '{"value":1,"timeout":3}', "bad_request"),
        ("led/1_01/set", "{}", "bad_parameter"),
        ("led/1_01/set", " " * (LARGEST_SET + 1), "too_large"),
        ("led/9_99/get", "", "unknown_circuit"),
        ("do/1_01/set", '{"value":1,"pwm_duty":50}', "conflict"),
        ("ai/1_01/set", "3", "bad_parameter"),
        ("bulk", "ON", "bad_request"),
        ("bulk", '{"individual":[]}', "bad_request"),
        ("bulk", " " * (LARGEST_BULK + 1), "too_large"),
    ],
)
def test_what_is_wrong_is_answered_with_its_name_and_nothing_is_written(house, topic, payload, code):
    written = len(house.rig.bus.written)
    (answer,) = house.say(topic, payload)
    assert (answer["success"], answer["error"]["code"], answer["topic"]) == (False, code, topic)
    assert len(house.rig.bus.written) == written


def test_what_the_hardware_does_not_do_is_answered_with_what_became_of_it(house):
    house.rig.bus.turn(False)
    house.wait(0.1)
    (answer,) = house.say("led/1_01/set", "1")
    assert (answer["error"]["code"], answer["error"]["sent"]) == ("offline", False)


def test_a_value_that_is_not_known_cannot_be_toggled():
    house = House()
    house.rig.device("led", "1_01").state = type(house.rig.device("led", "1_01").state)()
    house.start()
    assert house.say("led/1_01/set", "TOGGLE")[0]["error"]["code"] == "conflict"


def test_a_command_that_the_broker_had_kept_is_never_carried_out_and_cleared(log):
    for version in (5, 3):
        house = House(version=version)
        house.broker.retained["evok/plc1/led/1_01/set"] = b"ON"
        house.start()
        house.wait(1)
        assert led(house) == 0 and not any(isinstance(one, WriteCoil) for one in house.rig.bus.written)
        (answer,) = (one.json for one in house.broker.on("evok/plc1/reply"))
        assert (answer["error"]["code"], answer["topic"]) == ("refused_retained", "led/1_01/set")
        assert "evok/plc1/led/1_01/set" not in house.broker.retained
        house.front.stopService()
        house.wait(1)
    assert len([line for line in log.texts() if "led/1_01/set: a command that the broker had kept" in line]) == 2


def test_nothing_is_no_command(house):
    before = len(house.broker.published)
    house.broker.deliver("evok/plc1/led/1_01/set", b"")
    house.broker.deliver("evok/plc1/bulk", b"")
    house.wait(0.2)
    assert len(house.broker.published) == before


def test_more_commands_a_second_than_may_come_are_busy():
    house = House(max_rate=3).start()
    for n in range(5):
        house.broker.deliver("evok/plc1/led/1_01/set", json.dumps({"value": n % 2, "id": n}))
    house.wait(0.2)
    answers = {one.json["id"]: one.json for one in house.broker.on("evok/plc1/reply")}
    assert [answers[n]["success"] for n in range(5)] == [True, True, True, False, False]
    assert answers[4]["error"]["code"] == "busy"
    house.wait(1)
    assert house.say("led/1_01/set", "1")[0]["success"]


def test_more_commands_under_way_than_may_be_are_busy(house, monkeypatch):
    monkeypatch.setattr("evok_twisted.api.mqtt.commands.MOST_UNDER_WAY", 2)
    house.rig.bus.answering = False
    for n in (1, 2, 3):
        house.broker.deliver(f"evok/plc1/led/1_0{n}/set", "1")
    house.wait(0.1)
    (answer,) = (one.json for one in house.broker.on("evok/plc1/reply"))
    assert (answer["topic"], answer["error"]["code"]) == ("led/1_03/set", "busy")
    house.rig.bus.answering = True
    house.rig.bus.answer_all()
    house.wait(0.5)
    assert [led(house, n) for n in (1, 2, 3)] == [1, 1, 0]
    assert house.say("led/1_03/set", "1")[0]["success"]


def test_what_the_role_may_not_is_forbidden():
    house = House(role="operator").start()
    assert house.say("led/1_01/set", "1")[0]["success"]
    assert house.say("di/1_01/debounce/set", "60")[0]["error"]["code"] == "forbidden"
    assert House(role="viewer").start().say("led/1_01/set", "1")[0]["error"]["code"] == "forbidden"


def test_where_no_commands_are_wanted_none_are_heard():
    house = House(commands=False).start()
    assert not any(pattern.endswith(("set", "get", "bulk")) for pattern in house.broker.subscriptions)
    assert house.say("led/1_01/set", "1") == []
    assert led(house) == 0


# Where answers go


def test_of_mqtt_5_the_answer_goes_where_it_is_asked_for():
    house = House().start()
    assert house.say("led/1_01/set", "1", ResponseTopic="my/answers", CorrelationData=b"x1") == []
    (answer,) = house.broker.on("my/answers")
    assert answer.json["success"] and answer.properties.CorrelationData == b"x1"
    assert not answer.retain


@pytest.mark.parametrize(
    "topic",
    [
        "a/+/b",
        "a/#",
        "$SYS/x",
        "homeassistant/device/x/config",
        "other/ro/1/set",
        "other/get",
        "evok/plc2/bulk",
        "evok/plc1/status",
        "x" * 1025,
    ],
)
def test_no_answer_goes_where_it_could_be_a_command_for_others(topic):
    house = House().start()
    (answer,) = house.say("led/1_01/set", "1", ResponseTopic=topic)
    assert answer["error"]["code"] == "bad_request"
    assert house.broker.on(topic) == [] or topic == "evok/plc1/status"
    assert led(house) == 0


def test_an_answer_may_go_below_reply():
    house = House().start()
    house.say("led/1_01/set", "1", ResponseTopic="evok/plc1/reply/nodered")
    assert house.broker.on("evok/plc1/reply/nodered")[0].json["success"]


def test_answers_are_dropped_with_the_connection_that_they_were_for(house):
    house.rig.bus.answering = False
    house.broker.deliver("evok/plc1/led/1_01/set", "1")
    house.lose()
    house.rig.bus.answering = True
    house.rig.bus.answer_all()
    house.news()
    house.connect()
    assert house.broker.on("evok/plc1/reply") == []


SETS = [
    ("led/1_01/set", "1"),
    ("led/1_01/set", '{"value":1,"timeout":1}'),
    ("do/1_01/pwm_duty/set", "30"),
    ("do/1_01/pwm_freq/set", "100"),
    ("ao/1_01/set", "3"),
    ("ao/1_01/mode/set", "Current"),
    ("di/1_01/debounce/set", "60"),
    ("led/1_01/alias/set", "lamp"),
    ("wd/1_01/set", "1"),
    ("register/1_0/set", "1"),
]


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_who_may_what_is_the_same_as_over_every_other_door(role):
    house = House(role=role).start()
    for topic, payload in SETS:
        kind, circuit, *rest = topic.split("/")[:-1]
        given = json.loads(payload) if payload.startswith("{") else {rest[0] if rest else "value": payload}
        forbidden = Scopes(role).objection(house.rig.device(kind, circuit), given)
        (answer,) = house.say(topic, payload)
        assert answer["success"] is not bool(forbidden), answer
        if forbidden:
            assert (answer["error"]["code"], forbidden in answer["error"]["message"]) == ("forbidden", True)
