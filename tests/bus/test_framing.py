"""Modbus frames, of TCP and of serial lines: whole, in pieces, among noise, and not frames at all."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.pdu.bit_message import ReadCoilsRequest, WriteMultipleCoilsRequest, WriteSingleCoilRequest
from pymodbus.pdu.mei_message import ReadDeviceInformationRequest
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    ReadWriteMultipleRegistersRequest,
    WriteMultipleRegistersRequest,
)

from evok_twisted.bus.framing import SocketFraming, exception_name, exception_of
from evok_twisted.bus.rtuframing import RtuFraming
from evok_twisted.errors import BadAnswer


def frame(transaction, unit, pdu):
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def asking(*asked):
    """A framing that awaits the answers to reads: (transaction, unit)."""
    framing = SocketFraming()
    for transaction, unit in asked:
        request = ReadHoldingRegistersRequest(address=0, count=1, dev_id=unit)
        request.transaction_id = transaction
        framing.encode(request)
    return framing


def registers(*words):
    return struct.pack(f">BB{len(words)}H", 3, 2 * len(words), *words)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 65535), st.integers(0, 255), st.lists(st.integers(0, 65535), min_size=1, max_size=125)
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda answer: answer[0],
    ),
    st.data(),
)
@settings(derandomize=True, deadline=None)
def test_answers_are_found_however_the_stream_is_cut(answers, data):
    stream = b"".join(frame(transaction, unit, registers(*words)) for transaction, unit, words in answers)
    framing = asking(*((transaction, unit) for transaction, unit, _ in answers))
    found = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += framing.feed(stream[:cut])
        stream = stream[cut:]
    assert [(a.transaction, a.unit, list(a.pdu.registers)) for a in found] == answers
    assert not framing.partial


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        struct.pack(">HHHBB", 1, 1, 5, 1, 3),
        struct.pack(">HHHBB", 1, 0, 0, 1, 3),
        b"\xff" * 16,
    ],
)
def test_what_is_no_modbus_stream_is_refused(garbage):
    with pytest.raises(BadAnswer, match="no Modbus frame"):
        SocketFraming().feed(garbage)


@pytest.mark.parametrize(
    "pdu",
    [
        b"\x03\x04\x00\x01",  # says four bytes, has two
        b"\x03\x02\x00\x01\x00\x02",  # says two bytes, has four
        b"\x03\x03\x00\x01\x02",  # half a register
        b"\x63\x00",  # no such function
        b"\x03",
    ],
)
def test_a_frame_whose_content_makes_no_sense_is_an_answer_without_content(pdu):
    (answer,) = asking((7, 1)).feed(frame(7, 1, pdu))
    assert (answer.transaction, answer.pdu) == (7, None)


@given(st.binary(max_size=300))
@settings(derandomize=True, deadline=None)
def test_random_bytes_raise_nothing_else(data):
    framing = SocketFraming()
    try:
        for n in range(0, len(data), 7):
            framing.feed(data[n : n + 7])
    except BadAnswer:
        pass


@pytest.mark.parametrize("counted", [2, 3, 4, 9])
@pytest.mark.parametrize("more", [b"", b"\0"])
def test_an_exception_is_understood_whatever_its_length_says(counted, more):
    framing = asking((1, 5), (2, 5))
    wrong = struct.pack(">HHHBBB", 1, 0, counted, 5, 0x83, 6) + more
    (refused,) = framing.feed(wrong)
    assert exception_of(refused.pdu) == 6
    (read,) = framing.feed(frame(2, 5, registers(7)))
    assert (read.transaction, list(read.pdu.registers)) == (2, [7])


@pytest.mark.parametrize("junk", [b"\0", b"\0\0", b"\xa5\xff", b"\0\0\0\0", b"\0" * 6, b"\0" * 12, b"\1" * 30])
@pytest.mark.parametrize("together", [True, False])
def test_bytes_that_no_length_counts_are_passed_over(junk, together):
    framing = SocketFraming()
    for transaction in range(1, 600):
        request = ReadHoldingRegistersRequest(address=0, count=1, dev_id=5)
        request.transaction_id = transaction
        framing.encode(request)
        data = frame(transaction, 5, registers(transaction)) + junk
        pieces = [data] if together or len(junk) >= 8 else [data[: -len(junk)], junk]
        found = [answer for piece in pieces for answer in framing.feed(piece)]
        assert [(answer.transaction, list(answer.pdu.registers)) for answer in found] == [(transaction, [transaction])]


def test_frames_that_nobody_asked_for_are_passed_over_up_to_a_bound():
    framing = asking((1, 1))
    foreign = frame(9, 1, registers(5))
    assert framing.feed(foreign * 64) == []
    assert [answer.transaction for answer in framing.feed(frame(1, 1, registers(5)))] == [1]
    with pytest.raises(BadAnswer, match="65 frames that nobody had asked for"):
        framing.feed(foreign * 65)


def test_exceptions_have_names():
    assert exception_name(2) == "illegal data address (2)"
    assert exception_name(99) == "unknown exception (99)"


# RTU


def crc(data):
    """The CRC of the specification, bit by bit."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return register.to_bytes(2, "little")


