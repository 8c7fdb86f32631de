"""Answers what clients ask of the history, whichever way they ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType
from twisted.internet.defer import Deferred

from evok_twisted.api.messages import encode, time_of_day
from evok_twisted.core.desk import Desk
from evok_twisted.errors import BadParameter, BadValue, Busy, EvokError, NotFound, Unavailable, UnknownCircuit
from evok_twisted.history.batch import Series
from evok_twisted.history.chunks import rounded
from evok_twisted.history.keeper import Keeper
from evok_twisted.history.recorder import FIELDS
from evok_twisted.history.store import Event
from evok_twisted.history.tiers import Found
from evok_twisted.model.kinds import KINDS, named
from evok_twisted.model.meaning import meanings
from evok_twisted.spans import time_of

_T = TypeVar("_T")

#: Buckets and events of one answer, and questions that wait for theirs.
MOST_POINTS, MOST_EVENTS, MOST_ASKED = 5000, 1000, 16
#: Kinds that are switched, or are switches.
SWITCHES = ("di", "ro", "do")
#: What the command of the WebSocket may carry.
ASKED = ("dev", "circuit", "from", "to", "points", "field")


class HistoryBucket(msgspec.Struct, rename={"low": "min", "high": "max"}):
    """What is known of a while that begins at ``time``: ``on`` and ``known`` are seconds of it."""

    time: str
    low: float
    mean: float
    high: float
    on: float
    edges: int
    known: float


class History(msgspec.Struct):
    """A circuit over time: where there is no bucket nothing is known. ``width`` is in seconds."""

    dev: str
    circuit: str
    field: str
    unit: str | None
    tier: str
    width: float
    buckets: list[HistoryBucket]


class HistoryEvent(msgspec.Struct, omit_defaults=True):
    """From ``time`` on a circuit shows ``value``; null where it does not answer. ``cause`` is whose command it was."""

    time: str
    dev: str
    circuit: str
    value: float | None
    cause: str | UnsetType = UNSET


class HistoryEvents(msgspec.Struct):
    """What was switched, the latest first."""

    events: list[HistoryEvent]


class Historian:
    """Answers what clients ask of the history."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._asked = 0

    def _admit(self) -> None:
        """Let somebody ask.

        :raises Busy: too many do.
        :raises Unavailable: there is nothing to read.
        """
        if self._asked >= MOST_ASKED:
            raise Busy(f"{MOST_ASKED} questions wait for their answers")
        if not self._keeper.ready:
            raise Unavailable(f"the history cannot be read: {self._keeper.report().problem or 'it begins'}")

    async def _counted(self, answer: Deferred[_T]) -> _T:
        self._asked += 1
        try:
            return await answer
        finally:
            self._asked -= 1

    def question(self, desk: Desk, message: Mapping[str, Any]) -> Deferred[bytes]:
        """Answer the command ``history`` of the WebSocket."""
        return Deferred.fromCoroutine(self._answer(desk, message))

    async def _answer(self, desk: Desk, message: Mapping[str, Any]) -> bytes:
        given = {name: str(message[name])[:200] for name in ASKED if message.get(name) is not None}
        for name in ("dev", "circuit"):
            if name not in given:
                raise BadParameter(f"{name} is missing")
        return encode(await self.history(desk, given))

    async def history(self, desk: Desk, given: Mapping[str, str]) -> History:
        """What a circuit was over time."""
        self._admit()
        series = self._series(desk, given["dev"], given["circuit"], given.get("field", "value"))
        begin, end = _span(given, desk.wall())
        points = _number(given, "points", 500, MOST_POINTS)
        return history_of(desk, series, await self._counted(self._keeper.find(series, begin, end, points)))

    async def events(self, desk: Desk, given: Mapping[str, str]) -> HistoryEvents:
        """What was switched."""
        self._admit()
        begin, end = _span(given, desk.wall())
        dev, circuit, limit = given.get("dev", ""), given.get("circuit", ""), _number(given, "limit", 200, MOST_EVENTS)
        if circuit and not dev:
            raise BadValue("circuit: got one without dev, its kind")
        if circuit:
            chosen = [self._series(desk, dev, circuit, "value")]
        else:
            kinds = named(dev, desk.dialect) if dev else SWITCHES
            chosen = [one for one in self._keeper.numbers if one.kind in kinds and one.field == "value"]
        by_number = {self._keeper.numbers[one]: one for one in chosen}
        found = await self._counted(self._keeper.events(by_number, begin, end, limit))
        return HistoryEvents([_event(desk, by_number[one.series], one) for one in found])

    def _series(self, desk: Desk, dev: str, circuit: str, field: str) -> Series:
        """What a client means, be it there still or not.

        :raises NotFound: nothing is kept of it.
        """
        try:
            device = desk.find(dev, circuit)
            candidates = [Series(device.kind, device.circuit_in("v3"), field)]
        except UnknownCircuit:
            candidates = [Series(kind, circuit, field) for kind in named(dev, desk.dialect)]
            if not any(one in self._keeper.numbers for one in candidates):
                raise
        for one in candidates:
            if field not in FIELDS[one.kind]:
                there = ", ".join(FIELDS[one.kind]) or "nothing that is a number"
                raise BadValue(f"field: got {field!r:.40}, expected one of what is kept of {dev}: {there}")
            if one in self._keeper.numbers:
                return one
        raise NotFound(f"nothing is kept of {dev} {circuit}; apis.history.devices says of what it is")


def _event(desk: Desk, series: Series, event: Event) -> HistoryEvent:
    return HistoryEvent(time_of_day(event.time / 1000), *_names(desk, series), event.value, event.cause or UNSET)


def _names(desk: Desk, series: Series) -> tuple[str, str]:
    """How a client knows a circuit."""
    return KINDS[series.kind].dev(desk.dialect), series.circuit


def history_of(desk: Desk, series: Series, found: Found) -> History:
    """What was found, for clients."""
    buckets = [
        HistoryBucket(
            time_of_day(one.start / 1000),
            one.low,
            rounded(one.mean),
            one.high,
            one.on / 1000,
            one.edges,
            one.known / 1000,
        )
        for one in found.buckets
    ]
    unit = _unit(desk, series)
    return History(*_names(desk, series), series.field, unit, found.tier, found.width / 1000, buckets)


def _unit(desk: Desk, series: Series) -> str | None:
    try:
        device = desk.find(series.kind, series.circuit)
    except EvokError:
        device = None
    if device is not None and series.field == "value":
        unit = getattr(device.state, "unit", None)
        if isinstance(unit, str):
            return unit
    for kind in KINDS[series.kind].devices:
        meaning = meanings(kind.shows).get(series.field)
        if meaning is not None and meaning.unit is not None:
            return meaning.unit
    return None


def _number(given: Mapping[str, str], name: str, default: int, most: int) -> int:
    """A whole number from 1 on."""
    text = given.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:10]) <= most):
        raise BadValue(f"{name}: got {text!r:.40}, expected a number from 1 to {most}")
    return int(text)


def _span(given: Mapping[str, str], now: float) -> tuple[int, int]:
    """From when to when, in milliseconds of the Unix epoch."""
    begin = time_of(given.get("from") or "-1d", now, "from")
    end = time_of(given["to"], now, "to") if given.get("to") else round(1000 * now)
    if begin >= end:
        raise BadValue("from: got a time that is not before to")
    return begin, end
