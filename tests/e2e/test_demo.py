"""The demo as a user meets it: a real process, and the client programs of Evok's documentation."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import time

import pytest
import websocket

FIELDS = {
    "input": ["circuit", "value", "debounce", "counter_modes", "counter_mode", "counter", "mode", "modes"],
    "relay": ["relay_type", "circuit", "value", "pending", "mode", "modes"],
    "ai": ["circuit", "value", "unit", "mode", "modes", "range"],
    "ao": ["circuit", "mode", "modes", "unit", "value"],
    "led": ["circuit", "value"],
    "wd": ["circuit", "value", "timeout", "was_wd_reset", "nv_save"],
    "owpower": ["circuit", "value"],
    "register": ["circuit", "value"],
    "modbus_slave": ["circuit", "last_comm", "slave_id", "modbus_type"],
    "temp": ["circuit", "address", "value", "lost", "time", "interval", "typ"],
    "1wdevice": ["circuit", "address", "humidity", "vdd", "vad", "vis", "temp", "lost", "time", "interval", "typ"],
    "owbus": ["circuit", "bus", "scan_interval", "interval", "do_scan", "do_reset"],
    "device_info": ["family", "model", "sn", "board_count", "circuit"],
}


@pytest.fixture
def connect(demo):
    opened = []

    def connect(query="", **options):
        ws = websocket.create_connection(demo.url + query, timeout=5, **options)
        opened.append(ws)
        return ws

    yield connect
    for ws in opened:
        ws.close()


def say(ws, **message):
    ws.send(json.dumps(message))


def hear(ws, wanted, seconds=5.0):
    """The first message for which ``wanted`` holds; every other has the form that clients expect, too."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        ws.settimeout(left)
        message = json.loads(ws.recv())
        assert isinstance(message, list) or "id" in message
        if wanted(message):
            return message
    raise AssertionError("nothing of that kind came")


def reply(ws, given):
    return hear(ws, lambda message: isinstance(message, dict) and message["id"] == given)


def test_listen(connect):
    """The first program of Evok's document: connect, and print what comes."""
    ws = connect()
    changed = hear(ws, lambda message: any(one["dev"] == "input" for one in message))
    one = next(one for one in changed if one["dev"] == "input")
    assert set(FIELDS["input"]) <= one.keys()
    assert one["value"] in (0, 1)
    assert isinstance(one["circuit"], str)


def test_filter_on_relay_and_ao(connect):
    """The second: hear of outputs and analog outputs only."""
    ws = connect()
    say(ws, cmd="filter", devices=["relay", "ao"], id="filter")
    reply(ws, "filter")
    say(ws, cmd="set", dev="ao", circuit="1_01", value=5.5)
    changed = hear(ws, lambda message: True)
    assert [(one["dev"], one["circuit"], one["value"], one["unit"]) for one in changed] == [("ao", "1_01", 5.5, "V")]
    say(ws, cmd="set", dev="relay", circuit="2_03", value=1)
    assert hear(ws, lambda message: True) == [
        {
            "dev": "relay",
            "relay_type": "physical",
            "circuit": "2_03",
            "value": 1,
            "pending": False,
            "mode": "Simple",
            "modes": ["Simple"],
            "glob_dev_id": 3,
        }
    ]


def test_set_output_1_01(connect):
    """The third: switch an output; the change comes as an event."""
    ws = connect()
    say(ws, cmd="set", dev="output", circuit="1_01", value=1)
    changed = hear(ws, lambda message: any(one["dev"] == "relay" for one in message))
    assert next(one for one in changed if one["dev"] == "relay") == {
        "dev": "relay",
        "relay_type": "digital",
        "circuit": "1_01",
        "value": 1,
        "pending": False,
        "mode": "Simple",
        "modes": ["Simple", "PWM"],
        "glob_dev_id": 2,
        "pwm_freq": 4800.0,
        "pwm_duty": 0,
    }


def test_all_shows_the_whole_unit_field_by_field(connect):
    ws = connect()
    say(ws, cmd="all", id=1)
    states = reply(ws, 1)["result"]
    for one in states:
        assert set(FIELDS[one["dev"]]) - ({"unit"} if one["dev"] == "ao" else set()) <= one.keys(), one
    numbers = {one["circuit"]: one["glob_dev_id"] for one in states if one["dev"] == "modbus_slave"}
    assert numbers == {"1": 2, "2": 3, "3": 4}
    (info,) = [one for one in states if one["dev"] == "device_info"]
    assert info["circuit"] == "Neuron_L533_0"
    assert len(states) == 38 + 2 * 71 + 1 + 4


