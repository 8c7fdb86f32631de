"""Subscribers: a snapshot and a stream in one, that can be taken up again."""

from __future__ import annotations

import json

import pytest
from fakes import BY, Rig
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from web import Talk

from evok_twisted.api.client import Client
from evok_twisted.api.groups import HEARTBEAT
from evok_twisted.api.hub import Hub
from evok_twisted.api.session import Session
from evok_twisted.core.identity import EVERYTHING, Identity
from evok_twisted.logs import Logger, Repeats


class Line:
    """A connection with a client behind it, which keeps what it was sent."""

    name = "somebody"

    def __init__(self, house):
        self.heard = []
        self.refused = False
        self.client = Client(self, house.rig.desks(house.by, house.dialect), house.hub, house.rig.clock, rate=1000)
        self.session = Session(
            self.client.desk,
            all_filtered=False,
            send=self.send,
            listen=self.client.listen,
            peer="test",
            repeats=Repeats(Logger(), house.rig.clock),
        )

    def send(self, payload):
        self.heard.append(json.loads(payload))

    send_prepared = send

    def refuse(self, reason):
        self.refused = True

    def say(self, **message):
        """Say it, and return the reply."""
        self.session.handle(json.dumps({"id": 1, **message}).encode())
        replies = [one for one in self.heard if isinstance(one, dict) and "id" in one]
        self.heard = [one for one in self.heard if one not in replies]
        return replies[-1]

    def events(self):
        heard, self.heard = self.heard, []
        return heard

    def __getattr__(self, name):
        return lambda *_: None


class House:
    def __init__(self, dialect="classic", by=BY):
        self.rig = Rig(Clock()).start()
        self.dialect, self.by = dialect, by
        self.prepared = []
        self.hub = Hub(self.prepare)
        self.number = lambda: self.rig.desk.number

    def prepare(self, message):
        self.prepared.append(message)
        return message

    def line(self):
        return Line(self)

    def leds(self, bits):
        self.rig.bus.words[20] = bits
        self.rig.clock.advance(0.02)


@pytest.fixture
def house():
    return House()


def leds(message):
    return {one["circuit"]: one["value"] for one in message["states"]}


def test_the_answer_is_all_that_the_filter_accepts_and_the_stream_follows_it(house):
    line = house.line()
    result = line.say(cmd="subscribe", devices=["led"])["result"]
    assert result["complete"] and "gone" not in result
    assert leds(result) == {"1_01": 0, "1_02": 0, "1_03": 0, "1_04": 0}
    assert result["time"].endswith("Z") and len(result["time"]) == 24
    house.leds(0b11)
    (event,) = line.events()
    assert list(event)[0] == "event"
    assert (event["event"], event["epoch"], leds(event)) == ("change", result["epoch"], {"1_01": 1, "1_02": 1})
    assert event["number"] > result["number"]
    assert "cause" not in event


def test_a_change_by_a_command_has_its_cause_and_a_scan_has_none(house):
    line = House(by=Identity("nodered", "rest", EVERYTHING, token="ab12cd34")).line()
    line.say(cmd="subscribe", devices=["led"])
    line.session.handle(b'{"cmd":"set","dev":"led","circuit":"1_01","value":1,"id":"a7"}')
    event = next(one for one in line.events() if "event" in one)
    assert event["cause"] == {"by": "nodered", "via": "rest", "id": "a7"}


def test_who_comes_back_gets_what_has_changed_since_and_nothing_else(house):
    line = house.line()
    known = line.say(cmd="subscribe", devices=["led"])["result"]
    line.client.leave()
    house.leds(0b1)
    house.leds(0b10)
    house.leds(0b110)
    since = {"epoch": known["epoch"], "number": known["number"]}
    back = house.line().say(cmd="subscribe", devices=["led"], since=since)["result"]
    assert (back["complete"], back["gone"]) == (False, [])
    assert leds(back) == {"1_01": 0, "1_02": 1, "1_03": 1}
    since = {"epoch": back["epoch"], "number": back["number"]}
    assert house.line().say(cmd="subscribe", devices=["led"], since=since)["result"]["states"] == []


