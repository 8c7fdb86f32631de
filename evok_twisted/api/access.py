"""``/access``: browsers show a token once and get a session; and anybody asks who they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.web.server import Request

from evok_twisted.api import tokens
from evok_twisted.api.front import AlwaysThere, Context, Front
from evok_twisted.api.gate import Gate
from evok_twisted.api.http import JsonResource, Operation, identity_of, json, path_of
from evok_twisted.api.messages import encode
from evok_twisted.core.identity import ROLES, Identity
from evok_twisted.errors import BadRequest

_WHO: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "role": {"enum": list(ROLES)},
        "write": {"type": ["array", "null"], "items": {"type": "string"}, "description": "Null is all of the role's"},
    },
    "required": ["name", "role", "write"],
    "additionalProperties": False,
}
_SHOWN: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "token": {"type": "string"},
        "code": {"type": "string", "description": "Of a link, which is of use once"},
    },
    "minProperties": 1,
    "maxProperties": 1,
}


_EXPECTED = '{"token":"..."} or {"code":"..."}'


class Shown(msgspec.Struct):
    """What is POSTed to ``/access/login``: a token, or the code of a link."""

    token: str = ""
    code: str = ""


class Access(JsonResource):
    """Open to everybody: here one says who one is."""

    paths = {
        "login": {b"POST": Operation("login", "Show a token, or the code of a link, for a cookie", _WHO, _SHOWN)},
        "logout": {b"POST": Operation("logout", "Forget the cookie", _WHO)},
        "whoami": {b"GET": Operation("whoami", "Who asks, and what they may do", _WHO)},
        **tokens.PATHS,
    }

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    def get(self, request: Request) -> bytes:
        identity = identity_of(request, "rest")
        if path_of(request) == ["whoami"]:
            return json(request, _who(identity))
        return json(request, encode({"tokens": tokens.listing(self._gate.keyring, identity)}))

    def delete(self, request: Request) -> bytes:
        revoked = tokens.revoke(self._gate.keyring, identity_of(request, "rest"), path_of(request)[1])
        return json(request, encode(revoked))

    def post(self, request: Request) -> bytes:
        path = path_of(request)
        if path == ["logout"]:
            return json(request, _who(self._gate.log_out(request)))
        if path != ["login"]:
            done = tokens.change(self._gate.keyring, identity_of(request, "rest"), path, self.body(request))
            return json(request, encode(done))
        try:
            given = msgspec.json.decode(self.body(request), type=Shown)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"expected {_EXPECTED}: {error}") from None
        if bool(given.token) == bool(given.code):
            raise BadRequest(f"expected {_EXPECTED}, and not both")
        return json(request, _who(self._gate.log_in(request, given.token or given.code, code=bool(given.code))))


def _who(identity: Identity) -> bytes:
    scopes = identity.scopes
    return encode({"name": str(identity), "role": scopes.role, "write": scopes.write})


def make(context: Context, _settings: AlwaysThere) -> None:
    """Serve ``/access``."""
    context.tree[b"access"] = Access(context.gate)


FRONT = Front(None, AlwaysThere, make)
