"""The WebSocket on its HTTP channel, in memory: the handshake, frames, and a client that does not read."""

from __future__ import annotations

import json
import struct

import pytest
from fakes import Rig
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from web import Browser

from evok_twisted.api.client import STALL_LIMIT


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def browser(clock):
    return Browser(Rig(clock).start(), clock)


def test_a_client_hears_changes_from_the_moment_it_is_connected(browser):
    browser.open()
    assert browser.frames() == []
    browser.change(r0=1)
    ((one,),) = browser.messages()
    assert (one["dev"], one["circuit"], one["value"]) == ("input", "1_01", 1)


@pytest.mark.parametrize(("query", "dev"), [("", "input"), ("?dialect=classic", "input"), ("?dialect=v3", "di")])
def test_a_client_chooses_its_dialect(browser, query, dev):
    browser.open("/ws" + query)
    browser.change(r0=1)
    assert browser.messages()[0][0]["dev"] == dev


def test_the_configuration_sets_the_default_dialect(clock):
    browser = Browser(Rig(clock).start(), clock, dialect="v3").open()
    browser.change(r0=1)
    assert browser.messages()[0][0]["dev"] == "di"


def test_an_unknown_dialect_is_refused_with_400(browser):
    assert browser.request("/ws?dialect=v9").startswith(b"HTTP/1.1 400 ")


def test_deflate_is_offered_in_vain_and_the_connection_works(browser):
    head = browser.request(extra="Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n")
    assert b"permessage-deflate" not in head
    browser.say({"cmd": "full", "dev": "led", "circuit": "1_01"})
    assert len(browser.messages()) == 1


def test_the_idle_timeout_of_http_does_not_close_a_websocket(browser):
    browser.open()
    for _ in range(10):
        browser.clock.advance(60 / 5)
        browser.say(b"", opcode=10)
    assert not browser.transport.disconnecting


def test_a_client_is_pinged_every_thirty_seconds(browser):
    browser.open()
    pings = []
    for _ in range(3):
        browser.clock.advance(30)
        pings += [opcode for opcode, _ in browser.frames()]
        browser.say(b"", opcode=10)
    assert pings == [9, 9, 9]


def test_a_client_that_is_silent_for_two_pings_is_dropped(browser, log):
    browser.open()
    for _ in range(2):
        browser.clock.advance(30)
        assert not browser.transport.disconnecting
    browser.clock.advance(30)
    assert browser.transport.disconnecting
    assert [text for text in log.texts("info") if "silent" in text] != []


@pytest.mark.parametrize("sign", [(b"", 10), (b" ", 1), (b"hi", 9)])
def test_any_sign_of_life_keeps_a_client(browser, sign):
    browser.open()
    for _ in range(6):
        browser.clock.advance(30)
        browser.say(*sign)
    assert not browser.transport.disconnecting


def test_no_timer_is_left_of_a_client_that_is_gone(browser):
    before = len(browser.clock.getDelayedCalls())
    browser.open()
    browser.transport.protocol.connectionLost(Failure(ConnectionDone()))
    assert len(browser.clock.getDelayedCalls()) <= before


def test_an_idle_http_connection_is_closed(browser):
    browser.clock.advance(60 + 1)
    assert browser.transport.disconnecting


def test_small_messages_are_not_held_back(browser):
    browser.open()
    assert browser.transport.no_delay


def test_a_binary_frame_is_read_as_text(browser):
    browser.open().say({"cmd": "full", "dev": "led", "circuit": "1_01"}, opcode=2)
    assert [opcode for opcode, _ in browser.frames()] == [1]


@pytest.mark.parametrize("payload", [b" ", b"\xff\xfe\x00", b"nonsense"])
def test_what_is_not_understood_is_passed_over(browser, payload):
    browser.open().say(payload, opcode=2)
    browser.say({"cmd": "full", "dev": "led", "circuit": "1_01"})
    assert [opcode for opcode, _ in browser.frames()] == [1]


def test_a_ping_is_answered(browser):
    browser.open().say(b"hello", opcode=9)
    assert browser.frames() == [(10, b"hello")]


def test_a_message_that_is_too_large_closes_the_connection_with_1009(browser):
    browser.open().say(b'{"id":1,"cmd":"' + b"x" * 65536 + b'"}')
    ((opcode, payload),) = browser.frames()
    assert (opcode, struct.unpack(">H", payload[:2])[0]) == (8, 1009)


def test_nothing_follows_the_close_frame(browser):
    browser.open().say(b'{"id":1,"cmd":"' + b"x" * 65536 + b'"}')
    browser.frames()
    browser.change(r0=1)
    assert browser.frames() == []


def test_the_largest_message_is_taken(browser):
    browser.open().say(b'{"id":1,"cmd":"' + b"x" * (65536 - 17) + b'"}')
    assert [opcode for opcode, _ in browser.frames()] == [1]


def test_one_client_too_many_is_turned_away(clock):
    browser = Browser(Rig(clock).start(), clock, max_clients=2)
    for _ in range(2):
        browser.connect().open()
    assert browser.connect().request().startswith(b"HTTP/1.1 503 ")


