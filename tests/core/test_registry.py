"""Finding devices by the names of both dialects."""

from __future__ import annotations

import pytest
from fakes import DEFINITIONS
from hypothesis import given
from hypothesis import strategies as st

from evok_twisted.core.registry import Registry
from evok_twisted.definitions import load_definition
from evok_twisted.errors import BadValue, Conflict, UnknownCircuit, UnknownDevice
from evok_twisted.model.boards import build
from evok_twisted.model.system import DeviceInfo, DeviceInfoState
from evok_twisted.problems import Problems


def board(name, number, model):
    problems = Problems()
    return build(load_definition(DEFINITIONS / f"{model}.yaml", problems), name, number, problems)


WATCHDOGS = [board(str(number), number, "13")[-1] for number in (1, 2, 3)]
TWINS = [DeviceInfo(str(number), DeviceInfoState("Neuron", "L533", number, 3)) for number in (1, 2, 3)]


@pytest.fixture
def registry():
    registry = Registry([DeviceInfo("LOCAL", DeviceInfoState("Neuron", "L533", 7, 2))])
    for number, (name, model) in enumerate([("1", "00"), ("2", "13")], start=2):
        for device in board(name, number, model):
            registry.add(device)
    return registry


@pytest.mark.parametrize(
    ("dialect", "name", "circuit", "found"),
    [
        ("classic", "relay", "1_01", "do 1_01"),
        ("classic", "output", "1_01", "do 1_01"),
        ("classic", "relay", "2_01", "ro 2_01"),
        ("classic", "output", "2_01", "ro 2_01"),
        ("classic", "input", "1_01", "di 1_01"),
        ("classic", "di", "1_01", "di 1_01"),
        ("classic", "ro", "2_01", "ro 2_01"),
        ("v3", "relay", "2_01", "ro 2_01"),
        ("v3", "output", "1_01", "do 1_01"),
        ("v3", "digitalinput", "1_01", "di 1_01"),
        ("v3", "watchdog", "1_01", "wd 1_01"),
        ("v3", "owpower", 1, "owpower 1"),
        ("classic", "register", "2_1000", "register 2_1000"),
        ("classic", "device_info", "Neuron_L533_7", "device_info L533"),
        ("v3", "device_info", "L533", "device_info L533"),
    ],
)
def test_a_name_and_a_circuit_find_the_device(registry, dialect, name, circuit, found):
    assert repr(registry.find(name, circuit, dialect)) == found


@pytest.mark.parametrize(
    ("dialect", "name", "circuit", "error"),
    [
        ("v3", "relay", "1_01", UnknownCircuit),
        ("v3", "output", "2_01", UnknownCircuit),
        ("classic", "temp", "28AA", UnknownCircuit),
        ("classic", "relais", "1_01", UnknownDevice),
        ("classic", "relay", None, BadValue),
    ],
)
def test_what_is_not_there_is_an_error_with_its_name(registry, dialect, name, circuit, error):
    with pytest.raises(error):
        registry.find(name, circuit, dialect)


def test_the_error_for_a_name_hints_at_the_nearest(registry):
    with pytest.raises(UnknownDevice, match="did you mean 'relay'"):
        registry.find("relai", "1_01", "classic")


def test_all_lists_kinds_in_the_order_of_the_wire(registry):
    kinds = list(dict.fromkeys(device.kind for device in registry))
    assert kinds == ["di", "ro", "do", "ai", "ao", "led", "wd", "owpower", "register", "device_info"]


def test_an_alias_moves_only_after_it_was_removed(registry):
    lamp, door = (registry.find("relay", circuit, "classic") for circuit in ("1_01", "1_02"))
    registry.book.rename(lamp, "x")
    with pytest.raises(Conflict, match="taken by do 1_01"):
        registry.book.rename(door, "x")
    registry.book.rename(lamp, "")
    assert registry.book.rename(door, "x")
    assert registry.find("relay", "x", "classic") is door


