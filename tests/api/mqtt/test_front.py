"""A unit on a broker in memory: what is said, in which order, and what becomes of what is retained."""

from __future__ import annotations

import json

import pytest
from brokers import House
from paho.mqtt.client import topic_matches_sub

from evok_twisted.model.system import DeviceInfo, DeviceInfoState

VERSIONS = pytest.mark.parametrize("version", [5, 3], ids=["5", "3.1.1"])


@pytest.fixture(params=[5, 3], ids=["5", "3.1.1"])
def house(request):
    return House(version=request.param).start()


def test_it_comes_online_last_after_everything_that_there_is(house):
    topics = house.broker.topics()
    assert topics[-1] == "evok/plc1/status"
    retained = house.broker.retained
    assert retained["evok/plc1/status"] == b"online"
    assert json.loads(retained["evok/plc1/led/1_01"]) == {"dev": "led", "circuit": "1_01", "value": 0}
    assert retained["evok/plc1/boards/1/status"] == b"online"
    assert retained["evok/plc1/buses/FAKE/status"] == b"online"
    info = json.loads(retained["evok/plc1/info"])
    assert (info["boards"], info["dialect"], info["url"]) == (["1"], "v3", "http://plc1:8080/")
    assert all(one.retain and one.qos == 1 for one in house.broker.published)
    assert len(set(topics)) == len(topics)


def test_it_subscribes_to_its_commands_and_never_to_everything(house):
    assert set(house.broker.subscriptions) == {
        *(f"evok/plc1/{tail}" for tail in ("+/+/set", "+/+/+/set", "+/+/get", "all/get", "bulk", "status", "info")),
        "homeassistant/status",
    }


def test_of_mqtt_5_it_hears_its_own_messages_on_its_status_only():
    subscriptions = House().start().broker.subscriptions
    no_local = {pattern for pattern, options in subscriptions.items() if options & 4}
    assert no_local == subscriptions.keys() - {"evok/plc1/status"}


def test_the_session_is_clean_and_the_will_says_that_it_is_offline(house):
    hello = house.broker.hellos[-1]
    assert hello[7] & 0b10  # clean
    assert hello[7] & 0b100 and hello[7] & 0b100000  # a will, retained
    assert b"evok-plc1" in hello and b"evok/plc1/status" in hello and b"offline" in hello


@VERSIONS
def test_it_waits_for_no_more_than_five_seconds_with_saying_that_it_is_online(version):
    house = House(version=version)
    house.broker.acknowledges = False
    house.start()
    house.wait(4)
    assert house.broker.on("evok/plc1/status") == []
    house.broker.acknowledge(1)
    house.wait(1)
    assert [one.payload for one in house.broker.on("evok/plc1/status")] == [b"online"]


# Changes


def test_a_change_is_told_at_once_and_what_has_not_changed_is_not(house):
    house.news()
    house.rig.bus.words[20] = 1
    house.clock.advance(0.02)
    house.clock.advance(0)
    (told,) = house.news()
    assert (told.topic, told.json["value"], told.retain, told.qos) == ("evok/plc1/led/1_01", 1, True, 1)


def test_a_measured_value_is_told_once_a_second_and_the_last_one_always(house):
    house.wait(1)
    house.news()
    value = house.rig.device("ai", "1_01")
    for n in range(50):
        house.rig.bus.words[value._value + 1] = 0x4080 + n  # the word of a float that moves it
        house.clock.advance(0.02)
    house.wait(2)
    told = house.broker.on("evok/plc1/ai/1_01")
    assert 2 <= len(told) <= 3
    assert told[-1].json["value"] == value.state.value


def counter(house, n):
    house.rig.bus.words[house.rig.device("di", "1_01")._counter] = n


