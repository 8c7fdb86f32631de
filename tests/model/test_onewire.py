"""Addresses on a 1-Wire bus."""

from __future__ import annotations

import pytest

from evok_twisted.model.onewire import address, circuit_of, crc8, family_of


def test_the_checksum_is_that_of_the_application_note():
    assert crc8(bytes.fromhex("021CB801000000")) == 0xA2  # the example of Maxim's Application Note 27


def test_an_address_with_its_checksum_sums_up_to_nothing():
    assert crc8(bytes.fromhex("2895DCD509000035")) == 0


@pytest.mark.parametrize(
    "text",
    ["28.95DCD5090000", "2895DCD5090000", "28.95dcd5090000", "2895DCD509000035", "28.95DCD5090000.35"],
)
def test_an_address_is_taken_in_every_form(text):
    assert address(text) == "28.95DCD5090000"


@pytest.mark.parametrize("text", ["", "28", "28.95DCD509000", "28.95DCD509000G", "uncached", "28.95DCD5090000.35.1"])
def test_what_is_no_address_is_told_with_what_was_expected(text):
    with pytest.raises(ValueError, match=r"expected an address such as 28\.95DCD5090000"):
        address(text)


def test_a_wrong_checksum_is_told_with_the_right_one():
    with pytest.raises(ValueError, match="whose checksum would be 35"):
        address("2895DCD509000036")


def test_a_circuit_is_the_address_without_the_dot_and_with_the_checksum():
    assert circuit_of("28.95DCD5090000") == "2895DCD509000035"


def test_the_family_comes_first():
    assert family_of("3A.00003AC50700") == "3A"
