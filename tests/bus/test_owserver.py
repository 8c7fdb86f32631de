"""The client of owserver, over a line in memory that cuts frames, stalls and dies."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from evok_twisted.bus.ownet import HEADER, LONGEST_PAYLOAD, Message
from evok_twisted.bus.owserver import CONNECT_TIMEOUT, SLOWEST_RETRY, OwServer, retry_delay
from evok_twisted.errors import BadAnswer, Busy, Offline, Refused, Timeout

PERSISTENT = 0x104
KEEP_ALIVE = HEADER.pack(0, -1, 0, 0, 0, 0)


def frame(code=0, payload=b"", *, flags=PERSISTENT, size=None):
    return HEADER.pack(0, len(payload), code, flags, len(payload) if size is None else size, 0) + payload


class Line(StringTransport):
    """A connection whose other end is the test."""

    def __init__(self, protocol):
        super().__init__()
        self.protocol = protocol
        self.open = True

    def loseConnection(self):
        self.die()

    def abortConnection(self):
        self.die()

    def die(self):
        if self.open:
            self.open = False
            self.protocol.connectionLost(Failure(ConnectionLost()))

    def say(self, data):
        self.protocol.dataReceived(data)

    def asked(self):
        """The requests since the last time: (message, path, data), and nothing beside."""
        data, requests = self.value(), []
        self.clear()
        while data:
            version, length, kind, flags, size, offset = HEADER.unpack_from(data)
            path, _, written = data[24 : 24 + length].partition(b"\0")
            assert (version, flags, offset) == (0, PERSISTENT, 0)
            requests.append((Message(kind), path.decode(), written.decode()))
            data = data[24 + length :]
        return requests


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects when the test says so, or at once."""

    def __init__(self):
        self.at_once = True
        self.refusing = False
        self.lines = []
        self.waiting = []

    def connect(self, factory):
        if self.refusing:
            return fail(ConnectionRefusedError("refused"))
        connected = Deferred()
        self.waiting.append((factory, connected))
        if self.at_once:
            self.accept()
        return connected

    def accept(self):
        factory, connected = self.waiting.pop(0)
        protocol = factory.buildProtocol(None)
        line = Line(protocol)
        protocol.makeConnection(line)
        self.lines.append(line)
        connected.callback(protocol)


class Rig:
    def __init__(self, **options):
        self.clock = Clock()
        self.endpoint = Endpoint()
        self.server = OwServer("OWFS", self.endpoint, self.clock, **options)
        self.turns = []
        self.server.watch(self.turns.append)

    def start(self):
        self.server.service.startService()
        return self

    def up(self):
        """With a connection on which the server has answered."""
        self.start()
        assert self.line.asked() == [(Message.NOP, "", "")]
        self.line.say(frame())
        assert self.turns == [True]
        return self

    @property
    def line(self):
        return self.endpoint.lines[-1]


def result(deferred):
    """What a Deferred has come to: a value, or an error."""
    got = []
    deferred.addBoth(got.append)
    assert got, "it has no result yet"
    return got[0].value if isinstance(got[0], Failure) else got[0]


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    rig.server.service.stopService()
    assert [call for call in rig.clock.getDelayedCalls() if call.active()] == []


# Requests and answers


def test_a_read_is_the_text_without_the_blanks_around_it(rig):
    answer = rig.up().server.read("/28.95DCD5090000/temperature")
    assert rig.line.asked() == [(Message.READ, "/28.95DCD5090000/temperature", "")]
    rig.line.say(frame(12, b"        21.5"))
    assert result(answer) == "21.5"


def test_a_directory_is_the_list_of_its_paths(rig):
    answer = rig.up().server.directory("/uncached")
    assert rig.line.asked() == [(Message.DIRALL, "/uncached", "")]
    rig.line.say(frame(0, b"/uncached/28.95DCD5090000,/uncached/26.A1B2C3000000\0"))
    assert result(answer) == ["/uncached/28.95DCD5090000", "/uncached/26.A1B2C3000000"]


def test_an_empty_bus_is_an_empty_directory(rig):
    answer = rig.up().server.directory("/")
    rig.line.say(frame())
    assert result(answer) == []


def test_a_write_carries_its_text_and_fires_at_the_acknowledgement(rig):
    answer = rig.up().server.write("/29.000029D60500/PIO.0", "1")
    assert rig.line.asked() == [(Message.WRITE, "/29.000029D60500/PIO.0", "1")]
    assert not answer.called
    rig.line.say(frame(0, size=1))
    assert result(answer) is None


@pytest.mark.parametrize(("code", "there"), [(0, True), (-1, False)])
def test_a_sensor_is_present_or_not(rig, code, there):
    answer = rig.up().server.present("/28.95DCD5090000")
    assert rig.line.asked() == [(Message.PRESENT, "/28.95DCD5090000", "")]
    rig.line.say(frame(code))
    assert result(answer) is there