def test_what_is_no_websocket_handshake_is_told_so(browser):
    browser.send(b"GET /ws HTTP/1.1\r\nHost: plc\r\n\r\n")
    assert browser.transport.value().startswith(b"HTTP/1.1 4")


def test_a_client_that_is_gone_is_forgotten(browser):
    browser.open()
    assert len(browser.factory.hub) == 1
    browser.transport.protocol.connectionLost(Failure(ConnectionLost()))
    assert len(browser.factory.hub) == 0
    browser.change(r0=1)


def test_a_client_that_goes_away_does_not_cancel_a_write_that_is_under_way(browser):
    browser.rig.bus.answering = False
    browser.open().say({"cmd": "set", "dev": "output", "circuit": "1_01", "value": 1, "id": 1})
    browser.transport.protocol.connectionLost(Failure(ConnectionDone()))
    browser.rig.bus.answer()
    assert browser.rig.device("output", "1_01").state.value == 1


class TestAClientThatDoesNotRead:
    """Defect 7 of Evok: it grows the server's memory without limit."""

    @pytest.fixture
    def stalled(self, browser):
        browser.open()
        browser.transport.producer.pauseProducing()
        return browser

    def test_is_sent_nothing(self, stalled):
        for value in (1, 0, 1):
            stalled.change(r0=value)
        assert stalled.frames() == []

    def test_gets_the_latest_state_of_what_changed_once_when_it_reads_again(self, stalled):
        for value in (1, 0, 3):
            stalled.change(r0=value, r8=value)
        stalled.transport.producer.resumeProducing()
        (told,) = stalled.messages()
        assert {(one["circuit"], one["value"], one["counter"]) for one in told} == {("1_01", 1, 3), ("1_02", 1, 0)}

    def test_is_not_read_from(self, stalled):
        assert stalled.transport.producerState == "paused"
        stalled.transport.producer.resumeProducing()
        assert stalled.transport.producerState == "producing"

    def test_its_messages_wait(self, stalled):
        for _ in range(3):
            stalled.say({"cmd": "full", "dev": "led", "circuit": "1_01"})
        assert stalled.frames() == []
        stalled.transport.producer.resumeProducing()
        assert len(stalled.messages()) == 3

    def test_goes_on_with_the_stream_afterwards(self, stalled):
        stalled.transport.producer.resumeProducing()
        stalled.change(r0=1)
        assert len(stalled.messages()) == 1

    def test_holds_nothing_when_it_is_gone(self, stalled):
        stalled.change(r0=1)
        connection = stalled.transport.protocol
        connection.connectionLost(Failure(ConnectionLost()))
        assert not connection.client._missed

    def test_is_closed_after_a_minute_and_dropped_if_it_does_not_answer(self, stalled, log):
        stalled.clock.advance(STALL_LIMIT - 1)
        assert 8 not in [opcode for opcode, _ in stalled.frames()]
        stalled.clock.advance(1)
        opcode, payload = stalled.frames()[-1]
        assert (opcode, payload[:2]) == (8, struct.pack(">H", 1008))
        assert len(stalled.factory.hub) == 0
        stalled.clock.pump([1] * 6)
        assert stalled.transport.disconnected
        assert [text for text in log.texts("info") if text.endswith("has read nothing for 60 s; closed")] != []

    def test_that_reads_now_and_then_is_not_closed(self, stalled):
        for _ in range(5):
            stalled.clock.advance(STALL_LIMIT - 30)
            stalled.transport.producer.resumeProducing()
            stalled.transport.producer.pauseProducing()
            stalled.send(b"\x8a\x80\0\0\0\0")  # a pong
        stalled.transport.producer.resumeProducing()
        assert 8 not in [opcode for opcode, _ in stalled.frames()]


