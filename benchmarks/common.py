"""What the benchmarks share: processes, the boards' side of Modbus, and what a process uses."""

from __future__ import annotations

import re
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONFIG = """
comm_channels:
  LOCAL:
    type: MODBUSTCP
    hostname: 127.0.0.1
    port: {port}
    device_info: {{family: Neuron, model: L533, sn: 0, board_count: 3}}
    devices:
      1: {{slave-id: 1, model: 00}}
      2: {{slave-id: 2, model: 13}}
      3: {{slave-id: 3, model: 13}}
"""

TWISTD = (Path(sys.executable).with_name("twistd"), "--nodaemon", "--pidfile=")


def unit_configuration(port: int) -> str:
    """Three boards (00, 13, 13) behind one server, as a unit has them."""
    return CONFIG.format(port=port)


def many_boards(port: int, count: int, apis: str) -> str:
    """So many boards 13 behind one server, each scanned five times a second; ``apis`` is what stands in there."""
    devices = "".join(f"      b{n}: {{slave-id: {n}, model: 13, scan_frequency: 5}}\n" for n in range(1, count + 1))
    bus = f"    type: MODBUSTCP\n    hostname: 127.0.0.1\n    port: {port}\n    devices:\n{devices}"
    return f"apis: {{{apis}}}\ncomm_channels:\n  BUS:\n{bus}"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def process(*arguments: object, stdout: Any = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the block."""
    running = subprocess.Popen(
        [str(argument) for argument in arguments], stdout=stdout, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def wait_for(running: subprocess.Popen[str], pattern: str, seconds: float = 20) -> re.Match[str]:
    """The match of ``pattern`` in what a process says; one that does not say it in time is ended."""
    assert running.stdout is not None
    timer = threading.Timer(seconds, running.kill)
    timer.start()
    try:
        for line in running.stdout:
            found = re.search(pattern, line)
            if found:
                return found
    finally:
        timer.cancel()
    raise SystemExit(f"{running.args!r} did not say {pattern!r}")


class Modbus:
    """Changes registers of the simulated boards from outside."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def write(self, unit: int, register: int, value: int) -> int:
        """Write a register; the nanoseconds at which the board had it."""
        self._socket.sendall(struct.pack(">HHHBBHH", 1, 0, 6, unit, 6, register, value))
        stamp = time.monotonic_ns()
        self._socket.recv(64)
        return stamp

    def write_all(self, writes: Sequence[tuple[int, int, int]]) -> None:
        """Write registers of several units, as (unit, register, value), all at once."""
        self._socket.sendall(b"".join(struct.pack(">HHHBBHH", 1, 0, 6, unit, 6, *rest) for unit, *rest in writes))
        left = 12 * len(writes)
        while left:
            left -= len(self._socket.recv(left))

    def read(self, unit: int, register: int, count: int) -> tuple[int, ...]:
        """Read registers."""
        self._socket.sendall(struct.pack(">HHHBBHH", 1, 0, 6, unit, 3, register, count))
        answer = b""
        while len(answer) < 9 + 2 * count:
            answer += self._socket.recv(512)
        return struct.unpack(f">{count}H", answer[9:])


def cpu(pid: int) -> float:
    """Seconds of CPU that a process and its threads have used."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def resident(pid: int) -> float:
    """MB of memory that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def used(pid: int, seconds: float) -> float:
    """The share of one CPU that a process uses over ``seconds``."""
    before, begun = cpu(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu(pid) - before) / (time.monotonic() - begun)


def quantiles(values: list[float]) -> str:
    """Median and 99th percentile, in ms."""
    ordered = sorted(values)
    if not ordered:
        return "nothing came"
    return f"p50 {statistics.median(ordered):.2f} ms, p99 {ordered[int(len(ordered) * 0.99)]:.2f} ms"


def show(rows: Iterator[tuple[str, str]]) -> None:
    """Print what was measured."""
    for name, figure in rows:
        print(f"{name:24} {figure}", flush=True)
