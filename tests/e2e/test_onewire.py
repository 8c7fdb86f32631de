"""The whole 1-Wire part as a user meets it: a configuration, an owserver, clients."""

from __future__ import annotations

import json
import time

import pytest
import websocket
from real_owserver import RealOwServer, needs_owserver

CONFIG = """
comm_channels:
  OWFS:
    type: OWBUS
    port: {port}
    interval: 0.5
    scan_interval: 1
    devices:
      gone: {{type: DS18B20, address: 28.95DCD5090000}}
"""


@pytest.fixture
def owserver():
    server = RealOwServer("--fake", "DS18B20,DS18B20,DS18B20,DS2438,DS2408", "--fake", "77.112233445566").start()
    yield server
    server.stop()


@pytest.fixture
def evok(twistd, tmp_path, owserver):
    (tmp_path / "config.yaml").write_text(CONFIG.format(port=owserver.port))
    return twistd("evok", "--config", tmp_path, "--port", "0")


def ask(ws, **message):
    """The result of a command, and everything that came before it."""
    ws.send(json.dumps({**message, "id": 1}))
    events = []
    while True:
        answer = json.loads(ws.recv())
        if isinstance(answer, dict):
            assert answer["success"], answer
            return answer["result"], events
        events += answer


def states(ws, wanted, seconds=15.0):
    """Everything by circuit, as soon as ``wanted`` holds for it."""
    deadline = time.monotonic() + seconds
    while True:
        all_of_it = {one["circuit"]: one for one in ask(ws, cmd="all")[0]}
        if wanted(all_of_it.values()):
            return all_of_it
        assert time.monotonic() < deadline, f"not within {seconds} s: {all_of_it}"


def of_type(found, type):
    return [one for one in found if one.get("typ") == type]


def everything_read(found):
    there = [one for one in found if one["dev"] in ("temp", "1wdevice") and one["circuit"] != "2895DCD509000035"]
    return len(there) == 6 and all(one["time"] and not one["lost"] for one in there)


@needs_owserver
def test_the_sensors_of_the_real_owserver_come_and_go_with_it(evok, owserver):
    ws = websocket.create_connection(evok.url, timeout=5)
    found = states(ws, everything_read)
    for one in of_type(found.values(), "DS18B20"):
        assert list(one) == ["dev", "circuit", "address", "value", "lost", "time", "interval", "typ"]
    (switch,) = of_type(found.values(), "DS2408")
    assert set(switch["value"]) <= {0, 1}
    assert len(switch["value"]) == len(switch["pio"]) == 8
    (monitor,) = of_type(found.values(), "DS2438")
    assert all(isinstance(monitor[name], float) for name in ("temp", "vdd", "vad", "vis"))
    assert found["7711223344556628"]["typ"] == "77"
    assert abs(monitor["time"] - time.time()) < 60

    found = states(ws, lambda every: any(one["circuit"] == "2895DCD509000035" and one["lost"] for one in every))
    assert found["2895DCD509000035"]["value"] is None
    assert not found[switch["circuit"]]["lost"], "one that is lost costs the others nothing"

    assert ask(ws, cmd="set", dev="1wdevice", circuit=switch["circuit"], pio=3, value=1)[0]["circuit"]
    assert ask(ws, cmd="set", dev="owbus", circuit="OWFS", do_scan=True)[0]["bus"] == "OWFS"

    owserver.stop()
    found = states(ws, lambda every: all(one["lost"] for one in every if "lost" in one))
    assert found[monitor["circuit"]]["temp"] is not None, "it keeps its last value"
    owserver.start()
    states(ws, everything_read)
    ws.close()

    assert evok.stop() == 0
    told = "\n".join(evok.lines)
    assert "Traceback" not in told
    assert told.count("does not answer") == 1
    assert told.count("owserver of bus OWFS answers") == 2
    assert told.count("is lost") == 1


@needs_owserver
def test_new_values_are_events(evok):
    ws = websocket.create_connection(evok.url, timeout=5)
    ws.send(json.dumps({"cmd": "filter", "devices": ["temp"]}))
    heard = {}
    deadline = time.monotonic() + 15
    while len([values for values in heard.values() if len(values) > 2]) < 3:
        assert time.monotonic() < deadline, heard
        for one in json.loads(ws.recv()):
            if one["dev"] == "temp":
                heard.setdefault(one["circuit"], set()).add(one["value"])
    ws.close()


