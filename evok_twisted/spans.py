"""Times, durations and sizes as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

from evok_twisted.errors import BadValue

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

#: A duration.
DURATION = r"[1-9][0-9]{0,8}[smhdwy]"
Duration = Annotated[
    str, Meta(pattern=f"^{DURATION}$", description="a number with s, m, h, d, w or y behind it, such as 7d")
]
Size = Annotated[
    str, Meta(pattern=r"^[1-9][0-9]{0,5}(KiB|MiB|GiB)$", description="a number with KiB, MiB or GiB behind it")
]


def seconds(duration: str) -> int:
    """A ``Duration`` in seconds; a year has 365 days."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def bytes_of(size: str) -> int:
    """A ``Size`` in bytes."""
    return int(size[:-3]) * _BYTES[size[-3:]]


def time_of(text: str, now: float, what: str) -> int:
    """A time in milliseconds of the Unix epoch.

    :param text: ISO 8601 (without an offset, of UTC), seconds of the epoch, or how long ago, such as ``-7d``.
    :param now: seconds of the epoch.
    :param what: what it is called in an error.
    :raises BadValue: it is none of these, or out of all reason.
    """
    try:
        if re.fullmatch(f"-{DURATION}", text):
            found = now - seconds(text[1:])
        elif re.fullmatch(r"[0-9]{1,11}(\.[0-9]{1,9})?", text):
            found = float(text)
        else:
            given = datetime.fromisoformat(text)
            found = (given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        expected = "ISO 8601, seconds of the Unix epoch, or how long ago, such as -7d"
        raise BadValue(f"{what}: got {text!r:.60}, expected {expected}") from None
    if not 0 <= found < 1e11:
        raise BadValue(f"{what}: got {text!r:.60}, which is before 1970 or after 5138")
    return round(1000 * found)
