"""What the rest of the service is to one client."""

import json

import pytest
from fakes import BY, Rig
from onewire import OneWireRig
from twisted.internet.task import Clock

from evok_twisted.core.filters import DEFAULT
from evok_twisted.core.identity import EVERYTHING, PULSES, Identity
from evok_twisted.errors import BadParameter, UnknownCircuit


@pytest.fixture
def rig():
    return Rig(Clock()).start()


def causes(rig):
    """Whose command changed what, of all changes so far but those of the registers that show the same."""
    changed = ((change.device, changes.cause) for changes in rig.changes for change in changes.changes)
    return [(repr(device), cause) for device, cause in changed if device.kind != "register"]


def test_it_speaks_its_clients_dialect(rig):
    classic, v3 = rig.desks(BY, "classic"), rig.desks(BY, "v3")
    assert classic.state(classic.find("output", "1_01"))["dev"] == "relay"
    assert v3.state(v3.find("output", "1_01"))["dev"] == "do"
    assert json.loads(v3.listing(v3.select(("led",))))[0]["dev"] == "led"


def test_who_chooses_no_dialect_has_the_default_one(rig):
    assert rig.core.desks("v3")(BY, None).dialect == "v3"


def test_it_lists_what_there_is(rig):
    assert list(rig.desk) == list(rig.registry)
    assert rig.desk.version == rig.registry.version


def test_it_tells_how_the_service_is(rig):
    assert rig.desk.health().healthy


@pytest.mark.parametrize(
    ("circuit", "parameters", "error"),
    [("9_99", {"value": 1}, UnknownCircuit), ("1_01", {"colour": 1}, BadParameter)],
)
def test_what_is_wrong_with_a_set_comes_in_its_deferred(rig, circuit, parameters, error):
    failed = []
    rig.desk.set("led", circuit, parameters).addErrback(failed.append)
    assert failed[0].check(error)
    assert rig.bus.written == []


def test_a_change_says_whose_set_it_was(rig):
    someone = Identity("panel", "websocket", EVERYTHING)
    rig.desks(someone, None).set("led", "1_01", {"value": 1})
    assert causes(rig) == [("led 1_01", someone)]


def test_of_several_sets_at_once_each_change_says_whose_they_were(rig):
    leds = rig.desk.select(("led",))
    done = rig.desk.set_all([(led, {"value": 1}) for led in leds])
    with pytest.raises(StopIteration) as end:
        done.send(None)
    assert end.value.value == [None] * 4
    assert causes(rig) == [(f"led 1_0{n}", BY) for n in range(1, 5)]


def test_a_new_alias_says_who_gave_it(rig):
    rig.desk.set("led", "1_01", {"alias": "lamp"})
    assert causes(rig) == [("led 1_01", BY)]


def test_what_a_scan_finds_has_no_cause(rig):
    rig.bus.words[0] = 1
    rig.clock.advance(0.02)
    assert causes(rig) == [("di 1_01", None)]


def test_what_a_board_shows_in_place_of_what_was_written_has_no_cause(rig):
    rig.desk.set("led", "1_01", {"value": 1})
    rig.bus.words[20] = 0
    rig.clock.advance(0.02)
    assert causes(rig) == [("led 1_01", BY), ("led 1_01", None)]


def test_the_end_of_a_pulse_is_caused_by_the_pulse(rig):
    rig.desk.set("relay", "1_01", {"value": 1, "timeout": 1})
    rig.clock.pump([0.25] * 5)
    assert [cause for _, cause in causes(rig)] == [BY, PULSES]


def test_a_changed_interval_of_a_sensor_says_who_changed_it():
    rig = OneWireRig(Clock(), sensors={"28.000000000001": {"type": "DS18B20", "temperature": "20"}}).start()
    sensor = rig.registry.of_kind("temp")[0]
    rig.desks(BY, None).set("temp", sensor.circuit, {"interval": 3})
    rig.settle()
    assert causes(rig) == [(repr(sensor), BY)]


def test_a_subscriber_is_told_of_what_its_filter_accepts_until_it_is_stopped(rig):
    told = []
    subscription = rig.desk.subscribe(told.append, rig.desk.wanted(["led"])[0])
    rig.bus.words.update({0: 1, 20: 1})
    rig.clock.advance(0.02)
    rig.bus.words[0] = 0
    rig.clock.advance(0.02)
    assert [[repr(change.device) for change in changes.changes] for changes in told] == [["led 1_01"]]
    subscription.stop()
    rig.bus.words[20] = 0
    rig.clock.advance(0.02)
    assert len(told) == 1


def test_what_a_change_brought_is_told_whatever_has_changed_since(rig):
    told = []
    rig.desk.subscribe(told.append, DEFAULT)
    for value in (1, 0):
        rig.desk.set("led", "1_01", {"value": value})
    assert [json.loads(rig.desk.render(changes.changes))[0]["value"] for changes in told] == [1, 0]