def test_a_counter_alone_is_told_once_a_second_and_an_edge_at_once(house):
    house.wait(2)
    house.news()
    for n in range(100):
        counter(house, n * 3)
        house.clock.advance(0.02)
    states = house.broker.on("evok/plc1/di/1_01")
    assert 1 <= len(states) <= 3
    house.news()
    house.rig.bus.words[house.rig.device("di", "1_01")._value] = 1
    house.clock.advance(0.02)
    house.clock.advance(0)
    assert [one.json["value"] for one in house.broker.on("evok/plc1/di/1_01")] == [1]


def test_edges_of_inputs_are_told_once_and_kept_by_nobody(house):
    house.news()
    house.rig.bus.words[house.rig.device("di", "1_01")._value] = 1
    counter(house, 1)
    house.wait(0.1)
    house.rig.bus.words[house.rig.device("di", "1_01")._value] = 0
    house.wait(0.1)
    events = house.broker.on("evok/plc1/events/di/1_01")
    assert [(one.json["event_type"], one.json["count"]) for one in events] == [("press", 1), ("release", 1)]
    assert all(one.qos == 0 and not one.retain for one in events)


def test_what_happens_while_the_broker_is_away_is_told_as_it_is_then_and_edges_are_not(house):
    house.lose()
    house.rig.bus.words[20] = 0b11
    house.rig.bus.words[house.rig.device("di", "1_01")._value] = 1
    house.wait(0.1)
    house.rig.bus.words[20] = 0b01
    house.wait(0.1)
    house.news()
    house.connect()
    assert [one.json["value"] for one in house.broker.on("evok/plc1/led/1_01")] == [1]
    assert house.broker.on("evok/plc1/led/1_02") == []  # it is as the broker has it
    assert house.broker.on("evok/plc1/events/di/1_01") == []


def test_a_broker_that_has_lost_everything_is_told_everything_again(house):
    before = dict(house.broker.retained)
    house.lose()
    house.broker.retained.clear()
    house.connect()
    for retained in (before, house.broker.retained):
        del retained["evok/plc1/info"]  # of which a clock of its own tells when the service began
    assert house.broker.retained == before


def test_a_broker_that_takes_nothing_costs_no_more_memory_however_much_changes(house):
    house.broker.acknowledges = False
    for n in range(500):
        house.rig.bus.words[20] = n & 0xF
        house.clock.advance(0.02)
    assert len(house.front._outbox) <= 4 + 2  # the LEDs, the board and the bus
    house.broker.acknowledges = True
    house.broker.acknowledge()
    house.wait(0.5)
    leds = [json.loads(house.broker.retained[f"evok/plc1/led/1_0{n}"])["value"] for n in (1, 2, 3, 4)]
    assert leds == [499 >> n & 1 for n in range(4)]


def test_no_more_is_unacknowledged_than_the_broker_takes():
    house = House()
    house.broker.properties = {"ReceiveMaximum": 2}
    house.broker.acknowledges = False
    house.front.startService()
    house.connect()
    assert len(house.broker.unacknowledged) == 2
    while house.broker.unacknowledged:
        assert len(house.broker.unacknowledged) <= 2
        house.broker.acknowledge(1)
        house.clock.advance(0)
        house.clock.advance(0)
    assert house.broker.retained["evok/plc1/status"] == b"online"


def test_what_is_larger_than_the_broker_takes_is_left_out_and_told_of(log):
    house = House()
    house.broker.properties = {"MaximumPacketSize": 200}
    house.front.startService()
    house.connect()
    assert "evok/plc1/led/1_01" in house.broker.retained
    assert "evok/plc1/ai/1_01" not in house.broker.retained
    assert any("more than the broker takes" in line for line in log.texts())


def test_a_broker_without_qos_and_retaining_gets_what_it_takes():
    house = House()
    house.broker.properties = {"MaximumQoS": 0, "RetainAvailable": 0}
    house.start()
    assert {(one.qos, one.retain) for one in house.broker.published} == {(0, False)}


def test_unchanged_values_are_told_again_where_that_is_wanted():
    house = House(repeat=10.0).start()
    house.news()
    house.wait(10)
    assert len(house.broker.on("evok/plc1/led/1_01")) == 1


