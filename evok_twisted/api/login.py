"""A WebSocket whose first message is to say who it is: ``/ws?auth=message``, for clients that can set no header."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from twisted.internet.interfaces import IReactorTime

from evok_twisted.api.gate import Gate
from evok_twisted.api.messages import encode, refused, succeeded
from evok_twisted.conditions import Timer
from evok_twisted.core.identity import Identity
from evok_twisted.errors import BadRequest, EvokError

#: What ``auth`` in the query is, then.
BY_MESSAGE = "message"
#: The close code of a connection whose token is of no use (any more), or that showed none in time.
UNAUTHORIZED = 4401
#: Seconds until the message has to be there, and frames that may come before.
LONGEST, MOST_FRAMES = 10.0, 8


class Connecting(Protocol):
    """A connection that is nobody's yet."""

    identity: Identity

    def send(self, payload: bytes) -> None:
        """Send a message."""

    def close_with(self, code: int, reason: str) -> None:
        """Close it."""

    def begin(self, identity: Identity) -> None:
        """Serve it."""


class Login:
    """Waits for ``{"cmd":"auth","token":"..."}``; there is one try, and nothing else is answered."""

    def __init__(self, connection: Connecting, gate: Gate, clock: IReactorTime) -> None:
        self._connection = connection
        self._gate = gate
        self._frames = 0
        self._end = Timer(clock, lambda: connection.close_with(UNAUTHORIZED, "there was no token in time"))

    def begin(self) -> None:
        """Wait from now on."""
        self._end.start(LONGEST)

    def stop(self) -> None:
        """Wait no more."""
        self._end.stop()

    def may_take(self) -> bool:
        """Whether one more piece of what was received may be taken."""
        self._frames += 1
        if self._frames == MOST_FRAMES:
            self._connection.close_with(UNAUTHORIZED, "the first message is to be the token")
        return self._frames < MOST_FRAMES

    def take(self, payload: bytes) -> None:
        """Take the message."""
        self.stop()
        given: Any = None
        try:
            message = _message(payload)
            given = message.get("id")
            identity = self._gate.known(message["token"], self._connection.identity.address)
        except EvokError as error:
            self._connection.send(refused(given, error))
            self._connection.close_with(UNAUTHORIZED, str(error))
            return
        self._connection.send(succeeded(given, encode({"name": str(identity), "role": identity.scopes.role})))
        self._connection.begin(identity._replace(via="websocket"))


def _message(payload: bytes) -> dict[str, Any]:
    try:
        message = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = None
    if not isinstance(message, dict) or message.get("cmd") != "auth" or not isinstance(message.get("token"), str):
        raise BadRequest('the first message is to be {"cmd":"auth","token":"..."}')
    return message