@pytest.mark.parametrize("ask", ["read", "directory"])
def test_a_negative_code_is_a_refusal_and_leaves_the_connection(rig, ask):
    answer = getattr(rig.up().server, ask)("/28.000000000000")
    rig.line.say(frame(-42))
    error = result(answer)
    assert isinstance(error, Refused)
    assert error.exception == 42
    assert rig.line.open
    assert rig.server.online


def test_what_the_payload_has_beyond_its_size_is_not_taken(rig):
    answer = rig.up().server.read("/x")
    rig.line.say(frame(3, b"1,0\0garbage", size=3))
    assert result(answer) == "1,0"


def test_one_request_is_in_flight_and_the_others_keep_their_order(rig):
    first, second, third = (rig.up().server.read("/1"), rig.server.read("/2"), rig.server.write("/3", "x"))
    assert rig.line.asked() == [(Message.READ, "/1", "")]
    rig.line.say(frame(1, b"a"))
    assert rig.line.asked() == [(Message.READ, "/2", "")]
    rig.line.say(frame(1, b"b"))
    assert rig.line.asked() == [(Message.WRITE, "/3", "x")]
    rig.line.say(frame())
    assert [result(first), result(second), result(third)] == ["a", "b", None]


def test_too_many_requests_are_refused():
    rig = Rig(limit=1).up()
    rig.server.read("/1").addErrback(lambda failure: failure.trap(Offline))
    rig.server.read("/2").addErrback(lambda failure: failure.trap(Offline))
    assert isinstance(result(rig.server.read("/3")), Busy)
    rig.server.service.stopService()


# Frames


def test_an_answer_may_come_byte_by_byte(rig):
    answer = rig.up().server.read("/x")
    for byte in KEEP_ALIVE + frame(4, b"21.5"):
        assert not answer.called
        rig.line.say(bytes([byte]))
    assert result(answer) == "21.5"


def test_an_answer_and_a_keep_alive_may_come_as_one(rig):
    answer = rig.up().server.read("/x")
    rig.line.say(KEEP_ALIVE + KEEP_ALIVE + frame(4, b"21.5"))
    assert result(answer) == "21.5"


