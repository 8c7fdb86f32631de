"""A busy installation: 64 boards, a thousand changes a second, 50 clients of which one does not read.

``LOAD_SECONDS`` in the environment says for how long (60).
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import websocket
from common import TWISTD, Modbus, cpu, free_port, process, quantiles, resident, wait_for

BOARDS, CLIENTS, RATE = 64, 50, 1000
SECONDS = float(os.environ.get("LOAD_SECONDS", "60"))
#: inputs and counters of the model xS11
INPUTS, COUNTERS, COUNT = 0, 3, 12
#: scans a second of each board
SCANS = 25


def configuration(modbus: int) -> str:
    """64 boards behind one server."""
    devices = "".join(
        f"      b{n}: {{slave-id: {n}, model: xS11, scan_frequency: {SCANS}}}\n" for n in range(1, BOARDS + 1)
    )
    return f"""
apis: {{alias_file: ""}}
comm_channels:
  LOCAL:
    type: MODBUSTCP
    hostname: 127.0.0.1
    port: {modbus}
    devices:
{devices}"""


def change(boards: Modbus, seconds: float) -> int:
    """Let inputs switch at the rate; how often one did."""
    begun, done = time.monotonic(), 0
    states = [0] * (BOARDS + 1)
    while (now := time.monotonic()) < begun + seconds:
        writes = []
        while done < (now - begun) * RATE and len(writes) < 100:
            unit = done % BOARDS + 1
            states[unit] ^= 1 << (done // BOARDS) % COUNT
            writes.append((unit, INPUTS, states[unit]))
            done += 1
        if writes:
            boards.write_all(writes)
        time.sleep(0.005)
    return done


class Asking(threading.Thread):
    """Asks on one connection, and on another sets an output and waits for the acknowledgement; keeps the times in ms.

    :param get: the path that it asks for.
    :param circuit: of the relay that it sets.
    :param pause: seconds between two times.
    :ivar failed: what went wrong; then it asks no more.
    """

    def __init__(
        self, port: int, *, get: str = "/rest/input/b1_01", circuit: str = "b2_01", pause: float = 0.1
    ) -> None:
        super().__init__(daemon=True)
        self.gets: list[float] = []
        self.sets: list[float] = []
        self.over = threading.Event()
        self.failed = ""
        self._get, self._circuit, self._pause = get, circuit, pause
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._http.connect()
        self._socket = websocket.create_connection(f"ws://127.0.0.1:{port}/ws", timeout=10)
        self._socket.send('{"cmd":"filter","devices":[]}')

    def run(self) -> None:
        n = 0
        try:
            while not self.over.wait(self._pause):
                n += 1
                self._ask(n)
        except (OSError, ValueError, http.client.HTTPException, websocket.WebSocketException) as error:
            self.failed = repr(error)
        self._http.close()
        self._socket.close()

    def _ask(self, n: int) -> None:
        begun = time.monotonic()
        self._http.request("GET", self._get)
        answer = self._http.getresponse()
        answer.read()
        asked = time.monotonic()
        set_ = {"cmd": "set", "dev": "relay", "circuit": self._circuit, "value": n % 2, "id": n}
        self._socket.send(json.dumps(set_))
        reply: object = []
        while isinstance(reply, list):  # changes from before the filter
            reply = json.loads(self._socket.recv())
        if answer.status != 200 or not isinstance(reply, dict) or not reply["success"]:
            raise ValueError(f"{answer.status}, {reply}")
        self.gets.append((asked - begun) * 1e3)
        self.sets.append((time.monotonic() - asked) * 1e3)


def run() -> None:
    """Measure and print."""
    modbus, port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "config.yaml").write_text(configuration(modbus))
        with (
            process(*TWISTD, "evok-simulator", "--config", directory, "--port", modbus) as simulator,
            process(*TWISTD, "evok", "--config", directory, "--port", port) as service,
        ):
            wait_for(simulator, "listening")
            wait_for(service, f"slave b{BOARDS} .* answers")
            log: list[str] = []
            assert service.stdout is not None
            threading.Thread(target=lambda: log.extend(service.stdout or ()), daemon=True).start()
            boards = Modbus(modbus)
            crowd = Path(__file__).with_name("crowd.py")
            with process(sys.executable, crowd, port, CLIENTS, SECONDS + 12) as clients:
                wait_for(clients, "ready", 60)
                time.sleep(2)
                asking = Asking(port)
                asking.start()
                before, spent, begun = resident(service.pid), cpu(service.pid), time.monotonic()
                done = change(boards, SECONDS / 4)
                early = resident(service.pid)
                done += change(boards, SECONDS * 3 / 4)
                share = (cpu(service.pid) - spent) / (time.monotonic() - begun)
                late = resident(service.pid)
                asking.over.set()
                assert clients.stdout is not None
                heard, last = json.loads(clients.stdout.readline()), json.loads(clients.stdout.readline())
                after = resident(service.pid)
            counted = {}
            for unit in range(1, BOARDS + 1):
                words = boards.read(unit, COUNTERS, 2 * COUNT)
                for n in range(COUNT):
                    counted[f"b{unit}_{n + 1:02d}"] = words[2 * n] | words[2 * n + 1] << 16
    wrong = sum(last.get(circuit, [0, 0])[1] != count for circuit, count in counted.items())
    same = len({tuple(one) for one in heard}) == 1
    messages, size, _ = heard[0]
    name = f"load, {SECONDS:.0f} s"
    if asking.failed:
        raise SystemExit(f"the client that asks failed: {asking.failed}")
    closed = [line for line in log if "has read nothing" in line]
    rows = [
        (name, f"{done / SECONDS:.0f} changes/s on {BOARDS} boards at {SCANS} scans/s, CPU {100 * share:.0f} %"),
        (
            "  49 clients that read",
            f"{'all' if same else 'NOT all'} the same {messages} messages, {size / 1e6:.0f} MB each",
        ),
        ("  states told last", f"{len(counted) - wrong} of {len(counted)} counters as the boards have them"),
        ("  memory", f"{before:.0f} MB before, {early:.0f} and {late:.0f} during, {after:.0f} after"),
        ("  GET", quantiles(asking.gets)),
        ("  set to acknowledgement", quantiles(asking.sets)),
        ("  client that does not read", "closed" if closed else "still there (it is closed after 60 s)"),
    ]
    for row, figure in rows:
        print(f"{row:24} {figure}", flush=True)
