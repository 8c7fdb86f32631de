"""One HTTP connection: what a client can have read, kept and done at once."""

from __future__ import annotations

import json

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from evok_twisted.api.channel import BODY_TIME, HEADERS_TIME, LINGER, SMALL_BODY, Channel
from evok_twisted.api.site import ApiSite

NEIGHBOUR = IPv4Address("TCP", "10.0.0.1", 1)
#: bytes that a transport takes before it wants no more
ROOM = 65536


class Transport(StringTransport):
    """Tells its producer to pause when the client has too much to take, as Twisted's do."""

    room = ROOM

    def write(self, data):
        super().write(data)
        if self.producer is not None and len(self.value()) > self.room:
            self.producer.pauseProducing()

    def taken(self):
        """The client has taken everything; what that was."""
        value = self.value()
        self.clear()
        if len(value) > ROOM:
            self.producer.resumeProducing()
        return value


class Counting(Resource):
    """Answers with a large page, at once or when it is told to, and counts."""

    isLeaf = True

    def __init__(self, size):
        super().__init__()
        self.page = b"x" * size
        self.bodies = []
        self.waiting = []

    def render_GET(self, request):
        self.bodies.append(b"")
        if b"later" in request.args:
            self.waiting.append(request)
            return NOT_DONE_YET
        return self.page

    def render_POST(self, request):
        self.bodies.append(request.content.read())
        return b"done"


class Line:
    """A site, and connections to it."""

    def __init__(self, size=10, address=NEIGHBOUR, **limits):
        self.clock = Clock()
        self.resource = Counting(size)
        self.site = ApiSite(self.resource, self.clock, **limits)
        self.address = address
        self.connect()

    def connect(self):
        self.transport = Transport(peerAddress=self.address)
        self.channel = self.site.buildProtocol(self.address)
        self.channel.makeConnection(self.transport)
        return self.channel

    def send(self, data, turns=0):
        self.channel.dataReceived(data)
        self.turns(turns)
        return self

    def turns(self, count):
        """Let so many turns of the reactor go by; what is put off to the next one waits for that."""
        for _ in range(count):
            now = self.clock.seconds()
            for call in [call for call in self.clock.calls if call.getTime() <= now]:
                self.clock.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)

    @property
    def done(self):
        return len(self.resource.bodies)

    @property
    def reads(self):
        """Whether more is read from the client."""
        return self.transport.producerState == "producing"

    @property
    def refused(self):
        """The status and the name of the error."""
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        return int(head.split()[1]), next(iter(json.loads(body)["errors"]))


GET = b"GET / HTTP/1.1\r\nHost: plc\r\n\r\n"
LATER = b"GET /?later=1 HTTP/1.1\r\nHost: plc\r\n\r\n"


CHUNKED = b"POST / HTTP/1.1\r\nHost: plc\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(body):
    return b"POST / HTTP/1.1\r\nHost: plc\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


# Requests without waiting for answers


def test_of_requests_in_a_row_one_is_done_in_a_turn_of_the_reactor():
    line = Line().send(GET * 5)
    assert line.done == 1
    for n in range(2, 6):
        line.turns(1)
        assert line.done == n


def test_all_requests_in_a_row_are_answered_in_their_order():
    line = Line()
    line.transport.room = 1 << 20
    line.send(b"".join(post(b"%d" % n) for n in range(3000)), turns=3500)
    assert line.resource.bodies == [b"%d" % n for n in range(3000)]
    assert line.transport.value().count(b"HTTP/1.1 200 OK") == 3000
    assert line.reads


@pytest.mark.parametrize("size", [1, 7, 50, 8191, 8192, 8193, 100_000])
def test_requests_are_the_same_however_they_are_cut(size):
    data = b"".join(post(b"%d" % n * 50) + GET for n in range(200))
    line = Line()
    line.transport.room = 1 << 20
    for at in range(0, len(data), size):
        line.send(data[at : at + size], turns=1)
    line.turns(1000)
    assert [body for body in line.resource.bodies if body] == [b"%d" % n * 50 for n in range(200)]
    assert line.done == 400


def test_a_client_that_takes_no_answer_is_not_read():
    line = Line(size=30_000).send(GET * 1000, turns=50)
    assert line.done == 3  # which is more than there is room for
    assert not line.reads
    assert len(line.transport.value()) < ROOM + 35_000


