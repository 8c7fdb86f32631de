"""Tokens are made, narrowed and revoked: by ``evok``, and by the service for its admins."""

from __future__ import annotations

from collections.abc import Iterable

from evok_twisted.core.identity import Scopes
from evok_twisted.core.tokens import Network, Token, digest_of, fresh

#: Seconds within which a link is of use.
LINK_LASTS = 600.0
#: Seconds for which tokens that have expired stay in the list.
SHOWN_EXPIRED = 30 * 86400.0
#: Characters of a name, at most.
LONGEST_NAME = 64

Tokens = dict[str, Token]


def tidy(tokens: Tokens, now: float) -> None:
    """Let go of those that are long expired."""
    for token in list(tokens.values()):
        if token.expired(now - SHOWN_EXPIRED):
            del tokens[token.id]


def create(
    tokens: Tokens, name: str, scopes: Scopes, networks: Iterable[Network], now: float, lasts: float | None
) -> tuple[Token, str]:
    """Make a token; it, and its text, which is kept nowhere.

    :param lasts: for how many seconds it is of use; None is for ever.
    :raises ValueError: there is one of this name, or that can be none.
    """
    if any(token.name == name for token in tokens.values()):
        raise ValueError(f"there is a token of the name {name} already; revoke it, or choose another")
    id, text = fresh(tokens)
    expires = None if lasts is None else now + lasts
    tokens[id] = Token(id, named(name), scopes, tuple(networks), now, expires, digest_of(text))
    return tokens[id], text


def link(tokens: Tokens, name: str, scopes: Scopes, now: float) -> tuple[Token, str]:
    """Make a code that logs one browser in, within ``LINK_LASTS``; what is kept of it, and the code."""
    id, code = fresh(tokens)
    tokens[id] = Token(id, named(name), scopes, (), now, now + LINK_LASTS, digest_of(code), once=True)
    return tokens[id], code


def revoke(tokens: Tokens, which: str) -> list[Token]:
    """Let tokens be of no use any more.

    :param which: the id or the name.
    :raises ValueError: there is none.
    """
    found = [token for token in tokens.values() if which in (token.id, token.name)]
    if not found:
        known = ", ".join(f"{token.id} ({token.name})" for token in tokens.values()) or "none"
        raise ValueError(f"there is no token {which}; there are {known}")
    for token in found:
        del tokens[token.id]
    return found


def named(name: str) -> str:
    """A name that a token may have.

    :raises ValueError: it is none.
    """
    if not 1 <= len(name) <= LONGEST_NAME:
        raise ValueError(f"NAME has 1 to {LONGEST_NAME} characters")
    return name
