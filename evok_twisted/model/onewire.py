"""Addresses on a 1-Wire bus: a family code of one byte, a serial number of six, and a checksum over both.

The checksum is that of Maxim's Application Note 27: x^8 + x^5 + x^4 + 1, least significant bit first.
"""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"([0-9A-F]{2})\.?([0-9A-F]{12})(?:\.?([0-9A-F]{2}))?\Z")


def crc8(data: bytes) -> int:
    """The checksum of ``data``."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
    return crc


def address(text: str) -> str:
    """An address in owserver's form, ``28.95DCD5090000``.

    :param text: in any form: with or without dots and checksum, in upper or lower case.
    :raises ValueError: it is none, or its checksum is wrong; the message says what was expected.
    """
    found = _ADDRESS.match(text.upper())
    if found is None:
        raise ValueError(f"got {text!r}, expected an address such as 28.95DCD5090000")
    family, serial, crc = found.groups()
    right = f"{crc8(bytes.fromhex(family + serial)):02X}"
    if crc not in (None, right):
        raise ValueError(f"got {text!r}, whose checksum would be {right}; is a digit wrong?")
    return f"{family}.{serial}"


def circuit_of(address: str) -> str:
    """The circuit of a sensor, ``2895DCD509000035``: its address without the dot, and the checksum."""
    digits = address.replace(".", "")
    return f"{digits}{crc8(bytes.fromhex(digits)):02X}"


def checked(address: str) -> str:
    """An address with its checksum, as clients see it: ``28.95DCD5090000.35``."""
    return f"{address}.{circuit_of(address)[-2:]}"


def family_of(address: str) -> str:
    """The family code, ``28``."""
    return address[:2]