def test_states_may_be_sent_without_acknowledgement():
    house = House(qos=0).start()
    assert {one.qos for one in house.broker.on("evok/plc1/led/1_01")} == {0}
    assert {one.qos for one in house.broker.on("evok/plc1/status")} == {1}


@pytest.mark.parametrize(("values", "json_too"), [("plain", False), ("both", True)])
def test_fields_may_be_told_one_by_one(values, json_too):
    retained = House(values=values).start().broker.retained
    assert retained["evok/plc1/led/1_01/value"] == b"0"
    assert retained["evok/plc1/di/1_01/counter_mode"] == b"Enabled"
    assert ("evok/plc1/led/1_01" in retained) is json_too
    assert "evok/plc1/modbus_slave/1/last_comm" not in retained


def test_only_what_is_asked_for_is_told_of():
    house = House(devices=("led",)).start()
    house.news()
    house.rig.bus.words[house.rig.device("di", "1_01")._value] = 1
    house.wait(0.1)
    assert house.news() == []
    assert "evok/plc1/led/1_01" in house.broker.retained and "evok/plc1/di/1_01" not in house.broker.retained


def test_in_classic_names_are_those_of_classic():
    house = House(dialect="classic").start()
    assert "evok/plc1/input/1_01" in house.broker.retained
    assert house.say("relay/1_01/set", "1")[0]["result"]["dev"] == "relay"


def test_the_age_of_an_answer_is_no_news(house):
    assert "last_comm" not in json.loads(house.broker.retained["evok/plc1/modbus_slave/1"])


def test_a_board_that_does_not_answer_is_said_to_be_offline(house):
    house.rig.bus.turn(False)
    house.wait(2)
    assert house.broker.retained["evok/plc1/boards/1/status"] == b"offline"
    assert house.broker.retained["evok/plc1/buses/FAKE/status"] == b"offline"
    house.rig.bus.turn(True)
    house.wait(2)
    assert house.broker.retained["evok/plc1/boards/1/status"] == b"online"


# What is retained


def test_what_is_no_more_is_cleared_with_nothing_at_all(house):
    house.lose()
    stale = ["led/9_01", "ai/1_01/value", "boards/7/status", "buses/OLD/status"]
    house.broker.retained |= {f"evok/plc1/{topic}": b"1" for topic in stale}
    house.broker.retained["evok/plc1/note/mine"] = b"of somebody else"
    house.broker.retained["homeassistant/device/evok_plc1/board_9/config"] = b'{"cmps":{}}'
    house.news()
    house.connect()
    cleared = {one.topic: one.payload for one in house.broker.published if not one.payload}
    assert set(cleared) == {
        *(f"evok/plc1/{topic}" for topic in stale),
        "homeassistant/device/evok_plc1/board_9/config",
    }
    assert "evok/plc1/note/mine" in house.broker.retained


def test_a_device_that_goes_is_cleared(house):
    device = house.rig.device("led", "1_02")
    house.rig.registry.remove(device)
    house.rig.events.withdraw([device])
    house.wait(0.1)
    assert "evok/plc1/led/1_02" not in house.broker.retained


def test_reading_back_leaves_no_subscription_and_never_doubles_a_command(house):
    # checked at every moment: the patterns of what is read back and of commands have no topic in common
    house.lose()
    house.accept()
    for _ in range(100):
        house.clock.advance(0.02)
        for topic in ("di/1_01/set", "di/1_01/debounce/set", "ro/1_01/get", "all/get", "bulk"):
            assert len(matching(house.broker.subscriptions, f"evok/plc1/{topic}")) <= 1
    assert not any("+/config" in pattern or pattern.endswith("led/+") for pattern in house.broker.subscriptions)


def matching(patterns, topic):
    return [pattern for pattern in patterns if topic_matches_sub(pattern, topic)]


