"""``evok history``: what circuits have shown, and what was switched, from a shell."""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from evok_twisted.operate import print_table
from evok_twisted.remote import Remote, Service
from evok_twisted.spans import DURATION

_WHEN = "today, yesterday, how long ago (30m, 2h, 7d), or a time as 2026-11-26T03:00 of this machine"


def add(commands: Any) -> argparse.ArgumentParser:
    """The parser of this command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "history", help="show what a circuit was over time; without one, what was switched and by whom"
    )
    parser.add_argument("kind", nargs="?", metavar="KIND", help="as ai or temp")
    parser.add_argument("circuit", nargs="?", metavar="CIRCUIT", help="as 1_01, or an alias")
    parser.add_argument("--since", default="1d", metavar="WHEN", help=f"{_WHEN}; by default %(default)s")
    parser.add_argument("--until", default="", metavar="WHEN", help="likewise; by default now")
    parser.add_argument("--points", type=int, default=24, help="lines at most; by default %(default)s")
    parser.add_argument("--field", default="value", help="which of its numbers; by default %(default)s")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV, for spreadsheets")
    form.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.set_defaults(remote=show)
    return parser


def show(service: Service, given: argparse.Namespace) -> int:
    """Do this command; the exit status."""
    query = {"dialect": "v3", "from": when(given.since)}
    if given.until:
        query["to"] = when(given.until)
    if given.kind is None:
        found = service.ask(f"/history/events?{urlencode(query | {'limit': str(given.points)})}")
        events = reversed(found["events"])
        rows = [(_local(one["time"]), one["dev"], one["circuit"], one["value"], one.get("cause")) for one in events]
        columns: Sequence[str] = ("time", "dev", "circuit", "value", "cause")
    elif given.circuit is None:
        raise Remote(f"history {given.kind}: which circuit of it? evok list {given.kind} lists them")
    else:
        query |= {"points": str(given.points), "field": given.field}
        path = f"/history/{quote(given.kind, safe='')}/{quote(given.circuit, safe='')}"
        found = service.ask(f"{path}?{urlencode(query)}")
        columns = ("time", "min", "mean", "max", "on", "edges", "known")
        rows = [(_local(one["time"]), *(one[column] for column in columns[1:])) for one in found["buckets"]]
    if given.json:
        print(json.dumps(found, ensure_ascii=False))
    elif given.csv:
        csv.writer(sys.stdout).writerows((columns, *rows))
    else:
        _print(columns, rows, found)
    return 0


def _print(columns: Sequence[str], rows: Sequence[Sequence[Any]], found: Mapping[str, Any]) -> None:
    if not rows:
        print("nothing is known of that time", file=sys.stderr)
        return
    print_table([tuple("" if value is None else str(value) for value in row) for row in (columns, *rows)])
    if "unit" in found:
        what = f"{found['dev']} {found['circuit']}{' in ' + found['unit'] if found['unit'] else ''}"
        print(f"# {what}; each line is {found['width']:g} s, on and known are seconds of it")


def when(text: str) -> str:
    """A time that somebody means, as the service takes it.

    :raises Remote: it is none.
    """
    midnight = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    if text in ("today", "yesterday"):
        found = midnight - timedelta(days=text == "yesterday")
    elif re.fullmatch(DURATION, text):
        return f"-{text}"
    else:
        try:
            found = datetime.fromisoformat(text).astimezone()
        except ValueError:
            raise Remote(f"got {text!r}, expected {_WHEN}") from None
    return str(found.timestamp())


def _local(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")
