"""What answers look like: the structs that are sent as JSON, with states in them as they are kept, rendered already."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from evok_twisted.core.desk import Desk
from evok_twisted.core.events import ChangeSet
from evok_twisted.core.filters import Filter
from evok_twisted.errors import EvokError
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import KINDS

encode = msgspec.json.Encoder().encode

#: What a client gives a command, to know its answer by.
Id = str | int | float


def is_id(value: object) -> bool:
    """Whether ``value`` can come back as it was: text that is text, or a number that a double can hold."""
    if isinstance(value, str):
        return not any("\ud800" <= character <= "\udfff" for character in value)
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


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


class Cause(msgspec.Struct, omit_defaults=True):
    """Whose command made a change: the name, the door that it came through, and what they call the command."""

    by: str
    via: str
    id: Id | None = None


class Circuit(msgspec.Struct):
    """The name of a circuit."""

    dev: str
    circuit: str


class Subscribed(msgspec.Struct, kw_only=True):
    """What a subscriber is to know, before it hears of changes: ``complete`` is all that it wants, otherwise what has
    changed since it was here last, as it is now, and what is ``gone``.

    :ivar event: there where this is no answer to a command with an id.
    """

    event: str | UnsetType = UNSET
    epoch: str
    number: int
    complete: bool
    time: str
    states: Raw
    gone: list[Circuit] | UnsetType = UNSET
    unknown: list[str] | UnsetType = UNSET


class Changed(msgspec.Struct, kw_only=True):
    """What subscribers hear of a change; it has a ``cause`` where that was one command."""

    event: str = "change"
    epoch: str
    number: int
    time: str
    states: Raw
    cause: Cause | UnsetType = UNSET


class Gone(msgspec.Struct, kw_only=True):
    """What subscribers hear of circuits that are no more."""

    event: str = "gone"
    epoch: str
    number: int
    time: str
    devices: list[Circuit]


class Alive(msgspec.Struct, kw_only=True):
    """What subscribers hear while there is nothing to tell."""

    event: str = "alive"
    epoch: str
    number: int


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


def subscribed(desk: Desk, wanted: Filter, since: tuple[str, int] | None, unknown: list[str]) -> Subscribed:
    """What a client is to know that hears what ``wanted`` accepts from now on.

    :param since: the epoch and the number up to which it knows all.
    :param unknown: names in its filter that are not known.
    """
    found = desk.snapshot(wanted, since)
    return Subscribed(
        epoch=desk.epoch,
        number=desk.number,
        complete=found.complete,
        time=time_of_day(found.wall),
        states=Raw(desk.listing(found.devices)),
        gone=UNSET if found.complete else _circuits(desk, found.gone),
        unknown=unknown or UNSET,
    )


def changed(desk: Desk, changes: ChangeSet) -> bytes:
    """What tells a subscriber of changes."""
    by = changes.cause
    cause = UNSET if by is None else Cause(by.name, by.via, by.command)
    states, time = Raw(desk.render(changes.changes)), time_of_day(changes.wall)
    return encode(Changed(epoch=desk.epoch, number=changes.number, time=time, states=states, cause=cause))


def gone(desk: Desk, changes: ChangeSet) -> bytes:
    """What tells a subscriber of devices that are gone."""
    circuits, time = _circuits(desk, changes.gone), time_of_day(changes.wall)
    number = changes.number if changes.known is None else changes.known
    return encode(Gone(epoch=desk.epoch, number=number, time=time, devices=circuits))


def alive(desk: Desk, number: int) -> bytes:
    """What tells a subscriber that there is nothing to tell after ``number``."""
    return encode(Alive(epoch=desk.epoch, number=number))


def _circuits(desk: Desk, devices: Iterable[Device]) -> list[Circuit]:
    return [Circuit(KINDS[one.kind].dev(desk.dialect), one.circuit_in(desk.dialect)) for one in devices]


def time_of_day(wall: float) -> str:
    """A time in seconds of the Unix epoch as ``2026-11-25T03:14:15.926Z``."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