@pytest.mark.parametrize("number", [-1, 10**6, 10**30])
def test_a_number_that_is_not_ours_is_answered_with_everything(house, number):
    since = {"epoch": house.rig.desk.epoch, "number": number}
    assert house.line().say(cmd="subscribe", devices=["led"], since=since)["result"]["complete"]


def test_a_number_of_another_epoch_is_answered_with_everything(house):
    result = house.line().say(cmd="subscribe", devices=["led"], since={"epoch": "before", "number": 0})["result"]
    assert result["complete"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"since": 5}, "since: got 5, expected"),
        ({"since": "x"}, "since: got 'x', expected"),
        ({"since": {"epoch": "x", "number": "5"}}, "since: got"),
        ({"since": {"epoch": "x", "number": True}}, "since: got"),
        ({"since": {"number": 5}}, "since: got"),
        ({"every": 0.01}, "every: got 0.01, expected a number from 0.02 to 3600 seconds"),
        ({"every": "often"}, "every: got 'often'"),
        ({"devices": 5}, "expected a list of kinds"),
    ],
)
def test_what_cannot_be_understood_is_refused_and_changes_nothing(house, more, told):
    line = house.line()
    line.say(cmd="subscribe", devices=["led"])
    answer = line.say(cmd="subscribe", **{"devices": ["ai"], **more})
    assert told in answer["error"]["message"]
    house.leds(1)
    assert [leds(one) for one in line.events()] == [{"1_01": 1}]


def test_names_that_are_not_known_are_told_and_nothing_named_is_everything(house):
    assert house.line().say(cmd="subscribe", devices=["led", "lamp"])["result"]["unknown"] == ["lamp"]
    everything = house.line().say(cmd="subscribe")["result"]["states"]
    assert {"input", "led", "ai"} <= {one["dev"] for one in everything}
    assert "register" not in {one["dev"] for one in everything}


def test_registers_are_in_the_answer_of_who_asks_for_them(house):
    states = house.line().say(cmd="subscribe", devices=["register"])["result"]["states"]
    assert states and {one["dev"] for one in states} == {"register"}


def test_without_an_id_the_answer_is_an_event(house):
    line = house.line()
    line.session.handle(b'{"cmd":"subscribe","devices":["led"]}')
    (event,) = line.events()
    assert (event["event"], len(event["states"])) == ("subscribed", 4)


def test_a_filter_on_the_stream_narrows_it_and_unsubscribe_goes_back_to_lists(house):
    line = house.line()
    line.say(cmd="subscribe", devices=["all"])
    line.say(cmd="filter", devices=["led"])
    house.leds(1)
    assert [one["event"] for one in line.events()] == ["change"]
    assert line.say(cmd="unsubscribe")["success"]
    house.leds(0)
    assert [[one["circuit"] for one in lists] for lists in line.events()] == [["1_01"]]


def test_a_line_without_anything_to_tell_is_told_so_every_20_seconds(house):
    line, quiet = house.line(), house.line()
    line.say(cmd="subscribe", devices=["led"])
    quiet.say(cmd="filter", devices=["led"])
    for _ in range(6):
        house.rig.clock.advance(HEARTBEAT / 2)
    assert [one["event"] for one in line.events()] == ["alive"] * 3
    assert quiet.events() == []
    house.rig.clock.advance(HEARTBEAT / 2)
    house.leds(1)
    for _ in range(3):
        house.rig.clock.advance(HEARTBEAT / 2)
    heard = line.events()
    assert [one["event"] for one in heard] == ["change", "alive"]
    assert heard[0]["number"] <= heard[1]["number"]


