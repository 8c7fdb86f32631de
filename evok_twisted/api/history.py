"""``/history``: what circuits have shown, as numbers over time and as a list of what was switched."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta
from twisted.application.service import IService, MultiService
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from evok_twisted.api.front import Context, Front, chosen
from evok_twisted.api.historian import (
    MOST_EVENTS,
    MOST_POINTS,
    Historian,
    History,
    HistoryBucket,
    HistoryEvent,
    HistoryEvents,
)
from evok_twisted.api.http import DeskResource, Operation, json, path_of, schema_of
from evok_twisted.api.messages import encode
from evok_twisted.config import FrontSettings
from evok_twisted.core.desk import Desk, Desks
from evok_twisted.core.identity import VIEWER, Identity
from evok_twisted.errors import BadValue, Busy, ConfigError, NotFound, Unavailable, UnknownCircuit, UnknownDevice
from evok_twisted.history.exporter import Exporter
from evok_twisted.history.keeper import Keeper
from evok_twisted.history.postgres import Server, address_of
from evok_twisted.history.tiers import Keep
from evok_twisted.hosts import unit_name
from evok_twisted.settingtypes import Unit
from evok_twisted.spans import Duration, Size, bytes_of, seconds


class KeepSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``apis.history.keep``: for how long."""

    changes: Duration = "7d"
    minutes: Duration = "90d"
    hours: Duration = "5y"


class HistorySettings(FrontSettings, frozen=True, kw_only=True):
    """``apis.history``.

    :ivar devices: what is kept, as the command ``filter`` has them.
    :ivar at_most: how large the file may be: of what there is no room for, the oldest goes.
    :ivar write_every: how often it is written to.
    :ivar export: a PostgreSQL database that is to have all changes.
    :ivar password_file: has the password for it, where ``export`` has none.
    :ivar unit: what this unit is called there; empty is the name of the host.
    """

    file: str = "/var/lib/evok/history.sqlite"
    devices: tuple[str, ...] = ("ai", "ao", "di", "do", "ro", "temp", "data_point")
    keep: KeepSettings = KeepSettings()
    at_most: Size = "512MiB"
    write_every: Duration = "60s"
    export: Annotated[str, Meta(pattern="^(postgres(ql)?://.*)?$", description="postgresql://USER@HOST/DATABASE")] = ""
    password_file: str = ""
    unit: Unit = ""


_SPAN: dict[str, tuple[str, dict[str, Any]]] = {
    "from": ("ISO 8601, seconds of the Unix epoch, or how long ago, as -7d; by default -1d", {"type": "string"}),
    "to": ("Likewise; by default now", {"type": "string"}),
    "format": ("csv, for text; as the header Accept can have it, too", {"enum": ["json", "csv"]}),
}
_ERRORS = (BadValue, Busy, NotFound, Unavailable, UnknownCircuit, UnknownDevice)


class HistoryResource(DeskResource):
    """``/history/DEV/CIRCUIT`` and ``/history/events``."""

    via = "rest"
    paths = {
        "events": {
            b"GET": Operation(
                "events",
                "What was switched, and by whom; the latest first",
                schema_of("HistoryEvents"),
                errors=_ERRORS,
                csv=True,
                query={
                    **_SPAN,
                    "limit": ("How many, at most", {"type": "integer", "minimum": 1, "maximum": MOST_EVENTS}),
                    "dev": ("Of this kind alone", {"type": "string"}),
                    "circuit": ("Of this circuit alone", {"type": "string"}),
                },
            )
        },
        "{dev}/{circuit}": {
            b"GET": Operation(
                "get",
                "What a circuit was over time",
                schema_of("History"),
                errors=_ERRORS,
                csv=True,
                query={
                    **_SPAN,
                    "points": ("Buckets, at most", {"type": "integer", "minimum": 1, "maximum": MOST_POINTS}),
                    "field": ("Which of its numbers; by default its value", {"type": "string"}),
                },
            )
        },
    }

    def __init__(self, desks: Desks, historian: Historian) -> None:
        super().__init__(desks)
        self._historian = historian

    def get(self, request: Request) -> int:
        desk = self._desk(request)
        given = {
            name.decode(errors="replace"): values[-1].decode(errors="replace")[:200]
            for name, values in request.args.items()
        }
        as_csv = _wants_csv(request, given)
        return self.later(request, Deferred.fromCoroutine(self._answer(request, desk, given, as_csv=as_csv)))

    async def _answer(self, request: Request, desk: Desk, given: Mapping[str, str], *, as_csv: bool) -> bytes:
        if path_of(request) == ["events"]:
            return _body(request, await self._historian.events(desk, given), as_csv=as_csv)
        dev, circuit = path_of(request)
        found = await self._historian.history(desk, {**given, "dev": dev, "circuit": circuit})
        return _body(request, found, as_csv=as_csv)


