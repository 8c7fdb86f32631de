"""The bus over TCP: kept up on a clock, and on a real socket."""

from __future__ import annotations

import re

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from evok_twisted.bus.base import GRACE, QUICK_RETRY, retry_delay
from evok_twisted.bus.tcp import TcpBus, default_pipeline
from evok_twisted.definitions import Block
from evok_twisted.errors import Offline, Timeout
from evok_twisted.model.registers import WriteCoil, WriteRegister, WriteRegisters


class Endpoint:
    """Connects when the test says so."""

    def __init__(self):
        self.attempts = []

    def connect(self, factory):
        attempt = Deferred()
        self.attempts.append((factory, attempt))
        return attempt

    def succeed(self):
        factory, attempt = self.attempts.pop(0)
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        attempt.callback(protocol)
        return protocol, transport

    def refuse(self):
        _, attempt = self.attempts.pop(0)
        attempt.errback(ConnectionRefusedError())


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def endpoint():
    return Endpoint()


@pytest.fixture
def bus(clock, endpoint):
    bus = TcpBus("TEST", endpoint, clock, timeout=1.0, write_timeout=2.0, pipeline=1)
    bus.turns = []
    bus.watch(bus.turns.append)
    bus.service.startService()
    yield bus
    bus.service.stopService()


def error(deferred):
    found = []
    deferred.addErrback(found.append)
    return found[0].type if found else None


def test_it_is_offline_until_it_is_connected(bus, endpoint):
    assert not bus.online
    endpoint.succeed()
    assert bus.online
    assert bus.turns == [True]


def test_while_offline_requests_fail_at_once(bus):
    assert error(bus.read(1, Block(0, 1))) is Offline
    assert error(bus.write(1, WriteCoil(0, 1), 10.0)) is Offline


def answer_a_read(bus, protocol, transport):
    bus.read(1, Block(0, 1))
    protocol.dataReceived(transport.value()[:4] + bytes([0, 5, 1, 3, 2, 0, 7]))


def test_it_connects_again_and_tells_begin_and_end(bus, endpoint, clock, log):
    protocol, transport = endpoint.succeed()
    answer_a_read(bus, protocol, transport)
    protocol.connectionLost(Failure(ConnectionError("cut")))
    clock.advance(0.2)
    endpoint.refuse()
    assert not bus.online
    clock.advance(0.2)
    answer_a_read(bus, *endpoint.succeed())
    assert bus.online
    assert bus.turns == [True, False, True]
    assert [text for text in log.texts("warn") if "lost its connection" in text and "cut" in text] != []
    assert len([text for text in log.texts("info") if "is connected" in text]) == 2


def test_connections_that_are_of_no_use_are_made_less_and_less_often(bus, endpoint, clock, log):
    waits = []
    for _ in range(9):
        protocol, _ = endpoint.succeed()
        protocol.dataReceived(b"no Modbus at all")
        protocol.connectionLost(Failure(ConnectionError("aborted")))
        begun = clock.seconds()
        while not endpoint.attempts:
            clock.advance(0.05)
        waits.append(round(clock.seconds() - begun, 1))
    assert waits[:6] == sorted(waits[:6])
    assert waits[-1] in (3.0, 3.1)
    (told,) = log.texts("warn")
    assert "unusable answer: no Modbus frame" in told


def test_an_answer_makes_connecting_again_quick_again(bus, endpoint, clock):
    for _ in range(9):
        endpoint.succeed()[0].connectionLost(Failure(ConnectionError("cut")))
        clock.advance(3)
    protocol, transport = endpoint.succeed()
    answer_a_read(bus, protocol, transport)
    protocol.connectionLost(Failure(ConnectionError("cut")))
    clock.advance(0.2)
    assert len(endpoint.attempts) == 1


# Servers that close after every answer


class Closing:
    """A server that answers one request and closes."""

    def __init__(self, bus, endpoint, clock):
        self.bus, self.endpoint, self.clock = bus, endpoint, clock
        self.served = []

    def serve(self):
        """Take a connection, answer its first request, and close it; what that was."""
        protocol, transport = self.endpoint.succeed()
        sent = transport.value()
        assert sent, "nothing was sent on the new connection"
        function, address = sent[7], int.from_bytes(sent[8:10], "big")
        pdu = bytes([3, 2, 0, address]) if function == 3 else sent[7:12]
        protocol.dataReceived(sent[:4] + bytes([0, 1 + len(pdu), sent[6]]) + pdu)
        protocol.connectionLost(Failure(ConnectionError("closed")))
        self.clock.advance(QUICK_RETRY)
        self.served.append((function, address))


@pytest.fixture
def closing(bus, endpoint, clock):
    endpoint.succeed()[0].connectionLost(Failure(ConnectionError("closed")))
    clock.advance(1)
    protocol, transport = endpoint.succeed()
    answer_a_read(bus, protocol, transport)
    protocol.connectionLost(Failure(ConnectionError("closed")))
    clock.advance(QUICK_RETRY)
    return Closing(bus, endpoint, clock)


