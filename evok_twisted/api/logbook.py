"""``/log``: the last lines of the log, for admins who are not on the unit."""

from __future__ import annotations

from collections import deque

import msgspec
from twisted.application.service import Service
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.web.server import Request

from evok_twisted.api.front import AlwaysThere, Context, Front
from evok_twisted.api.http import JsonResource, Operation, for_admins, identity_of, json, schema_of
from evok_twisted.api.messages import encode, time_of_day
from evok_twisted.errors import BadValue, Forbidden

#: Lines that are kept, and characters of each.
MOST_LINES, LONGEST_LINE = 500, 2000
#: Levels, the least first.
LEVELS = ("debug", "info", "warn", "error", "critical")


class LogLine(msgspec.Struct):
    """A line; numbers grow by one a line, from 1 at the start of the service."""

    number: int
    time: str
    level: str
    source: str
    text: str


class LogPage(msgspec.Struct):
    """Lines, the oldest first, and the number of the last one that there is."""

    lines: list[LogLine]
    last: int


class Logbook(Service):
    """Keeps the last lines while it runs."""

    def __init__(self) -> None:
        self.last = 0
        self._lines: deque[LogLine] = deque(maxlen=MOST_LINES)

    def startService(self) -> None:
        super().startService()
        globalLogPublisher.addObserver(self.note)  # type: ignore[arg-type]  # it is called, and no more

    def stopService(self) -> None:
        super().stopService()
        globalLogPublisher.removeObserver(self.note)  # type: ignore[arg-type]

    def note(self, event: LogEvent) -> None:
        """Keep a line of the log."""
        self.last += 1
        level = event.get("log_level", LogLevel.info)
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}: {failure.getErrorMessage()}"
        line = LogLine(
            self.last,
            time_of_day(event["log_time"]),
            level.name,
            str(event.get("log_namespace", "")),
            text[:LONGEST_LINE],
        )
        self._lines.append(line)

    def page(self, after: int, least: str, contains: str) -> LogPage:
        """Lines behind the one of the number ``after``, of the level ``least`` or above, with a text in them."""
        levels = LEVELS[LEVELS.index(least) :]
        wanted = contains.lower()
        found = [
            line
            for line in self._lines
            if line.number > after and line.level in levels and wanted in f"{line.source} {line.text}".lower()
        ]
        return LogPage(found, self.last)


class LogResource(JsonResource):
    """``/log?after=&level=&contains=``."""

    paths = {
        "": {
            b"GET": Operation(
                "get",
                "The last lines of the log",
                schema_of("LogPage"),
                errors=(BadValue, Forbidden),
                query={
                    "after": ("The number of a line; those behind it", {"type": "integer", "minimum": 0}),
                    "level": ("The least level", {"enum": list(LEVELS)}),
                    "contains": ("A text that is in them, in upper or lower case", {"type": "string"}),
                },
            )
        }
    }

    def __init__(self, book: Logbook) -> None:
        super().__init__()
        self._book = book

    def get(self, request: Request) -> bytes:
        for_admins(identity_of(request, "rest"), "the log is")
        after, level, contains = (_asked(request, name) for name in (b"after", b"level", b"contains"))
        if level and level not in LEVELS:
            raise BadValue(f"level: got {level!r:.40}, expected one of {', '.join(LEVELS)}")
        if after and not (after.isascii() and after.isdecimal()):
            raise BadValue(f"after: got {after!r:.40}, expected the number of a line")
        return json(request, encode(self._book.page(int(after or 0), level or LEVELS[0], contains)))


def _asked(request: Request, name: bytes) -> str:
    given = request.args.get(name)
    return given[-1].decode(errors="replace")[:100] if given else ""


def make(context: Context, _settings: AlwaysThere) -> Logbook:
    """Serve ``/log``."""
    book = Logbook()
    context.tree[b"log"] = LogResource(book)
    return book


FRONT = Front(None, AlwaysThere, make)
