"""A unit as there are many: three boards (00, 13, 13), and the clients of a home.

A bare Twisted loop that asks the same server one question a tick is measured beside the service, for comparison.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import websocket
from common import (
    TWISTD,
    Modbus,
    cpu,
    free_port,
    process,
    quantiles,
    resident,
    show,
    unit_configuration,
    used,
    wait_for,
)

HERE = Path(__file__).parent

FLOOR = """
import sys
from twisted.internet import endpoints, protocol, reactor, task
class Bare(protocol.Protocol):
    def connectionMade(self):
        task.LoopingCall(self.transport.write, bytes.fromhex("000100000006010300000002")).start(0.02)
endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", int(sys.argv[1])).connect(protocol.Factory.forProtocol(Bare))
reactor.run()
"""

PAGE = """
import sys
from twisted.internet import reactor
from twisted.web import resource, server
class Page(resource.Resource):
    isLeaf = True
    def render_GET(self, request):
        request.setHeader(b"content-type", b"application/json")
        return b'{"dev":"input","circuit":"1_01","value":0}'
site = server.Site(Page())
site.log = lambda request: None
reactor.listenTCP(int(sys.argv[1]), site, interface="127.0.0.1")
print("listening", file=sys.stderr, flush=True)
reactor.run()
"""

#: Register reads a second of these boards at 50 scans a second, by their blocks' frequencies.
READS = 50 * (2 + 1 / 10 + 1 / 5 + 1 / 10 + 2 * (2 + 1 / 10 + 1 / 5))


def delays(stamps: list[int], arrivals: list[int]) -> list[float]:
    """For each stamp, how long until the first arrival after it and before the next stamp, in ms."""
    found, at = [], 0
    for stamp, following in zip(stamps, [*stamps[1:], stamps[-1] + 5 * 10**9], strict=True):
        while at < len(arrivals) and arrivals[at] < stamp:
            at += 1
        if at < len(arrivals) and arrivals[at] < following:
            found.append((arrivals[at] - stamp) / 1e6)
    return found


def listen(port: int, clients: int, seconds: float, act: Callable[[], None]) -> list[list[int]]:
    """What ``clients`` clients got, and when, while ``act`` was done."""
    with tempfile.TemporaryFile("w+") as out:
        running = subprocess.Popen(
            [sys.executable, str(HERE / "clients.py"), str(port), str(clients), str(seconds)], stdout=out
        )
        while not os.fstat(out.fileno()).st_size:
            time.sleep(0.05)
        time.sleep(0.5)
        act()
        running.wait(seconds + 60)
        out.seek(0)
        return [[int(stamp) for stamp in line.split()] for line in out.read().splitlines()[1:]]


def idle(service: int, floor: int) -> Iterator[tuple[str, str]]:
    """CPU without any change."""
    ours, bare = [], []
    for _ in range(3):  # in turns, so that what else the machine does meets both
        ours.append(used(service, 2))
        bare.append(used(floor, 2))
    share = statistics.median(ours)
    yield "idle CPU", f"{100 * share:.1f} %, {READS:.0f} reads/s, {1e6 * share / READS:.0f} us a read"
    yield "idle CPU, bare loop", f"{100 * statistics.median(bare):.1f} % (one question a tick, no decoding)"


def change(port: int, board: Modbus) -> Iterator[tuple[str, str]]:
    """From a register of the board to the client."""
    stamps: list[int] = []
    rnd = random.Random(1)

    def act() -> None:
        for n in range(100):
            stamps.append(board.write(1, 0, 1 - n % 2))
            time.sleep(0.05 + rnd.random() * 0.05)

    (arrivals,) = listen(port, 1, 10, act)
    found = delays(stamps, arrivals)
    yield "change to client", f"{quantiles(found)}, {len(found)} of 100 seen (50 scans a second: 10 and 20 at best)"


def command(port: int) -> Iterator[tuple[str, str]]:
    """From a client's set to its event, and to its acknowledgement."""
    events, replies = sets(port, 200)
    yield "set to event", quantiles(events)
    yield "set to acknowledgement", quantiles(replies)


