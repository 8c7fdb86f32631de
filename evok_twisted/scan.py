"""``evok scan``: finds the slaves on a line or behind a server, and prints what to configure."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from evok_twisted import errors
from evok_twisted.remote import Remote, Service

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from evok_twisted.linescan import Found, Line

#: Seconds that a slave has for its answer, besides those on the line.
ANSWER = 0.1
#: Speeds that are tried, where none is given.
SPEEDS = (9600, 19200, 38400, 57600, 115200)
#: Exit status where nothing was found, and where it was interrupted.
NOTHING, INTERRUPTED = 1, 130


def piece(found: Iterable[Found]) -> Iterator[str]:
    """A piece of ``config.yaml`` for what was found."""
    of: dict[Line, list[Found]] = {}
    for one in found:
        of.setdefault(one.line, []).append(one)
    if len(of) > 1:
        yield "# a line has one speed: set the slaves to the same, or use several ports"
    yield "comm_channels:"
    for n, (line, slaves) in enumerate(of.items(), start=1):
        yield f"  {line.name or f'BUS{n}'}:"
        yield from (f"    {key}: {value}" for key, value in line.settings)
        yield "    devices:"
        for _, slave, models in slaves:
            if models:
                others = f"  # or {', '.join(models[1:])}: their registers are alike" if models[1:] else ""
                yield f'      {slave}: {{slave-id: {slave}, model: "{models[0]}"}}{others}'
            else:
                yield f"      #{slave}: {{slave-id: {slave}, model: ...}}  # of no model that is known"


class Bar:
    """Says on a terminal how far it is, and how long it takes."""

    WIDTH = 24

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock()
        self._shown = sys.stderr.isatty()

    def tell(self, part: float, where: str) -> None:
        """Draw it again."""
        if self._shown:
            full = int(part * self.WIDTH)
            gone = self._clock() - self._begun
            left = f", {gone / part - gone:.0f} s left" if part > 0.005 else ""
            bar = "#" * full + "." * (self.WIDTH - full)
            print(f"\r\033[K[{bar}] {where}{left}", end="\n" if part == 1 else "", file=sys.stderr, flush=True)


def add(commands: Any) -> argparse.ArgumentParser:
    """The parser of ``evok scan``."""
    parser: argparse.ArgumentParser = commands.add_parser("scan", help="find the slaves on a line or behind a server")
    parser.add_argument("target", metavar="SERIAL_PORT|HOST[:PORT]", help="as /dev/ttyUSB0, or 192.168.1.7:502")
    speeds, slaves = _numbers(300, 4_000_000), _numbers(1, 247)
    parser.add_argument("--baud", type=speeds, default=SPEEDS, help="as 9600,19200; by default usual ones")
    parser.add_argument("--parity", type=_parities, default=("N",), help="N, E, O, or several; by default N")
    parser.add_argument("--slaves", type=slaves, default=range(1, 248), help="as 1-20 or 1,5,9; by default all")
    parser.add_argument("--rtu", action="store_true", help="of a server that tunnels RTU frames")
    parser.add_argument("--answer", type=float, default=ANSWER, help="seconds for an answer; by default %(default)g")
    parser.add_argument("--through", action="store_true", help="the target is a bus of the running service, which asks")
    parser.set_defaults(remote=run)
    return parser


def _numbers(low: int, high: int) -> Callable[[str], Sequence[int]]:
    def read(text: str) -> Sequence[int]:
        found: list[int] = []
        for part in text.split(","):
            first, dash, last = part.partition("-")
            if not first.isdecimal() or (dash and not last.isdecimal()):
                raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers as 1-20 or 1,5,9")
            if not low <= int(first) <= int(last or first) <= high:
                raise argparse.ArgumentTypeError(f"got {text!r}, expected numbers from {low} to {high}")
            found += range(int(first), int(last or first) + 1)
        return tuple(dict.fromkeys(found))

    return read


def _parities(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(text.upper().replace(",", "")))
    if not found or not set(found) <= set("NEO"):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected N, E, O, or several as N,E")
    return found


class _Through:
    """A bus of the running service, which is asked between its scans."""

    online = True

    def __init__(self, service: Service, bus: str) -> None:
        self._service = service
        self._bus = bus

    def read_table(self, unit: int, table: str, start: int, count: int) -> Deferred[tuple[int, ...]]:
        from twisted.internet.defer import execute  # noqa: PLC0415 -- as in run

        return execute(self._read, f"/modbus/{quote(self._bus, safe='')}/{unit}/{table}/{start}?count={count}")

    def _read(self, path: str) -> tuple[int, ...]:
        try:
            return tuple(self._service.ask(path)["values"])
        except Remote as error:
            if error.name == "Refused":
                raise errors.Refused(str(error), 0) from None  # whatever the exception, it is there
            kind = {"Timeout": errors.Timeout, "BadAnswer": errors.BadAnswer}.get(error.name)
            if kind is None:
                raise
            raise kind(str(error)) from None


def run(service: Service, given: argparse.Namespace) -> int:
    """Look, and print what was found; the exit status.

    :raises Remote: the line cannot be reached.
    """
    # what nothing else of the command needs, and importing the reactor installs it
    from twisted.internet import reactor  # noqa: PLC0415
    from twisted.internet.defer import ensureDeferred  # noqa: PLC0415

    from evok_twisted.linescan import CannotScan, Line, Scan, Wanted, lines  # noqa: PLC0415

    loop: Any = reactor
    scan = Scan(given.slaves, loop, Bar().tell)
    if given.through:
        every = [Line(given.target, (), lambda: _Through(service, given.target))]
    else:
        wanted = Wanted(given.target, given.baud, given.parity, given.answer, given.rtu)
        try:
            every = lines(wanted, loop)
        except CannotScan as error:
            raise Remote(str(error)) from None
    outcome: list[object] = []

    def end(result: object) -> None:
        outcome.append(result)
        if loop.running:
            loop.stop()

    loop.callWhenRunning(lambda: ensureDeferred(scan.run(every)).addBoth(end))
    loop.run()
    if scan.found:
        print(*piece(scan.found), sep="\n", flush=True)
    why = getattr(outcome[0], "value", None) if outcome else None
    if isinstance(why, CannotScan | Remote):
        raise Remote(str(why))
    if isinstance(why, Exception):
        raise why
    if not outcome:
        print(f"\ninterrupted; {len(scan.found)} found up to here", file=sys.stderr)
        return INTERRUPTED
    if not scan.found:
        print("nothing answers", file=sys.stderr)
    return 0 if scan.found else NOTHING