def rtu(unit, pdu):
    return bytes((unit,)) + pdu + crc(bytes((unit,)) + pdu)


class Line:
    """A framing with one request asked."""

    def __init__(self, request=None, unit=3):
        self.framing = RtuFraming()
        self.ask(request or ReadHoldingRegistersRequest(address=0, count=2), unit)

    def ask(self, request, unit=3):
        request.dev_id, request.transaction_id = unit, 77
        self.request = self.framing.encode(request)
        return self

    def read(self, *lead):
        """Ask for one register and answer it, with ``lead`` before the answer; whether it was found."""
        self.ask(ReadHoldingRegistersRequest(address=9, count=1))
        return bool(self.framing.feed(b"".join(lead or ()) + rtu(3, registers(7))))

    def write(self, coil=1):
        return self.ask(WriteSingleCoilRequest(address=coil, bits=[True]))

    def feed(self, *parts):
        """What is answered, as (unit, words), or (unit, -exception code)."""
        found = [answer for part in parts for answer in self.framing.feed(part)]
        assert all(answer.transaction == 77 for answer in found)
        return [(a.unit, -exception_of(a.pdu) or list(getattr(a.pdu, "registers", []))) for a in found]


ECHO = ReadHoldingRegistersRequest(address=9, count=1)


def test_a_request_ends_with_the_crc_of_the_specification():
    # the example of the specification of Modbus over serial lines
    assert rtu(2, b"\x07") == b"\x02\x07\x41\x12"
    assert Line().request == rtu(3, b"\x03\x00\x00\x00\x02")


def test_an_answer_is_found_byte_by_byte():
    line = Line()
    answer = rtu(3, registers(10, 11))
    assert line.feed(*(bytes((byte,)) for byte in answer[:-1])) == []
    assert line.feed(answer[-1:]) == [(3, [10, 11])]


@pytest.mark.parametrize(
    ("request_of", "pdu"),
    [
        (lambda: ReadCoilsRequest(address=0, count=10), b"\x01\x02\x03\x01"),
        (lambda: ReadInputRegistersRequest(address=0, count=1), b"\x04\x02\x00\x07"),
        (lambda: WriteMultipleCoilsRequest(address=3, bits=[True] * 3), b"\x0f\x00\x03\x00\x03"),
        (lambda: WriteMultipleRegistersRequest(address=3, registers=[1, 2]), b"\x10\x00\x03\x00\x02"),
        (
            lambda: ReadWriteMultipleRegistersRequest(
                read_address=0, read_count=1, write_address=3, write_registers=[1]
            ),
            b"\x17\x02\x00\x05",
        ),
    ],
)
@pytest.mark.parametrize("echo", [False, True])
def test_every_function_is_answered_with_its_own_length(request_of, pdu, echo):
    line = Line(request_of())
    answer = rtu(3, pdu)
    assert line.framing.awaited == len(answer)
    (found,) = line.framing.feed((line.request if echo else b"") + answer)
    assert found.pdu.function_code == pdu[0]


