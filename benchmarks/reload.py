"""A hundred reloads, of which ten are refused, under load: what those who stay notice of it.

``RELOADS`` in the environment says how many there are. A quarter of that follow while somebody asks and sets as fast as
the answers come, for how long these take meanwhile.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import TWISTD, Modbus, free_port, process, quantiles, resident, show, wait_for
from load import COUNT, COUNTERS, Asking

RELOADS = int(os.environ.get("RELOADS", "100"))
#: Boards that stay, and one more that comes and goes; changes a second on those that stay.
STAYING, RATE = 4, 500
CLIENTS = 200
SCANS = 50
ONE = "      b{n}: {{slave-id: {n}, model: {model}, scan_frequency: {scans}}}\n"


def configure(file: Path, modbus: int, http: int, boards: int, model: str = "xS11") -> None:
    """Write a configuration."""
    devices = "".join(ONE.format(n=n, model=model, scans=SCANS) for n in range(1, boards + 1))
    apis = f"apis: {{port: {http}, alias_file: ''}}\n"
    bus = f"    type: MODBUSTCP\n    port: {modbus}\n    devices:\n{devices}"
    file.write_text(f"{apis}comm_channels:\n  LOCAL:\n{bus}")


class Changing(threading.Thread):
    """Lets inputs of the boards that stay switch, until it is over."""

    def __init__(self, modbus: int) -> None:
        super().__init__(daemon=True)
        self.over = threading.Event()
        self.boards = Modbus(modbus)
        self.done = 0

    def run(self) -> None:
        begun, states = time.monotonic(), [0] * (STAYING + 1)
        while not self.over.wait(0.005):
            writes = []
            while self.done < (time.monotonic() - begun) * RATE and len(writes) < 50:
                unit = self.done % STAYING + 1
                states[unit] ^= 1 << (self.done // STAYING) % COUNT
                writes.append((unit, 0, states[unit]))
                self.done += 1
            if writes:
                self.boards.write_all(writes)


def asked(port: int, method: str, path: str) -> tuple[int, dict[str, object]]:
    """The status of an answer, and what it says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path)
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def missed(port: int) -> tuple[int, int]:
    """Scans of the boards that stay, and such as were missed."""
    slaves = asked(port, "GET", "/health")[1]["buses"][0]["slaves"][:STAYING]  # type: ignore[index]
    return sum(one["scans"] for one in slaves), sum(one["missed"] for one in slaves)


def measured(port: int, seconds: float, act: object = None) -> Asking:
    """What GETs and sets take while something goes on, or nothing does."""
    asking = Asking(port, pause=0.02)
    asking.start()
    if callable(act):
        act()
    else:
        time.sleep(seconds)
    asking.over.set()
    asking.join(20)
    if asking.failed:
        raise SystemExit(f"the client that asks failed: {asking.failed}")
    return asking


def rows(file: Path, modbus: int, port: int, service: int) -> Iterator[tuple[str, str]]:
    """The figures."""
    outcomes: list[int] = []
    memory: list[float] = []

    def reload(times: int) -> None:
        for n in range(times):
            configure(file, modbus, port, STAYING + n % 2, "none" if n % 10 == 9 else "xS11")
            outcomes.append(asked(port, "POST", "/reload")[0])
            memory.append(resident(service))

    changing = Changing(modbus)
    crowd = Path(__file__).with_name("crowd.py")
    with process(sys.executable, crowd, port, CLIENTS, 120 + RELOADS * 6) as clients:
        wait_for(clients, "ready", 60)
        time.sleep(1)
        changing.start()
        begun = missed(port)
        time.sleep(20)
        before = missed(port)
        reload(RELOADS)
        after = missed(port)
        done = [*outcomes]
        quiet = measured(port, 20)
        busy = measured(port, 0, lambda: reload(max(1, RELOADS // 4)))
        changing.over.set()
        changing.join()
        time.sleep(1)  # for the last of it to be heard
        clients.terminate()
        assert clients.stdout is not None
        heard, last = json.loads(clients.stdout.readline()), json.loads(clients.stdout.readline())
    wrong = 0
    for unit in range(1, STAYING + 1):
        words = changing.boards.read(unit, COUNTERS, 2 * COUNT)
        for n in range(COUNT):
            wrong += last.get(f"b{unit}_{n + 1:02d}", [0, 0])[1] != words[2 * n] | words[2 * n + 1] << 16
    yield "reloads", f"{done.count(200)} taken over, {done.count(422)} refused, of {RELOADS}"
    scans = f"{after[0] - before[0]}, of which {after[1] - before[1]} missed"
    yield "  scans of what stays", f"{scans}; {before[0] - begun[0]} and {before[1] - begun[1]} without"
    same = len({tuple(one) for one in heard}) == 1
    yield "  200 clients", f"{'all' if same else 'NOT all'} the same messages; {wrong} last states wrong"
    yield "  memory", f"{memory[RELOADS // 10]:.1f} MB after a tenth of them, {memory[RELOADS - 1]:.1f} after all"
    for name, asking in (("without", quiet), ("meanwhile", busy)):
        yield f"  GET, {name}", f"{quantiles(asking.gets)}, at most {max(asking.gets):.1f} ms"
        yield f"  set, {name}", f"{quantiles(asking.sets)}, at most {max(asking.sets):.1f} ms"


@contextmanager
def served(directory: Path, modbus: int) -> Iterator[int]:
    """Simulated boards, as ``simulated.yaml`` in ``directory`` has them, and a service on ``config.yaml``: its pid."""
    log = directory / "log"
    with process(*TWISTD, "evok-simulator", "--config", directory / "simulated.yaml", "--port", modbus) as simulator:
        wait_for(simulator, "listening")
        with process(*TWISTD, "evok", "--config", directory, stdout=log.open("w")) as service:
            while f"slave b{STAYING}" not in log.read_text():
                time.sleep(0.1)
            yield service.pid


def run() -> None:
    """Measure and print."""
    modbus, port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "config.yaml"
        configure(file.with_name("simulated.yaml"), modbus, port, STAYING + 1)
        configure(file, modbus, port, STAYING)
        with served(file.parent, modbus) as service:
            show(rows(file, modbus, port, service))
