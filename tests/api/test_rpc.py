"""JSON-RPC through the real resource tree, in memory."""

from __future__ import annotations

import pytest
from fakes import TwoBoards
from twisted.internet.task import Clock
from web import Client

from evok_twisted.api.rpc import LARGEST_BATCH, NAMES
from evok_twisted.errors import Refused


@pytest.fixture
def boards():
    return TwoBoards(Clock())


@pytest.fixture
def client(boards):
    return Client(rig=boards)


def call(client, method, *positional, path="/rpc", **named):
    """The result of one call."""
    message = {"jsonrpc": "2.0", "method": method, "params": list(positional) or named, "id": 1}
    answer = client.post(path, message)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert (answer.json["jsonrpc"], answer.json["id"]) == ("2.0", 1)
    return answer.json["error"] if "error" in answer.json else answer.json["result"]


def code(client, method, *positional, **named):
    return call(client, method, *positional, **named)["code"]


# The table of methods


@pytest.mark.parametrize(
    ("method", "parameters", "result"),
    [
        ("di_get", ["1_01"], [0, 0]),
        ("input_get", ["1_01"], [0, 0]),
        ("di_get_value", ["1_01"], 0),
        ("input_get_value", ["1_01"], 0),
        ("di_set", ["1_01", 50], 50),
        ("input_set", ["1_01", "60"], 60),
        ("do_get", ["1_01"], [0, False]),
        ("output_get", ["2_01"], [0, False]),
        ("relay_get", ["2_01"], [0, False]),
        ("ro_get", ["2_01"], [0, False]),
        ("do_set", ["1_01", 1], 1),
        ("output_set", ["1_01", "1"], 1),
        ("relay_set", ["2_01", True], 1),
        ("ro_set", ["2_01", 0], 0),
        ("ai_set", ["1_01", "Current"], "Current"),
        ("ao_get", ["2_01"], 0.0),
        ("ao_set_value", ["2_01", 5], 5.0),
        ("ao_set", ["1_01", 5, "Voltage"], 5.0),
        ("led_get", ["1_01"], 0),
        ("led_set", ["1_01", 1], 1),
        ("wd_get", ["1_01"], [0, 0]),
        ("wd_set", ["1_01", 1], 1),
        ("wd_set", ["1_01", 1, 5000], 1),
        ("register_get", ["1_5"], 0),
        ("register_set", ["1_5", 7], 7),
    ],
)
def test_every_method_answers(client, method, parameters, result):
    """Defect 18 of Evok: several methods answer 500."""
    assert call(client, method, *parameters) == result


@pytest.mark.parametrize(
    ("name", "circuit", "seconds"),
    [("do", "1_01", 2), ("output", "2_01", "0.5"), ("relay", "2_01", 3), ("ro", "2_01", 3)],
)
def test_a_set_for_a_time_answers_with_the_state(client, name, circuit, seconds):
    state = call(client, f"{name}_set_for_time", circuit, 1, seconds)
    assert (state["dev"], state["circuit"], state["value"], state["pending"]) == ("relay", circuit, 1, True)


def test_an_analog_input_answers_with_its_state(client):
    assert call(client, "ai_get", "1_01") == client.get("/rest/ai/1_01").json


def test_a_relay_shows_its_value_only_in_v3(client):
    assert call(client, "ro_get", "2_01", path="/rpc?dialect=v3") == 0
    assert call(client, "do_get", "1_01", path="/rpc?dialect=v3") == [0, False]


def test_parameters_may_be_named(client, boards):
    assert call(client, "relay_set_for_time", circuit="2_01", value=1, timeout=2)["pending"] is True
    boards.clock.advance(2)
    assert call(client, "relay_get", circuit="2_01") == [0, False]


def test_an_alias_is_a_circuit_here_too(client):
    client.post("/json/relay/2_01", {"alias": "door"})
    assert call(client, "relay_set", "door", 1) == 1


def test_the_methods_can_be_listed(client):
    listed = call(client, "system.listMethods")
    assert listed == sorted(NAMES)
    assert {"relay_set", "owbus_scan", "owbus_list", "sensor_get_value", "system.listMethods"} <= set(listed)


# What goes wrong


@pytest.mark.parametrize(
    ("method", "parameters", "error"),
    [
        ("relay_toggle", ["2_01"], -32601),
        ("__class__", [], -32601),
        ("relay_set", ["2_01"], -32602),
        ("relay_set", ["2_01", 1, 2], -32602),
        ("relay_set", {"circuit": "2_01", "value": 1, "colour": 1}, -32602),
        ("relay_set", {"value": 1}, -32602),
        ("relay_set", ["2_01", 2], -32602),
        ("relay_set", ["9_09", 1], -32602),
        ("relay_get", [None], -32602),
        ("sensor_get", ["28"], -32602),
        ("owbus_list", ["OWFS"], -32602),
        ("system.listMethods", [1], -32602),
        ("ao_set_value", ["2_01", "much"], -32602),
    ],
)
def test_a_mistake_has_the_code_that_the_standard_gives_it(client, boards, method, parameters, error):
    message = {"jsonrpc": "2.0", "method": method, "params": parameters, "id": "a"}
    answer = client.post("/rpc", message).json
    assert (answer["error"]["code"], answer["id"]) == (error, "a")
    assert boards.extension.bus.written == []


