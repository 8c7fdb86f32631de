"""What a scrape of ``/metrics`` takes with 16 boards, and of the CPU."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

from common import cpu, quantiles, show, used
from compare import SIDES, Running, running

BOARDS = ["00", *["13"] * 15]
SCRAPES = 300
SECONDS = 10.0


def get(connection: http.client.HTTPConnection, path: str) -> int:
    """Ask once; the bytes of the answer."""
    connection.request("GET", path)
    return len(connection.getresponse().read())


def asking(unit: Running, path: str) -> tuple[list[float], float, int]:
    """Milliseconds of each request, those of the CPU that one takes beside the scans, and the bytes of one."""
    connection = http.client.HTTPConnection("127.0.0.1", unit.http)
    idle, times, size = used(unit.service, SECONDS), [], 0
    spent, begun = cpu(unit.service), time.monotonic()
    for _ in range(SCRAPES):
        asked = time.monotonic()
        size = get(connection, path)
        times.append((time.monotonic() - asked) * 1000)
        time.sleep(0.01)
    taken = cpu(unit.service) - spent - idle * (time.monotonic() - begun)
    connection.close()
    return times, taken / SCRAPES * 1000, size


def rows() -> Iterator[tuple[str, str]]:
    """The figures."""
    with running(SIDES[-1], BOARDS) as unit:
        for path in ("/metrics", "/health", "/version"):
            times, taken, size = asking(unit, path)
            yield f"GET {path}", f"{quantiles(times)}; {taken:.2f} ms of CPU, {size} bytes"


def run() -> None:
    """Measure and print."""
    print("16 boards at 50 scans a second")
    show(rows())