def test_a_function_whose_answer_has_no_known_length_is_not_asked():
    with pytest.raises(ValueError, match="function 43"):
        Line(ReadDeviceInformationRequest())


@pytest.mark.parametrize("function", [3, 5])
def test_an_exception_is_found(function):
    line = Line() if function == 3 else Line().write()
    assert line.feed(rtu(3, bytes((function | 0x80, 2)))) == [(3, -2)]


@pytest.mark.parametrize(
    "foreign",
    [
        rtu(4, registers(10, 11)),
        rtu(3, registers(10)),
        rtu(3, registers(10, 11, 12)),
        rtu(3, b"\x04\x04\x00\x0a\x00\x0b"),
        rtu(3, b"\x84\x02"),
        rtu(4, b"\x83\x02"),
        rtu(3, registers(10, 11))[:-1] + b"\x00",
        rtu(3, registers(10, 11))[:5],
        b"",
        b"\x00",
        b"\x03\x03\x04" * 3,
        bytes(255),
    ],
)
def test_what_is_not_the_answer_is_passed_over_and_the_answer_behind_it_is_found(foreign):
    line = Line()
    assert line.feed(foreign, rtu(3, registers(1, 2)), foreign) == [(3, [1, 2])]


def test_what_comes_when_nothing_was_asked_is_passed_over():
    assert RtuFraming().feed(rtu(3, registers(1, 2))) == []


def test_what_came_before_the_request_is_no_part_of_its_answer():
    line = Line()
    answer = rtu(3, registers(1, 2))
    assert line.feed(answer[:4]) == []
    line.ask(ReadHoldingRegistersRequest(address=0, count=2))
    assert line.feed(answer[4:]) == []
    assert line.feed(answer) == [(3, [1, 2])]


def test_a_request_is_answered_once():
    line = Line()
    answer = rtu(3, registers(1, 2))
    assert line.feed(answer + answer, answer) == [(3, [1, 2])]


def test_endless_noise_takes_a_bounded_room_and_hides_no_answer():
    line = Line()
    for _ in range(100):
        assert line.feed(b"\x03\x03\x04\x55" * 64) == []
    assert len(line.framing._buffer) <= line.framing.limit
    assert line.feed(rtu(3, registers(1, 2))) == [(3, [1, 2])]


@given(
    st.lists(st.integers(0, 65535), min_size=1, max_size=20),
    st.binary(max_size=60),
    st.binary(max_size=60),
    st.booleans(),
    st.data(),
)
@settings(derandomize=True, deadline=None, max_examples=300)
def test_an_answer_is_found_among_noise_and_echo_however_it_is_cut(words, before, after, echo, data):
    line = Line(ReadHoldingRegistersRequest(address=0, count=len(words)))
    stream = before + (line.request if echo else b"") + before + rtu(3, registers(*words)) + after
    found = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += line.feed(stream[:cut])
        stream = stream[cut:]
    assert found == [(3, words)]


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.booleans())
@settings(derandomize=True, deadline=None)
def test_noise_alone_is_never_an_answer_and_raises_nothing(pieces, write):
    line = Line().write() if write else Line()
    assert line.feed(*pieces) == []


@given(st.integers(0, 8), st.integers(1, 255))
@settings(derandomize=True, deadline=None)
def test_an_answer_with_one_byte_wrong_is_none(place, change):
    answer = bytearray(rtu(3, registers(10, 11)))
    answer[place] ^= change
    assert Line().feed(bytes(answer)) == []


# echoes


def test_on_a_line_without_echo_a_write_is_confirmed_by_the_one_copy():
    line = Line()
    assert line.read()
    line.write()
    assert line.feed(line.request) == [(3, [])]