def test_a_mistake_is_explained(client):
    assert call(client, "relay_sett", "2_01")["message"] == "there is no method 'relay_sett'; did you mean 'relay_set'?"
    assert call(client, "relay_set", "2_01")["message"] == "relay_set(circuit, value): value is missing"
    assert call(client, "relay_set", "2_01", 7) == {
        "code": -32602,
        "message": "value: got 7, expected 0 or 1",
        "data": {"code": "bad_value", "sent": False},
    }


def test_what_fails_at_the_hardware_is_a_device_failure(client, boards):
    boards.extension.bus.refusing = Refused("refused: illegal data address (2)", 2)
    assert call(client, "relay_set", "2_01", 1) == {
        "code": -32000,
        "message": "refused: illegal data address (2)",
        "data": {"code": "refused", "sent": False},
    }


@pytest.mark.parametrize("body", [b"", b"nothing", b"\xff", b'{"jsonrpc":"2.0"', b"[" * 100_000, b'{"a":NaN}'])
def test_what_is_no_json_is_a_parse_error(client, body):
    answer = client.post("/rpc", body)
    assert (answer.status, answer.json["error"]["code"], answer.json["id"]) == (200, -32700, None)


@pytest.mark.parametrize(
    ("message", "given"),
    [
        (1, None),
        ("relay_get", None),
        ({}, None),
        ({"jsonrpc": "2.0", "id": 1}, 1),
        ({"jsonrpc": "1.0", "method": "system.listMethods", "id": 1}, 1),
        ({"method": "system.listMethods", "id": "x"}, "x"),
        ({"jsonrpc": "2.0", "method": 1, "params": "bar", "id": 1.5}, 1.5),
        ({"jsonrpc": "2.0", "method": "system.listMethods", "params": "bar", "id": 1}, 1),
        ({"jsonrpc": "2.0", "method": "system.listMethods", "id": [1]}, None),
        ({"jsonrpc": "2.0", "method": "system.listMethods", "id": True}, None),
        ([], None),
        ([{}] * (LARGEST_BATCH + 1), None),
    ],
)
def test_what_is_no_call_is_an_invalid_request(client, message, given):
    answer = client.post("/rpc", message).json
    assert (answer["error"]["code"], answer["id"]) == (-32600, given)


# Batches and notifications


def test_a_batch_is_answered_with_a_list_without_its_notifications(client):
    batch = [
        {"jsonrpc": "2.0", "method": "relay_set", "params": ["2_01", 1], "id": "1"},
        {"jsonrpc": "2.0", "method": "relay_set", "params": ["2_02", 1]},
        {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
        {"foo": "boo"},
        1,
        {"jsonrpc": "2.0", "method": "relay_get", "params": ["2_02"], "id": None},
    ]
    answers = client.post("/rpc", batch).json
    shown = [(one.get("result"), one.get("error", {}).get("code"), one["id"]) for one in answers]
    assert shown == [
        (1, None, "1"),
        (None, -32601, "5"),
        (None, -32600, None),
        (None, -32600, None),
        ([1, False], None, None),
    ]


@pytest.mark.parametrize("many", [False, True])
def test_notifications_are_done_and_not_answered(client, boards, many):
    one = {"jsonrpc": "2.0", "method": "relay_set", "params": ["2_01", 1]}
    answer = client.post("/rpc", [one, {**one, "method": "nope"}] if many else one)
    assert (answer.status, answer.body) == (204, b"")
    assert boards.registry.find("relay", "2_01", "classic").state.value == 1


def test_the_calls_of_a_batch_on_one_board_keep_their_order(client, boards):
    batch = [{"jsonrpc": "2.0", "method": "led_set", "params": [f"1_0{n}", 1], "id": n} for n in (3, 1, 2)]
    answers = client.post("/rpc", batch).json
    assert [one["id"] for one in answers] == [3, 1, 2]
    assert [write.address for write in boards.main.bus.written] == [10, 8, 9]


@pytest.mark.parametrize("headers", [{}, {"Content_Type": "text/plain"}, {"Content_Type": "application/json"}])
def test_a_call_is_taken_whatever_its_content_type_says(client, headers):
    message = {"jsonrpc": "2.0", "method": "relay_get", "params": ["2_01"], "id": 1}
    assert client.post("/rpc", message, **headers).json["result"] == [0, False]


def test_only_post_is_taken(client):
    assert client.get("/rpc").error == (405, "MethodNotAllowed")
    assert client.post("/rpc/", {"jsonrpc": "2.0", "method": "system.listMethods", "id": 1}).status == 200
    assert client.get("/rpc/more").status == 404


def test_parameters_may_be_null_as_some_libraries_have_it(client):
    message = {"jsonrpc": "2.0", "method": "system.listMethods", "params": None, "id": 1}
    assert "result" in client.post("/rpc", message).json


def test_an_id_that_no_number_can_hold_is_a_bad_request(client):
    answer = client.post("/rpc", b'{"jsonrpc":"2.0","method":"led_get","params":["1_01"],"id":1%s}' % (b"0" * 309))
    assert (answer.status, answer.json["error"]["code"], answer.json["id"]) == (200, -32600, None)


def test_a_change_that_a_call_has_made_says_which_call_it_was():
    client = Client()
    causes = []
    client.rig.events.subscribe(lambda changes: causes.append(changes.cause))
    client.post("/rpc", {"jsonrpc": "2.0", "id": "a7", "method": "led_set", "params": ["1_01", 1]})
    assert [(cause.via, cause.command) for cause in causes if cause] == [("rpc", "a7")]
