"""Who hears what, and how often it is built."""

from __future__ import annotations

import json

import pytest
from fakes import BY, Rig
from twisted.internet.task import Clock

from evok_twisted.api.hub import Hub
from evok_twisted.core.filters import DEFAULT, Filter, parse_filter
from evok_twisted.errors import BadValue, UnknownDevice


class Listener:
    def __init__(self):
        self.heard = []

    def deliver(self, message, changes):
        self.heard.append([one["circuit"] for one in json.loads(message)])


@pytest.fixture
def rig():
    return Rig(Clock()).start()


@pytest.fixture
def prepared():
    return []


@pytest.fixture
def hub(rig, prepared):
    def prepare(message):
        prepared.append(message)
        return message

    return Hub(prepare)


def change(rig, **words):
    rig.bus.words.update({int(key[1:]): word for key, word in words.items()})
    rig.clock.advance(0.02)


def wanted(*devices, dialect="classic"):
    return parse_filter(list(devices), dialect)[0]


def test_a_client_hears_whole_states_of_what_changed(rig, hub):
    client = Listener()
    hub.join(client, rig.desks(BY, "classic"))
    change(rig, r0=0b11)
    assert client.heard == [["1_01", "1_02"]]


def test_registers_are_heard_only_by_who_asks_for_them(rig, hub):
    """Defect 12 of Evok: register changes are never sent."""
    everything, registers = Listener(), Listener()
    hub.join(everything, rig.desks(BY, "classic"))
    hub.join(registers, rig.desks(BY, "classic"), wanted("register"))
    change(rig, r0=1)
    assert (everything.heard, registers.heard) == ([["1_01"]], [["1_0"]])


def test_a_filter_lets_through_its_kinds_only(rig, hub):
    client = Listener()
    hub.join(client, rig.desks(BY, "classic"), wanted("led"))
    change(rig, r0=1)
    change(rig, r20=1)
    assert client.heard == [["1_01"]]


def test_a_pattern_narrows_a_kind(rig, hub):
    client = Listener()
    hub.join(client, rig.desks(BY, "classic"), wanted("input/1_0[13]", "led/lamp*"))
    rig.registry.book.rename(rig.device("led", "1_02"), "lamp_hall")
    change(rig, r0=0b1111, r20=0b11)
    assert client.heard == [["1_01", "1_03", "1_02"]]


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("*", "1_01 1_02 1_03 1_04"),
        ("1_0?", "1_01 1_02 1_03 1_04"),
        ("?_0", ""),
        ("1*", "1_01 1_02 1_03 1_04"),
        ("*1", "1_01"),
        ("*1*1*", "1_01"),
        ("1_0[13]", "1_01 1_03"),
        ("1_0[2-3]", "1_02 1_03"),
        ("1_0[!2-3]", "1_01 1_04"),
        ("**_**2**", "1_02"),
        ("1_02?", ""),
        ("", ""),
        ("[", ""),
    ],
)
def test_a_pattern_fits_as_one_of_file_names_does(rig, pattern, fitting):
    names = [f"led/{pattern}", "led/no*such", "input/1_02"]
    accepted = [device.circuit for device in rig.registry.of_kind("led") if wanted(*names).accepts(device)]
    assert accepted == fitting.split()


def test_a_pattern_fits_an_alias_from_when_it_is_given(rig):
    lamps, led = wanted("led/lamp*"), rig.device("led", "1_01")
    assert not lamps.accepts(led)
    rig.registry.book.rename(led, "lamp_hall")
    assert lamps.accepts(led)
    rig.registry.book.rename(led, "")
    assert not lamps.accepts(led)


def test_a_filter_of_nothing_hears_nothing(rig, hub):
    client = Listener()
    hub.join(client, rig.desks(BY, "classic"), wanted())
    change(rig, r0=1)
    assert client.heard == []


def test_a_message_is_built_once_for_all_who_share_it(rig, hub, prepared):
    clients = [Listener() for _ in range(5)]
    for client in clients:
        hub.join(client, rig.desks(BY, "classic"), wanted("input"))
    other = Listener()
    hub.join(other, rig.desks(BY, "v3"), wanted("input"))
    change(rig, r0=1)
    assert len(prepared) == 2
    assert all(client.heard == [["1_01"]] for client in (*clients, other))


def test_a_client_that_left_hears_nothing(rig, hub):
    client = Listener()
    hub.join(client, rig.desks(BY, "classic"))
    hub.leave(client)
    hub.leave(client)
    change(rig, r0=1)
    assert client.heard == []
    assert len(hub) == 0


def test_a_client_may_leave_while_it_is_told(rig, hub):
    class Leaving(Listener):
        def deliver(self, message, changes):
            super().deliver(message, changes)
            hub.leave(self)

    clients = [Leaving(), Leaving()]
    for client in clients:
        hub.join(client, rig.desks(BY, "classic"))
    change(rig, r0=1)
    change(rig, r0=0)
    assert [len(client.heard) for client in clients] == [1, 1]


@pytest.mark.parametrize(
    ("dialect", "name", "kinds"),
    [
        ("classic", "relay", {"do", "ro"}),
        ("classic", "output", {"do", "ro"}),
        ("v3", "relay", {"ro"}),
        ("v3", "output", {"do"}),
        ("v3", "input", {"di"}),
        ("classic", "sensor", {"temp", "1wdevice"}),
    ],
)
def test_a_name_in_a_filter_means_what_it_means_in_the_dialect(dialect, name, kinds):
    assert wanted(name, dialect=dialect) == Filter(frozenset(kinds))


def test_default_and_all_are_everything_but_what_is_sent_on_request():
    assert wanted("default") == wanted("all") == DEFAULT
    assert "register" not in DEFAULT.kinds


def test_all_and_register_together_are_everything_and_registers():
    assert wanted("all", "register").kinds == DEFAULT.kinds | {"register"}


@pytest.mark.parametrize("devices", [5, None, {"a": 1}, [1], [["relay"]]])
def test_a_filter_that_is_no_list_of_text_is_refused(devices):
    with pytest.raises(BadValue, match="expected a list"):
        parse_filter(devices, "classic")


def test_a_filter_with_no_name_that_is_known_is_refused():
    with pytest.raises(UnknownDevice, match="lamp"):
        parse_filter(["lamp"], "classic")


def test_a_single_name_is_a_list_of_one():
    assert parse_filter("led", "classic") == (wanted("led"), [])


@pytest.mark.parametrize("devices", [[f"input/{n}" for n in range(257)], ["input/" + "*" * 8200]])
def test_a_filter_has_bounds(devices):
    with pytest.raises(BadValue, match="at most"):
        parse_filter(devices, "classic")
