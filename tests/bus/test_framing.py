"""Modbus TCP frames: whole, in pieces, and not frames at all."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evok_twisted.bus.framing import SocketFraming, exception_name
from evok_twisted.errors import BadAnswer


def frame(transaction, unit, pdu):
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def registers(*words):
    return struct.pack(f">BB{len(words)}H", 3, 2 * len(words), *words)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 65535), st.integers(0, 255), st.lists(st.integers(0, 65535), min_size=1, max_size=125)
        ),
        min_size=1,
        max_size=4,
    ),
    st.data(),
)
@settings(derandomize=True, deadline=None)
def test_answers_are_found_however_the_stream_is_cut(answers, data):
    stream = b"".join(frame(transaction, unit, registers(*words)) for transaction, unit, words in answers)
    framing = SocketFraming()
    found = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += framing.feed(stream[:cut])
        stream = stream[cut:]
    assert [(a.transaction, a.unit, list(a.pdu.registers)) for a in found] == answers
    assert not framing.partial


@pytest.mark.parametrize(
    "garbage",
    [b"HTTP/1.1 400 Bad Request\r\n", struct.pack(">HHHB", 1, 1, 5, 1), struct.pack(">HHHB", 1, 0, 0, 1), b"\xff" * 16],
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
    (answer,) = SocketFraming().feed(frame(7, 1, pdu))
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


def test_exceptions_have_names():
    assert exception_name(2) == "illegal address (2)"
    assert exception_name(99) == "unknown exception (99)"
