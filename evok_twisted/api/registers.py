"""``/modbus``: registers and coils of any slave, through the running service, for admins."""

from __future__ import annotations

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import NOT_DONE_YET, Request

from evok_twisted.api.capture import Capture
from evok_twisted.api.front import AlwaysThere, Context, Front
from evok_twisted.api.http import JsonResource, Operation, identity_of, json, path_of, schema_of
from evok_twisted.api.messages import encode
from evok_twisted.core.desk import Desks
from evok_twisted.errors import (
    BadAnswer,
    BadRequest,
    BadValue,
    Busy,
    Forbidden,
    NotFound,
    Offline,
    Refused,
    Timeout,
    Unauthorized,
)

#: Seconds that a capture takes at most, and how many there are at once.
LONGEST, MOST_CAPTURES = 3600, 4


class Values(msgspec.Struct):
    """Registers, each from 0 to 65535, or bits, each 0 or 1, from a start on."""

    values: list[int]


_ERRORS = (BadAnswer, BadRequest, BadValue, Busy, Forbidden, NotFound, Offline, Refused, Timeout, Unauthorized)


class Modbus(JsonResource):
    """``/modbus/BUS/UNIT/TABLE/START``, where a table is one of ``holding``, ``input``, ``coils`` and ``discrete``."""

    paths = {
        "{bus}/capture": {
            b"GET": Operation(
                "capture",
                "What goes over a bus, as it goes, in the format pcapng of Wireshark",
                None,
                errors=(BadValue, Busy, Forbidden, NotFound, Unauthorized),
                media="application/octet-stream",
                query={"seconds": ("For how long", {"type": "integer", "minimum": 1, "maximum": LONGEST})},
            )
        },
        "{bus}/{unit}/{table}/{start}": {
            b"GET": Operation(
                "read",
                "Read registers or bits of a slave, between the requests of the scans",
                schema_of("Values"),
                errors=_ERRORS,
                query={"count": ("How many; by default one", {"type": "integer", "minimum": 1, "maximum": 2000})},
            ),
            b"POST": Operation(
                "write",
                "Write registers or coils of a slave, ahead of the scans",
                schema_of("Values"),
                schema_of("Values"),
                _ERRORS,
            ),
        },
    }

    def __init__(self, desks: Desks, clock: IReactorTime) -> None:
        super().__init__()
        self._desks = desks
        self._clock = clock
        self._captures: set[Capture] = set()

    def get(self, request: Request) -> int:
        if len(path_of(request)) == len(("bus", "capture")):
            return self._capture(request)
        return self.later(request, Deferred.fromCoroutine(self._read(request)))

    def post(self, request: Request) -> int:
        return self.later(request, Deferred.fromCoroutine(self._write(request)))

    def _capture(self, request: Request) -> int:
        bus, _ = path_of(request)
        given = request.args.get(b"seconds", [b"%d" % LONGEST])
        seconds = _number("seconds", given[-1].decode(errors="replace"))
        if not 1 <= seconds <= LONGEST:
            raise BadValue(f"seconds: got {seconds}, expected a number from 1 to {LONGEST}")
        if len(self._captures) >= MOST_CAPTURES:
            raise Busy(f"there are {MOST_CAPTURES} captures; no more are made at once")
        capture = Capture(request, bus, self._desks.wall, self._captures)
        capture.begin(*self._desks.raw.capture(bus, identity_of(request, "registers"), capture.take))
        capture.end_after(seconds, self._clock)
        return NOT_DONE_YET

    async def _read(self, request: Request) -> bytes:
        bus, unit, table, start = path_of(request)
        given = request.args.get(b"count", [b"1"])
        by, count = identity_of(request, "registers"), _number("count", given[-1].decode(errors="replace"))
        values = await self._desks.raw.read(bus, _number("unit", unit), table, _number("start", start), count, by)
        return json(request, encode(Values(values)))

    async def _write(self, request: Request) -> bytes:
        bus, unit, table, start = path_of(request)
        try:
            wanted = msgspec.json.decode(self.body(request), type=Values)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise BadRequest(f'{error}; the body is as {{"values": [0, 1]}}'[:300]) from None
        by, at = identity_of(request, "registers"), _number("start", start)
        await self._desks.raw.write(bus, _number("unit", unit), table, at, wanted.values, by)
        return json(request, encode(wanted))


def _number(name: str, text: str) -> int:
    """A whole number, in decimal or, with 0x, in hexadecimal."""
    try:
        return int(text[:20], 0)
    except ValueError:
        raise BadValue(f"{name}: got {text!r:.40}, expected a whole number, as 5 or 0x1F") from None


def make(context: Context, _settings: AlwaysThere) -> None:
    """Serve ``/modbus``."""
    context.tree[b"modbus"] = Modbus(context.desks, context.reactor)


FRONT = Front(None, AlwaysThere, make)
