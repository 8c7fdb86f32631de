"""Numbers in registers, and what clients may write for a parameter."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evok_twisted.model.codec import decode, encode, words_of

NUMBERS = [
    ("unsigned16", "H", 0),
    ("unsigned16", "H", 0xFFFE),
    ("signed16", "h", -2),
    ("signed16", "h", -32768),
    ("float32", "f", 20.5),
    ("float32", "f", -1.5e-30),
    ("int32", "i", -123456789),
    ("uint32", "I", 4000000001),
    ("float64", "d", -273.15),
    ("int64", "q", -(2**62) - 3),
    ("uint64", "Q", 2**64 - 2),
]


def spelt(code, number, byteorder, wordorder):
    """A number's registers, as IEEE 754 and two's complement have them."""
    raw = struct.pack(f">{code}", number)
    words = [int.from_bytes(raw[n : n + 2], byteorder) for n in range(0, len(raw), 2)]
    return tuple(reversed(words)) if wordorder == "little" else tuple(words)


@pytest.mark.parametrize("wordorder", ["big", "little"])
@pytest.mark.parametrize("byteorder", ["big", "little"])
@pytest.mark.parametrize(("datatype", "code", "number"), NUMBERS)
def test_a_number_is_read_in_every_order_of_words_and_bytes(datatype, code, number, byteorder, wordorder):
    words = spelt(code, number, byteorder, wordorder)
    assert decode(words, datatype, byteorder, wordorder) == struct.unpack(code, struct.pack(code, number))[0]


@pytest.mark.parametrize("wordorder", ["big", "little"])
@pytest.mark.parametrize("byteorder", ["big", "little"])
@pytest.mark.parametrize(("datatype", "code", "number"), NUMBERS)
def test_a_number_is_written_in_every_order_of_words_and_bytes(datatype, code, number, byteorder, wordorder):
    assert encode(number, datatype, byteorder, wordorder) == spelt(code, number, byteorder, wordorder)


@pytest.mark.parametrize(
    ("datatype", "number", "held"),
    [
        ("unsigned16", 70000, 65535),
        ("unsigned16", -1, 0),
        ("unsigned16", 1.6, 2),
        ("signed16", 40000, 32767),
        ("signed16", -40000, -32768),
        ("uint32", 1e300, 2**32 - 1),
        ("int32", -math.inf, -(2**31)),
        ("int64", 1e19, 2**63 - 1),
        ("uint64", 1e20, 2**64 - 1),
        ("float32", 1e39, math.inf),
        ("float32", -1e39, -math.inf),
    ],
)
def test_a_number_out_of_range_is_written_as_the_nearest_that_can_be(datatype, number, held):
    assert decode(encode(number, datatype), datatype) == held


@pytest.mark.parametrize(("datatype", "code", "number"), NUMBERS)
def test_a_number_takes_as_many_registers_as_its_bytes_fill(datatype, code, number):
    assert words_of(datatype) == len(struct.pack(f">{code}", number)) // 2


def test_the_high_word_and_the_high_byte_come_first_unless_told():
    assert decode((0x41A4, 0x0000), "float32") == 20.5


def test_a_float_that_is_no_number_is_read_as_such():
    assert math.isnan(decode((0x7FC0, 0), "float32"))


def test_an_analog_value_is_written_low_word_first():
    assert encode(20.5, "float32", wordorder="little") == (0x0000, 0x41A4)


@settings(derandomize=True, deadline=None)
@given(st.floats(width=32, allow_nan=False))
def test_an_analog_value_reads_back_as_written(value):
    assert decode(encode(value, "float32", wordorder="little"), "float32", wordorder="little") == value


# What JSON can hold and no parameter takes. A list, for parametrize shows the others by name.