def test_a_client_that_takes_its_answers_again_is_read_again():
    line = Line(size=30_000).send(GET * 7, turns=50)
    assert line.done == 3
    line.transport.taken()
    line.turns(50)
    assert line.done == 6
    line.transport.taken()
    line.turns(50)
    assert (line.done, line.reads) == (7, True)
    assert line.send(GET).done == 8


def test_one_answer_that_is_not_taken_is_enough():
    line = Line(size=ROOM + 1).send(GET)
    assert not line.reads
    line.transport.taken()
    line.turns(1)
    assert line.reads
    assert line.send(GET).done == 2


def test_a_client_that_takes_nothing_is_closed_after_the_idle_timeout():
    line = Line(size=ROOM + 1, idle=60).send(GET * 3, turns=5)
    line.clock.advance(61)
    assert line.transport.disconnecting


def test_what_comes_behind_a_request_that_takes_its_time_waits_and_is_not_read_without_bound():
    line = Line()
    line.transport.room = 1 << 20
    line.send(LATER + GET * 5000, turns=50)
    assert line.done == 1
    assert not line.reads
    line.resource.waiting.pop().finish()
    line.turns(6000)
    assert (line.done, line.reads) == (5001, True)


def test_of_posts_in_a_row_no_more_is_read_than_is_about_to_be_done():
    line = Line()
    stream = post(b" " * 30_000) * 30
    sent = turns = 0
    while line.done < 25:
        turns += 1
        assert turns < 200
        if line.reads:
            line.send(stream[sent : sent + 65536], turns=0)
            sent += 65536
        line.turns(1)
        assert sent - line.done * 30_000 < 2 * 65536 + 30_000


def test_a_client_that_goes_in_the_middle_of_a_row_has_nothing_more_done():
    line = Line().send(GET * 100)
    line.channel.connectionLost(Failure(ConnectionLost()))
    line.turns(200)
    assert line.done == 1
    assert line.clock.getDelayedCalls() == []


def test_connection_close_holds_for_the_last_of_a_row():
    line = Line().send(GET + GET.replace(b"Host", b"Connection: close\r\nHost") + GET, turns=10)
    assert line.done == 2
    assert line.transport.disconnecting


# Bodies


def test_an_endless_body_is_answered_at_its_bound_and_the_rest_thrown_away():
    line = Line(max_body=1000)
    line.send(CHUNKED + b"400\r\n" + b"x" * 700, turns=5)
    assert line.transport.value() == b""
    line.send(b"x" * 100, turns=5)
    assert line.refused == (413, "TooLarge")
    answer = line.transport.value()
    for _ in range(100):
        line.send(b"x" * 10_000, turns=1)
    assert line.transport.value() == answer
    assert line.done == 0
    line.clock.advance(LINGER)
    assert line.transport.disconnected


def test_a_body_that_is_announced_as_too_large_is_refused_before_it_comes():
    line = Line(max_body=1000).send(b"POST / HTTP/1.1\r\nHost: plc\r\nContent-Length: 1001\r\n\r\n")
    assert line.refused == (413, "TooLarge")


def test_who_asks_first_whether_to_send_a_body_is_told_no_and_nothing_else():
    expecting = b"POST / HTTP/1.1\r\nHost: plc\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    assert Line(max_body=1000).send(expecting % 1001).refused == (413, "TooLarge")
    assert Line(max_body=1000).send(expecting % 1000).transport.value() == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_a_body_in_tiny_chunks_counts_as_what_it_costs():
    line = Line(max_body=100_000)
    line.send(CHUNKED + b"1\r\nx\r\n" * 10_000)
    line.turns(100)
    assert line.refused == (413, "TooLarge")


def test_a_body_in_a_few_hundred_chunks_is_taken():
    line = Line()
    line.send(CHUNKED + b"1\r\nx\r\n" * 500 + b"0\r\n\r\n")
    line.turns(10)
    assert line.resource.bodies == [b"x" * 500]


def test_chunks_are_parsed_in_slices_and_nothing_is_read_meanwhile():
    line = Line().send(CHUNKED + b"8\r\nxxxxxxxx\r\n" * 3000)
    assert not line.reads
    line.turns(20)
    assert line.reads
    line.send(b"0\r\n\r\n", turns=1)
    assert line.resource.bodies == [b"x" * 24000]


LARGE = 50_000


def begun(size, announced=LARGE):
    return b"POST / HTTP/1.1\r\nHost: plc\r\nContent-Length: %d\r\n\r\n" % announced + b"x" * size


def fill(line):
    """Begin bodies until one is refused; how many were not."""
    for count in range(20):
        line.connect()
        line.send(begun(LARGE - 1))
        if line.transport.value():
            assert line.refused == (503, "Busy")
            return count
    raise AssertionError("there is room for everything")


