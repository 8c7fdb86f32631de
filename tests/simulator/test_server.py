"""The simulator's Modbus TCP server: every function, every refusal, and bytes of any kind."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import pytest
from fakes import DEFINITIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import DecodePDU
from pymodbus.pdu import bit_message as bits
from pymodbus.pdu import register_message as registers
from twisted.internet.testing import StringTransport

from evok_twisted.bus.framing import SocketFraming, check, exception_of
from evok_twisted.definitions import load_definition
from evok_twisted.problems import Problems
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.server import SimulatorFactory

MODELS = {
    1: load_definition(DEFINITIONS / "00.yaml", Problems()),
    2: load_definition(DEFINITIONS / "IAQ.yaml", Problems()),
}


class Transport(StringTransport):
    """Counts the writes."""

    writes = 0

    def write(self, data):
        self.writes += 1
        super().write(data)


class Answer(NamedTuple):
    """What a client makes of a frame; no ``pdu`` where it can make nothing of it."""

    transaction: int
    unit: int
    pdu: Any


def answers_in(data):
    """Every frame of a stream, whether anybody asked for it or not."""
    decoder, found = DecodePDU(False), []
    while data:
        transaction, _, length, unit = struct.unpack_from(">HHHB", data)
        pdu, data = data[7 : 6 + length], data[6 + length :]
        try:
            found.append(Answer(transaction, unit, decoder.decode(pdu)))
        except ModbusException:
            found.append(Answer(transaction, unit, None))
    return found


class Client:
    """One connection to a server that the test can look into."""

    def __init__(self, factory):
        self.factory = factory
        self.transport = Transport()
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def send(self, data):
        """Send bytes and take what comes back."""
        self.protocol.dataReceived(data)
        received = self.transport.value()
        self.transport.clear()
        return received

    def raw(self, pdu, unit=1, transaction=1):
        """Send a request and take the PDU of its answer."""
        return self.send(frame(pdu, unit, transaction))[7:]

    def ask(self, request, unit=1):
        """Send a pymodbus request and take the answer, checked as a client checks it."""
        request.dev_id, request.transaction_id = unit, 77
        (answer,) = answers_in(self.send(SocketFraming().encode(request)))
        assert (answer.transaction, answer.unit) == (77, unit)
        check(request, answer.pdu)
        return answer.pdu


def frame(pdu, unit=1, transaction=1):
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def read(address, count, function=3):
    return struct.pack(">BHH", function, address, count)


@pytest.fixture
def factory():
    return SimulatorFactory({unit: SimulatedBoard(definition) for unit, definition in MODELS.items()})


@pytest.fixture
def client(factory):
    return Client(factory)


@pytest.fixture
def board(factory):
    return factory.units[1]


# what is asked is answered


def test_holding_registers(client, board):
    board.holding.write(2, [1, 2, 0xFFFF])
    assert list(client.ask(registers.ReadHoldingRegistersRequest(address=2, count=3)).registers) == [1, 2, 0xFFFF]


def test_input_registers(client, factory):
    factory.units[2].input.write(84, [5, 6])
    assert list(client.ask(registers.ReadInputRegistersRequest(address=84, count=2), unit=2).registers) == [5, 6]


@pytest.mark.parametrize("request_class", [bits.ReadCoilsRequest, bits.ReadDiscreteInputsRequest])
def test_coils_are_discrete_inputs_too(client, board, request_class):
    board.holding[20] = 0b0110
    assert client.ask(request_class(address=8, count=4)).bits[:4] == [False, True, True, False]


def test_a_coil_is_written(client, board, factory):
    client.ask(bits.WriteSingleCoilRequest(address=3, bits=[True]))
    assert board.holding[1] == 0b1000
    assert list(factory.writes) == [(1, 5, 3, 1)]


def test_a_register_is_written(client, board, factory):
    client.ask(registers.WriteSingleRegisterRequest(address=1010, registers=[77]))
    assert board.holding[1010] == 77
    assert list(factory.writes) == [(1, 6, 1010, 77)]


def test_coils_are_written(client, board, factory):
    client.ask(bits.WriteMultipleCoilsRequest(address=8, bits=[True, False, True]))
    assert board.holding[20] == 0b0101
    assert list(factory.writes) == [(1, 15, 8, 1, 0, 1)]


def test_padding_of_coils_is_passed_over(client, board):
    assert client.raw(b"\x0f\x00\x00\x00\x02\x01\xfe") == b"\x0f\x00\x00\x00\x02"
    assert board.holding[1] == 0b0010


def test_registers_are_written(client, board, factory):
    client.ask(registers.WriteMultipleRegistersRequest(address=8, count=2, registers=[4464, 1]))
    assert board.holding.read(8, 2) == [4464, 1]
    assert list(factory.writes) == [(1, 16, 8, 4464, 1)]


def test_a_register_is_written_through_masks(client, board, factory):
    board.holding[2] = 0x12
    # the example of the Modbus specification
    assert client.raw(struct.pack(">BHHH", 22, 2, 0xF2, 0x25)) == struct.pack(">BHHH", 22, 2, 0xF2, 0x25)
    assert board.holding[2] == 0x17
    assert list(factory.writes) == [(1, 22, 2, 0xF2, 0x25)]


def test_registers_are_written_and_then_read(client, board, factory):
    request = registers.ReadWriteMultipleRegistersRequest(
        read_address=7, read_count=3, write_address=8, write_registers=[3, 4]
    )
    assert list(client.ask(request).registers) == [0, 3, 4]
    assert list(factory.writes) == [(1, 23, 8, 3, 4)]


def test_reads_are_no_writes(client, factory):
    client.raw(read(0, 2))
    client.raw(read(0, 2, function=1))
    assert list(factory.writes) == []


def test_only_so_many_writes_are_kept(client, factory):
    assert factory.writes.maxlen is not None


# what cannot be done is refused


@pytest.mark.parametrize(
    "pdu",
    [
        read(0, 22),
        read(500, 1),
        read(65535, 2),
        read(4, 5, function=1),
        read(0, 1, function=4),
        b"\x05\x00\x05\xff\x00",
        b"\x06\x01\xf4\x00\x01",
        b"\x0f\x00\x03\x00\x02\x01\x03",
        b"\x10\x00\x14\x00\x02\x04\x00\x01\x00\x01",
        struct.pack(">BHHH", 22, 500, 0, 0),
        struct.pack(">BHHHHBH", 23, 0, 1, 500, 1, 2, 9),
        struct.pack(">BHHHHBH", 23, 500, 1, 0, 1, 2, 9),
    ],
)
def test_an_address_that_is_not_there_is_exception_2_and_nothing_is_written(client, factory, board, pdu):
    before = dict(board.holding)
    assert client.raw(pdu) == bytes([pdu[0] | 0x80, 2])
    assert dict(board.holding) == before
    assert list(factory.writes) == []


@pytest.mark.parametrize(
    "pdu",
    [
        read(0, 0),
        read(0, 126),
        read(0, 2001, function=1),
        read(0, 1) + b"\x00",
        b"\x03\x00\x00\x01",
        b"\x03",
        b"\x05\x00\x00\x00\x01",
        b"\x06\x00\x00\x00",
        b"\x0f\x00\x00\x00\x00\x00",
        b"\x0f\x00\x00\x00\x04\x02\x00\x00",
        b"\x0f\x00\x00\x00\x04\x01",
        struct.pack(">BHHB", 15, 0, 1969, 247) + bytes(247),
        b"\x10\x00\x00\x00\x00\x00",
        b"\x10\x00\x00\x00\x01\x02\x00",
        b"\x10\x00\x00\x00\x02\x02\x00\x01",
        b"\x16\x00\x00\x00\x00\x00",
        struct.pack(">BHHHHB", 23, 0, 1, 0, 0, 0),
        struct.pack(">BHHHHBH", 23, 0, 126, 0, 1, 2, 9),
        struct.pack(">BHHHHBH", 23, 0, 1, 0, 2, 2, 9),
    ],
)
def test_a_count_value_or_length_that_cannot_be_is_exception_3(client, factory, pdu):
    assert client.raw(pdu) == bytes([pdu[0] | 0x80, 3])
    assert list(factory.writes) == []


@pytest.mark.parametrize("function", [0, 7, 8, 17, 24, 43, 0x7F, 0x80, 0x83, 0xFF])
def test_another_function_is_exception_1(client, function):
    assert client.raw(bytes([function, 0, 0, 0, 1])) == bytes([function | 0x80, 1])


def test_a_unit_that_is_not_there_is_answered_for_as_by_a_gateway(client):
    assert client.raw(read(0, 1), unit=9) == b"\x83\x0b"


# what tests can make of it


def test_a_mute_unit_neither_answers_nor_does(client, factory, board):
    factory.mute.add(1)
    assert client.send(frame(b"\x05\x00\x00\xff\x00") + frame(read(0, 1, 4), unit=2, transaction=5))[:2] == b"\x00\x05"
    assert board.coils[0] == 0
    factory.mute.clear()
    assert client.raw(read(0, 1)) == b"\x03\x02\x00\x00"


def test_when_nobody_answers_nothing_is_sent(client, factory):
    factory.mute.add(1)
    assert client.raw(read(0, 1)) == b""
    assert client.transport.writes == 0


def test_a_unit_can_be_made_to_answer_an_exception(client, factory, board):
    factory.exceptions[1] = 6
    assert client.raw(b"\x05\x00\x00\xff\x00") == b"\x85\x06"
    assert board.coils[0] == 0
    assert list(factory.writes) == []


def test_a_unit_can_come_and_go(client, factory):
    board = factory.units.pop(1)
    assert client.raw(read(0, 1)) == b"\x83\x0b"
    factory.units[1] = board
    assert client.raw(read(0, 1)) == b"\x03\x02\x00\x00"


def test_all_connections_can_be_dropped(factory):
    clients = [Client(factory) for _ in range(3)]
    factory.drop_connections()
    assert all(client.transport.disconnected for client in clients)


def test_a_connection_that_ended_is_forgotten(factory, client):
    client.protocol.connectionLost()
    assert factory.connections == set()


# the stream


def test_requests_in_one_segment_are_answered_in_order_with_one_write(client):
    requests = [frame(read(n, 1), transaction=n) for n in range(8)]
    answers = answers_in(client.send(b"".join(requests)))
    assert [answer.transaction for answer in answers] == list(range(8))
    assert client.transport.writes == 1


def test_a_request_may_come_byte_by_byte(client):
    request = frame(read(0, 2))
    assert [client.send(bytes([byte])) for byte in request[:-1]] == [b""] * 11
    assert client.send(request[-1:])[7:] == b"\x03\x04\x00\x00\x00\x00"


def test_the_begin_of_a_request_behind_another_waits_for_its_end(client):
    two = frame(read(0, 1)) + frame(read(1, 1), transaction=2)
    assert client.send(two[:15])[:2] == b"\x00\x01"
    assert client.send(two[15:])[:2] == b"\x00\x02"


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        bytes.fromhex("0001 0001 0006 01 03 0000 0001"),
        bytes.fromhex("0001 0000 0001 01 03"),
        bytes.fromhex("0001 0000 00ff 01 03"),
    ],
)
def test_what_is_no_modbus_ends_the_connection_after_the_answers_before_it(client, garbage):
    assert client.send(frame(read(0, 1)) + garbage)[7:] == b"\x03\x02\x00\x00"
    assert client.transport.disconnecting


def test_a_client_that_does_not_read_is_not_read_from(client):
    assert client.transport.producer is client.transport
    assert client.transport.streaming


requests = st.builds(
    frame,
    st.one_of(
        st.binary(min_size=1, max_size=253),
        st.builds(
            lambda function, address, number, rest: struct.pack(">BHH", function, address, number) + rest,
            st.sampled_from([1, 2, 3, 4, 5, 6, 15, 16, 22, 23, 43]),
            st.sampled_from([0, 1, 5, 20, 1000, 65535]) | st.integers(0, 65535),
            st.sampled_from([0, 1, 2, 125, 0xFF00]) | st.integers(0, 65535),
            st.binary(max_size=20),
        ),
    ),
    st.sampled_from([0, 1, 2, 3, 255]),
    st.integers(0, 65535),
)


@given(st.lists(requests, max_size=5))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_every_frame_is_answered_once_and_by_what_a_client_understands(frames):
    client = Client(SimulatorFactory({unit: SimulatedBoard(definition) for unit, definition in MODELS.items()}))
    answers = answers_in(client.send(b"".join(frames)))
    assert [answer.transaction for answer in answers] == [int.from_bytes(sent[:2], "big") for sent in frames]
    for sent, answer in zip(frames, answers, strict=True):
        assert answer.unit == sent[6]
        # 0x80 | 0 is no function that an exception can name, and a client cannot decode it
        if sent[7] & 0x7F:
            assert answer.pdu.function_code == sent[7] | (0x80 if exception_of(answer.pdu) else 0)


@given(st.lists(st.binary(max_size=40) | requests, max_size=6), st.data())
@settings(max_examples=200, derandomize=True, deadline=None)
def test_no_bytes_make_it_fail_and_the_pieces_that_they_come_in_do_not_matter(parts, data):
    stream = b"".join(parts)
    for _ in range(data.draw(st.integers(0, 3)) if stream else 0):
        place = data.draw(st.integers(0, len(stream) - 1))
        stream = stream[:place] + bytes([data.draw(st.integers(0, 255))]) + stream[place + 1 :]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    received, ended = [], []
    for pieces in ([stream], [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]):
        client = Client(SimulatorFactory({unit: SimulatedBoard(definition) for unit, definition in MODELS.items()}))
        answer = b""
        for piece in pieces:
            if not client.transport.disconnecting:
                answer += client.send(piece)
        received.append(answer)
        ended.append(client.transport.disconnecting)
    assert received[0] == received[1]
    assert ended[0] == ended[1]