class TestAClientThatSendsTooMuch:
    """200 messages a second; more have to wait."""

    MESSAGE = {"cmd": "full", "dev": "led", "circuit": "1_01"}

    @pytest.fixture
    def fast(self, browser):
        browser.open()
        for _ in range(250):
            browser.say(self.MESSAGE)
        return browser

    def test_is_made_to_wait_and_not_read_from(self, fast):
        assert len(fast.messages()) == 200
        assert fast.transport.producerState == "paused"

    def test_has_every_message_answered_in_its_time(self, fast):
        fast.messages()
        fast.clock.pump([0.005] * 20)
        assert 18 <= len(fast.messages()) <= 22
        fast.clock.pump([0.01] * 20)
        assert len(fast.messages()) >= 25
        assert fast.transport.producerState == "producing"

    def test_may_send_as_much_again_later(self, fast):
        fast.clock.pump([0.01] * 200)
        fast.messages()
        for _ in range(200):
            fast.say(self.MESSAGE)
        assert len(fast.messages()) == 200

    def test_still_gets_its_events(self, fast):
        fast.messages()
        fast.change(r0=1)
        assert any(isinstance(told, list) and told[0]["dev"] == "input" for told in fast.messages())

    def test_that_does_not_read_either_waits_for_both(self, fast):
        fast.messages()
        fast.transport.producer.pauseProducing()
        fast.clock.pump([0.01] * 100)
        assert fast.messages() == []
        assert fast.transport.producerState == "paused"
        fast.transport.producer.resumeProducing()
        assert len(fast.messages()) == 50
        assert fast.transport.producerState == "producing"

    @pytest.mark.parametrize(
        "frame", [b"\x89\x80\0\0\0\0", b"\x8a\x80\0\0\0\0"], ids=["pings", "pongs that nobody asked for"]
    )
    def test_has_all_its_frames_counted(self, browser, frame):
        browser.open().send(250 * frame)
        assert len(browser.frames()) <= 200
        assert browser.transport.producerState == "paused"
        browser.say(self.MESSAGE)
        assert browser.messages() == []
        browser.clock.pump([0.01] * 30)
        assert len(browser.messages()) == 1

    def test_has_fragments_counted_too(self, browser):
        browser.open().send(b"\x01\x80\0\0\0\0" + 250 * b"\x00\x80\0\0\0\0")
        assert browser.transport.producerState == "paused"

    def test_in_endless_fragments_is_closed(self, browser):
        browser.open().send(b"\x01\x80\0\0\0\0" + 1100 * b"\x00\x80\0\0\0\0")
        browser.clock.pump([0.01] * 600)
        closed = [payload[:2] for opcode, payload in browser.frames() if opcode == 8]
        assert closed == [struct.pack(">H", 1008)]

    def test_in_one_piece_is_heard_frame_by_frame(self, browser):
        message = json.dumps({**self.MESSAGE, "id": 1}).encode()
        fragments = [b"%b%c\0\0\0\0%c" % (b"\x00", 0x81, one) for one in message[1:-1]]
        browser.open().send(b"\x01\x81\0\0\0\0" + message[:1] + b"".join(fragments))
        browser.send(b"\x80\x81\0\0\0\0" + message[-1:])
        browser.clock.pump([0.01] * 100)
        assert [answer["id"] for answer in browser.messages()] == [1]

    def test_leaves_nothing_behind_when_it_goes(self, fast):
        fast.transport.protocol.connectionLost(Failure(ConnectionDone()))
        fast.clock.advance(1)
        assert len(fast.factory.hub) == 0


def test_at_the_end_of_the_service_clients_are_told_that_it_goes_away(browser):
    browser.open()
    done = Deferred.fromCoroutine(browser.factory.stop())
    ((opcode, payload),) = browser.frames()
    assert (opcode, payload[:2]) == (8, struct.pack(">H", 1001))
    assert not done.called
    browser.say(payload, opcode=8)  # the client answers with the same
    browser.transport.protocol.connectionLost(Failure(ConnectionDone()))
    browser.clock.advance(0.01)
    assert done.called


def test_the_end_of_the_service_does_not_wait_long_for_a_client(browser):
    browser.open()
    done = Deferred.fromCoroutine(browser.factory.stop())
    browser.clock.pump([0.01] * 60)
    assert done.called


def test_what_is_here_is_told_at_the_root(browser):
    browser.send(b"GET / HTTP/1.1\r\nHost: plc\r\n\r\n")
    assert b'"paths":["/ws"]' in browser.transport.value()


def test_a_path_that_is_not_there_is_a_404(browser):
    browser.send(b"GET /nope HTTP/1.1\r\nHost: plc\r\n\r\n")
    assert browser.transport.value().startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("message", [{"cmd": "all"}, {"cmd": "all", "id": 1}])
def test_the_limit_of_messages_holds_for_what_clients_send_only(clock, message):
    browser = Browser(Rig(clock).start(), clock, max_message_size=200).open()
    browser.say(message)
    (answer,) = browser.messages()
    assert len(json.dumps(answer)) > 200


def test_an_answer_of_more_than_64_kib_arrives_whole(browser):
    given = "x" * 65400
    browser.open().say({"cmd": "all", "id": given})
    (answer,) = browser.messages()
    assert answer["id"] == given
    assert len(answer["result"]) == len(list(browser.rig.registry))


def test_options_of_the_websocket_is_a_204(browser):
    browser.send(b"OPTIONS /ws HTTP/1.1\r\nHost: plc\r\n\r\n")
    assert browser.transport.value().startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x83\x80\0\0\0\0", 1002),  # a reserved opcode
        (b"\x81\x82\0\0\0\0\xff\xff", 1007),
        (b"\x81\xff" + struct.pack(">Q", 70000) + b"\0\0\0\0", 1009),
    ],
)
def test_what_is_no_websocket_is_told_once_a_minute_however_often_its_client_connects(browser, log, frame, code):
    for _ in range(20):
        browser.connect().open().send(frame)
        ((opcode, payload),) = browser.frames()
        assert (opcode, payload[:2]) == (8, struct.pack(">H", code))
        browser.transport.protocol.connectionLost(Failure(ConnectionDone()))
    (told,) = log.texts("warn")
    assert f" is closed with {code}: " in told
    browser.clock.advance(60)
    assert "19 messages like this in 60 s" in log.texts("warn")[-1]
