"""``/bulk``: many sets and queries in one request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Raw
from twisted.web.server import Request

from evok_twisted.api.http import DeskResource, Operation, failure_of, json, schema_of
from evok_twisted.api.messages import BulkAnswer, encode
from evok_twisted.core.desk import Desk
from evok_twisted.core.slices import sliced
from evok_twisted.errors import BadParameter, BadRequest, BadValue, Conflict, EvokError, UnknownCircuit, UnknownDevice
from evok_twisted.model.device import Device

#: The status of an answer in which some succeeded and some failed at the hardware.
MULTI_STATUS = 207

#: Entries that each of the three lists may have, and circuits that all of them together may mean: what one request
#: keeps the service busy with.
MOST = 1000
MOST_CIRCUITS = 2048

Name = str | int


# A key that is not known is refused: a misspelt one that narrows would otherwise widen what is switched.


class IndividualAssignment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A set of one circuit."""

    device_type: str
    device_circuit: Name
    assigned_values: dict[str, Any]


class GroupAssignment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A set of every circuit of a kind that all the conditions hold for.

    ``group`` is the name of a configured device, ``global_device_id`` its ``glob_dev_id``.
    """

    device_type: str
    assigned_values: dict[str, Any]
    device_circuits: list[Name] | None = None
    group: Name | None = None
    global_device_id: Name | None = None


class GroupQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question for every circuit of some kinds that all the conditions hold for."""

    device_types: list[str]
    device_circuits: list[Name] | None = None
    group: Name | None = None
    global_device_id: Name | None = None


class BulkRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is POSTed: the assignments are done first, then the questions are answered."""

    individual_assignments: Annotated[list[IndividualAssignment], Meta(max_length=MOST)] = []
    group_assignments: Annotated[list[GroupAssignment], Meta(max_length=MOST)] = []
    group_queries: Annotated[list[GroupQuery], Meta(max_length=MOST)] = []


_decoder = msgspec.json.Decoder(BulkRequest)


class Bulk(DeskResource):
    """The one path ``/bulk``.

    The answer has, under each of the three keys of the request, a list: of states, and for each group a list of states.
    What failed at the hardware has an error in its place; the status is then 207.
    """

    paths = {
        "": {
            b"POST": Operation(
                "post",
                "Set and query many circuits; the whole request is checked before anything is written",
                schema_of("BulkAnswer"),
                schema_of("BulkRequest"),
                (BadRequest, UnknownDevice, UnknownCircuit, BadParameter, BadValue, Conflict),
                {MULTI_STATUS: "Some failed at the hardware: an error stands in their place"},
            )
        }
    }

    via = "bulk"

    async def answer(self, request: Request, desk: Desk) -> bytes:
        done = await do_bulk(desk, self.body(request))
        return json(request, done.body, MULTI_STATUS if done.failed else 200)


class BulkDone(NamedTuple):
    """What became of a request.

    :ivar body: the JSON of a ``BulkAnswer``.
    :ivar failed: what failed at the hardware first, if anything did.
    """

    body: bytes
    failed: EvokError | None


async def do_bulk(desk: Desk, body: bytes) -> BulkDone:
    """Do what a request asks.

    :raises EvokError: it is wrong, all of it; the message says where in it.
    """
    asked = _parse(body)
    clock = desk.clock
    sets: list[tuple[Device, Mapping[str, Any]]] = []
    places: list[str] = []
    async for n, one in sliced(enumerate(asked.individual_assignments), clock):
        places.append(f"individual_assignments[{n}]")
        with _at(places[-1]):
            sets.append((desk.find(one.device_type, one.device_circuit), one.assigned_values))
    groups: list[int] = []
    async for n, group in sliced(enumerate(asked.group_assignments), clock):
        with _at(f"group_assignments[{n}]"):
            devices = _select(desk, (group.device_type,), group)
        _bound(len(sets) + len(devices))
        groups.append(len(devices))
        places += [f"group_assignments[{n}]"] * len(devices)
        sets += [(device, group.assigned_values) for device in devices]
    queries: list[list[Device]] = []
    meant = len(sets)
    async for n, query in sliced(enumerate(asked.group_queries), clock):
        with _at(f"group_queries[{n}]"):
            queries.append(_select(desk, query.device_types, query))
        meant += len(queries[-1])
        _bound(meant)
    try:
        outcomes = await desk.set_all(sets)
    except EvokError as error:
        error.args = (f"{places[error.index]}: {error}",)
        raise
    shown = [
        Raw(desk.fragment(device) if outcome is None else failure_of(outcome))
        for (device, _), outcome in zip(sets, outcomes, strict=True)
    ]
    each = iter(shown)
    answer = encode(
        BulkAnswer(
            list(islice(each, len(asked.individual_assignments))),
            [list(islice(each, count)) for count in groups],
            [Raw(desk.listing(devices)) for devices in queries],
        )
    )
    return BulkDone(answer, next(filter(None, outcomes), None))


def _select(desk: Desk, names: Any, narrowed: GroupAssignment | GroupQuery) -> list[Device]:
    return desk.select(names, circuits=narrowed.device_circuits, group=narrowed.group, number=narrowed.global_device_id)


def _parse(body: bytes) -> BulkRequest:
    try:
        asked = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        expected: Mapping[str, Any] = BulkRequest.__annotations__
        raise BadRequest(f"{error}; the body is a JSON object with {', '.join(expected)}"[:300]) from None
    narrowed: tuple[GroupAssignment | GroupQuery, ...] = (*asked.group_assignments, *asked.group_queries)
    _bound(sum(len(group.device_circuits or ()) for group in narrowed))
    return asked


def _bound(circuits: int) -> None:
    if circuits > MOST_CIRCUITS:
        raise BadRequest(f"this is about {circuits} circuits or more, expected at most {MOST_CIRCUITS} in one request")


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Let an error say which entry of the request it is about."""
    try:
        yield
    except EvokError as error:
        error.args = (f"{place}: {error}",)
        raise
