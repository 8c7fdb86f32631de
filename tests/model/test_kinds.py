"""The names of both dialects."""

from __future__ import annotations

import pytest

from evok_twisted.errors import UnknownDevice
from evok_twisted.model.kinds import DIALECTS, KINDS, named

# What both dialects understand, whatever they send.
COMMON = {
    "di": ("di",),
    "input": ("di",),
    "digitalinput": ("di",),
    "do": ("do",),
    "digitaloutput": ("do",),
    "ro": ("ro",),
    "ai": ("ai",),
    "analoginput": ("ai",),
    "ao": ("ao",),
    "analogoutput": ("ao",),
    "led": ("led",),
    "wd": ("wd",),
    "watchdog": ("wd",),
    "register": ("register",),
    "unit_register": ("data_point",),
    "data_point": ("data_point",),
    "owpower": ("owpower",),
    "nv_save": ("nv_save",),
    "nvsave": ("nv_save",),
    "modbus_slave": ("modbus_slave",),
    "neuron": ("modbus_slave",),
    "device_info": ("device_info",),
    "owbus": ("owbus",),
    "temp": ("temp", "1wdevice"),
    "1wdevice": ("1wdevice", "temp"),
    "sensor": ("temp", "1wdevice"),
    "run": ("run",),
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", COMMON)
def test_a_name_means_its_kinds_in_both_dialects(name, dialect):
    assert named(name, dialect) == COMMON[name]


@pytest.mark.parametrize("name", ["relay", "output"])
def test_in_classic_relay_and_output_mean_every_output_transistors_first(name):
    assert named(name, "classic") == ("do", "ro")


@pytest.mark.parametrize(("name", "kind"), [("relay", "ro"), ("output", "do")])
def test_in_v3_relay_and_output_mean_one_kind_each(name, kind):
    assert named(name, "v3") == (kind,)


@pytest.mark.parametrize(
    ("kind", "classic", "v3"),
    [
        ("di", "input", "di"),
        ("do", "relay", "do"),
        ("ro", "relay", "ro"),
        ("data_point", "unit_register", "data_point"),
    ],
)
def test_four_kinds_are_called_otherwise_in_classic(kind, classic, v3):
    assert (KINDS[kind].dev("classic"), KINDS[kind].dev("v3")) == (classic, v3)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"di", "do", "ro", "data_point"}))
def test_the_other_kinds_have_one_name(kind):
    assert {KINDS[kind].dev(dialect) for dialect in DIALECTS} == {kind}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sent_as_dev_is_understood_as_that_kind(kind, dialect):
    assert kind in named(KINDS[kind].dev(dialect), dialect)


def test_all_lists_kinds_in_this_order():
    order = "di ro do ai ao temp 1wdevice led wd modbus_slave owpower register data_point nv_save owbus device_info run"
    assert " ".join(KINDS) == order


def test_only_registers_and_the_service_itself_are_sent_to_those_alone_who_ask_for_them():
    assert [kind.name for kind in KINDS.values() if kind.on_request] == ["register", "run"]


def test_the_service_itself_is_not_in_the_list_of_circuits():
    assert [kind.name for kind in KINDS.values() if not kind.listed] == ["run"]


@pytest.mark.parametrize("name", ["relais", "", "Input", "runs", None, 1, True, ["di"], {"di": 1}, ("di",)])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_unknown_name_is_refused(name, dialect):
    with pytest.raises(UnknownDevice):
        named(name, dialect)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("relai", "there is no kind of device 'relai'; did you mean 'relay'?"),
        (["di"], "there is no kind of device ['di']; expected text"),
    ],
)
def test_the_error_for_an_unknown_name_says_what_to_do(name, message):
    with pytest.raises(UnknownDevice) as raised:
        named(name, "classic")
    assert str(raised.value) == message


def test_a_name_like_no_other_is_told_with_all_that_are_known():
    with pytest.raises(UnknownDevice, match="known are 1wdevice, ai, .*, watchdog, wd"):
        named("§", "classic")