def sets(port: int, count: int, circuit: str = "1_02") -> tuple[list[float], list[float]]:
    """How long ``count`` sets took to their events, and to their acknowledgements, in ms."""
    ws = websocket.create_connection(f"ws://127.0.0.1:{port}/ws", timeout=5)
    ws.send(json.dumps({"cmd": "filter", "devices": ["relay"]}))
    events, replies = [], []
    for n in range(count):
        begun = time.monotonic_ns()
        ws.send(json.dumps({"cmd": "set", "dev": "output", "circuit": circuit, "value": 1 - n % 2, "id": n}))
        for _ in range(2):
            message = json.loads(ws.recv())
            (events if isinstance(message, list) else replies).append((time.monotonic_ns() - begun) / 1e6)
        time.sleep(0.02)
    ws.close()
    return events, replies


def fan_out(port: int, board: Modbus, service: int, clients: int) -> Iterator[tuple[str, str]]:
    """Ten changes a second to many clients."""
    found, stamps, share = fanned_out(port, board, service, clients)
    got = sum(map(len, found))
    every = [delay for delays_ in found for delay in delays_]
    yield (
        f"{clients} clients, 10 Hz",
        f"{got} of {clients * stamps} delivered, {quantiles(every)}, CPU {100 * share:.0f} %, "
        f"{resident(service):.0f} MB resident",
    )


def fanned_out(port: int, board: Modbus, service: int, clients: int) -> tuple[list[list[float]], int, float]:
    """How late changes came to each client, in ms, of how many, and the service's share of a CPU meanwhile."""
    stamps: list[int] = []
    shares: list[float] = []

    def act() -> None:
        before, begun = cpu(service), time.monotonic()
        for n in range(50):
            stamps.append(board.write(1, 0, 1 - n % 2))
            time.sleep(max(0.0, begun + (n + 1) / 10 - time.monotonic()))
        shares.append((cpu(service) - before) / (time.monotonic() - begun))

    found = [delays(stamps, arrivals) for arrivals in listen(port, clients, 9, act)]
    return found, len(stamps), shares[0]


def rest(port: int, bare: int) -> Iterator[tuple[str, str]]:
    """Requests a second over 16 connections, with ``wrk``."""
    if shutil.which("wrk") is None:
        yield "HTTP", "not measured: there is no wrk (apt install wrk)"
        return
    for name, url in (
        ("GET /rest/di/1_01", f"http://127.0.0.1:{port}/rest/di/1_01"),
        ("GET /rest/all", f"http://127.0.0.1:{port}/rest/all"),
        ("GET, bare twisted.web", f"http://127.0.0.1:{bare}/"),
    ):
        rate, failed = requests(url)
        yield name, f"{rate:.0f} requests/s at 16 connections{failed and f', {failed}'}"


def requests(url: str, seconds: int = 4, connections: int = 16, more: Sequence[str] = ()) -> tuple[float, str]:
    """Requests a second, and what was wrong with them; GETs, unless ``more`` of wrk's options say otherwise."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *more, url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    failed = re.search(r"(Non-2xx|Socket errors).*", done.stdout)
    return float(rate[1]) if rate else 0.0, failed[0] if failed else ""


def run() -> None:
    """Measure and print."""
    modbus, http = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "config.yaml").write_text(unit_configuration(modbus))
        with (
            process(*TWISTD, "evok-simulator", "--config", directory, "--port", modbus) as simulator,
            process(*TWISTD, "evok", "--config", directory, "--port", http) as service,
        ):
            wait_for(simulator, "listening")
            wait_for(service, "slave 3 .* answers")
            board = Modbus(modbus)
            with process(sys.executable, "-c", FLOOR, modbus) as floor:
                time.sleep(2)
                show(idle(service.pid, floor.pid))
            show(change(http, board))
            show(command(http))
            page = free_port()
            with process(sys.executable, "-c", PAGE, page) as bare:
                wait_for(bare, "listening")
                show(rest(http, page))
            for clients in (200, 1000):
                show(fan_out(http, board, service.pid, clients))
