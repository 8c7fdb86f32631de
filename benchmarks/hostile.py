"""One client that misbehaves, then four of them: what does a well-behaved client notice?

For each kind of misbehaviour, with one and with four such clients: GET and set of a well-behaved client, how often a
board went offline, lines that the log got, and how much memory the service took. ``HOSTILE_SECONDS`` in the environment
says for how long each goes on (3); ``HOSTILE_KINDS``, separated by ``;``, chooses some of them.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attacks import ATTACKS
from common import TWISTD, Modbus, cpu, free_port, process, quantiles, resident, unit_configuration, wait_for
from load import Asking

SECONDS = float(os.environ.get("HOSTILE_SECONDS", "3"))
KINDS = [name for name in os.environ.get("HOSTILE_KINDS", "").split(";") if name]
#: What systemd gives a process that asks for nothing else.
DESCRIPTORS = 1024
#: What a client may cost, at most: ms at the 99th percentile of another's GET and set, and MB.
BOUNDS = (50.0, 30.0)
ROW = "{:27} {:>7}  {:>22}  {:>22}  {:>7} {:>5} {:>5} {:>8}"


@contextmanager
def changing(board: Modbus) -> Iterator[None]:
    """Let an input change a hundred times a second."""
    over = threading.Event()

    def act() -> None:
        n = 0
        while not over.wait(0.01):
            n += 1
            board.write(2, 0, n % 2)

    acting = threading.Thread(target=act, daemon=True)
    acting.start()
    try:
        yield
    finally:
        over.set()
        acting.join(5)


def asked(port: int, seconds: float) -> Asking:
    """A well-behaved client, who has asked for so long."""
    asking = Asking(port, get="/rest/input/1_01", circuit="2_01", pause=0.01)
    asking.start()
    time.sleep(seconds)
    asking.over.set()
    asking.join(30)
    return asking


def p99(values: list[float]) -> float:
    """The 99th percentile; infinite where there is nothing."""
    return sorted(values)[int(len(values) * 0.99)] if values else float("inf")


def measure(name: str, clients: int, directory: str, modbus: int) -> None:
    """Run a service, let it be attacked, and print a row."""
    http = free_port()
    prlimit = ("prlimit", f"--nofile={DESCRIPTORS}") if name == "a crowd" else ()
    attack = Path(__file__).with_name("attacks.py")
    with process(*prlimit, *TWISTD, "evok", "--config", directory, "--port", http) as service:
        wait_for(service, "slave 3 .* answers")
        log: list[str] = []
        drain = threading.Thread(target=lambda: log.extend(service.stdout or ()), daemon=True)
        drain.start()
        board = Modbus(modbus)
        with changing(board):
            asked(http, 0.5)  # so that what is made at the first use is there
            before, spent, begun = resident(service.pid), cpu(service.pid), time.monotonic()
            if not clients:
                asking = asked(http, SECONDS)
                peak = resident(service.pid)
            else:
                # the good client is there first: whether a crowd keeps new ones out is another question
                asking = Asking(http, get="/rest/input/1_01", circuit="2_01", pause=0.01)
                with process(sys.executable, attack, name, http, clients, SECONDS + 5) as attacker:
                    wait_for(attacker, "ready", 60)
                    asking.start()
                    peak, end = before, time.monotonic() + SECONDS
                    while time.monotonic() < end:
                        peak = max(peak, resident(service.pid))
                        time.sleep(0.05)
                    asking.over.set()
                    asking.join(30)
            share = (cpu(service.pid) - spent) / (time.monotonic() - begun)
    drain.join(5)
    offline = sum("offline" in line or "lost its connection" in line for line in log)
    grown = peak - before
    over = p99(asking.gets) > BOUNDS[0] or p99(asking.sets) > BOUNDS[0] or grown > BOUNDS[1] or offline
    row = ROW.format(
        name,
        f"{clients} x" if clients else "-",
        figures(asking.gets),
        figures(asking.sets),
        offline or "none",
        len(log),
        f"{100 * share:.0f} %",
        f"{grown:+.0f} MB",
    )
    print(row, asking.failed or ("OVER" if over else ""), flush=True)


def figures(values: list[float]) -> str:
    """Median and 99th percentile."""
    return quantiles(values).replace("p50 ", "").replace("p99 ", "")


def run() -> None:
    """Measure and print."""
    modbus = free_port()
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "config.yaml").write_text(unit_configuration(modbus))
        with process(*TWISTD, "evok-simulator", "--config", directory, "--port", modbus) as simulator:
            wait_for(simulator, "listening")
            print(
                ROW.format(
                    "what clients do", "clients", "GET p50, p99", "set p50, p99", "offline", "log", "CPU", "memory"
                )
            )
            measure("nothing", 0, directory, modbus)
            for name in KINDS or ATTACKS:
                for clients in (1, 4):
                    measure(name, clients, directory, modbus)