def test_a_pace_is_one_message_in_that_time_with_the_latest_states_and_the_first_goes_out_at_once(house):
    line = house.line()
    line.say(cmd="subscribe", devices=["led"], every=1)
    house.leds(0b1)
    assert [leds(one) for one in line.events()] == [{"1_01": 1}]
    for bits in (0b0, 0b10, 0b11, 0b111):
        house.leds(bits)
    assert line.events() == []
    house.rig.clock.advance(1)
    assert [leds(one) for one in line.events()] == [{"1_01": 1, "1_02": 1, "1_03": 1}]
    for _ in range(5):
        house.rig.clock.advance(1)
    assert line.events() == []
    house.leds(0)
    assert [leds(one) for one in line.events()] == [{"1_01": 0, "1_02": 0, "1_03": 0}]


def test_subscribers_of_one_pace_share_their_messages_and_who_comes_between_hears_nothing_twice(house):
    first, second = house.line(), house.line()
    for line in (first, second):
        line.say(cmd="subscribe", devices=["led"], every=1)
    house.leds(0b1)
    assert len(house.prepared) == 1
    house.leds(0b10)
    late, latest = house.line(), house.line()
    late.say(cmd="subscribe", devices=["led"], every=1)
    house.leds(0b110)
    latest.say(cmd="subscribe", devices=["led"], every=1)
    house.rig.clock.advance(1)
    assert leds(first.events()[-1]) == leds(second.events()[-1]) == {"1_01": 0, "1_02": 1, "1_03": 1}
    assert [leds(one) for one in late.events()] == [{"1_03": 1}]
    assert latest.events() == []
    house.leds(0b111)
    house.rig.clock.advance(1)
    assert all(leds(line.events()[-1]) == {"1_01": 1} for line in (first, late, latest))


def test_a_heartbeat_never_says_a_number_of_what_waits(house):
    line = house.line()
    line.say(cmd="subscribe", devices=["led"], every=100)
    house.leds(1)
    (told,) = line.events()
    house.leds(0)
    house.rig.clock.advance(HEARTBEAT)
    (alive,) = line.events()
    assert told["number"] <= alive["number"] < house.number()


def test_what_a_reload_removes_is_told_and_told_to_who_comes_back(house):
    line = house.line()
    known = line.say(cmd="subscribe", devices=["led"])["result"]
    led = house.rig.device("led", "1_02")
    house.rig.registry.remove(led)
    house.rig.events.withdraw([led])
    (event,) = line.events()
    assert (event["event"], event["devices"]) == ("gone", [{"dev": "led", "circuit": "1_02"}])
    since = {"epoch": known["epoch"], "number": known["number"]}
    back = house.line().say(cmd="subscribe", devices=["led"], since=since)["result"]
    assert (back["states"], back["gone"]) == ([], [{"dev": "led", "circuit": "1_02"}])


def test_a_client_of_evok_hears_nothing_of_what_is_gone(house):
    line = house.line()
    line.say(cmd="filter", devices=["led"])
    house.rig.events.withdraw([house.rig.device("led", "1_02")])
    assert line.events() == []


def test_in_v3_names_are_those_of_v3():
    line = House("v3").line()
    assert {one["dev"] for one in line.say(cmd="subscribe", devices=["di"])["result"]["states"]} == {"di"}


def test_a_talk_in_memory_has_the_commands_too():
    (reply,) = Talk().say({"cmd": "subscribe", "id": 1})
    assert reply["success"]


# A model: whatever happens, a client that was told all knows all


