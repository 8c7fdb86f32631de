"""What is too large is passed over as it comes in, in whatever pieces."""

from __future__ import annotations

import pytest
from brokers import packet
from hypothesis import given
from hypothesis import strategies as st

from evok_twisted.api.mqtt.packets import Sieve

LARGEST = 40
SMALL = [
    packet(0xD0),
    packet(0x40, b"\x00\x01"),
    packet(0x30, b"\x00\x01tpayload"),
    packet(0x32, b"\x00\x01t\x00\x07p"),
]


def large(number):
    return packet(0x32, b"\x00\x01t" + number.to_bytes(2) + b"x" * 300)


ONES = st.lists(st.one_of(st.sampled_from(SMALL), st.integers(1, 65535).map(large)), max_size=20)


@given(ones=ONES, size=st.integers(1, 50))
def test_what_is_small_passes_and_what_is_large_is_acknowledged_whatever_the_pieces(ones, size):
    stream, sieve = b"".join(ones), Sieve(LARGEST)
    passed, answers = b"", b""
    for place in range(0, len(stream), size):
        found = sieve.feed(stream[place : place + size])
        passed, answers = passed + found.data, answers + found.answers
    too_large = [one for one in ones if len(one) > LARGEST + 2]
    assert passed == b"".join(one for one in ones if one not in too_large)
    assert answers == b"".join(b"\x40\x02" + one[6:8] for one in too_large)
    assert sieve.passed_over == len(too_large)


def test_a_large_message_without_acknowledgement_gets_none():
    found = Sieve(LARGEST).feed(packet(0x30, b"\x00\x01t" + b"x" * 300) + SMALL[0])
    assert found == (SMALL[0], b"")


@pytest.mark.parametrize("bad", [b"\x30\xff\xff\xff\xff\x01", packet(0x20, b"x" * 300)])
def test_what_cannot_be_passed_over_is_no_mqtt(bad):
    with pytest.raises(ValueError, match="length|no message"):
        Sieve(LARGEST).feed(bad)
