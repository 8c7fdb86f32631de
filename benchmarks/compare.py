"""Two installations side by side, in turns, so that what else the machine does meets both.

``BEFORE`` in the environment is the ``twistd`` of the other one, of an older version say. Without it, the other is this
one with every register block read by itself (``join: false``), and what that has no part in is not measured.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import usual
from common import TWISTD, Modbus, cpu, free_port, process, show, wait_for

BEFORE = os.environ.get("BEFORE", "")
HERE = Path(__file__).parent
ROUNDS = 3
SECONDS = 6.0


class Side(NamedTuple):
    """One of the two installations: its command, and what its boards have in their settings."""

    twistd: tuple[object, ...]
    settings: str


SIDES = (Side((BEFORE, *TWISTD[1:]), "") if BEFORE else Side(TWISTD, ", join: false"), Side(TWISTD, ""))


class Running(NamedTuple):
    """A service with its boards; ``counted`` gives the time, and how many scans and requests there were."""

    service: int
    http: int
    modbus: int
    counted: Callable[[], list[float]]


@contextmanager
def running(side: Side, models: list[str], baudrate: int = 0) -> Iterator[Running]:
    """Run a service on ``models``, on TCP, or on a serial line of ``baudrate``."""
    http, modbus = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        line, counts = Path(directory) / "line", Path(directory) / "counts"
        devices = "".join(
            f"      b{n}: {{slave-id: {n}, model: {model}{side.settings}}}\n" for n, model in enumerate(models, start=1)
        )
        bus = (
            f"type: MODBUSRTU, port: {line}, baudrate: {baudrate}"
            if baudrate
            else (f"type: MODBUSTCP, hostname: 127.0.0.1, port: {modbus}")
        )
        bus = "".join(f"    {setting}\n" for setting in bus.split(", "))
        text = f"apis: {{port: {http}, alias_file: ''}}\ncomm_channels:\n  BUS:\n{bus}    devices:\n{devices}"
        (Path(directory) / "config.yaml").write_text(text)
        where = (line, baudrate) if baudrate else (modbus,)
        with (
            counts.open("w") as out,
            process(sys.executable, HERE / "boards.py", ",".join(models), 1, *where, stdout=out),
        ):
            while "ready" not in counts.read_text():
                time.sleep(0.05)
            with process(*side.twistd, "evok", "--config", directory) as service:
                wait_for(service, f"slave b{len(models)} .* answers")
                time.sleep(1.5)
                yield Running(service.pid, http, modbus, lambda: _last(counts))


def _last(counts: Path) -> list[float]:
    return [float(word) for word in counts.read_text().rpartition("\n")[0].splitlines()[-1].split()]


def scanning(side: Side, models: list[str], baudrate: int = 0) -> tuple[float, float, float]:
    """The share of a CPU, scans of a board a second, and requests a second."""
    with running(side, models, baudrate) as run:
        spent, begun, before = cpu(run.service), time.monotonic(), run.counted()
        time.sleep(SECONDS)
        share = (cpu(run.service) - spent) / (time.monotonic() - begun)
        after = run.counted()
    seconds = after[0] - before[0]
    return 100 * share, (after[1] - before[1]) / seconds / len(models), (after[2] - before[2]) / seconds


def serving(side: Side) -> tuple[float, float, float]:
    """Milliseconds from a set to its event, GETs a second, and the share of a CPU with 200 clients at 10 changes."""
    with running(side, ["00", "13", "13"]) as run:
        events, _ = usual.sets(run.http, 150, "b1_02")
        rate, _ = usual.requests(f"http://127.0.0.1:{run.http}/rest/di/b1_01")
        _, _, share = usual.fanned_out(run.http, Modbus(run.modbus), run.service, 200)
    return statistics.median(events), rate, 100 * share


def row(name: str, unit: str, before: list[float], now: list[float]) -> tuple[str, str]:
    """Medians of both, and their ratio."""
    one, two = statistics.median(before), statistics.median(now)
    return name, f"{one:8.2f} {two:8.2f} {unit:12} ratio {two / one:.2f}"


def measured(measure: Callable[[Side], tuple[float, float, float]]) -> Iterator[tuple[list[float], list[float]]]:
    """Each of the figures that ``measure`` gives, of both sides, measured in turns."""
    rounds = [[measure(side) for side in SIDES] for _ in range(ROUNDS)]
    for n in range(3):
        yield [before[n] for before, _ in rounds], [now[n] for _, now in rounds]


def run() -> None:
    """Measure and print."""
    print(f"{'':24} {'before' if BEFORE else 'apart':>8} {'now' if BEFORE else 'joined':>8}")
    boards = {
        "00, 13, 13": (["00", "13", "13"], 0),
        "64 boards 13": (["13"] * 64, 0),
        "8 xS51, 19200 baud": (["xS51"] * 8, 19200),
    }
    for name, (models, baudrate) in boards.items():
        cpus, scans, requests = measured(lambda side, of=models, at=baudrate: scanning(side, of, at))
        rows = [(f"{name}: CPU", "%", *cpus), ("  scans", "/s a board", *scans), ("  requests", "/s", *requests)]
        show(row(*one) for one in rows)
    if BEFORE:
        events, rates, shares = measured(serving)
        rows = [("set to event", "ms", *events), ("GET of a circuit", "/s", *rates), ("200 clients: CPU", "%", *shares)]
        show(row(*one) for one in rows)