def test_the_1_wire_sensors_can_be_read_set_and_named(connect):
    ws = connect()
    say(ws, cmd="full", dev="sensor", circuit="2895DCD509000035", id=1)
    one = reply(ws, 1)["result"]
    assert 19.5 <= one["value"] <= 23.5
    assert (one["lost"], one["typ"]) == (False, "DS18B20")
    say(ws, cmd="set", dev="temp", circuit="2895DCD509000035", interval=0.5, alias="cellar", id=2)
    assert reply(ws, 2)["result"]["interval"] == 0.5
    say(ws, cmd="filter", devices=["temp/cellar"], id=3)
    reply(ws, 3)
    # where its wave turns, the sensor keeps one step of 1/16 degree for 17 s
    (changed,) = hear(ws, lambda message: True, seconds=30)
    assert changed["alias"] == "cellar"
    assert changed["time"] > one["time"]


def test_a_reset_of_the_1_wire_bus_takes_its_power_away_and_gives_it_back(connect):
    ws = connect()
    say(ws, cmd="filter", devices=["owpower"], id=1)
    reply(ws, 1)
    say(ws, cmd="set", dev="owbus", circuit="OWFS", do_reset=True)
    seen = [hear(ws, lambda message: True)[0] for _ in range(2)]
    assert [one["value"] for one in seen] == [1, 0]


def test_v3_names(connect):
    ws = connect("?dialect=v3")
    say(ws, cmd="all", id=1)
    states = reply(ws, 1)["result"]
    assert {"di", "do", "ro"} <= {one["dev"] for one in states}
    assert not any("glob_dev_id" in one for one in states)


def test_an_acknowledged_set_is_fast_and_true(connect):
    ws = connect()
    for n in range(10):
        say(ws, cmd="set", dev="output", circuit="1_02", value=n % 2, id=n)
        answer = reply(ws, n)
        assert (answer["success"], answer["result"]["value"]) == (True, n % 2)


def test_a_pulse(connect):
    ws = connect()
    say(ws, cmd="filter", devices=["relay/2_05"], id="filter")
    reply(ws, "filter")
    say(ws, cmd="set", dev="relay", circuit="2_05", value=1, timeout="0.2")
    seen = [hear(ws, lambda message: True)[0] for _ in range(2)]
    assert [(one["value"], one["pending"]) for one in seen] == [(1, True), (0, False)]


def test_bad_input_leaves_the_connection_and_the_service(connect, demo):
    ws = connect()
    for garbage in (" ", "nonsense", "[]", '{"cmd":"reboot"}', '{"cmd":"get","circuit":5}', "[" * 30000):
        ws.send(garbage)
    ws.send_binary(b"\xff\xfe")
    ws.send('{"cmd":"set","dev":"ao","circuit":"1_01","value":NaN,"id":3}')
    assert reply(ws, 3)["error"]["code"] == "bad_request"
    say(ws, cmd="full", dev="led", circuit="1_01", id=4)
    assert reply(ws, 4)["success"]
    assert not [line for line in demo.lines if "Traceback" in line or "Unhandled" in line]


def test_a_message_of_a_mebibyte_closes_the_connection_and_no_other(connect):
    ws, other = connect(), connect()
    ws.send('{"id":1,"cmd":"' + "x" * 2**20 + '"}')
    with pytest.raises(websocket.WebSocketException):
        while True:
            opcode, frame = ws.recv_data_frame()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                assert struct.unpack(">H", frame.data[:2])[0] == 1009
                raise websocket.WebSocketConnectionClosedException
    say(other, cmd="full", dev="led", circuit="1_01", id=1)
    assert reply(other, 1)["success"]


def test_set_and_close_at_once_still_sets(connect):
    ws = connect()
    say(ws, cmd="set", dev="relay", circuit="3_01", value=1)
    ws.close()
    other = connect()
    hear_value(other, "3_01", 1)


def hear_value(ws, circuit, value):
    for n in range(200):
        say(ws, cmd="full", dev="relay", circuit=circuit, id=f"{circuit}{n}")
        if reply(ws, f"{circuit}{n}")["result"]["value"] == value:
            return
    raise AssertionError(f"{circuit} did not become {value}")


def test_a_client_that_vanishes_costs_nothing(connect, demo):
    ws = connect()
    ws.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ws.sock.close()
    other = connect()
    hear(other, lambda message: isinstance(message, list))
    assert not [line for line in demo.lines if "Traceback" in line]


def test_connections_leave_no_file_descriptors_behind(connect, demo):
    def descriptors():
        return len(os.listdir(f"/proc/{demo.process.pid}/fd"))

    connect().close()
    before = descriptors()
    for _ in range(20):
        connect().close()
    deadline = time.monotonic() + 5
    while descriptors() > before and time.monotonic() < deadline:
        connect("").close()
    assert descriptors() <= before + 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_within_a_second_cleanly_and_says_so(connect, demo, number):
    connect()
    begun = time.monotonic()
    assert demo.stop(number) == 0
    assert time.monotonic() - begun < 2  # one second, and what a busy machine adds
    assert [line for line in demo.lines if "evok stopped" in line] != []
    assert not [line for line in demo.lines if "Traceback" in line or "offline" in line]