def test_what_waits_goes_out_on_the_next_connection(bus, closing, clock):
    reads = [bus.read(1, Block(n, 1)) for n in range(5)]
    write = bus.write(1, WriteCoil(9, 1), clock.seconds() + 2)
    for _ in range(6):
        closing.serve()
    assert closing.served == [(5, 9), *((3, n) for n in range(5))]
    assert [words.result for words in reads] == [(n,) for n in range(5)]
    assert write.result is None
    assert (bus.online, bus.turns) == (True, [True, False, True])


def test_what_was_asked_on_a_connection_that_is_closed_is_asked_again_and_what_was_commanded_is_in_doubt(
    clock, endpoint
):
    bus = TcpBus("TEST", endpoint, clock, timeout=1.0, write_timeout=2.0, pipeline=8)
    bus.service.startService()
    protocol, transport = endpoint.succeed()
    first, second = bus.read(1, Block(0, 1)), bus.read(1, Block(7, 1))
    write = bus.write(1, WriteCoil(9, 1), 2.0)
    protocol.dataReceived(transport.value()[:4] + bytes([0, 5, 1, 3, 2, 0, 7]))
    protocol.connectionLost(Failure(ConnectionError("closed")))
    assert first.result == (7,)
    found = []
    write.addErrback(found.append)
    assert (found[0].type, found[0].value.sent) == (Offline, True)
    clock.advance(QUICK_RETRY)
    Closing(bus, endpoint, clock).serve()
    assert second.result == (7,)
    bus.service.stopService()


def test_a_read_whose_answer_never_comes_fails_in_the_end(bus, closing, clock):
    read = bus.read(1, Block(3, 1))
    assert not read.called
    clock.advance(GRACE)
    assert error(read) is Offline
    assert not bus.online


def test_a_command_waits_for_the_next_connection_no_longer_than_its_deadline(bus, closing, clock):
    write = bus.write(1, WriteCoil(9, 1), clock.seconds() + 0.5)
    clock.advance(0.5)
    assert error(write) is Timeout


def test_closings_are_told_once_and_then_by_the_minute(bus, closing, clock, log):
    for _ in range(200):
        bus.read(1, Block(3, 1))
        closing.serve()
        clock.advance(0.25)
    told = [text for text in log.texts("info") if "was closed after" in text]
    assert len(told) == 3
    assert re.search(r"; \d\d\d messages like this in 60 s", told[-1])
    assert log.texts("warn") == [text for text in log.texts("warn") if "lost its connection" in text][:1]


def test_a_connection_that_ends_without_an_answer_is_a_loss_whatever_was_before(bus, closing, endpoint, clock):
    read = bus.read(1, Block(3, 1))
    endpoint.succeed()[0].connectionLost(Failure(ConnectionError("cut")))
    assert error(read) is Offline
    assert not bus.online


def test_what_was_pending_when_the_connection_went_has_failed(bus, endpoint):
    protocol, _ = endpoint.succeed()
    reading, writing = bus.read(1, Block(0, 1)), bus.write(1, WriteCoil(0, 1), 10.0)
    protocol.connectionLost(Failure(ConnectionError("cut")))
    assert (error(reading), error(writing)) == (Offline, Offline)


def test_a_server_that_takes_connections_and_never_answers_is_logged_once(bus, endpoint, clock, log):
    for _ in range(20):
        protocol, _ = endpoint.succeed()
        protocol.connectionLost(Failure(ConnectionError("cut")))
        clock.advance(3)
    assert len(log.texts("warn")) == 1
    assert log.texts("info") == []


def test_refused_connections_are_logged_once(bus, endpoint, clock, log):
    for _ in range(20):
        endpoint.refuse()
        clock.advance(3)
    assert len(log.texts("warn")) == 1
    assert "refused" in log.texts("warn")[0]


def test_retries_come_less_and_less_often_but_never_more_than_three_seconds_apart():
    delays = [retry_delay(attempt) for attempt in (*range(1, 20), 10**6)]
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (0.1, 3.0)


def test_a_write_that_cannot_be_sent_by_its_deadline_is_never_sent(bus, endpoint, clock):
    _, transport = endpoint.succeed()
    bus.read(1, Block(0, 1)).addErrback(lambda _: None)  # fills the pipeline
    transport.clear()
    done = bus.write(1, WriteCoil(0, 1), clock.seconds() + 0.5)
    clock.advance(0.6)
    assert error(done) is Timeout
    clock.advance(2)
    assert transport.value() == b""


@pytest.mark.parametrize(
    ("write", "pdu"),
    [
        (WriteCoil(3, 1), "05 0003 ff00"),
        (WriteCoil(3, 0), "05 0003 0000"),
        (WriteRegister(3, 258), "06 0003 0102"),
        (WriteRegisters(3, (1, 2)), "10 0003 0002 04 0001 0002"),
    ],
)
def test_each_write_has_its_function(bus, endpoint, write, pdu):
    _, transport = endpoint.succeed()
    bus.write(9, write, 10.0).addErrback(lambda _: None)
    assert transport.value()[6:] == b"\x09" + bytes.fromhex(pdu)


@pytest.mark.parametrize(
    ("host", "pipeline"),
    [("127.0.0.1", 8), ("127.9.9.9", 8), ("localhost", 8), ("::1", 8), ("192.168.1.5", 1), ("plc.example", 1)],
)
def test_only_a_server_on_this_machine_gets_several_requests_at_once(host, pipeline):
    assert default_pipeline(host) == pipeline
