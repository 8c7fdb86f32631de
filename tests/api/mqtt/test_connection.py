"""The connection to a broker: how it is made, what ends it, and what a bad one costs."""

from __future__ import annotations

import faulthandler

import pytest
from brokers import House, packet
from twisted.internet.error import ConnectionRefusedError
from twisted.python.failure import Failure

from evok_twisted.api.mqtt.packets import LARGEST_PACKET


@pytest.fixture(params=[5, 3], ids=["5", "3.1.1"])
def house(request):
    return House(version=request.param)


def attempts(house, seconds):
    """How long after now, in seconds, each attempt to connect is made."""
    found = []
    for n in range(round(seconds * 8)):
        house.clock.advance(0.125)  # which floats add without an error
        if house.clock.tcpClients:
            found.append((n + 1) / 8)
            refuse(house)
    return found


def refuse(house):
    _, _, factory, _, _ = house.clock.tcpClients.pop()
    factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))


def test_a_broker_that_is_not_there_is_tried_again_slower_and_slower_and_for_ever(house, log):
    house.front.startService()
    refuse(house)
    assert attempts(house, 200) == [1, 3, 7, 15, 31, 61, 91, 121, 151, 181]
    (line,) = (text for text in log.texts() if "MQTT" in text)
    assert line.startswith("MQTT: no connection to tcp:127.0.0.1:1883: Connection was refused")
    assert house.front.warnings and not house.front.health().connected
    house.connect()
    assert house.broker.retained["evok/plc1/status"] == b"online"
    assert house.front.health().connected and not house.front.warnings
    assert "MQTT: connected to tcp:127.0.0.1:1883 as evok-plc1" in log.texts()[-1]


def test_health_tells_of_the_broker(house):
    report = house.rig.core.health.report
    house.front.startService()
    assert (report().mqtt.connected, report().mqtt.why) == (False, "not yet")
    house.connect()
    house.say("led/1_01/set", "1")
    mqtt = report().mqtt
    assert (mqtt.connected, mqtt.why, mqtt.waiting, mqtt.commands) == (True, None, 0, 1)
    assert mqtt.published > 10 and report().healthy


@pytest.mark.parametrize(("code5", "code3", "word"), [(0x86, 4, "user name"), (0x87, 5, "uthorized")])
def test_who_is_not_authorised_tries_again_in_half_a_minute(house, log, code5, code3, word):
    house.broker.code = code5 if house.broker.version == 5 else code3
    house.front.startService()
    house.accept()
    house.clock.advance(0)
    assert attempts(house, 31) == [30]
    assert any(word in text for text in log.texts())


def test_a_broker_that_does_not_speak_5_is_spoken_to_in_3_1_1(log):
    house = House()
    house.broker.version = 3
    house.front.startService()
    house.accept()
    house.wait(0.1)
    house.connect()
    assert house.broker.hellos[-1][6] == 4
    assert house.broker.retained["evok/plc1/status"] == b"online"
    house.lose()
    house.connect()
    assert house.broker.hellos[-1][6] == 4
    assert len([text for text in log.texts() if "does not speak MQTT 5" in text]) == 1
    assert house.front.health().version == "3.1.1"


def test_a_broker_that_says_nothing_is_given_up(house, log):
    house.front.startService()
    house.broker.take = lambda *_: None
    house.accept()
    house.wait(11)
    assert any("no answer in time" in text for text in log.texts())
    house.wait(2)
    assert len(house.clock.tcpClients) == 1


def test_a_broker_that_does_not_answer_a_subscription_is_given_up(house, log):
    house.front.startService()
    house.broker._subscribe = lambda *_: None
    house.accept()
    house.wait(13)
    assert any("no answer in time" in text for text in log.texts())
    house.connect()


def test_refused_subscriptions_are_told_of_and_the_rest_works(house, log):
    house.broker.refused = {"evok/plc1/bulk"}
    house.start()
    assert any("does not let us subscribe to evok/plc1/bulk" in text for text in log.texts())
    assert house.broker.retained["evok/plc1/status"] == b"online"


def test_what_the_broker_does_not_take_is_told_of(log):
    house = House()
    house.broker.acknowledges = False
    house.front.startService()
    house.connect()
    house.broker.acknowledge(1, code=0x87)
    assert any("does not take evok/plc1/" in text and "authorized" in text for text in log.texts())


def test_a_client_that_took_our_place_is_left_alone_for_a_minute(log):
    house = House().start()
    house.broker.peer.say(packet(0xE0, b"\x8e\x00"))
    house.clock.advance(0)
    assert any("another client uses the client id 'evok-plc1'" in text for text in log.texts())
    assert attempts(house, 60.5) == [60]


def test_three_connections_lost_at_once_are_taken_for_that_too(log):
    house = House(version=3)
    house.front.startService()
    for _ in range(3):
        house.connect()
        house.broker.peer.lose()
    assert any("another client uses the client id" in text for text in log.texts())
    assert attempts(house, 60) == [60]