#: What ``owserver --tester`` says of its sensors, which are always the same.
TESTER = {
    "28000028D7000011": {"typ": "DS18B20", "dev": "temp", "value": 4.0},
    "10000010EF01009F": {"typ": "DS18S20", "dev": "temp", "value": 1.7},
    "22000022DD02007A": {"typ": "DS1822", "dev": "temp", "value": 3.6},
    "42000042BD0300A3": {"typ": "DS28EA00", "dev": "temp", "value": 6.9},
    "A60000A659040098": {"typ": "DS2438", "temp": 17.0, "vdd": 17.0, "vad": 17.0, "vis": 17.0, "humidity": 17.0},
    "29000029D60500F7": {"typ": "DS2408", "value": [0, 1, 0, 1, 0, 1, 0, 1], "pio": [0, 1, 0, 1, 0, 1, 0, 1]},
    "12000012ED0600C3": {"typ": "DS2406", "value": [0, 1], "pio": [0, 1]},
    "3A00003AC50700C4": {"typ": "DS2413", "value": [1, 0], "pio": [1, 0]},
    "01000001FE0800BD": {"typ": "DS2401", "value": 1},
    "1D00001DE209005C": {"typ": "DS2423"},
}


@needs_owserver
def test_every_type_of_sensor_is_shown_as_the_real_owserver_reads_it(twistd, tmp_path):
    """Defect 17 of Evok: with a DS2408 on the bus nothing is shown."""
    owserver = RealOwServer("--tester", ",".join(expected["typ"] for expected in TESTER.values())).start()
    try:
        (tmp_path / "config.yaml").write_text(CONFIG.format(port=owserver.port))
        evok = twistd("evok", "--config", tmp_path, "--port", "0")
        ws = websocket.create_connection(evok.url, timeout=5)
        found = states(ws, lambda every: len([one for one in every if one.get("time")]) == len(TESTER))
        ws.close()
    finally:
        owserver.stop()
    for circuit, expected in TESTER.items():
        shown = found[circuit]
        assert {key: shown[key] for key in expected} == expected
        assert shown["dev"] == expected.get("dev", "1wdevice")
    assert "value" not in found["1D00001DE209005C"]


@needs_owserver
def test_sensors_that_owserver_has_names_for_are_shown(twistd, tmp_path):
    (tmp_path / "names").write_text("28.000028D70000 = kitchen\n")
    owserver = RealOwServer("--tester", "DS18B20,DS2408", "--alias", tmp_path / "names").start()
    try:
        (tmp_path / "config.yaml").write_text(CONFIG.format(port=owserver.port))
        evok = twistd("evok", "--config", tmp_path, "--port", "0")
        ws = websocket.create_connection(evok.url, timeout=5)
        found = states(ws, lambda every: len([one for one in every if one.get("time")]) == 2)
        ws.close()
    finally:
        owserver.stop()
    assert found["28000028D7000011"]["address"] == "28.000028D70000.11"
    assert found["28000028D7000011"]["value"] is not None


def test_an_owserver_that_is_not_there_is_one_line(twistd, tmp_path):
    """Defect 17 of Evok: it is a traceback."""
    (tmp_path / "config.yaml").write_text(CONFIG.format(port=1))
    evok = twistd("evok", "--config", tmp_path, "--port", "0")
    ws = websocket.create_connection(evok.url + "?dialect=v3", timeout=5)
    found = states(ws, lambda every: any(one.get("lost") for one in every))
    assert found == {
        "2895DCD509000035": {
            "dev": "temp",
            "circuit": "2895DCD509000035",
            "address": "28.95DCD5090000.35",
            "value": None,
            "lost": True,
            "time": None,
            "interval": 0.5,
            "type": "DS18B20",
        },
        "OWFS": {
            "dev": "owbus",
            "circuit": "OWFS",
            "bus": "OWFS",
            "scan_interval": 1.0,
            "interval": 0.5,
            "do_scan": False,
            "do_reset": False,
        },
    }
    ws.close()
    assert evok.stop() == 0
    assert [line for line in evok.lines if "Traceback" in line] == []
    assert len([line for line in evok.lines if "the owserver of bus" in line]) == 1