def test_offline_of_an_old_connection_is_contradicted_once_in_ten_seconds(house):
    house.news()
    for _ in range(3):
        house.broker.deliver("evok/plc1/status", "offline")
        house.wait(0.1)
    assert [one.payload for one in house.broker.on("evok/plc1/status")] == [b"online"]
    house.wait(10)
    assert [one.payload for one in house.broker.on("evok/plc1/status")] == [b"online"] * 2


def test_another_unit_of_the_same_name_is_warned_of_once(log):
    house = House()
    house.rig.registry.add(DeviceInfo("FAKE", DeviceInfoState("Neuron", "L203", 5, 1)))
    house.broker.retained["evok/plc1/info"] = b'{"sn":77}'
    house.start()
    house.broker.deliver("evok/plc1/info", b'{"sn":77}')
    house.broker.deliver("evok/plc1/info", b'{"sn":5}')
    house.broker.deliver("evok/plc1/info", b"nonsense")
    assert len([line for line in log.texts() if "another unit, with the serial number 77" in line]) == 1
    assert json.loads(house.broker.retained["evok/plc1/info"])["model"] == "L203"


def test_after_the_birth_of_home_assistant_only_what_the_broker_has_lost_is_sent_again(house):
    del house.broker.retained["evok/plc1/led/1_03"]
    house.news()
    house.broker.deliver("homeassistant/status", "online")
    house.wait(8)
    topics = [one.topic for one in house.news()]
    assert topics.count("evok/plc1/led/1_03") == 1
    assert "evok/plc1/led/1_01" not in topics


# The end


def test_at_the_stop_it_says_that_it_is_offline_and_parts_from_the_broker(house):
    house.news()
    stopped = house.front.stopService()
    house.wait(0.1)
    assert [(one.topic, one.payload) for one in house.news()] == [("evok/plc1/status", b"offline")]
    assert house.broker.farewells == 1
    assert stopped.called
    house.wait(60)
    assert house.clock.tcpClients == []


def test_a_broker_that_does_not_acknowledge_holds_the_stop_up_for_a_second_only(house):
    house.broker.acknowledges = False
    stopped = house.front.stopService()
    house.wait(0.9)
    assert not stopped.called
    house.wait(0.3)
    assert stopped.called and house.broker.farewells == 1


def test_a_stop_without_a_connection_is_done_at_once():
    house = House()
    house.front.startService()
    assert house.front.stopService().called
    house.wait(60)
    assert len(house.clock.tcpClients) == 1  # the one that was given up


def test_what_others_have_the_broker_retain_below_us_is_not_kept_without_a_bound(monkeypatch):
    monkeypatch.setattr("evok_twisted.api.mqtt.retained.MOST", 4000)
    house = House()
    house.broker.retained |= {f"evok/plc1/led/x{n}": b"x" * 100 for n in range(200)}
    house.start()
    assert house.broker.retained["evok/plc1/status"] == b"online"
    assert len(house.front._outbox.known) < 100


def test_the_begin_of_the_service_is_told_again_when_the_clock_was_set(house):
    def started():
        return json.loads(house.broker.retained["evok/plc1/info"])["started"]

    begun, wall = house.clock.seconds(), 1795654888.0
    house.rig.events.wall = lambda: wall + house.clock.seconds() - begun
    house.wait(2)
    before = started()
    house.news()
    house.wait(5)
    assert not any(one.topic == "evok/plc1/info" for one in house.news())
    wall += 86400
    house.wait(2)
    assert before.startswith("2026-11-26") and started().startswith("2026-11-27")


def test_home_assistant_may_start_as_often_as_it_likes(house):
    for _ in range(10):
        house.broker.deliver("homeassistant/status", "online")
        house.wait(2)
    seen = []
    subscribe = house.front._link.connection.subscribe
    house.front._link.connection.subscribe = lambda wanted: seen.append(wanted) or subscribe(wanted)
    for _ in range(20):
        house.broker.deliver("homeassistant/status", "online")
        house.wait(0.5)
    parts = len(house.front._read_back._parts)
    assert len(seen) <= parts
