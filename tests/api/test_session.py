"""What clients say and what they are told, message by message."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web import Talk

from evok_twisted.core.filters import DEFAULT
from evok_twisted.errors import Timeout


@pytest.fixture
def talk():
    return Talk()


def test_all_lists_every_circuit_in_the_order_of_kinds(talk):
    (listed,) = talk.say({"cmd": "all"})
    assert len(listed) == len(list(talk.rig.registry))
    assert list(dict.fromkeys(one["dev"] for one in listed)) == [
        "input", "relay", "ai", "ao", "led", "wd", "modbus_slave", "owpower", "register",
    ]  # fmt: skip


def test_all_with_a_filter_lists_everything_all_the_same(talk):
    """Defect 13 of Evok: all with a filter is always empty."""
    talk.say({"cmd": "filter", "devices": ["ao"]})
    (listed,) = talk.say({"cmd": "all"})
    assert len(listed) == len(list(talk.rig.registry))


def test_all_lists_what_the_filter_accepts_where_that_is_configured():
    talk = Talk(all_filtered=True)
    talk.say({"cmd": "filter", "devices": ["ao", "wd"]})
    (listed,) = talk.say({"cmd": "all"})
    assert [one["dev"] for one in listed] == ["ao", "wd"]


def test_all_with_an_id_is_a_reply(talk):
    (reply,) = talk.say({"cmd": "all", "id": "x"})
    assert (reply["id"], reply["success"]) == ("x", True)
    assert len(reply["result"]) == len(list(talk.rig.registry))


def test_full_without_an_id_is_a_list_of_one(talk):
    """Defect 13 of Evok: full never replies on the WebSocket."""
    assert talk.say({"cmd": "full", "dev": "led", "circuit": "1_01"}) == [
        [{"dev": "led", "circuit": "1_01", "value": 0, "glob_dev_id": 2}]
    ]


def test_full_with_an_id_is_the_object(talk):
    (reply,) = talk.say({"cmd": "full", "dev": "led", "circuit": "1_01", "id": 1})
    assert reply["result"] == {"dev": "led", "circuit": "1_01", "value": 0, "glob_dev_id": 2}


@pytest.mark.parametrize("given", [7, 7.5, "seven", 0, ""])
def test_the_id_comes_back_as_it_was(talk, given):
    (reply,) = talk.say({"cmd": "full", "dev": "led", "circuit": "1_01", "id": given})
    assert reply["id"] == given


def test_a_set_without_an_id_gets_no_reply(talk):
    assert talk.say({"cmd": "set", "dev": "output", "circuit": "1_01", "value": 1}) == []
    assert talk.rig.device("output", "1_01").state.value == 1


def test_a_set_with_an_id_gets_one_reply_after_the_acknowledgement(talk):
    talk.rig.bus.answering = False
    assert talk.say({"cmd": "set", "dev": "output", "circuit": "1_01", "value": 1, "id": 5}) == []
    talk.rig.bus.answer()
    (reply,) = [json.loads(one) for one in talk.sent]
    assert (reply["id"], reply["success"], reply["result"]["value"]) == (5, True, 1)


@pytest.mark.parametrize("value", [1, "1", True, 1.0, {"value": 1}, {"value": "1"}])
def test_value_may_be_a_number_text_a_boolean_or_an_object(talk, value):
    talk.say({"cmd": "set", "dev": "output", "circuit": "1_01", "value": value})
    assert talk.rig.device("output", "1_01").state.value == 1


def test_parameters_may_stand_beside_value_and_in_it(talk):
    talk.say({"cmd": "set", "dev": "input", "circuit": "1_02", "debounce": 77})
    talk.say({"cmd": "set", "dev": "input", "circuit": "1_02", "value": {"counter": 5, "mode": "DirectSwitch"}})
    state = talk.rig.device("input", "1_02").state
    assert (state.debounce, state.counter, state.mode) == (77, 5, "DirectSwitch")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"cmd": "sett"}, "unknown_command"),
        ({"cmd": None}, "unknown_command"),
        ({"cmd": ["all"]}, "unknown_command"),
        ({"cmd": "__init__"}, "unknown_command"),
        ({}, "unknown_command"),
        ({"cmd": "set"}, "bad_parameter"),
        ({"cmd": "set", "dev": "relay"}, "bad_parameter"),
        ({"cmd": "set", "dev": "relay", "circuit": "1_01"}, "bad_parameter"),
        ({"cmd": "set", "dev": "lamp", "circuit": "1_01", "value": 1}, "unknown_device"),
        ({"cmd": "set", "dev": {"a": 1}, "circuit": "1_01", "value": 1}, "unknown_device"),
        ({"cmd": "set", "dev": "relay", "circuit": "9_01", "value": 1}, "unknown_circuit"),
        ({"cmd": "set", "dev": "relay", "circuit": ["1_01"], "value": 1}, "bad_value"),
        ({"cmd": "set", "dev": "relay", "circuit": "1_01", "value": "x"}, "bad_value"),
        ({"cmd": "set", "dev": "relay", "circuit": "1_01", "value": [1]}, "bad_value"),
        ({"cmd": "set", "dev": "relay", "circuit": "1_01", "value": {}}, "bad_parameter"),
        ({"cmd": "set", "dev": "relay", "circuit": "1_01", "decode": 1}, "bad_parameter"),
        ({"cmd": "set", "dev": "relay", "circuit": "1_01", "value": {"timeout": 5}, "timeout": 5}, "bad_parameter"),
        ({"cmd": "set", "dev": "relay", "circuit": "1_01", "value": 1, "pwm_duty": 10}, "conflict"),
        ({"cmd": "full", "dev": "relay", "circuit": 7}, "unknown_circuit"),
        ({"cmd": "filter"}, "bad_parameter"),
        ({"cmd": "filter", "devices": 5}, "bad_value"),
        ({"cmd": "filter", "devices": [5]}, "bad_value"),
        ({"cmd": "filter", "devices": ["lamp"]}, "unknown_device"),
    ],
)
def test_bad_input_gets_a_code_where_there_is_an_id_and_nothing_where_there_is_none(talk, message, code):
    assert talk.say(message) == []
    (reply,) = talk.say({**message, "id": 3})
    assert (reply["id"], reply["success"], reply["error"]["code"]) == (3, False, code)
    assert reply["error"]["message"]
    assert talk.rig.bus.written == []


@pytest.mark.parametrize(
    "payload",
    [b" ", b"", b"5", b"null", b"[]", b'"text"', b"\xff\xfe", b"{", b"[" * 50000, b'{"id":' * 9000, b'{"cmd":"all"'],
)
def test_what_is_no_object_is_passed_over(talk, payload):
    assert talk.say(payload) == []
    assert talk.say({"cmd": "all"}) != []


@pytest.mark.parametrize(
    "payload", [b'{"id":"\\ud800","cmd":"all"}', b'{"id":NaN,"cmd":"all"}', b'{"id":1e999,"cmd":"all"}']
)
def test_an_id_that_could_not_come_back_as_it_was_gets_no_reply(talk, payload):
    assert talk.say(payload) == []
    assert len(talk.say({"cmd": "full", "dev": "led", "circuit": "1_01", "id": 1})) == 1


@pytest.mark.parametrize("given", [None, {"a": 1}, [1], True])
def test_an_id_that_is_none_gets_no_reply_and_nothing_is_done(talk, given):
    assert talk.say({"cmd": "set", "dev": "output", "circuit": "1_01", "value": 1, "id": given}) == []
    assert talk.rig.bus.written == []


@pytest.mark.parametrize(
    ("payload", "given"),
    [
        (b'{"cmd":"set","dev":"ao","circuit":"1_01","value":NaN,"id":7}', 7),
        (b'{"cmd":"set","dev":"ao","circuit":"1_01","value":-Infinity,"id":"x"}', "x"),
        (b'{"id": 12, "cmd": "set", "value": ', 12),
        (b'{"cmd":"set","dev":"ao","circuit":"1_01","value":' + b"9" * 5000 + b',"id":3}', 3),
        (b'{"id":"door","cmd":}', "door"),
    ],
)
def test_what_is_no_json_gets_a_reply_where_an_id_can_be_read(talk, payload, given):
    (reply,) = talk.say(payload)
    assert (reply["id"], reply["error"]["code"]) == (given, "bad_request")
    assert talk.rig.bus.written == []


def test_deep_nesting_is_refused(talk):
    deep = b'{"id":1,"cmd":"set","dev":"ao","circuit":"1_01","value":' + b"[" * 30000 + b"]" * 30000 + b"}"
    (reply,) = talk.say(deep)
    assert reply["success"] is False


@pytest.mark.parametrize("key", ["cmd", "dev", "circuit", "devices", "debounce"])
def test_what_cannot_even_be_shown_is_refused(talk, key):
    deep = b"[" * 900 + b"]" * 900
    message = {"cmd": "set", "dev": "input", "circuit": "1_01", "id": 1}
    if key == "devices":
        message = {"cmd": "filter", "id": 1}
    rest = b"".join(b',"%b":"%b"' % (k.encode(), str(v).encode()) for k, v in message.items() if k != key)
    (reply,) = talk.say(b'{"%b":%b%b}' % (key.encode(), deep, rest))
    assert (reply["id"], reply["success"]) == ("1", False)
    assert reply["error"]["code"] != "error"


def test_a_bug_in_the_service_is_told_and_logged(talk, log):
    talk.rig.registry.find = lambda *_: 1 / 0
    (reply,) = talk.say({"cmd": "full", "dev": "led", "circuit": "1_01", "id": 1})
    assert reply["error"]["code"] == "error"
    (reply,) = talk.say({"cmd": "set", "dev": "led", "circuit": "1_01", "value": 1, "id": 2})
    assert reply["error"]["code"] == "error"
    log.expected("division by zero")


@pytest.mark.parametrize("kind", ["all", "default"])
def test_a_filter_can_be_set_back_to_everything(talk, kind):
    talk.say({"cmd": "filter", "devices": ["ao"]})
    talk.say({"cmd": "filter", "devices": [kind]})
    assert talk.filters[-1] == DEFAULT


def test_names_of_both_dialects_and_unknown_ones_may_be_mixed_in_a_filter(talk):
    (reply,) = talk.say({"cmd": "filter", "devices": ["input", "di", "do", "lamp", "unit_register"], "id": 1})
    assert reply["result"]["unknown"] == ["lamp"]
    assert talk.filters[-1].kinds == {"di", "do", "data_point"}


def test_a_filter_of_nothing_known_is_refused_and_the_old_one_stays(talk):
    talk.say({"cmd": "filter", "devices": ["ao"]})
    talk.say({"cmd": "filter", "devices": ["lamp", "door"]})
    assert len(talk.filters) == 1


def test_v3_has_its_own_names():
    talk = Talk("v3")
    (listed,) = talk.say({"cmd": "full", "dev": "output", "circuit": "1_01"})
    assert (listed[0]["dev"], "glob_dev_id" in listed[0]) == ("do", False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["cmd", "dev", "circuit", "value", "id", "devices", "timeout", "pwm_duty", "alias", "junk"])
words = st.sampled_from(["set", "full", "all", "filter", "relay", "output", "ai", "1_01", "1", "Simple", "default"])


@given(st.lists(st.dictionaries(keys, words | json_values, max_size=8), max_size=5))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_whatever_is_said_a_reply_comes_exactly_where_there_is_an_id(messages):
    talk = Talk()
    for message in messages:
        replies = [sent for sent in talk.say(message) if isinstance(sent, dict)]
        given_id = message.get("id")
        is_id = isinstance(given_id, str | int | float) and not isinstance(given_id, bool)
        if is_id and given_id == given_id and abs(given_id if not isinstance(given_id, str) else 0) < 2**63:
            assert len(replies) == 1
        elif not is_id:
            assert replies == []


def test_health_is_told_with_and_without_an_id(talk):
    ((report,),) = talk.say({"cmd": "health"})
    assert (report["healthy"], report["status"]) == (True, "1 of 1 board online")
    (reply,) = talk.say({"cmd": "health", "id": 1})
    assert reply["success"]
    assert reply["result"]["buses"][0]["slaves"][0]["circuit"] == "1"


def test_a_set_without_an_id_that_is_refused_is_told_in_the_log_once_a_minute(talk, log):
    for _ in range(20):
        assert talk.say({"cmd": "set", "dev": "relay", "circuit": "1_01", "value": 7}) == []
    assert log.texts("warn") == ["test: set of relay 1_01 was refused: value: got 7, expected 0 or 1"]
    talk.rig.clock.advance(60)
    assert "19 messages like this in 60 s" in log.texts("warn")[-1]


def test_a_set_without_an_id_that_fails_at_the_hardware_is_told_too(talk, log):
    talk.rig.bus.refusing = Timeout("no answer")
    talk.say({"cmd": "set", "dev": "relay", "circuit": "1_01", "value": 1})
    assert "test: set of relay 1_01 was refused: no answer; nothing was sent" in log.texts("warn")


def test_a_set_with_an_id_that_is_refused_is_told_to_its_client_only(talk, log):
    talk.say({"cmd": "set", "dev": "relay", "circuit": "1_01", "value": 7, "id": 1})
    assert log.texts("warn") == []


@pytest.mark.parametrize("given", [10**309, -(10**309), True, None, [1]])
def test_an_id_that_cannot_be_one_gets_no_answer_and_costs_nothing(talk, given):
    assert talk.say({"cmd": "full", "dev": "led", "circuit": "1_01", "id": given}) == []
    assert talk.say({"cmd": "full", "dev": "led", "circuit": "1_01", "id": 10**18})[0]["id"] == 10**18


# Wills


WILL = {"cmd": "will", "sets": [{"dev": "led", "circuit": "1_01", "value": 1}]}


def led(talk):
    return talk.rig.device("led", "1_01").state.value


def test_a_will_is_carried_out_when_the_connection_ends_and_not_after_unwill():
    talk = Talk()
    (reply,) = talk.say({**WILL, "id": 1, "within": 5})
    assert reply["result"] == {"sets": 1, "within": 5}
    assert (led(talk), talk.rig.core.wills.count) == (0, 1)
    (reply,) = talk.say({"cmd": "unwill", "id": 2})
    assert (reply["success"], talk.rig.core.wills.count) == (True, 0)
    talk.say(WILL)
    talk.session.close()
    assert (led(talk), talk.rig.core.wills.count) == (1, 0)


def test_a_new_will_takes_the_place_of_the_one_before():
    talk = Talk()
    talk.say(WILL)
    talk.say({"cmd": "will", "sets": [{"dev": "led", "circuit": "1_02", "value": 1}]})
    assert talk.rig.core.wills.count == 1
    talk.session.close()
    assert (led(talk), talk.rig.device("led", "1_02").state.value) == (0, 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sets": []}, "sets: expected a list of 1 to 64 sets"),
        ({"sets": [5]}, "sets: expected a list"),
        ({"sets": [{"dev": "led"}]}, "circuit is missing"),
        ({"sets": WILL["sets"] * 65}, "sets: expected a list of 1 to 64"),
        ({"sets": [{"dev": "led", "circuit": "9_99", "value": 1}]}, "no circuit or alias '9_99'"),
        ({"sets": [{"dev": "led", "circuit": "1_01", "value": 7}]}, "value: got 7"),
        ({"within": 0.5}, "within: got 0.5, expected a number from 1 to 75 seconds"),
        ({"within": 100}, "within: got 100"),
        ({"within": 0}, "within: got 0"),
    ],
)
def test_a_will_that_cannot_be_is_refused_and_the_one_before_stays(change, told):
    talk = Talk()
    talk.say(WILL)
    (reply,) = talk.say({**WILL, "id": 1, **change})
    assert told in reply["error"]["message"]
    assert talk.rig.core.wills.count == 1
