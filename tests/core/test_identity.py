"""What each role may do, and that whoever wants something is asked before anything is done."""

from __future__ import annotations

import pytest
from fakes import Rig
from hypothesis import given
from hypothesis import strategies as st
from stack import DEFINITIONS
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from evok_twisted.core.identity import EVERYTHING, NOTHING, OPERATING, VIEWER, Identity, Scopes
from evok_twisted.definitions import load_definition
from evok_twisted.errors import Forbidden, Unauthorized
from evok_twisted.model.boards import build
from evok_twisted.model.onewirebus import OneWireBus
from evok_twisted.model.sensors import TYPES, sensor
from evok_twisted.problems import Problems

OPERATOR = Scopes("operator")


def boards():
    """A device of every kind that boards and 1-Wire buses have."""
    for model in ("00", "13", "xS51", "IAQ"):
        yield from build(load_definition(DEFINITIONS / f"{model}.yaml", Problems()), model, 1, Problems())
    yield OneWireBus("OW", 10.0, 60.0)
    yield from (sensor("28.95DCD5090000", kind, "OW", 10.0) for kind in TYPES)


DEVICES = list(boards())


def device(kind, circuit=None):
    return next(one for one in DEVICES if one.kind == kind and circuit in (None, one.circuit))


@pytest.fixture
def rig():
    return Rig(Clock()).start()


def outcome(rig, scopes, *sets):
    """What became of sets, each as kind, circuit and parameters, or the error that refused them all."""
    found = []
    wanted = [(rig.device(kind, circuit), parameters) for kind, circuit, parameters in sets]
    commands = rig.commands.set_all(wanted, Identity("somebody", "test", scopes))

    Deferred.fromCoroutine(commands).addBoth(found.append)
    rig.clock.pump([0.02] * 10)
    return found[0]


@pytest.mark.parametrize(
    ("kind", "parameters", "least"),
    [
        ("ro", {"value"}, "operator"),
        ("do", {"value", "timeout"}, "operator"),
        ("do", {"pwm_duty"}, "operator"),
        ("do", {"pwm_freq"}, "admin"),
        ("do", {"mode"}, "admin"),
        ("ao", {"value"}, "operator"),
        ("ao", {"value", "mode"}, "admin"),
        ("ai", {"mode"}, "admin"),
        ("di", {"counter"}, "admin"),
        ("di", {"debounce"}, "admin"),
        ("di", {"mode"}, "admin"),
        ("di", {"ds_mode"}, "admin"),
        ("led", {"value"}, "operator"),
        ("led", {"alias"}, "admin"),
        ("wd", {"value"}, "admin"),
        ("owpower", {"value"}, "admin"),
        ("owbus", {"do_scan"}, "operator"),
        ("owbus", {"do_reset"}, "admin"),
        ("owbus", {"interval"}, "admin"),
        ("temp", {"interval"}, "admin"),
        ("1wdevice", {"pio"}, "operator"),
    ],
)
def test_what_each_role_may_set(kind, parameters, least):
    allowed = [role for role in ("none", "viewer", "operator", "admin")
               if not Scopes(role).objection(device(kind), parameters)]  # fmt: skip
    assert allowed == {"operator": ["operator", "admin"], "admin": ["admin"]}[least]


def test_what_operates_is_taken_by_some_device():
    taken = {name for one in DEVICES for name in one.parameters}
    assert taken >= OPERATING - {"pio"}
    assert {"mode", "ds_mode", "pwm_freq", "counter", "debounce", "interval", "do_reset"} <= taken - OPERATING


@pytest.mark.parametrize(
    ("pattern", "kind", "circuit", "fits"),
    [
        ("ro", "ro", "13_01", True),
        ("ro", "led", "00_01", False),
        ("ro/13_*", "ro", "13_02", True),
        ("ro/13_0[12]", "ro", "13_03", False),
        ("ro/xS*", "ro", "13_02", False),
        ("*", "ro", "13_01", False),
        ("do/*", "ro", "13_01", False),
    ],
)
def test_a_narrowed_identity_may_set_what_a_pattern_names(pattern, kind, circuit, fits):
    assert (Scopes("operator", (pattern,)).objection(device(kind, circuit), {"value"}) == "") is fits


def test_an_alias_makes_nothing_writable():
    led = device("led")
    led.alias = "13_01"
    assert Scopes("operator", ("led/13_01",)).objection(led, {"value"})


@given(
    st.sampled_from(["none", "viewer", "operator", "admin"]),
    st.lists(st.sampled_from(["ro", "ro/*", "do/00_*", "led/00_0?", "ao", "*", "", "di/[", "1wdevice"]), max_size=4),
    st.sampled_from(DEVICES),
    st.sets(st.sampled_from(["value", "mode", "timeout", "alias", "pwm_duty", "counter", "interval"]), min_size=1),
)
def test_narrowing_never_widens(role, patterns, one, parameters):
    if not Scopes(role, tuple(patterns)).objection(one, parameters):
        assert not Scopes(role).objection(one, parameters)
        assert not Scopes(role, (*patterns, "run")).objection(one, parameters)
    assert Scopes(role, ()).objection(one, parameters)


def test_one_set_that_is_forbidden_leaves_the_others_undone(rig):
    allowed, forbidden = ("led", "1_01", {"value": 1}), ("led", "1_02", {"value": 1})
    error = outcome(rig, Scopes("operator", ("led/1_01",)), allowed, forbidden).value
    assert isinstance(error, Forbidden)
    assert (error.index, rig.bus.written) == (1, [])
    assert "led 1_02" in str(error)
    assert outcome(rig, Scopes("operator", ("led/1_01",)), allowed) == [None]


def test_an_alias_is_given_by_an_admin_only(rig):
    assert isinstance(outcome(rig, OPERATOR, ("led", "1_01", {"alias": "lamp"})).value, Forbidden)
    assert rig.device("led", "1_01").alias == ""
    assert outcome(rig, EVERYTHING, ("led", "1_01", {"alias": "lamp"})) == [None]


def test_who_may_see_nothing_has_no_desk(rig):
    with pytest.raises(Unauthorized, match="token"):
        rig.desks(Identity("anonymous", "rest", NOTHING), None)
    assert rig.desks.healthy in (True, False)


def test_who_may_only_see_sets_nothing(rig):
    failed = []
    desk = rig.desks(Identity("panel", "rest", VIEWER), None)
    assert desk.find("led", "1_01").circuit == "1_01"
    desk.set("led", "1_01", {"value": 1}).addErrback(failed.append)
    assert failed[0].check(Forbidden)
    assert rig.bus.written == []
