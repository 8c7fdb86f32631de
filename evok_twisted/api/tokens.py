"""``/access/tokens`` and ``/access/link``: admins make, narrow and revoke tokens, as ``evok token`` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from evok_twisted.api.http import Operation, Paths, for_admins, schema_of
from evok_twisted.api.messages import time_of_day
from evok_twisted.core import issuing
from evok_twisted.core.identity import Identity
from evok_twisted.core.keyring import Keyring
from evok_twisted.core.tokens import Token, networks_of, scopes_of
from evok_twisted.errors import BadRequest, BadValue, Conflict, Forbidden, NotFound, NotSaved
from evok_twisted.logs import Logger

_log = Logger()

Role = Literal["viewer", "operator", "admin"]
#: Seconds that a token may be of use, where it is not for ever.
Lasts = Annotated[float, Meta(gt=0, le=10 * 365 * 86400)]


class ShownToken(msgspec.Struct):
    """A token, as far as it is known: not itself.

    :ivar write: what it may set; null is all that its role may.
    :ivar networks: where it may come from; none is anywhere.
    :ivar link: it is the code of a link, of use once.
    """

    id: str
    name: str
    role: str
    write: list[str] | None
    networks: list[str]
    created: str
    expires: str | None
    link: bool


class ShownTokens(msgspec.Struct):
    """Those that are of use."""

    tokens: list[ShownToken]


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """What is POSTed for a token; it is of use for ``lasts`` seconds, without it for ever."""

    name: str
    role: Role
    write: list[str] | None = None
    networks: list[str] = []
    lasts: Lasts | None = None


class Narrowing(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be another of a token."""

    role: Role | UnsetType = UNSET
    write: list[str] | UnsetType | None = UNSET
    networks: list[str] | UnsetType = UNSET


class NewLink(msgspec.Struct, forbid_unknown_fields=True):
    """What is POSTed for a link."""

    role: Role
    name: str = "link"


class Issued(msgspec.Struct):
    """What was made, and its text, which is shown this once."""

    token: ShownToken
    text: str


_ERRORS = (BadRequest, BadValue, Conflict, Forbidden, NotSaved)

PATHS: Paths = {
    "tokens": {
        b"GET": Operation(
            "tokens", "The tokens that are of use", schema_of("ShownTokens"), None, (Conflict, Forbidden)
        ),
        b"POST": Operation(
            "create_token",
            "Make a token; its text is shown this once",
            schema_of("Issued"),
            schema_of("NewToken"),
            _ERRORS,
        ),
    },
    "tokens/{id}": {
        b"POST": Operation(
            "narrow_token",
            "Let a token do something else",
            schema_of("ShownToken"),
            schema_of("Narrowing"),
            (*_ERRORS, NotFound),
        ),
        b"DELETE": Operation(
            "revoke_token", "Let a token be of no use any more", schema_of("ShownToken"), None, (*_ERRORS, NotFound)
        ),
    },
    "link": {
        b"POST": Operation(
            "link", "Make a code that logs one browser in", schema_of("Issued"), schema_of("NewLink"), _ERRORS
        )
    },
}

_Kind = TypeVar("_Kind")


def listing(keyring: Keyring | None, identity: Identity) -> list[ShownToken]:
    """The tokens that are of use.

    :raises Forbidden: this is for admins.
    """
    return [_shown(token) for token in _admitted(keyring, identity).tokens]


def change(keyring: Keyring | None, identity: Identity, path: Sequence[str], body: bytes) -> Issued | ShownToken:
    """Make a token or a link, or narrow a token.

    :raises EvokError: it was not done.
    """
    keyring = _admitted(keyring, identity)
    if list(path) == ["tokens"]:
        wanted = _read(body, NewToken)
        with _told(), keyring.changing() as tokens:
            issuing.tidy(tokens, keyring.now)
            scopes, networks = scopes_of(wanted.role, wanted.write), networks_of(wanted.networks)
            token, text = issuing.create(tokens, wanted.name, scopes, networks, keyring.now, wanted.lasts)
        _log.info("{by} made the token {id} of {name}", by=str(identity), id=token.id, name=token.name)
        return Issued(_shown(token), text)
    if list(path) == ["link"]:
        link = _read(body, NewLink)
        with _told(), keyring.changing() as tokens:
            issuing.tidy(tokens, keyring.now)
            token, text = issuing.link(tokens, link.name, scopes_of(link.role, None), keyring.now)
        _log.info("{by} made a link, {id}, as {role}", by=str(identity), id=token.id, role=link.role)
        return Issued(_shown(token), text)
    return _narrow(keyring, identity, path[1], _read(body, Narrowing))


def _narrow(keyring: Keyring, identity: Identity, id: str, wanted: Narrowing) -> ShownToken:
    with _told(), keyring.changing() as tokens:
        token = _of(tokens, id)
        write = token.scopes.write if wanted.write is UNSET else wanted.write
        role: Any = token.scopes.role if wanted.role is UNSET else wanted.role
        networks = token.networks if wanted.networks is UNSET else networks_of(wanted.networks)
        tokens[id] = token = token._replace(scopes=scopes_of(role, write), networks=networks)
    _log.info("{by} narrowed the token {id} of {name}", by=str(identity), id=id, name=token.name)
    return _shown(token)


def revoke(keyring: Keyring | None, identity: Identity, id: str) -> ShownToken:
    """Let a token be of no use any more.

    :raises EvokError: it was not done.
    """
    with _told(), _admitted(keyring, identity).changing() as tokens:
        token = _of(tokens, id)
        del tokens[id]
    _log.info("{by} revoked the token {id} of {name}", by=str(identity), id=id, name=token.name)
    return _shown(token)


def _of(tokens: dict[str, Token], id: str) -> Token:
    if id not in tokens:
        raise NotFound(f"there is no token {id:.20}")
    return tokens[id]


def _admitted(keyring: Keyring | None, identity: Identity) -> Keyring:
    """The keyring, for who may see it: whoever makes a token could make one that may more than they."""
    for_admins(identity, "tokens are")
    if identity.scopes.write is not None:
        raise Forbidden(f"{identity}: tokens are for whoever may do everything, and is not narrowed")
    if keyring is None:
        raise Conflict("there are no tokens here: the configuration has no apis.access")
    return keyring


@contextmanager
def _told() -> Iterator[None]:
    """What a user wrote wrong is told as such."""
    try:
        yield
    except ValueError as error:
        raise BadValue(str(error)) from None


def _read(body: bytes, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        expected = ", ".join(kind.__annotations__)
        raise BadRequest(f"{error}; the body is a JSON object with {expected}"[:300]) from None


def _shown(token: Token) -> ShownToken:
    write = token.scopes.write
    return ShownToken(
        token.id,
        token.name,
        token.scopes.role,
        None if write is None else list(write),
        [str(network) for network in token.networks],
        time_of_day(token.created),
        None if token.expires is None else time_of_day(token.expires),
        token.once,
    )
