"""Sessions of browsers: cookies that say whose token was shown. Nothing of them is kept here.

A session is ``ID.END.MAC``: the id of the token, when it ends (seconds of the Unix epoch), and an HMAC of both by what
is kept of the token. So it ends with the token, survives a restart, and nobody makes one who has not the file of
tokens.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from evok_twisted.core.tokens import Token

#: Seconds that a session lasts without being used, and after which one that is used is made anew.
LASTS, RENEWED = 30 * 86400, 86400

_SESSION = re.compile(r"([0-9a-f]{8})\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})\Z")


def session_of(token: Token, now: float) -> str:
    """A new session of whoever has shown ``token``."""
    end = int(now) + LASTS
    return f"{token.id}.{end}.{_mac(token, end)}"


def token_id(session: str) -> str:
    """The id of the token that a session says it is of; empty where it is none."""
    found = _SESSION.match(session)
    return found[1] if found else ""


def is_of(session: str, token: Token, now: float) -> bool:
    """Whether it is a session of ``token``, and lasts still."""
    found = _SESSION.match(session)
    return found is not None and now < int(found[2]) and hmac.compare_digest(found[3], _mac(token, int(found[2])))


def is_old(session: str, now: float) -> bool:
    """Whether it is time for another."""
    found = _SESSION.match(session)
    return found is not None and int(found[2]) - now < LASTS - RENEWED


def _mac(token: Token, end: int) -> str:
    made = hmac.digest(bytes.fromhex(token.digest), f"evok_session.{token.id}.{end}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()
