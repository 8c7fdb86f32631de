"""What answers look like: the structs that are sent as JSON, with states in them as they are kept, rendered already."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from evok_twisted.errors import EvokError

encode = msgspec.json.Encoder().encode

#: What a client gives a command, to know its answer by.
Id = str | int | float


class Error(msgspec.Struct):
    """What went wrong with a command: a name for programs, a sentence for people, and whether it may have been done."""

    code: str
    message: str
    sent: bool


class Reply(msgspec.Struct):
    """The answer to a command on a WebSocket."""

    id: Id
    success: bool
    result: Raw | UnsetType = UNSET
    error: Error | UnsetType = UNSET


class Done(msgspec.Struct, kw_only=True):
    """The answer to a set over HTTP that was done."""

    success: bool = True
    result: Raw


class Failed(msgspec.Struct, kw_only=True):
    """The answer to a request over HTTP that was not: what went wrong, in a sentence, by its name."""

    success: bool = False
    errors: dict[str, str]
    sent: bool | UnsetType = UNSET


class BulkAnswer(msgspec.Struct):
    """Outcomes and answers, in the order of the request."""

    individual_assignments: list[Raw]
    group_assignments: list[list[Raw]]
    group_queries: list[Raw]


class RpcError(msgspec.Struct):
    """What went wrong with a call."""

    code: int
    message: str
    data: dict[str, Any] | UnsetType = UNSET


class RpcAnswer(msgspec.Struct):
    """The answer to a JSON-RPC call; ``id`` is null where the call could not be understood."""

    jsonrpc: str = "2.0"
    result: Any = UNSET
    error: RpcError | UnsetType = UNSET
    id: Any = None


def succeeded(given: Id, result: bytes) -> bytes:
    """The reply to a command that was done."""
    return encode(Reply(given, True, Raw(result)))


def refused(given: Id, error: EvokError) -> bytes:
    """The reply to a command that was not."""
    return encode(Reply(given, False, error=Error(error.code, error.message, error.sent)))
