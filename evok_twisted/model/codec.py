"""Numbers in registers.

The float formats follow IEEE 754; the order of words is the boards'.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Literal

Order = Literal["big", "little"]

_FORMATS = {
    "unsigned16": "H",
    "signed16": "h",
    "float32": "f",
    "int32": "i",
    "uint32": "I",
    "float64": "d",
    "int64": "q",
    "uint64": "Q",
}


def words_of(datatype: str) -> int:
    """How many registers a value of ``datatype`` takes."""
    return struct.calcsize(">" + _FORMATS[datatype]) // 2


def decode(words: Iterable[int], datatype: str, byteorder: Order = "big", wordorder: Order = "big") -> int | float:
    """The number that registers hold.

    :param words: ``words_of(datatype)`` registers, 0..65535, in the order of their addresses.
    :param byteorder: which byte of a word comes first.
    :param wordorder: which word of the number comes first.
    :returns: an int or a float; a float may be NaN or infinite.
    """
    ordered = list(words)
    if wordorder == "little":
        ordered.reverse()
    raw = struct.pack(f"{'<' if byteorder == 'little' else '>'}{len(ordered)}H", *ordered)
    value: int | float = struct.unpack(">" + _FORMATS[datatype], raw)[0]
    return value


def encode(value: float, datatype: str, byteorder: Order = "big", wordorder: Order = "big") -> tuple[int, ...]:
    """The registers that hold ``value``, in the order of their addresses: ``decode`` the other way round.

    What an integer type cannot hold becomes the nearest that it can, and a float that is too large infinity.
    """
    how = _FORMATS[datatype]
    size = struct.calcsize(">" + how)
    if how in "fd":
        try:
            raw = struct.pack(">" + how, value)
        except OverflowError:
            raw = struct.pack(">" + how, math.copysign(math.inf, value))
    else:
        signed = how.islower()
        least, most = (-(1 << 8 * size - 1), (1 << 8 * size - 1) - 1) if signed else (0, (1 << 8 * size) - 1)
        raw = round(min(most, max(least, value))).to_bytes(size, "big", signed=signed)
    words = struct.unpack(f"{'<' if byteorder == 'little' else '>'}{size // 2}H", raw)
    return words if wordorder == "big" else words[::-1]