@pytest.mark.parametrize(
    "garbage",
    [
        HEADER.pack(1, 0, 0, 0, 0, 0),
        HEADER.pack(0, -2, 0, 0, 0, 0),
        HEADER.pack(0, LONGEST_PAYLOAD + 1, 0, 0, 0, 0),
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
    ids=["version", "negative", "huge", "http"],
)
def test_what_is_no_answer_ends_the_connection(rig, garbage):
    answer = rig.up().server.read("/x")
    rig.line.say(garbage)
    assert isinstance(result(answer), BadAnswer)
    assert not rig.line.open
    assert rig.turns == [True, False]


def test_an_answer_that_nobody_asked_for_ends_the_connection_and_no_more(rig):
    line = rig.up().line
    line.say(frame(4, b"late"))
    assert not line.open
    answer = rig.server.read("/x")
    rig.line.say(frame(4, b"21.5"))
    assert result(answer) == "21.5"
    assert rig.turns == [True]


def test_a_keep_alive_after_the_answer_is_passed_over(rig):
    answer = rig.up().server.read("/x")
    rig.line.say(frame(4, b"21.5") + KEEP_ALIVE)
    assert result(answer) == "21.5"
    assert rig.line.open


# Time


def test_silence_has_an_end(rig):
    answer = rig.up().server.read("/x")
    rig.clock.advance(4.9)
    assert not answer.called
    rig.clock.advance(0.2)
    assert isinstance(result(answer), Timeout)
    assert not rig.line.open, "its answer could come yet, and be taken for another's"
    assert rig.turns == [True, False]


def test_keep_alives_are_waited_for(rig):
    answer = rig.up().server.read("/x")
    for _ in range(3):
        rig.clock.advance(4)
        rig.line.say(KEEP_ALIVE)
    rig.line.say(frame(4, b"21.5"))
    assert result(answer) == "21.5"


def test_keep_alives_are_not_waited_for_for_ever_and_the_server_is_not_down(rig):
    answer = rig.up().server.read("/x")
    for _ in range(10):
        rig.clock.advance(3)
        rig.line.say(KEEP_ALIVE) if rig.line.open else None
    assert isinstance(result(answer), Timeout)
    assert rig.turns == [True]
    answer = rig.server.read("/y")
    rig.line.say(frame(1, b"1"))
    assert result(answer) == "1"


def test_half_an_answer_is_silence(rig):
    answer = rig.up().server.read("/x")
    rig.line.say(frame(4, b"21.5")[:-1])
    rig.clock.advance(5)
    assert isinstance(result(answer), Timeout)


def test_a_connection_that_does_not_come_about_has_an_end(rig):
    rig.endpoint.at_once = False
    rig.start()
    rig.clock.advance(CONNECT_TIMEOUT)
    assert rig.turns == [False]


# Connections


def test_the_connection_is_kept(rig):
    rig.up()
    for _ in range(3):
        answer = rig.server.read("/x")
        rig.line.say(frame(1, b"1"))
        assert result(answer) == "1"
    assert len(rig.endpoint.lines) == 1


def test_a_server_that_keeps_no_connections_gets_one_for_each_request(rig):
    rig.start()
    rig.line.say(frame(flags=0x100))
    for n in range(2, 5):
        answer = rig.server.read("/x")
        assert len(rig.endpoint.lines) == n
        rig.line.say(frame(1, b"1", flags=0x100))
        assert result(answer) == "1"
        assert not rig.line.open
    assert rig.turns == [True]
    rig.clock.advance(60)
    assert len(rig.endpoint.lines) == 4, "nobody asked for more"


def test_a_kept_connection_that_ends_is_made_anew_for_the_request(rig):
    answer = rig.up().server.read("/x")
    rig.line.die()
    assert len(rig.endpoint.lines) == 2
    assert rig.line.asked() == [(Message.READ, "/x", "")]
    rig.line.say(frame(1, b"1"))
    assert result(answer) == "1"
    assert rig.turns == [True]


def test_a_fresh_connection_that_ends_is_the_end_of_the_request(rig):
    answer = rig.up().server.read("/x")
    rig.line.die()
    rig.line.die()
    assert isinstance(result(answer), Offline)
    assert rig.turns == [True, False]


def test_an_idle_connection_that_ends_is_no_news_while_the_server_answers(rig):
    rig.up().line.die()
    rig.clock.advance(1)
    assert len(rig.endpoint.lines) == 2
    rig.line.say(frame())
    assert rig.turns == [True]


def test_a_server_that_goes_while_idle_is_noticed_soon(rig):
    rig.up()
    rig.endpoint.refusing = True
    rig.line.die()
    rig.clock.advance(1)
    assert rig.turns == [True, False]


def test_while_the_server_is_down_requests_fail_at_once_and_those_that_wait_too(rig):
    rig.up()
    rig.endpoint.refusing = True
    asked = [rig.server.read("/1"), rig.server.read("/2"), rig.server.write("/3", "1")]
    rig.line.die()
    assert all(isinstance(result(answer), Offline) for answer in asked)
    assert isinstance(result(rig.server.read("/4")), Offline)


def test_a_server_that_is_down_is_found_when_it_comes_and_logged_once(rig, log):
    rig.endpoint.refusing = True
    rig.start()
    for _ in range(100):
        rig.clock.advance(1)
    rig.endpoint.refusing = False
    rig.clock.advance(SLOWEST_RETRY)
    rig.line.say(frame())
    assert rig.turns == [False, True]
    assert log.texts("warn") == ["the owserver of bus OWFS does not answer: cannot be connected: refused; retrying"]
    assert [text for text in log.texts("info") if "owserver" in text] == [
        "the owserver of bus OWFS answers, after 105.0 s"
    ]


def test_a_server_that_takes_connections_and_never_answers_is_down(rig, log):
    rig.start()
    for _ in range(30):
        rig.clock.advance(5)
    assert rig.turns == [False]
    assert len(log.texts("warn")) == 1


def test_the_wait_between_attempts_is_bounded_for_ever():
    assert retry_delay(1) < retry_delay(2) < SLOWEST_RETRY == retry_delay(10) == retry_delay(10**9)


def test_the_stop_ends_what_is_under_way_and_is_no_news(rig, log):
    answer = rig.up().server.read("/x")
    log.clear()
    rig.server.service.stopService()
    assert isinstance(result(answer), Offline)
    assert rig.turns == [True]
    assert log.texts() == []


def test_a_host_name_that_is_none_is_a_server_that_is_down(rig):
    def connect(factory):
        return fail(ValueError("invalid hostname: ?"))

    rig.endpoint.connect = connect
    rig.start()
    assert rig.turns == [False]


def test_nothing_is_connected_after_the_stop(rig):
    rig.up().line.die()  # and a look at the server is due
    answer = rig.server.read("/x")
    rig.clock.advance(1)
    rig.server.service.stopService()
    assert isinstance(result(answer), Offline)
    assert not any(line.open for line in rig.endpoint.lines)
    rig.clock.advance(60)
    assert len(rig.endpoint.lines) == 2


def test_the_stop_ends_an_attempt_to_connect(rig):
    rig.endpoint.at_once = False
    rig.start()
    rig.server.service.stopService()
    assert rig.turns == []
