"""``evok status``, ``list``, ``get``, ``set``, ``alias``, ``watch``: the running service, from a shell."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from evok_twisted.advice import advice
from evok_twisted.remote import PATIENCE, Remote, Service

#: Exit status of a service that does not work, and of what could not be done.
FAILED = 1
#: What a state has beside what it shows.
IDENTITY = ("dev", "circuit", "alias")


def add(commands: Any, others: Iterable[argparse.ArgumentParser] = ()) -> list[argparse.ArgumentParser]:
    """The parsers of these commands.

    :param others: of more such, which take a service and what was given (``remote``).
    """
    parsers = {name: commands.add_parser(name, help=text) for name, (_, text) in COMMANDS.items()}
    pattern = "a kind, as ai, or some of it, as 'ro/2_*'; by default all"
    parsers["list"].add_argument("what", nargs="?", default="all", metavar="KIND[/PATTERN]", help=pattern)
    parsers["watch"].add_argument("what", nargs="*", metavar="KIND[/PATTERN]", help=pattern)
    for name in ("get", "set", "alias"):
        parsers[name].add_argument("kind", metavar="KIND", help="as ro or ao")
        parsers[name].add_argument("circuit", metavar="CIRCUIT", help="as 2_01, or an alias")
    parsers["get"].add_argument("field", nargs="?", metavar="FIELD", help="as value")
    values = "on, off, 5.5; others as FIELD=VALUE, as timeout=3"
    parsers["set"].add_argument("values", nargs="+", metavar="VALUE", help=values)
    parsers["alias"].add_argument("name", metavar="NAME")
    for name in ("status", "list", "get", "watch"):
        parsers[name].add_argument("--json", action="store_true", help="print JSON, for programs")
    for name, parser in parsers.items():
        parser.set_defaults(remote=COMMANDS[name][0])
    every = [*parsers.values(), *others]
    where = "where the service is; by default $EVOK_URL, or as the configuration says"
    for parser in every:
        parser.add_argument("--url", default=os.environ.get("EVOK_URL"), help=where)
        token = os.environ.get("EVOK_TOKEN", "")
        parser.add_argument("--token", default=token, help="who asks; by default $EVOK_TOKEN")
        parser.add_argument("--timeout", type=float, default=PATIENCE, help="seconds to wait; by default %(default)g")
    return every


def run(given: argparse.Namespace, url: str) -> int:
    """Do one of these commands; the exit status.

    :param url: where the service is.
    """
    status: int = given.remote(Service(given.url or url, given.token, given.timeout), given)
    return status


def _print(document: object) -> None:
    print(json.dumps(document, ensure_ascii=False))


def _status(service: Service, given: argparse.Namespace) -> int:
    report = service.ask("/health")
    if given.json:
        _print(report)
    elif "buses" not in report:
        print("everything works" if report["healthy"] else "something does not work; a token would say what")
    else:
        print("everything works" if report["healthy"] else "something does not work:")
        for sentence in (*report["reasons"], *report["warnings"]):
            print(f"  {sentence}")
        for bus in report["buses"]:
            print(f"bus {bus['bus']} ({bus['type']}): {'answers' if bus['online'] else 'is down'}")
            for slave in bus["slaves"]:
                state = "answers" if slave["online"] else "does not answer"
                counts = f"{slave['errors']} errors, {slave['timeouts']} timeouts, {slave['missed']} scans missed"
                board = f"board {slave['circuit']} (slave {slave['slave_id']})"
                print(f"  {board}: {state} for {_span(slave['since'])}; {counts}")
        hints = list(advice(report))
        if hints:
            print("look at:", *hints, sep="\n  ")
        print(f"evok-twisted {report['version']}, running for {_span(report['uptime'])}")
    return 0 if report["healthy"] else FAILED


def _span(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _list(service: Service, given: argparse.Namespace) -> int:
    kind, _, pattern = given.what.partition("/")
    states = service.ask(f"/rest/{quote(kind)}/all?dialect=v3" if kind != "all" else "/rest/all?dialect=v3")
    found = [one for one in states if not pattern or _fits(pattern, one)]
    if given.json:
        _print(found)
    else:
        print_table([(one["dev"], one["circuit"], one.get("alias", ""), _shown(one)) for one in found])
    return 0 if found else FAILED


def _fits(pattern: str, state: Mapping[str, Any]) -> bool:
    from fnmatch import fnmatchcase  # noqa: PLC0415 -- of this one command

    return fnmatchcase(state["circuit"], pattern) or fnmatchcase(state.get("alias", ""), pattern)


#: What a line leaves out of a state.
_UNSAID = frozenset(
    (*IDENTITY, "value", "unit", "modes", "counter_modes", "ds_modes", "range", "address", "time", "interval", "type")
)


def _shown(state: Mapping[str, Any]) -> str:
    """What a state shows, on a line."""
    unit = state.get("unit")
    value = state.get("value")
    text = "-" if value is None else json.dumps(value)
    words = [f"{text} {unit}" if unit and value is not None else text] if "value" in state else []
    words += [f"{key}={json.dumps(one)}" for key, one in state.items() if key not in _UNSAID and one is not None]
    return "  ".join(words)


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows, each column as wide as its widest text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


def _path(given: argparse.Namespace) -> str:
    return f"/rest/{quote(given.kind, safe='')}/{quote(given.circuit, safe='')}?dialect=v3"


def _get(service: Service, given: argparse.Namespace) -> int:
    state = service.ask(_path(given))
    if given.field is None:
        if given.json:
            _print(state)
        else:
            print_table([(key, json.dumps(value, ensure_ascii=False)) for key, value in state.items()])
    elif given.field not in state:
        raise Remote(f"{given.kind} {given.circuit} shows no {given.field}; it shows {', '.join(state)}")
    else:
        value = state[given.field]
        print(value if isinstance(value, str) and not given.json else json.dumps(value))
    return 0


def _set(service: Service, given: argparse.Namespace) -> int:
    parameters: dict[str, str] = {}
    for one in given.values:
        name, equals, value = one.partition("=")
        name, value = (name, value) if equals else ("value", one)
        if name in parameters:
            raise Remote(f"{name} is given twice")
        parameters[name] = value
    _print(service.ask(_path(given), parameters)["result"])
    return 0


def _alias(service: Service, given: argparse.Namespace) -> int:
    _print(service.ask(_path(given), {"alias": given.name})["result"])
    return 0


def _reload(service: Service, _given: argparse.Namespace) -> int:
    try:
        changed = service.ask("/reload", {})["changed"]
    except Remote as error:
        if error.name:
            raise
        raise Remote(f"{error}; where its port is to be another, systemctl reload evok does the same") from None
    print(*changed or ["nothing has changed"], sep="\n")
    return 0


def _watch(service: Service, given: argparse.Namespace) -> int:
    if service.url.startswith("unix:"):
        raise Remote("watch takes an address of HTTP: --url http://127.0.0.1:8080")
    from twisted.internet import reactor  # noqa: PLC0415 -- importing it installs it

    from evok_twisted.client import Client  # noqa: PLC0415 -- it is Twisted's, which the other commands do without

    loop: Any = reactor
    url = f"{service.url.replace('http', 'ws', 1)}/ws"
    client = Client(url, given.what or ["default"], token=service.token, reactor=loop)
    seen: dict[tuple[str, str], str] = {}

    def hear(message: Mapping[str, Any]) -> None:
        first = "complete" in message
        for state in message.get("states", ()):
            key, text = (state["dev"], state["circuit"]), _shown({**state, "last_comm": None})
            if first or (seen.get(key) == text and not given.json):
                seen[key] = text
                continue
            seen[key] = text
            if given.json:
                _print({"time": message["time"], "state": state, "cause": message.get("cause")})
            else:
                print(" ".join((_clock(message["time"]), *key, state.get("alias", ""), text, _cause(message))).rstrip())
        sys.stdout.flush()

    def turned(live: bool) -> None:
        print("# connected" if live else "# the connection is lost; it is being tried again", file=sys.stderr)

    client.watch_messages(hear)
    client.watch_live(turned)
    client.start()
    loop.run()
    return 0


def _clock(text: str) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _cause(message: Mapping[str, Any]) -> str:
    cause = message.get("cause")
    return f"  (by {cause['by']}, {cause['via']})" if cause else ""


#: By their names, what does them, and what they are for.
COMMANDS: Mapping[str, tuple[Callable[[Service, argparse.Namespace], int], str]] = {
    "status": (_status, "say whether everything works, or what does not; exit status 0 or 1"),
    "list": (_list, "list circuits with what they show"),
    "get": (_get, "show a circuit, or one field of it"),
    "set": (_set, "set a circuit, and wait until its board has acknowledged that"),
    "alias": (_alias, "give a circuit another name; '' takes it away"),
    "reload": (_reload, "have the service read its configuration again, and take it over whole, or not at all"),
    "watch": (_watch, "print changes as they come, each with who has caused it"),
}
