"""How buckets are kept: those of one series for an hour, or for a day, together and packed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import msgspec

from evok_twisted.history.buckets import Bucket, Columns

#: Digits of a mean: more than any of our values has.
_DIGITS = 7

_decode = msgspec.json.Decoder(list[list[Any]]).decode
_encode = msgspec.json.Encoder().encode


def pack(buckets: Iterable[Bucket], start: int, width: int) -> bytes:
    """Buckets of one width, none before ``start``, column by column, so that what is alike stands together."""
    columns = [((one.start - start) // width, one.low, rounded(one.mean), one.high, *one[4:]) for one in buckets]
    return zlib.compress(_encode(list(zip(*columns, strict=True))))


def unpack(data: bytes, start: int, width: int) -> Columns:
    """What was packed."""
    columns = _decode(zlib.decompress(data))
    columns[0] = [start + n * width for n in columns[0]]
    return columns


def rounded(mean: float) -> float:
    """A mean, to as many digits as the values may have that it is of."""
    return float(f"{mean:.{_DIGITS}g}")
