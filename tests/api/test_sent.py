"""Whether a command that failed was sent, on every front."""

from __future__ import annotations

import pytest
from web import Client, Talk

from evok_twisted.errors import BadAnswer, Busy, EvokError, Offline, Refused, Superseded, Timeout

ERRORS = [
    (Timeout("no answer within 1 s"), True, "no answer within 1 s; it was sent, and may have been done"),
    (Timeout("could not be sent in time"), False, "could not be sent in time; nothing was sent"),
    (Offline("the connection was lost"), True, "the connection was lost; it was sent, and may have been done"),
    (Offline("bus TCP is offline"), False, "bus TCP is offline; nothing was sent"),
    (
        Refused("refused: device failure (4)", 4),
        True,
        "refused: device failure (4); it was sent, and may have been done",
    ),
    (Refused("refused: illegal function (1)", 1), False, "refused: illegal function (1)"),
    (BadAnswer("junk"), True, "junk; it was sent, and may have been done"),
]


@pytest.fixture(params=ERRORS, ids=lambda case: f"{type(case[0]).__name__}, {'sent' if case[1] else 'not sent'}")
def failing(request):
    """A unit whose writes all fail in one way, and what is to be said of it."""
    error, sent, message = request.param
    client = Client("00")
    error.sent = sent
    client.rig.bus.refusing = error
    yield client, sent, message
    client.rig.bus.refusing = None


SET = {"device_type": "relay", "device_circuit": "1_01", "assigned_values": {"value": 1}}


def test_a_form_is_told(failing):
    client, sent, message = failing
    answer = client.post("/rest/relay/1_01", b"value=1").json
    assert (answer["sent"], list(answer["errors"].values())) == (sent, [message])


def test_a_bulk_request_is_told_in_the_place_of_what_failed(failing):
    client, sent, message = failing
    (answer,) = client.post("/bulk", {"individual_assignments": [SET]}).json["individual_assignments"]
    assert (answer["sent"], list(answer["errors"].values())) == (sent, [message])


def test_a_json_rpc_call_is_told(failing):
    client, sent, message = failing
    error = client.post("/rpc", {"jsonrpc": "2.0", "id": 1, "method": "relay_set", "params": ["1_01", 1]}).json["error"]
    assert (error["data"]["sent"], error["message"]) == (sent, message)


def test_a_websocket_message_is_told(failing):
    client, sent, message = failing
    message_of_set = {"cmd": "set", "dev": "relay", "circuit": "1_01", "value": 1, "id": 7}
    (answer,) = Talk(rig=client.rig).say(message_of_set)
    error = answer["error"]
    assert (error["sent"], error["message"]) == (sent, message)


def errors(of=EvokError):
    return [of, *(below for one in of.__subclasses__() for below in errors(one))]


def test_each_error_has_a_name_of_its_own_on_the_wire():
    names = [vars(error)["name"] for error in errors()]
    assert len(set(names)) == len(names)


def test_what_was_not_taken_was_not_sent():
    assert {error.sent for error in (Busy, Superseded)} == {False}