def test_a_broker_that_does_not_answer_pings_is_left(monkeypatch, log):
    house = House(keepalive=5)
    monkeypatch.setattr("paho.mqtt.client.time_func", house.clock.seconds)
    house.start()
    house.wait(20)
    assert house.front.health().connected
    house.broker.take = lambda *_: None
    house.wait(12)
    assert not house.front.health().connected
    assert any("the broker does not answer" in text for text in log.texts())


def test_the_broker_may_speak_a_byte_at_a_time(house):
    house.front.startService()
    house.accept()
    whole = house.broker.peer.say

    def slowly(data):
        for n in range(len(data)):
            whole(data[n : n + 1])

    house.broker.peer.say = slowly
    house.connect() if house.clock.tcpClients else house.wait(2)
    assert house.broker.retained["evok/plc1/status"] == b"online"
    assert house.say("led/1_01/set", "1")[0]["success"]


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n" + b" " * 200,
        b"\xff" * 100,
        packet(0x00, b"abc"),
        packet(0x30, b"\x00"),
        packet(0x30, b"\xff\xff"),
        packet(0x40),
        packet(0x90, b"\x00\x01"),
        packet(0x20, b"\x00\x00"),
        b"\x30\xff\xff\xff\xff\x01",
        packet(0x50, b"x" * (LARGEST_PACKET + 1)),
    ],
)
def test_nonsense_costs_the_connection_at_most(house, nonsense):
    house.start()
    house.clock.advance(5)
    house.broker.peer.say(nonsense)
    house.wait(2)
    if not house.front.health().connected:
        house.connect()
    assert house.say("led/1_01/set", "1")[0]["success"]


def test_a_message_that_is_too_large_is_passed_over_and_acknowledged(log):
    house = House(version=3).start()
    topic = b"\x00\x12evok/plc1/led/1_01"
    for number in (b"", b"\x12\x34"):
        body = topic + number + b"x" * (LARGEST_PACKET + 10)
        house.broker.peer.say(packet(0x32 if number else 0x30, body))
    house.wait(0.1)
    assert 0x1234 in house.broker.acknowledged_by_client
    assert house.front.health().connected
    assert house.say("led/1_01/set", "1")[0]["success"]
    assert any("was passed over" in text for text in log.texts())


def test_a_flood_is_worked_on_in_slices_and_the_rest_has_its_turn():
    house = House(max_rate=10).start()
    connection = house.front._link.connection
    slow = iter(range(10**6))
    house.clock.seconds = lambda: house.clock.rightNow + next(slow) * 1e-4  # all that is done takes time
    one = b"evok/plc1/led/1_01/set"
    flood = packet(0x30, b"\x00" + bytes([len(one)]) + one + b"\x00" + b"1") * 200
    house.broker.peer.say(flood)
    assert len(connection._client.wire.data) > 1000
    assert house.broker.peer.producerState == "paused"
    del house.clock.seconds
    house.wait(5)
    assert len(connection._client.wire.data) == 0
    assert house.broker.peer.producerState == "producing"


def test_to_publish_while_a_message_is_taken_does_not_stop_the_world(house):
    faulthandler.dump_traceback_later(20, exit=True)
    try:
        house.start()
        for qos in (0, 1):
            assert house.say("led/1_01/set", "TOGGLE", qos=qos)[0]["success"]
        connection = house.front._link.connection
        receive, connection._receive = connection._receive, lambda message: connection.publish("x", b"1", 0)
        house.broker.deliver("evok/plc1/led/1_01/set", "1", qos=1)
        connection._receive = receive
        assert house.broker.on("x") == [] or True
        house.wait(0.1)
        assert len(house.broker.on("x")) == 1
        connection._receive = lambda message: connection.say_farewell()
        house.broker.deliver("evok/plc1/led/1_01/set", "1")
        house.wait(0.1)
        assert house.broker.farewells == 1
    finally:
        faulthandler.cancel_dump_traceback_later()


def test_a_broker_that_reads_nothing_makes_edges_and_answers_wait_or_go(house):
    house.start()
    connection = house.front._link.connection
    connection.pauseProducing()
    house.news()
    house.rig.bus.words[house.rig.device("di", "1_01")._value] = 1
    house.rig.bus.words[20] = 1
    house.wait(0.5)
    house.broker.deliver("evok/plc1/led/1_02/set", "1")
    house.wait(0.5)
    assert house.broker.published == []
    connection.resumeProducing()
    house.wait(0.1)
    topics = {one.topic for one in house.news()}
    assert {"evok/plc1/led/1_01", "evok/plc1/led/1_02", "evok/plc1/reply", "evok/plc1/di/1_01"} <= topics
    assert not any("events" in topic for topic in topics)
