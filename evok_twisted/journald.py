"""The log where systemd keeps it: each line with its priority, and what it is about as fields of the journal's own.

``twistd --logger=evok_twisted.journald.observer`` asks for it; the package's unit does. ``journalctl -p warning -u
evok`` shows what is wrong then, and only that; ``journalctl EVOK_BOARD=2`` what is of one board.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    eventAsText,
    formatEvent,
    textFileLogObserver,
)
from zope.interface import implementer

#: Where the journal takes datagrams.
JOURNAL = Path("/run/systemd/journal/socket")
#: Priorities, as syslog(3) has them.
PRIORITIES: Mapping[Any, int] = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}
#: Bytes of a message, at most: more than a datagram takes would be lost.
LONGEST = 48 << 10


def observer(
    environ: Mapping[str, str] = os.environ, journal: Path = JOURNAL, out: TextIO | None = None
) -> ILogObserver:
    """What writes the log: to the journal, or, where that takes no datagrams, as lines with their priorities, which
    systemd reads; without systemd as lines of text, as ever.
    """
    stream = sys.stdout if out is None else out
    if not _is_journal(stream, environ.get("JOURNAL_STREAM", "")):
        text: ILogObserver = textFileLogObserver(stream)
        return text
    try:
        return Journal(journal)
    except OSError:
        return Prefixed(stream)


def _is_journal(stream: TextIO, told: str) -> bool:
    """Whether a stream is the one that systemd has told that it reads."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return told == f"{found.st_dev}:{found.st_ino}"


def priority(event: LogEvent) -> int:
    """The priority of an event."""
    return PRIORITIES.get(event.get("log_level"), 6)


@implementer(ILogObserver)
class Prefixed:
    """Writes lines that begin with their priority."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, event: LogEvent) -> None:
        text = eventAsText(event, includeTimestamp=False)
        if text:
            number = priority(event)
            self._out.write("".join(f"<{number}>{line}\n" for line in text.splitlines()))
            self._out.flush()


@implementer(ILogObserver)
class Journal:
    """Writes to the journal.

    :raises OSError: it takes nothing there.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        # a journal that is behind must not hold the service up: it loses a line, and goes on
        self._socket.setblocking(False)

    def __call__(self, event: LogEvent) -> None:
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}\n{failure.getTraceback()}"
        if text:
            fields = {
                "MESSAGE": text.encode(errors="replace")[:LONGEST].decode(errors="ignore"),
                "PRIORITY": str(priority(event)),
                "SYSLOG_IDENTIFIER": "evok",
                "EVOK_SOURCE": str(event.get("log_namespace", "")),
                **dict(about(event)),
            }
            with suppress(OSError):
                self._socket.send(b"".join(_field(name, value) for name, value in fields.items()))


def _field(name: str, value: str) -> bytes:
    """A field, as the journal reads it: one of several lines with its length."""
    data = value.encode(errors="replace")
    if "\n" in value:
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


def about(event: LogEvent) -> Iterator[tuple[str, str]]:
    """What an event is about: a bus, a board, a circuit."""
    slave, device, bus = event.get("slave"), event.get("device"), event.get("bus")
    if slave is not None:
        yield "EVOK_BOARD", str(getattr(slave, "name", slave))
        bus = getattr(slave, "bus", bus)
    if device is not None and hasattr(device, "circuit"):
        yield "EVOK_CIRCUIT", f"{device.kind} {device.circuit}"
        if slave is None:
            yield "EVOK_BOARD", str(device.group)
    if bus is not None:
        yield "EVOK_BUS", str(getattr(bus, "name", bus))