class Follower:
    """A client as docs/protocol.md has it: its picture, and how far it knows."""

    def __init__(self, house, devices, every):
        self.house, self.wanted = house, {"devices": devices, **({} if every is None else {"every": every})}
        self.picture, self.since, self.line = {}, None, None
        self.stalled = False

    def connect(self):
        if self.line is not None and self.line.refused:
            self.break_off(heard=True)
        if self.line is None:
            self.line = self.house.line()
            more = {} if self.since is None else {"since": self.since}
            result = self.line.say(cmd="subscribe", **self.wanted, **more)["result"]
            if result["complete"]:
                self.picture.clear()
            self.take({**result, "devices": result.get("gone", [])})

    def take(self, message):
        for one in message.get("devices", ()):
            self.picture.pop((one["dev"], one["circuit"]), None)
        for state in message.get("states", ()):
            self.picture[state["dev"], state["circuit"]] = state
        assert (
            self.since is None or message["epoch"] != self.since["epoch"] or message["number"] >= self.since["number"]
        )
        self.since = {"epoch": message["epoch"], "number": message["number"]}

    def read(self):
        for message in self.line.events() if self.line is not None else ():
            self.take(message)

    def break_off(self, heard):
        """Lose the line, and with it what was sent and not read, perhaps."""
        if self.line is not None:
            if heard:
                self.read()
            self.line.client.leave()
            self.line, self.stalled = None, False

    def stall(self):
        if self.line is not None and not self.stalled:
            self.stalled = True
            self.line.client.stall()

    def go_on(self):
        if self.line is not None and self.stalled:
            self.stalled = False
            self.line.client.go_on()


LEDS = ["1_01", "1_02", "1_03", "1_04"]
CLIENT = st.integers(0, 2)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("leds"), st.integers(0, 15)),
        st.tuples(st.just("alias"), st.sampled_from(LEDS), st.sampled_from(["", "lamp", "door"])),
        st.tuples(st.just("break"), CLIENT, st.booleans()),
        st.tuples(st.just("connect"), CLIENT),
        st.tuples(st.just("stall"), CLIENT),
        st.tuples(st.just("go on"), CLIENT),
        st.tuples(st.just("read"), CLIENT),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 30.0])),
        st.tuples(st.just("remove"), st.sampled_from(LEDS)),
        st.tuples(st.just("bring back"), st.sampled_from(LEDS)),
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(
    steps=STEPS,
    paces=st.lists(st.sampled_from([None, 0.05, 1.0, 60.0]), min_size=3, max_size=3),
    wanted=st.lists(st.sampled_from([["led"], ["all"], ["led/1_0[12]"], ["led", "input"]]), min_size=3, max_size=3),
)
def test_after_every_quiet_moment_a_clients_picture_is_the_units_whatever_it_missed(steps, paces, wanted):
    house = House()
    rig, away = house.rig, {}
    followers = [Follower(house, devices, every) for devices, every in zip(wanted, paces, strict=True)]
    for step, *how in steps:
        if step == "leds":
            still = sum(1 << LEDS.index(circuit) for circuit in away)  # who scans them is gone, too
            house.leds((how[0] & ~still) | (rig.bus.words.get(20, 0) & still))
        elif step == "alias" and how[0] not in away:
            rig.desk.set("led", how[0], {"alias": how[1]}).addErrback(lambda _: None)
        elif step == "remove" and how[0] not in away:
            away[how[0]] = rig.device("led", how[0])
            rig.registry.remove(away[how[0]])
            rig.events.withdraw([away[how[0]]])
        elif step == "bring back" and how[0] in away:
            device = away.pop(how[0])
            device.alias = ""  # as a new one has it
            rig.registry.add(device)
            rig.events.publish([device])
        elif step == "wait":
            for _ in range(10):
                rig.clock.advance(how[0] / 10)
        elif step in ("break", "connect", "stall", "go on", "read"):
            name = {"break": "break_off", "go on": "go_on"}.get(step, step)
            getattr(followers[how[0]], name)(*how[1:])
    for follower in followers:
        follower.connect()
        follower.go_on()
    for _ in range(40):
        rig.clock.advance(2)
    for follower in followers:
        follower.read()
        asked, _ = rig.desk.wanted(follower.wanted["devices"])
        unit = {
            (state["dev"], state["circuit"]): state
            for state in json.loads(rig.desk.listing(rig.desk.snapshot(asked).devices))
        }
        for state in (*unit.values(), *follower.picture.values()):
            state.pop("last_comm", None)  # the age of the last answer is another whenever it is asked for
        assert follower.picture == unit
