"""What an alias may be: a second name for one circuit, unique over all kinds.

An alias is found with and without the prefix ``al_``, which older versions of Evok demanded; two aliases that differ
only in it are therefore the same.
"""

from __future__ import annotations

import re

from evok_twisted.errors import BadValue
from evok_twisted.model.codec import shown

PREFIX = "al_"
LONGEST = 128

_ALLOWED = re.compile(rf"[A-Za-z0-9_.-]{{0,{LONGEST}}}\Z")


def checked(alias: object) -> str:
    """``alias`` as it is kept; ``""`` removes one.

    :raises BadValue: it has characters that an alias cannot have, is too long, or is a word with a meaning of its own.
    """
    if isinstance(alias, int) and not isinstance(alias, bool):
        alias = str(alias)
    if not isinstance(alias, str) or not _ALLOWED.match(alias) or alias in ("all", PREFIX):
        raise BadValue(
            f"alias: got {shown(alias)}, expected at most {LONGEST} letters, digits, '_', '-' or '.', and not 'all'"
        )
    return alias


def bare(alias: str) -> str:
    """``alias`` without the prefix: what it is looked up by."""
    return alias.removeprefix(PREFIX)
