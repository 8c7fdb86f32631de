"""The Modbus client protocol against a server whose every byte the test decides."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from evok_twisted.bus.framing import SocketFraming
from evok_twisted.bus.line import Pipeline
from evok_twisted.bus.modbus import ModbusClientProtocol
from evok_twisted.errors import BadAnswer, EvokError, Offline, Refused, Timeout


class Server:
    """The far end: reads the requests that were sent, and answers as told."""

    def __init__(self, pipeline=8):
        self.clock = Clock()
        self.transport = StringTransport()
        self.protocol = ModbusClientProtocol(self.clock, 1.0, SocketFraming(), Pipeline(pipeline))
        self.protocol.makeConnection(self.transport)

    def requests(self):
        """The requests since the last call: (transaction, unit, function, address, value)."""
        sent, found = self.transport.value(), []
        self.transport.clear()
        while sent:
            (length,) = struct.unpack_from(">H", sent, 4)
            found.append((struct.unpack_from(">H", sent)[0], *struct.unpack_from(">BBHH", sent, 6)))
            sent = sent[6 + length :]
        return found

    def send(self, data, pieces=None):
        for n in range(0, len(data), pieces or len(data)):
            self.protocol.dataReceived(data[n : n + (pieces or len(data))])

    def lose(self):
        self.protocol.connectionLost(Failure(ConnectionError("cut")))


def answer(request, *words, unit=None, transaction=None, function=None):
    asked, asked_unit, asked_function, *_ = request
    pdu = struct.pack(f">BB{len(words)}H", asked_function if function is None else function, 2 * len(words), *words)
    header = (asked if transaction is None else transaction, 0, len(pdu) + 1, asked_unit if unit is None else unit)
    return struct.pack(">HHHB", *header) + pdu


def exception(request, code):
    transaction, unit, function, *_ = request
    return struct.pack(">HHHBBB", transaction, 0, 3, unit, function | 0x80, code)


def echo(request, value=None):
    transaction, unit, function, address, asked = request
    return struct.pack(">HHHBBHH", transaction, 0, 6, unit, function, address, asked if value is None else value)


def held(deferred):
    """What a Deferred holds; None while it waits."""
    if not deferred.called:
        return None
    found = []
    deferred.addBoth(found.append)
    return getattr(found[0], "value", found[0])


def words(deferred):
    return list(held(deferred).registers)


@pytest.mark.parametrize("pieces", [None, 1, 7])
def test_an_answer_arrives_in_pieces_of_any_size(pieces):
    server = Server()
    done = server.protocol.read_holding_registers(5, count=2, device_id=3)
    (request,) = server.requests()
    assert request[1:] == (3, 3, 5, 2)
    server.send(answer(request, 10, 11), pieces)
    assert words(done) == [10, 11]


def test_input_registers_are_read_with_their_own_function():
    server = Server()
    done = server.protocol.read_input_registers(1, count=1, device_id=1)
    (request,) = server.requests()
    assert request[2] == 4
    server.send(answer(request, 9))
    assert words(done) == [9]


def test_several_requests_are_in_flight_and_answers_are_matched_by_transaction():
    server = Server()
    first, second = (server.protocol.read_holding_registers(n, count=1, device_id=1) for n in (0, 1))
    one, two = server.requests()
    server.send(answer(two, 22) + answer(one, 11))
    assert (words(first), words(second)) == ([11], [22])


def test_no_more_requests_are_in_flight_than_the_pipeline_takes():
    server = Server(pipeline=2)
    for n in range(5):
        server.protocol.read_holding_registers(n, count=1, device_id=1).addErrback(lambda _: None)
    requests = server.requests()
    assert len(requests) == 2
    server.send(answer(requests[0], 1))
    assert len(server.requests()) == 1
    server.lose()


def test_writes_go_ahead_of_reads_that_wait():
    server = Server(pipeline=1)
    for n in range(3):
        server.protocol.read_holding_registers(n, count=1, device_id=1).addErrback(lambda _: None)
    server.protocol.write_coil(7, True, device_id=1).addErrback(lambda _: None)
    (first,) = server.requests()
    server.send(answer(first, 0))
    assert [request[2] for request in server.requests()] == [5]
    server.lose()


def test_writes_keep_their_order():
    server = Server(pipeline=1)
    done = [server.protocol.write_register(n, n, device_id=1) for n in range(3)]
    written = []
    for _ in done:
        (request,) = server.requests()
        written.append(request[3])
        server.send(echo(request))
    assert written == [0, 1, 2]
    assert all(deferred.called for deferred in done)


@pytest.mark.parametrize(
    "write",
    [
        lambda protocol: protocol.write_coil(3, True, device_id=1),
        lambda protocol: protocol.write_register(3, 77, device_id=1),
        lambda protocol: protocol.write_registers(3, [1, 2], device_id=1),
        lambda protocol: protocol.write_coils(3, [True, False], device_id=1),
    ],
)
def test_a_write_is_done_when_its_own_echo_comes(write):
    server = Server()
    done, wrong = write(server.protocol), write(server.protocol)
    right, other = server.requests()
    server.send(echo(right))
    server.send(echo(other, other[-1] ^ 0xFF00))
    assert not isinstance(held(done), Exception)
    assert type(held(wrong)) is BadAnswer


def test_no_answer_is_a_timeout():
    server = Server()
    done = server.protocol.read_holding_registers(0, count=1, device_id=1)
    server.clock.advance(0.9)
    assert not done.called
    server.clock.advance(0.2)
    assert type(held(done)) is Timeout


def test_each_request_has_its_own_time_to_answer():
    server = Server()
    first = server.protocol.read_holding_registers(0, count=1, device_id=1)
    server.clock.advance(0.6)
    second = server.protocol.read_holding_registers(1, count=1, device_id=1)
    server.clock.advance(0.5)
    assert (type(held(first)), second.called) == (Timeout, False)
    server.clock.advance(0.6)
    assert type(held(second)) is Timeout


def test_after_a_timeout_what_waits_is_sent():
    server = Server(pipeline=1)
    server.protocol.read_holding_registers(0, count=1, device_id=1).addErrback(lambda _: None)
    done = server.protocol.read_holding_registers(1, count=1, device_id=1)
    server.clock.advance(1.1)
    request = server.requests()[-1]
    server.send(answer(request, 5))
    assert words(done) == [5]


def test_a_late_answer_is_passed_over_and_does_not_disturb_the_next():
    server = Server()
    late = server.protocol.read_holding_registers(0, count=1, device_id=1)
    (old,) = server.requests()
    server.clock.advance(1.1)
    assert type(held(late)) is Timeout
    done = server.protocol.read_holding_registers(0, count=1, device_id=1)
    (new,) = server.requests()
    server.send(answer(old, 1) + answer(new, 2))
    assert words(done) == [2]


@pytest.mark.parametrize("foreign", [{"unit": 9}, {"transaction": 999}])
def test_a_foreign_answer_is_passed_over_and_the_right_one_behind_it_is_taken(foreign):
    server = Server()
    done = server.protocol.read_holding_registers(0, count=1, device_id=1)
    (request,) = server.requests()
    server.send(answer(request, 1, **foreign) + answer(request, 2))
    assert words(done) == [2]


@pytest.mark.parametrize(
    "wrong", [lambda r: answer(r, 1, function=4), lambda r: answer(r, 1, 2), answer, lambda r: echo(r, 3)]
)
def test_an_answer_that_does_not_fit_fails_its_request_and_the_connection_goes_on(wrong):
    server = Server()
    done = server.protocol.read_holding_registers(0, count=1, device_id=1)
    server.send(wrong(server.requests()[0]))
    assert type(held(done)) is BadAnswer
    again = server.protocol.read_holding_registers(0, count=1, device_id=1)
    server.send(answer(server.requests()[0], 5))
    assert words(again) == [5]


def test_an_exception_is_a_refusal_with_its_name():
    server = Server()
    done = server.protocol.read_holding_registers(0, count=1, device_id=1)
    server.send(exception(server.requests()[0], 2))
    error = held(done)
    assert (type(error), error.exception) == (Refused, 2)
    assert "illegal data address" in str(error)


@pytest.mark.parametrize("code", [10, 11])
def test_a_gateway_that_gets_no_answer_is_a_timeout_not_a_refusal(code):
    server = Server()
    done = server.protocol.read_holding_registers(0, count=1, device_id=1)
    server.send(exception(server.requests()[0], code))
    assert type(held(done)) is Timeout


def test_bytes_that_are_no_modbus_drop_the_connection_and_fail_everything():
    server = Server(pipeline=1)
    done = [server.protocol.read_holding_registers(n, count=1, device_id=1) for n in range(3)]
    server.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    assert {type(held(deferred)) for deferred in done} == {Offline}
    assert server.transport.disconnecting


def test_a_frame_that_stays_incomplete_drops_the_connection():
    server = Server()
    done = server.protocol.read_holding_registers(0, count=2, device_id=1)
    server.send(answer(server.requests()[0], 1, 2)[:-1])
    server.clock.advance(1.1)
    assert type(held(done)) is Timeout
    assert server.transport.disconnecting


def test_a_server_that_says_nothing_at_all_is_given_up():
    server = Server()
    for _ in range(3):
        assert not server.transport.disconnecting
        server.protocol.read_holding_registers(0, count=1, device_id=1).addErrback(lambda _: None)
        server.clock.advance(1.1)
    assert server.transport.disconnecting


def test_a_lost_connection_fails_everything_pending():
    server = Server(pipeline=1)
    done = [server.protocol.read_holding_registers(n, count=1, device_id=1) for n in range(3)]
    server.lose()
    assert {type(held(deferred)) for deferred in done} == {Offline}
    assert server.clock.getDelayedCalls() == []


def test_without_a_connection_a_request_fails_at_once():
    protocol = ModbusClientProtocol(Clock(), 1.0, SocketFraming(), Pipeline(1))
    assert type(held(protocol.read_holding_registers(0, count=1, device_id=1))) is Offline


def test_a_request_that_waits_can_be_withdrawn_and_is_never_sent():
    server = Server(pipeline=1)
    first = server.protocol.write_coil(0, True, device_id=1)
    waiting = server.protocol.write_coil(1, True, device_id=1)
    server.protocol.withdraw(waiting)
    assert type(held(waiting)) is Timeout
    (request,) = server.requests()
    server.send(echo(request))
    assert first.called
    assert server.requests() == []


def test_a_request_that_was_sent_cannot_be_withdrawn():
    server = Server()
    done = server.protocol.write_coil(0, True, device_id=1)
    server.protocol.withdraw(done)
    assert not done.called
    server.send(echo(server.requests()[0]))
    assert done.called


def test_transactions_run_round_without_meeting_one_in_flight():
    server = Server(pipeline=2)
    stuck = server.protocol.read_holding_registers(0, count=1, device_id=1)
    (first,) = server.requests()
    server.protocol._transaction = 0xFFFF
    done = server.protocol.read_holding_registers(1, count=1, device_id=1)
    (second,) = server.requests()
    assert first[0] != second[0]
    server.send(answer(first, 1) + answer(second, 2))
    assert (words(stuck), words(done)) == ([1], [2])


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=40), st.integers(0, 30)), max_size=6))
@settings(derandomize=True, deadline=None)
def test_whatever_comes_back_every_request_ends_once_and_no_wrong_value_comes_through(noise):
    server = Server()
    done = server.protocol.read_holding_registers(0, count=2, device_id=1)
    right = answer(server.requests()[0], 0xBEEF, 0xCAFE)
    for piece in noise:
        if server.transport.disconnecting:
            break
        # noise, or the right answer with one byte changed
        at = piece % len(right) if isinstance(piece, int) else 0
        server.send(right[:at] + bytes([right[at] ^ 0x55]) + right[at + 1 :] if isinstance(piece, int) else piece)
    server.clock.advance(2)
    server.lose()
    outcome = held(done)
    assert isinstance(outcome, EvokError) or len(outcome.registers) == 2


def test_a_write_that_nothing_answered_drops_the_connection_so_that_it_cannot_arrive_later():
    server = Server()
    done = server.protocol.write_coil(0, True, device_id=1)
    server.clock.advance(1.1)
    error = held(done)
    assert (type(error), error.sent) == (Timeout, True)
    assert server.transport.disconnecting


def test_a_write_to_a_mute_slave_among_others_that_answer_leaves_the_connection():
    server = Server()
    server.protocol.write_coil(0, True, device_id=2).addErrback(lambda _: None)
    server.requests()
    server.clock.advance(0.5)
    read = server.protocol.read_holding_registers(0, count=1, device_id=1)
    server.send(answer(server.requests()[0], 5))
    server.clock.advance(0.6)
    assert words(read) == [5]
    assert not server.transport.disconnecting


def test_a_request_that_cannot_be_made_fails_alone():
    server = Server(pipeline=1)
    wrong = server.protocol.write_coil(65536, True, device_id=1)
    assert type(held(wrong)) is BadAnswer
    done = server.protocol.read_holding_registers(0, count=1, device_id=1)
    server.send(answer(server.requests()[0], 5))
    assert words(done) == [5]


def test_what_was_lost_with_the_connection_says_whether_it_was_sent():
    server = Server(pipeline=1)
    sent, waiting = (server.protocol.write_coil(n, True, device_id=1) for n in (0, 1))
    server.lose()
    assert (held(sent).sent, held(waiting).sent) == (True, False)


def test_a_probe_may_have_less_time_than_others():
    server = Server()
    usual = server.protocol.read_holding_registers(0, count=1, device_id=1)
    hurried = server.protocol.read_holding_registers(0, count=1, device_id=2)
    server.protocol.make_probe(hurried, 0.1)
    server.clock.advance(0.1)
    error = held(hurried)
    assert (type(error), str(error)) == (Timeout, "it does not answer when asked whether it is there")
    assert held(usual) is None
    server.clock.advance(0.9)
    assert type(held(usual)) is Timeout


def test_a_probe_that_waits_for_its_turn_has_its_own_time_from_when_it_is_sent():
    server = Server(pipeline=1)
    first = server.protocol.read_holding_registers(0, count=1, device_id=1)
    hurried = server.protocol.read_holding_registers(0, count=1, device_id=2)
    server.protocol.make_probe(hurried, 0.1)
    server.clock.advance(0.5)
    assert held(hurried) is None
    server.send(answer(server.requests()[0], 7))
    assert words(first) == [7]
    server.clock.advance(0.09)
    assert held(hurried) is None
    server.clock.advance(0.01)
    assert type(held(hurried)) is Timeout


def test_a_probe_that_is_answered_in_time_leaves_no_timer_that_hurries_others():
    server = Server()
    usual = server.protocol.read_holding_registers(0, count=1, device_id=1)
    hurried = server.protocol.read_holding_registers(0, count=1, device_id=2)
    server.protocol.make_probe(hurried, 0.1)
    first, second = server.requests()
    server.send(answer(second, 8))
    assert words(hurried) == [8]
    server.clock.advance(0.5)
    server.send(answer(first, 9))
    assert words(usual) == [9]


@pytest.mark.parametrize("waited", [0.0, 0.5])
def test_a_probe_gives_way_to_a_command_within_a_tenth_of_a_second(waited):
    server = Server(pipeline=1)
    probe = server.protocol.read_holding_registers(0, count=1, device_id=9)
    server.protocol.make_probe(probe, 1.0)
    server.clock.advance(waited)
    server.requests()
    server.protocol.write_coil(3, True, device_id=1)
    server.clock.advance(0.1 if not waited else 0)
    assert type(held(probe)) is Timeout
    assert [request[2:4] for request in server.requests()] == [(5, 3)]


def test_probes_that_gave_way_do_not_make_a_connection_look_dead():
    server = Server(pipeline=1)
    for n in range(5):
        probe = server.protocol.read_holding_registers(0, count=1, device_id=9)
        server.protocol.make_probe(probe, 1.0)
        done = server.protocol.write_coil(3, True, device_id=1)
        server.clock.advance(0.1)
        assert type(held(probe)) is Timeout
        server.send(echo(server.requests()[-1]))
        assert held(done) is not None, n
    assert not server.transport.disconnecting


@pytest.mark.parametrize(("code", "doubtful"), [(1, False), (2, False), (3, False), (4, True), (5, True), (6, True)])
def test_some_refusals_of_a_write_leave_in_doubt_whether_it_was_done(code, doubtful):
    server = Server()
    done = server.protocol.write_coil(0, True, device_id=1), server.protocol.read_holding_registers(0, device_id=1)
    for request in server.requests():
        server.send(exception(request, code))
    errors = [held(one) for one in done]
    assert [(type(error), error.sent) for error in errors] == [(Refused, doubtful), (Refused, False)]


def test_a_server_that_floods_with_what_nobody_asked_for_is_left():
    server = Server()
    done = server.protocol.read_holding_registers(0, count=1, device_id=1)
    request = server.requests()[0]
    server.send(answer(request, 5, transaction=4711) * 1000)
    error = held(done)
    assert type(error) is Offline
    assert "nobody had asked for" in str(error)
    assert server.transport.disconnecting


def test_an_answer_of_another_unit_is_told_as_such():
    server = Server()
    done = server.protocol.read_holding_registers(0, count=1, device_id=1)
    server.send(answer(server.requests()[0], 5, unit=2))
    server.clock.advance(1)
    assert str(held(done)).startswith("no answer within 1 s; what came was of transaction 1 of unit 2")


def test_a_server_that_answers_no_probe_at_all_is_given_up():
    server = Server()
    for _ in range(3):
        assert not server.transport.disconnecting
        probe = server.protocol.read_holding_registers(0, count=1, device_id=1)
        server.protocol.make_probe(probe, 0.1)
        probe.addErrback(lambda _: None)
        server.clock.advance(0.125)
    assert server.transport.disconnecting
