"""REST and JSON through the real resource tree, in memory."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from web import Client

from evok_twisted.errors import Refused, Timeout

LARGEST_BODY = 1 << 20


@pytest.fixture
def client():
    return Client()


@pytest.mark.parametrize("path", ["/rest/all", "/json/all", "/rest/all/"])
def test_all_lists_every_circuit(client, path):
    answer = client.get(path)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.json) == len(list(client.rig.registry))


@pytest.mark.parametrize("path", ["/rest/led/1_01", "/json/led/1_01", "/rest/led/1_01/"])
def test_a_circuit_shows_its_state(client, path):
    assert client.get(path).json == {"dev": "led", "circuit": "1_01", "value": 0, "glob_dev_id": 2}


def test_a_request_chooses_its_dialect(client):
    assert client.get("/rest/output/1_01?dialect=v3").json["dev"] == "do"
    assert client.get("/rest/output/1_01?dialect=classic").json["dev"] == "relay"
    assert client.get("/rest/output/1_01?dialect=latin").error == (400, "BadValue")


def test_all_circuits_of_a_kind_are_a_list(client):
    assert [one["circuit"] for one in client.get("/rest/led/all").json] == ["1_01", "1_02", "1_03", "1_04"]


def test_a_property_of_a_circuit_and_of_all_of_a_kind(client):
    assert client.get("/rest/input/1_01/debounce").json == {"debounce": 0}
    assert client.get("/rest/led/all/value").json[0] == {"circuit": "1_01", "value": 0}


def test_of_all_circuits_those_that_have_the_property_are_listed(client):
    client.rig.bus.words[1014] = 0b10
    client.rig.clock.pump([0.02] * 12)
    assert client.get("/rest/input/all/ds_mode").json == [{"circuit": "1_02", "ds_mode": "Simple"}]


def test_an_alias_is_a_property_of_every_circuit(client):
    assert client.get("/rest/led/1_01/alias").json == {"alias": ""}
    client.rig.registry.book.rename(client.rig.device("led", "1_02"), "lamp")
    assert client.get("/rest/led/1_02/alias").json == {"alias": "lamp"}
    assert [one["alias"] for one in client.get("/rest/led/all/alias").json] == ["", "lamp", "", ""]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/rest/lamp/1_01", "UnknownDevice"),
        ("/rest/led/9_09", "UnknownCircuit"),
        ("/rest/lamp/all", "UnknownDevice"),
        ("/rest/led/1_01/decode", "UnknownProperty"),
        ("/rest/led/1_01/__class__", "UnknownProperty"),
        ("/rest/led/all/fragments", "UnknownProperty"),
        ("/rest/led", "NotFound"),
        ("/rest", "NotFound"),
        ("/rest/led/1_01/value/more", "NotFound"),
        ("/rest/led/%ff%fe", "UnknownCircuit"),
        ("/nope", "NotFound"),
    ],
)
def test_what_is_not_there_is_a_404_that_says_what_is(client, path, error):
    assert client.get(path).error == (404, error)


def test_an_alias_works_where_a_circuit_does(client):
    client.post("/rest/led/1_01", b"alias=lamp")
    assert client.get("/rest/led/lamp").json["circuit"] == "1_01"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rest/output/1_01", b"value=1"),
        ("/json/output/1_01", b'{"value": 1}'),
        ("/json/output/1_01/", b'{"value": "1"}'),
        ("/json/output/1_01", b'{"value": true}'),
    ],
)
def test_a_set_is_answered_with_the_new_state(client, path, body):
    """Defect 3 of Evok: it answers with the old value."""
    answer = client.post(path, body)
    assert answer.status == 200
    assert (answer.json["success"], answer.json["result"]["value"]) == (True, 1)


@pytest.mark.parametrize("body", [b"value=1&", b"&value=1", b"value=1&&alias=&", b"value=1\r\n"])
def test_a_form_may_have_empty_fields(client, body):
    assert client.post("/rest/output/1_01", body).json["result"]["value"] == 1


MULTIPART = "multipart/form-data; boundary=here"
FIELDS = (
    b'--here\r\nContent-Disposition: form-data; name="value"\r\n\r\n1\r\n'
    b'--here\r\nContent-Disposition: form-data; name="alias"\r\n\r\nlamp\r\n--here--\r\n'
)


@pytest.mark.parametrize("kind", [MULTIPART, MULTIPART.replace("here", '"here"'), "Multipart/Form-Data; BOUNDARY=here"])
def test_a_form_may_come_in_several_parts(client, kind):
    state = client.post("/rest/output/1_01", FIELDS, Content_Type=kind).json["result"]
    assert (state["value"], state["alias"]) == (1, "lamp")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (MULTIPART, b""),
        (MULTIPART, b"value=1"),
        (MULTIPART, b"--here--"),
        ("multipart/form-data", FIELDS),
        (MULTIPART, FIELDS.replace(b'name="value"', b"")),
        (MULTIPART, FIELDS.replace(b"\r\n1\r\n", b"\r\n\xff\r\n")),
        (MULTIPART, FIELDS * 100),
        (MULTIPART, FIELDS.replace(b"lamp", b"x" * 100_000)),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 101)),
        ("application/x-www-form-urlencoded", b"value"),
    ],
)
def test_what_is_no_form_is_refused_and_nothing_is_written(client, kind, body):
    assert client.post("/rest/output/1_01", body, Content_Type=kind).error == (400, "BadRequest")
    assert client.rig.bus.written == []


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/x-www-form-urlencoded", "image/png"])
def test_json_is_taken_whatever_its_content_type_says(client, kind):
    assert client.post("/json/led/1_01", {"value": 1}, Content_Type=kind).status == 200


def test_a_form_with_every_field_of_an_input_at_once(client):
    body = b"debounce=50&mode=Simple&counter_mode=Enabled&counter=0&alias=my_door"
    state = client.post("/rest/input/1_01", body).json["result"]
    assert (state["debounce"], state["alias"]) == (50, "my_door")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", (400, "BadParameter")),
        (b"value", (400, "BadRequest")),
        (b"\xff\xfe=1", (400, "BadRequest")),
        (b'{"value": 1', (400, "BadRequest")),
        (b'{"value": NaN}', (400, "BadRequest")),
        (b"[" * 30000, (400, "BadRequest")),
        (b"[1]", (400, "BadRequest")),
        (b"value=2", (400, "BadValue")),
        (b"color=red", (400, "BadParameter")),
        (b"value=1&pwm_duty=50", (409, "Conflict")),
        (b"alias=1_02", (409, "Conflict")),
    ],
)
def test_a_bad_body_is_refused_and_nothing_is_written(client, body, error):
    assert client.post("/rest/output/1_01", body).error == error
    assert client.rig.bus.written == []


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Refused("refused: illegal data address (2)", 2), (502, "Refused")),
        (Timeout("no answer"), (504, "Timeout")),
    ],
)
def test_a_write_that_fails_is_told_as_such(client, failure, error):
    """Defect 1 of Evok: a failed write answers success."""
    client.rig.bus.refusing = failure
    assert client.post("/rest/output/1_01", b"value=1").error == error


def test_a_set_while_the_bus_is_down_fails_at_once(client):
    """Defect 2 of Evok: it blocks, and is sent when the bus is back."""
    client.rig.bus.turn(False)
    assert client.post("/rest/output/1_01", b"value=1").error == (502, "Offline")


def test_the_answer_waits_for_the_acknowledgement(client):
    client.rig.bus.answering = False
    client.send("POST", "/rest/output/1_01", b"value=1")
    assert client.transport.value() == b""
    client.rig.bus.answer()
    assert client.received.json["result"]["value"] == 1


def test_a_client_that_goes_away_does_not_cancel_its_write(client):
    client.rig.bus.answering = False
    client.send("POST", "/rest/output/1_01", b"value=1")
    client.channel.connectionLost(Failure(ConnectionDone()))
    client.rig.bus.answer()
    assert client.rig.device("output", "1_01").state.value == 1


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/rest/all", "GET, HEAD, OPTIONS"),
        ("/rest/led/1_01", "GET, POST, HEAD, OPTIONS"),
        ("/version", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_a_path_does_not_take_is_a_405_that_says_which_it_takes(client, path, allowed):
    answer = client.send("DELETE", path).received
    assert (answer.error, answer.headers["allow"]) == ((405, "MethodNotAllowed"), allowed)
    options = client.send("OPTIONS", path).received
    assert (options.status, options.headers["allow"], options.body) == (204, allowed, b"")


def test_a_post_to_a_list_is_not_allowed(client):
    assert client.post("/rest/led/all", b"value=1").error == (405, "MethodNotAllowed")


def test_head_has_the_headers_and_no_body(client):
    get, head = client.get("/rest/led/1_01"), client.send("HEAD", "/rest/led/1_01").received
    assert (head.status, head.headers["content-length"], head.body) == (200, get.headers["content-length"], b"")


def test_a_body_that_is_too_large_is_a_413(client):
    assert client.post("/rest/led/1_01", b"x" * (LARGEST_BODY + 1)).error == (413, "TooLarge")


def test_a_chunked_body_that_is_too_large_is_a_413_too(client):
    client.send("POST", "/rest/led/1_01")
    client.transport = StringTransport()
    channel = client.site.buildProtocol(None)
    channel.makeConnection(client.transport)
    channel.dataReceived(b"POST /rest/led/1_01 HTTP/1.1\r\nHost: plc\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"x" * 65536
    for _ in range(LARGEST_BODY // len(chunk) + 1):
        channel.dataReceived(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        client.rig.clock.pump([0] * 10)  # some turns of the reactor
    assert client.received.error == (413, "TooLarge")


def test_the_largest_body_is_taken(client):
    body = b"value=1" + b" " * (LARGEST_BODY - 7)
    assert client.post("/rest/led/1_01", body).status == 200


def test_the_version_is_text(client):
    answer = client.get("/version")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert answer.body.startswith(b"v")


def test_a_bug_in_the_service_is_a_500_and_logged(client, log):
    client.rig.writer.check = lambda *_: 1 / 0
    assert client.post("/rest/led/1_01", b"value=1").error == (500, "EvokError")
    log.expected("division by zero")


@pytest.mark.parametrize(
    "body",
    [b"value=1&timeout=2", b'{"value":"1","timeout":"2"}', b'{"value":1,"timeout":2}', b'{"value":true,"timeout":2.0}'],
)
def test_a_timeout_may_be_a_number_or_text(client, body):
    """Defect 10 of Evok: it must be text."""
    assert client.post("/json/relay/1_01", body).json["result"]["pending"] is True
    client.rig.clock.advance(2)
    assert client.get("/rest/relay/1_01/value").json == {"value": 0}


def test_a_pulse_to_0_given_as_text_ends_at_1(client):
    """Defect 10 of Evok: "0" with a timeout ends at 0."""
    client.post("/rest/relay/1_01", b"value=1")
    client.post("/rest/relay/1_01", b"value=0&timeout=2")
    client.rig.clock.advance(2)
    state = client.get("/rest/relay/1_01").json
    assert (state["value"], state["pending"]) == (1, False)  # and defect 11: pending stays true


@pytest.mark.parametrize("name", ["plan", "refresh", "decode", "local", "state", "_plan", "__init__", "rename"])
@pytest.mark.parametrize("path", ["/rest/relay/1_01/{}", "/rest/{}/1_01", "/rest/relay/{}"])
def test_nothing_of_a_device_object_can_be_reached_by_name(client, path, name):
    """Defect 15 of Evok: any method of a device can be called from the network."""
    assert client.get(path.format(name)).status == 404
    assert client.post("/rest/relay/1_01", f"{name}=1".encode()).error == (400, "BadParameter")


def test_a_value_that_is_no_number_is_null_in_every_list(client):
    """Defect 9 of Evok: NaN is sent as invalid JSON."""
    client.rig.bus.words.update({3002: 0, 3003: 0x7FC0})
    client.rig.clock.pump([0.02] * 10)
    assert b"NaN" not in client.get("/rest/all").body
    assert client.get("/rest/ai/1_01/value").json == {"value": None}


@pytest.mark.parametrize(
    "path", ["/", "/nope", "/rest", "/rest/led", "/rest/lamp/9", "/bulk/more", "/version", "/rpc/"]
)
def test_options_of_anything_is_a_204(client, path):
    answer = client.send("OPTIONS", path).received
    assert (answer.status, answer.body) == (204, b"")
    assert "OPTIONS" in answer.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/", "/version", "/health", "/rest/all", "/rest/led/1_01", "/openapi.json", "/nope", "/rest"]
)
def test_head_is_answered_as_get_without_its_body(client, log, path):
    got, head = client.get(path), client.send("HEAD", path).received
    assert (head.status, head.body) == (got.status, b"")
    assert (head.headers["content-type"], head.headers["content-length"]) == (
        got.headers["content-type"],
        got.headers["content-length"],
    )
    assert log.texts("info")[1:] == []
