"""Servers as they are in the field, on real sockets: behind each is a board that works."""

from __future__ import annotations

import struct

import pytest
import pytest_twisted
from fakes import desk_of
from stack import Stack, slave_of, turn
from twisted.internet import reactor
from twisted.internet.protocol import ClientFactory, Factory, Protocol

from evok_twisted.definitions import Block
from evok_twisted.errors import Refused


class Odd(Protocol):
    """Passes requests on to the simulator, and answers back, one frame at a time, as ``mangle`` makes them."""

    def connectionMade(self):
        self.behind = None
        self.waiting = b""
        self.buffer = b""
        there = ClientFactory.forProtocol(Behind)
        there.front = self
        reactor.connectTCP("127.0.0.1", self.factory.target, there)
        self.factory.connections += 1
        self.factory.open.add(self)

    def dataReceived(self, data):
        if self.behind is None:
            self.waiting += data
        else:
            self.behind.transport.write(data)

    def answered(self, data):
        self.buffer += data
        while len(self.buffer) >= 6:
            size = 6 + struct.unpack_from(">H", self.buffer, 4)[0]
            if len(self.buffer) < size:
                break
            frame, self.buffer = self.buffer[:size], self.buffer[size:]
            self.factory.mangle(self, frame)

    def connectionLost(self, reason=None):
        self.factory.open.discard(self)
        if self.behind is not None:
            self.behind.transport.abortConnection()


class Behind(Protocol):
    def connectionMade(self):
        front = self.factory.front
        front.behind = self
        self.transport.write(front.waiting)

    def dataReceived(self, data):
        self.factory.front.answered(data)


def closes_after_each_answer(front, frame):
    front.transport.write(frame)
    front.transport.loseConnection()


def has_bytes_that_none_counts(front, frame):
    front.transport.write(frame + b"\xa5\x5a")


def counts_exceptions_wrongly(front, frame):
    if frame[7] & 0x80:
        frame = frame[:4] + b"\0\x04" + frame[6:]
    front.transport.write(frame)


def sends_what_nobody_asked_for(front, frame):
    stray = b"\xff\xfe" + frame[2:]
    front.transport.write(stray * 20 + frame)


class OddStack(Stack):
    """A ``Stack`` whose bus goes through an odd server."""

    def __init__(self, model, mangle):
        super().__init__(model)
        self.odd = Factory.forProtocol(Odd)
        self.odd.mangle, self.odd.connections, self.odd.open = mangle, 0, set()
        self.odd.target = self.port.getHost().port
        self.odd_port = reactor.listenTCP(0, self.odd, interface="127.0.0.1")
        self.use(self.odd_port.getHost().port)

    async def stop(self):
        await super().stop()
        for front in tuple(self.odd.open):
            front.transport.abortConnection()
        await self.odd_port.stopListening()
        await turn(0.02)


@pytest_twisted.async_yield_fixture
async def odd(request):
    stack = OddStack("00", request.param)
    stack.start()
    yield stack
    await stack.stop()


KINDS = [
    closes_after_each_answer,
    has_bytes_that_none_counts,
    counts_exceptions_wrongly,
    sends_what_nobody_asked_for,
]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("odd", KINDS, indirect=True, ids=lambda kind: kind.__name__)
async def test_its_board_is_read_and_written_to_and_stays_online(odd, log):
    await odd.until(odd.known, "everything is read", 20)
    turns = []
    slave_of(odd.unit).watch(turns.append)
    for value in (1, 0, 1):
        device = await desk_of(odd.unit).set("led", "1_01", {"value": value}).addTimeout(3, reactor)
        assert device.state.value == value
    for number in odd.board.digital_inputs:
        odd.board.set_input(number, 1)
    inputs = odd.unit.registry.of_kind("di")
    await odd.until(lambda: all(one.state.value for one in inputs), "a change is seen")
    assert turns == []
    assert len(log.texts("warn")) == 0
    assert len([text for text in log.texts("info") if "closed after" in text]) <= 2


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("odd", [counts_exceptions_wrongly], indirect=True)
async def test_an_exception_with_a_wrong_length_is_a_refusal_and_the_next_answer_is_found(odd):
    await odd.until(odd.known, "everything is read")
    bus = next(iter(odd.unit.segments.values())).bus
    with pytest.raises(Refused, match="illegal data address"):
        await bus.read(1, Block(60000, 1))
    assert await bus.read(1, Block(0, 1))