def _wants_csv(request: Request, given: Mapping[str, str]) -> bool:
    form = given.get("format", "")
    if form not in ("", "json", "csv"):
        raise BadValue(f"format: got {form!r:.40}, expected json or csv")
    return form == "csv" or (not form and b"text/csv" in (request.getHeader(b"accept") or b""))


def _body(request: Request, answer: History | HistoryEvents, *, as_csv: bool) -> bytes:
    if not as_csv:
        return json(request, encode(answer))
    body = _table(answer).encode()
    request.setHeader(b"content-type", b"text/csv; charset=utf-8")
    request.setHeader(b"content-length", b"%d" % len(body))
    return body


def _table(answer: History | HistoryEvents) -> str:
    lines: Sequence[HistoryBucket | HistoryEvent]
    kind, lines = (HistoryBucket, answer.buckets) if isinstance(answer, History) else (HistoryEvent, answer.events)
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(kind.__struct_encode_fields__)
    for line in lines:
        writer.writerow("" if value is UNSET else value for value in msgspec.structs.astuple(line))
    return text.getvalue()


def make(context: Context, settings: HistorySettings) -> IService | None:
    """Keep the history, and serve ``/history``."""
    desk = context.desks(Identity("history", "history", VIEWER), "v3")
    wanted = chosen(settings.devices, desk, context.problems, "apis.history.devices", fatal=False)
    if wanted is None:
        return None
    of = settings.keep
    changes, minutes, hours = (1000 * seconds(age) for age in (of.changes, of.minutes, of.hours))
    keep = Keep(changes, minutes, hours, bytes_of(settings.at_most))
    keeper = Keeper(settings.file, desk, wanted, keep, seconds(settings.write_every), context.reactor)
    exporter = _exporter(context, settings, keeper) if settings.export else None
    context.desks.report("history", lambda: _report(keeper, exporter), lambda: _warnings(keeper, exporter))
    meters = context.desks.meters
    meters.one("history_file_bytes", "gauge", "The file of the history", lambda: keeper.report().bytes)
    meters.one("history_waiting", "gauge", "Changes that are not written", lambda: keeper.report().waiting)
    meters.one("history_lost_total", "counter", "Changes that could not wait", lambda: keeper.report().lost)
    historian = Historian(keeper)
    context.tree[b"history"] = HistoryResource(context.desks, historian)
    context.desks.questions["history"] = historian.question
    if exporter is None:
        return keeper
    meters.one("history_export_sent_total", "counter", "Rows that a database took", lambda: exporter.report().sent)
    both = MultiService()
    keeper.setServiceParent(both)
    exporter.setServiceParent(both)
    return both


def _exporter(context: Context, settings: HistorySettings, keeper: Keeper) -> Exporter | None:
    """What sends it to ``export``; None where that names nothing that could be."""
    try:
        address = address_of(settings.export)
    except ConfigError as error:
        key = "apis.history.export"
        context.problems.error(context.problems.file_of(key), key, str(error), fatal=False)
        return None
    server = Server(address, settings.password_file, settings.unit or unit_name())
    return Exporter(keeper, server, seconds(settings.write_every), context.reactor)


def _report(keeper: Keeper, exporter: Exporter | None) -> object:
    report = keeper.report()
    return report if exporter is None else msgspec.structs.replace(report, export=exporter.report())


def _warnings(keeper: Keeper, exporter: Exporter | None) -> Iterator[str]:
    yield from keeper.warnings()
    if exporter is not None:
        yield from exporter.warnings()


FRONT = Front("history", HistorySettings, make)