def test_large_bodies_that_wait_are_bounded_together():
    line = Line(address=IPv4Address("TCP", "127.0.0.1", 1), max_body=LARGE)
    assert fill(line) == 4  # four times the largest, each less what every body may have


def test_bodies_of_one_address_leave_room_for_those_of_others():
    line = Line(max_body=LARGE)
    assert fill(line) == 2
    line.address = IPv4Address("TCP", "10.0.0.2", 1)
    line.connect()
    assert line.send(post(b"x" * LARGE)).resource.bodies == [b"x" * LARGE]


def test_a_small_body_is_taken_whatever_waits():
    line = Line(max_body=LARGE)
    fill(line)
    line.connect()
    assert line.send(post(b"x" * SMALL_BODY)).resource.bodies == [b"x" * SMALL_BODY]


@pytest.mark.parametrize("end", ["complete", "lost", "refused", "late"])
def test_a_body_that_waits_no_longer_makes_room(end):
    line = Line(max_body=LARGE)
    for _ in range(20):
        channel = line.connect()
        line.send(begun(LARGE - 1))
        if end == "complete":
            line.send(b"x")
        elif end == "refused":
            line.send(b"x" + begun(0, LARGE + 1))
        elif end == "late":
            line.clock.advance(BODY_TIME)
        channel.connectionLost(Failure(ConnectionLost()))
    line.connect()
    line.send(post(b"y" * LARGE))
    assert line.resource.bodies[-1] == b"y" * LARGE


# Time


@pytest.mark.parametrize("first", [b"G", GET[:-2], GET + GET[:-1]])
def test_headers_have_ten_seconds_however_slowly_they_come(first):
    line = Line().send(first, turns=3)
    line.transport.clear()
    for _ in range(int(HEADERS_TIME) - 1):
        line.clock.advance(1)
        line.send(b"X-Slow: x\r\n"[:1])
    assert not line.channel.refused
    line.clock.advance(1)
    assert line.refused == (408, "TooSlow")


def test_a_body_has_thirty_seconds_from_the_first_byte_on():
    line = Line().send(b"POST / HTTP/1.1\r\n")
    line.clock.advance(9)
    line.send(b"Content-Length: 100\r\n\r\n")
    for _ in range(int(BODY_TIME) - 10):
        line.clock.advance(1)
        line.send(b"x")
    assert not line.channel.refused
    line.clock.advance(1)
    assert line.refused == (408, "TooSlow")


def test_a_request_that_is_complete_in_time_is_not_hurried():
    line = Line(idle=100).send(LATER)
    line.clock.advance(HEADERS_TIME + BODY_TIME)
    line.resource.waiting.pop().finish()
    assert line.transport.value().startswith(b"HTTP/1.1 200 ")
    line.clock.advance(HEADERS_TIME)
    assert line.send(GET).done == 2
    assert not line.channel.refused


def test_nothing_is_left_to_be_done_when_a_client_is_gone():
    for data in (b"G", begun(5), LATER, GET * 3, b"x" * 50_000):
        line = Line().send(data)
        line.channel.connectionLost(Failure(ConnectionLost()))
        assert line.clock.getDelayedCalls() == []


# Headers


def test_a_header_line_that_is_too_long_is_told():
    line = Line(max_header=2048).send(b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 3000)
    assert line.refused == (400, "BadRequest")


def test_header_lines_may_be_as_long_as_headers_may():
    assert Line(max_header=40_000).send(GET[:-2] + b"X-Long: " + b"x" * 30_000 + b"\r\n\r\n").done == 1


def test_the_site_makes_these_channels():
    assert isinstance(Line().channel, Channel)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_request_that_was_refused_is_not_done_however_soon_its_end_comes(chunked):
    body = b"7d0\r\n%b\r\n0\r\n\r\n" % (b"x" * 2000) if chunked else b"x" * 2000
    size = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 2000"
    line = Line(max_body=1024).send(b"POST / HTTP/1.1\r\nHost: plc\r\n%b\r\n\r\n%b" % (size, body))
    assert line.refused == (413, "TooLarge")
    assert line.resource.bodies == []


def test_of_a_request_that_was_refused_nothing_is_kept_while_its_connection_lingers():
    line = Line(max_body=1024).send(post(b"x" * 2000))
    assert line.refused == (413, "TooLarge")
    assert line.channel.requests == []
    line.clock.advance(LINGER)
    assert line.transport.disconnecting
