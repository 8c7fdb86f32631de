"""Subscribers: a pace against every change, what it takes to come back, and what it costs to record a pulse."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import websocket
from common import TWISTD, Modbus, cpu, free_port, many_boards, process, quantiles, show, unit_configuration, wait_for

HERE = Path(__file__).parent
CLIENTS, SECONDS, ROUNDS = 1000, 8.0, 3
#: Inputs that change with each scan, by the unit of their board: ten, so that 50 scans a second are 500 changes.
CHANGING = {1: 0b11, 2: 0b1111, 3: 0b1111}
#: Boards of which there are to be 2048 circuits and more.
MANY = 110


def subscribed(http: int, modbus: int, service: int, every: float | None) -> tuple[float, float]:
    """The share of a CPU with many subscribers, and what each of them gets a second, in kB."""
    pace = {} if every is None else {"every": every}
    message = json.dumps({"cmd": "subscribe", "devices": ["input"], **pace}).encode()
    listeners = (sys.executable, HERE / "subscribers.py", http, CLIENTS, SECONDS + 1, message.decode())
    with process(*listeners) as crowd:
        wait_for(crowd, "ready")
        boards = Modbus(modbus)
        spent, begun, n = cpu(service), time.monotonic(), 0
        while time.monotonic() < begun + SECONDS:
            boards.write_all([(unit, 0, bits * (n % 2)) for unit, bits in CHANGING.items()])
            n += 1
            time.sleep(max(0.0, begun + n / 50 - time.monotonic()))
        share = (cpu(service) - spent) / (time.monotonic() - begun)
        size = int(wait_for(crowd, r"^\d+")[0])
    return share, size / CLIENTS / SECONDS / 1000


def paces(http: int, modbus: int, service: int) -> Iterator[tuple[str, str]]:
    """Every change against one message a second, in turns."""
    rounds = [[subscribed(http, modbus, service, every) for every in (None, 1.0)] for _ in range(ROUNDS)]
    shares = [statistics.median(pair[n][0] for pair in rounds) for n in range(2)]
    sizes = [statistics.median(pair[n][1] for pair in rounds) for n in range(2)]
    for name, share, size in zip(("every change", "every: 1"), shares, sizes, strict=True):
        yield f"{CLIENTS} subscribers, {name}", f"CPU {100 * share:.1f} %, {size:.1f} kB/s each"
    yield "  ratio", f"{shares[1] / shares[0]:.2f}"


class Client:
    """A subscriber that waits for its answers."""

    def __init__(self, http: int) -> None:
        self._line = websocket.create_connection(f"ws://127.0.0.1:{http}/ws", timeout=10, suppress_origin=True)

    def ask(self, **message: object) -> tuple[dict[str, object], float]:
        """The answer, and after how many ms it came."""
        begun = time.monotonic_ns()
        self._line.send(json.dumps({"id": 1, **message}))
        while True:
            reply = json.loads(self._line.recv())
            if isinstance(reply, dict) and reply.get("id") == 1:
                if not reply["success"]:
                    raise SystemExit(f"refused: {reply}")
                return reply["result"], (time.monotonic_ns() - begun) / 1e6

    def close(self) -> None:
        """Break off."""
        self._line.close()


def taking_up(http: int) -> Iterator[tuple[str, str]]:
    """What a client waits for that comes back after ten changes."""
    all_of, back, found = [], [], 0
    for n in range(20):
        first = Client(http)
        known, lasted = first.ask(cmd="subscribe")
        all_of.append(lasted)
        first.close()
        found = len(known["states"])
        second = Client(http)
        for board in range(2):
            for circuit in range(1, 6):
                second.ask(cmd="set", dev="ro", circuit=f"b{board + 1}_{circuit:02}", value=1 - n % 2)
        second.close()
        third = Client(http)
        result, lasted = third.ask(cmd="subscribe", since={key: known[key] for key in ("epoch", "number")})
        if result["complete"] or not 10 <= len(result["states"]) < 200:
            raise SystemExit(f"it did not take up: {len(result['states'])} states")
        back.append(lasted)
        third.close()
    yield f"{found} circuits, all of them", quantiles(all_of)
    yield "  taken up after 10 changes", quantiles(back)


def recording(http: int) -> Iterator[tuple[str, str]]:
    """Sets with a timeout against sets without, in turns."""
    client, plain, pulses = Client(http), [], []
    for n in range(150):
        plain.append(client.ask(cmd="set", dev="led", circuit="1_01", value=n % 2)[1])
        pulses.append(client.ask(cmd="set", dev="led", circuit="1_02", value=n % 2, timeout=60)[1])
    client.close()
    yield "a set", quantiles(plain)
    more = statistics.median(pulses) - statistics.median(plain)
    yield "  with a timeout, recorded", f"{quantiles(pulses)}; {more:.2f} ms more"


def run() -> None:
    """Measure and print."""
    modbus, http = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        apis = f"\napis: {{port: {http}, alias_file: {directory}, websocket: {{max_clients: 2000}}}}\n"
        limits = "max_connections_per_address: 2000"
        (Path(directory) / "config.yaml").write_text(
            unit_configuration(modbus) + apis.replace("alias_file", f"{limits}, alias_file")
        )
        with (
            process(*TWISTD, "evok-simulator", "--config", directory, "--port", modbus) as simulator,
            process(*TWISTD, "evok", "--config", directory) as service,
        ):
            wait_for(simulator, "listening")
            wait_for(service, "slave 3 .* answers")
            show(recording(http))
            show(paces(http, modbus, service.pid))
    with tempfile.TemporaryDirectory() as directory:
        text = many_boards(modbus, MANY, f"port: {http}, alias_file: ''")
        (Path(directory) / "config.yaml").write_text(text)
        with (
            process(*TWISTD, "evok-simulator", "--config", directory, "--port", modbus) as simulator,
            process(*TWISTD, "evok", "--config", directory) as service,
        ):
            wait_for(simulator, "listening")
            wait_for(service, f"slave b{MANY} .* answers")
            time.sleep(2)
            show(taking_up(http))
