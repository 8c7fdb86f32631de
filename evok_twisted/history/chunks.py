"""How buckets are kept: those of one series for an hour, or for a day, together and packed."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import msgspec

from evok_twisted.history.buckets import Bucket

#: Digits of a mean: more than any of our values has.
_DIGITS = 7

_decode = msgspec.json.Decoder(list[list[float | int]]).decode
_encode = msgspec.json.Encoder().encode


def pack(buckets: Iterable[Bucket], start: int, width: int) -> bytes:
    """Buckets of one width, none before ``start``, column by column, so that what is alike stands together."""
    columns = [((one.start - start) // width, one.low, rounded(one.mean), one.high, *one[4:]) for one in buckets]
    return zlib.compress(_encode(list(zip(*columns, strict=True))))


def unpack(data: bytes, start: int, width: int) -> Iterator[Bucket]:
    """What was packed."""
    for at, low, mean, high, on, edges, known in zip(*_decode(zlib.decompress(data)), strict=True):
        yield Bucket(start + int(at) * width, low, mean, high, int(on), int(edges), int(known))


def rounded(mean: float) -> float:
    """A mean, to as many digits as the values may have that it is of."""
    return float(f"{mean:.{_DIGITS}g}")