def test_on_a_line_with_echo_the_echo_confirms_nothing_and_the_answer_behind_it_does():
    line = Line()
    assert line.read(line.ask(ECHO).request)
    line.write()
    assert line.feed(line.request) == []
    assert line.feed(line.request) == [(3, [])]


def test_until_a_read_has_shown_whether_there_are_echoes_one_copy_confirms_nothing():
    line = Line().write()
    assert line.feed(line.request) == []
    assert line.feed(line.request) == [(3, [])]


def test_an_echo_that_comes_in_pieces_confirms_nothing():
    line = Line()
    assert line.read(line.ask(ECHO).request)
    line.write()
    assert line.feed(*(bytes((byte,)) for byte in line.request * 2)) == [(3, [])]


@pytest.mark.parametrize(
    "garble", [lambda echo: echo[:-1], lambda echo: echo[3:], lambda echo: echo[:4] + b"\x55" + echo[5:]]
)
def test_an_echo_that_is_garbled_hides_no_read(garble):
    line = Line()
    assert line.read(garble(line.ask(ECHO).request))


@pytest.mark.parametrize(
    "garble", [lambda echo: echo[:-1], lambda echo: echo[3:], lambda echo: echo[:4] + b"\x55" + echo[5:]]
)
def test_where_the_echoes_of_reads_are_garbled_a_whole_copy_of_a_write_may_be_one(garble):
    line = Line()
    assert line.read()
    assert line.read(garble(line.ask(ECHO).request))
    line.write()
    assert line.feed(line.request) == []


def test_a_refusal_behind_an_echo_is_found():
    line = Line()
    assert line.read(line.ask(ECHO).request)
    line.write()
    assert line.feed(line.request, rtu(3, b"\x85\x02")) == [(3, -2)]


@pytest.mark.parametrize("noise", [b"\x00", b"\xff\x00", b"\x00\x00\x00"])
def test_the_noise_of_a_line_that_turns_round_is_no_echo(noise):
    line = Line()
    assert line.read(noise)
    line.write()
    assert line.feed(noise + line.request) == [(3, [])]


def test_a_read_that_only_its_echo_answers_shows_that_there_are_echoes():
    line = Line()
    assert line.read()
    line.ask(ECHO)
    assert line.feed(line.request) == []
    line.write()
    assert line.feed(line.request) == []


def test_one_read_without_echo_does_not_make_a_line_that_has_echoed_trusted():
    line = Line()
    assert line.read(line.ask(ECHO).request)
    assert line.read()
    line.write()
    assert line.feed(line.request) == []


def test_an_adapter_that_is_replaced_by_one_without_echo_is_trusted_in_the_end():
    line = Line()
    assert line.read(line.ask(ECHO).request)
    for _ in range(line.framing.proof):
        assert line.read()
    line.write()
    assert line.feed(line.request) == [(3, [])]


def test_writes_do_not_show_whether_there_are_echoes():
    line = Line()
    assert line.read(line.ask(ECHO).request)
    for _ in range(line.framing.proof):
        line.write()
        line.feed(line.request)
    assert line.feed(b"") == []
    line.write()
    assert line.feed(line.request) == []


def test_the_begin_of_an_echo_that_happens_to_be_a_sound_answer_confirms_nothing():
    # the answer to a write of several registers has the first six bytes of the request: with these values its CRC,
    # too, stands in the request
    for address in range(65536):
        check_bytes = crc(struct.pack(">BBHH", 3, 16, address, 1))
        if check_bytes[0] == 2:
            break
    request = WriteMultipleRegistersRequest(address=address, registers=[check_bytes[1] << 8])
    line = Line(request)
    assert line.request[:8] == rtu(3, struct.pack(">BHH", 16, address, 1))
    assert line.feed(*(bytes((byte,)) for byte in line.request)) == []
    assert line.feed(line.request[:8]) == [(3, [])]