def test_the_devices_of_a_kind_are_in_the_order_of_the_configuration(registry):
    assert [device.circuit for device in registry.of_kind("wd")] == ["1_01", "2_01"]


# Devices that go


def group(registry, name):
    """Every device of a configured device, and take them away."""
    devices = [device for device in registry if device.group == name]
    for device in devices:
        registry.remove(device)
    return devices


def test_what_was_removed_is_found_and_listed_no_more(registry):
    group(registry, "2")
    with pytest.raises(UnknownCircuit):
        registry.find("relay", "2_01", "classic")
    with pytest.raises(UnknownDevice):
        registry.select(("relay",), "classic", group="2")
    assert {device.group for device in registry} == {"LOCAL", "1"}
    assert registry.find("relay", "1_01", "classic").circuit == "1_01"


def test_what_comes_back_is_found_again(registry):
    for device in group(registry, "2"):
        registry.add(device)
    assert registry.find("relay", "2_01", "classic").circuit == "2_01"
    assert len(registry.select(("relay",), "classic", group="2", number=3)) == len(registry.of_kind("ro"))


def test_of_two_of_one_circuit_the_other_is_found_when_the_first_has_gone(registry):
    first = registry.find("device_info", "L533", "v3")
    second = DeviceInfo("LOCAL", DeviceInfoState("Patron", "L533", 8, 3))
    registry.add(second)
    assert registry.find("device_info", "L533", "v3") is first
    registry.remove(first)
    assert registry.find("device_info", "L533", "v3") is second


def test_the_alias_of_what_goes_is_kept_for_what_comes_in_its_place(registry):
    relay = registry.find("relay", "2_01", "classic")
    registry.book.rename(relay, "pump")
    before = registry.book.all()
    devices = group(registry, "2")
    assert registry.book.all() == before
    with pytest.raises(UnknownCircuit):
        registry.find("relay", "pump", "classic")
    relay.alias = ""  # another device of this circuit, new
    for device in devices:
        registry.add(device)
    assert registry.find("relay", "pump", "classic") is relay


def test_a_circuit_that_has_gone_may_be_an_alias(registry):
    group(registry, "2")
    registry.book.rename(registry.find("relay", "1_01", "classic"), "2_01")
    assert registry.find("relay", "2_01", "classic").circuit == "1_01"


def test_devices_are_listed_in_the_order_that_they_are_put_in(registry):
    registry.arrange(["2", "1"])
    outputs = [device.group for device in registry.of_kind("di")]
    assert outputs == sorted(outputs, reverse=True)


@given(st.data())
def test_what_came_and_went_leaves_nothing_that_one_made_anew_has_not(data):
    changed, there = Registry(), []
    for device in data.draw(st.lists(st.sampled_from(WATCHDOGS + TWINS), max_size=30), "what comes, or goes"):
        if device in there:
            changed.remove(device)
            there.remove(device)
        else:
            changed.add(device)
            there.append(device)
        if data.draw(st.booleans(), "put in order"):
            order = data.draw(st.permutations(["1", "2", "3"]), "the order")
            changed.arrange(order)
            there.sort(key=lambda device: order.index(device.group))
    anew = Registry(there)
    for name in ("_by_kind", "_by_group", "_circuits", "_numbers", "_numbered"):
        assert getattr(changed, name) == getattr(anew, name), name
    assert [list(one) for one in (changed, changed._numbers)] == [list(one) for one in (anew, anew._numbers)]
    assert [vars(one) for one in changed._by_circuit.values()] == [vars(one) for one in anew._by_circuit.values()]


def test_its_version_changes_when_devices_come_or_go_and_not_with_an_alias(registry):
    relay = registry.find("relay", "2_01", "classic")
    versions = [registry.version]
    registry.book.rename(relay, "pump")
    assert registry.version == versions[0]
    registry.remove(relay)
    versions.append(registry.version)
    registry.add(relay)
    versions.append(registry.version)
    assert len(set(versions)) == 3
