"""MQTT through mosquitto: how soon a change is there, what it and an outage cost, and many units on one broker."""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket
from common import (
    TWISTD,
    Modbus,
    cpu,
    free_port,
    many_boards,
    process,
    quantiles,
    resident,
    show,
    unit_configuration,
    used,
    wait_for,
)
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

HERE = Path(__file__).parent
#: Registers that change with each scan, as (unit, register, bits): ten inputs and ten relays, so that 50 scans a second
#: are 1000 changes.
CHANGING = ((1, 0, 0b11), (2, 0, 0b1111), (3, 0, 0b1111), (2, 1, 0b11111), (3, 1, 0b11111))
ROUNDS, SECONDS = 3, 6.0
#: Boards of which there are to be 2000 circuits and more.
MANY = 100
UNITS, CHANGES, LASTING = 200, 10, 30


@contextmanager
def broker(port: int, directory: str) -> Iterator[subprocess.Popen[str]]:
    """A mosquitto."""
    config = Path(directory) / "mosquitto.conf"
    lines = (f"listener {port} 127.0.0.1", "allow_anonymous true", "user root", "max_queued_messages 100000")
    config.write_text("\n".join([*lines, ""]))
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    with process(program, "-c", config, stdout=subprocess.DEVNULL) as running:
        wait_until(lambda: listens(port), 10)
        yield running


def listens(port: int) -> bool:
    """Whether anybody listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Listener:
    """Notes when what came."""

    def __init__(self, port: int, pattern: str) -> None:
        self.arrived: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
        self.seen: dict[str, bytes] = {}
        self.count = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._note
        self._ready = threading.Event()
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(pattern, 1)
        self._client.loop_start()
        self._ready.wait(10)

    def _note(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self.count += 1
        self.seen[message.topic] = message.payload
        if not message.retain:
            self.arrived[message.topic].append((time.monotonic_ns(), message.payload))

    def wait_for_message(self, seconds: float) -> None:
        """Wait until anything has come."""
        wait_until(lambda: self.count > 0, seconds)

    def wait_for_online(self, seconds: float) -> None:
        """Wait until the unit is said to be online: then all is there."""
        wait_until(lambda: self.seen.get("evok/bench/status") == b"online", seconds)

    def stop(self) -> None:
        """Hear no more."""
        self._client.disconnect()
        self._client.loop_stop()


def latency(mqtt: int, http: int, modbus: int) -> Iterator[tuple[str, str]]:
    """How long after the board has it a change is at a client of the broker, and at one of the WebSocket."""
    listener = Listener(mqtt, "evok/bench/di/1_01")
    line = websocket.create_connection(f"ws://127.0.0.1:{http}/ws", timeout=10, suppress_origin=True)
    line.send(json.dumps({"cmd": "filter", "devices": ["input"]}))
    at_socket: list[int] = []

    def hear() -> None:
        while True:
            try:
                message = line.recv()
            except (OSError, websocket.WebSocketException):
                return
            if '"1_01"' in message:
                at_socket.append(time.monotonic_ns())

    threading.Thread(target=hear, daemon=True).start()
    boards, stamps = Modbus(modbus), []
    time.sleep(0.5)
    for n in range(400):
        stamps.append(boards.write(1, 0, 1 - n % 2))
        time.sleep(0.05 + (n % 7) / 1000)
    time.sleep(0.5)
    line.close()
    listener.stop()
    at_broker = [stamp for stamp, _ in listener.arrived["evok/bench/di/1_01"]]
    for name, arrived in (("change to subscriber", at_broker), ("  the same by WebSocket", at_socket)):
        waits = [(next(at for at in arrived if at > stamp) - stamp) / 1e6 for stamp in stamps if arrived[-1] > stamp]
        yield name, quantiles(waits)


def changing(modbus: int, seconds: float) -> None:
    """Let all that changes change with each scan."""
    boards, begun, n = Modbus(modbus), time.monotonic(), 0
    while time.monotonic() < begun + seconds:
        boards.write_all([(unit, register, bits * (n % 2)) for unit, register, bits in CHANGING])
        n += 1
        time.sleep(max(0.0, begun + n / 50 - time.monotonic()))


def cost(services: dict[str, Any], modbus: int) -> Iterator[tuple[str, str]]:
    """The share of a CPU of each service while there are 1000 changes a second, in turns."""
    shares: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        before = {name: cpu(pid) for name, pid in services.items()}
        begun = time.monotonic()
        changing(modbus, SECONDS)
        lasted = time.monotonic() - begun
        for name, pid in services.items():
            shares[name].append((cpu(pid) - before[name]) / lasted)
    for name, found in shares.items():
        yield f"1000 changes/s, {name}", f"CPU {100 * statistics.median(found):.1f} %"


def outage(mqtt: int, http: int, directory: str, service: int) -> Iterator[tuple[str, str]]:
    """What a broker that comes back with nothing costs a unit with many circuits."""
    with broker(mqtt, directory):
        listener = Listener(mqtt, "evok/bench/#")
        listener.wait_for_online(60)
        listener.stop()
        time.sleep(6)
    delays: list[float] = []
    ended = threading.Event()

    def probe() -> None:
        while not ended.wait(0.004):
            begun = time.monotonic_ns()
            urllib.request.urlopen(f"http://127.0.0.1:{http}/version").read()
            delays.append((time.monotonic_ns() - begun) / 1e6)

    time.sleep(1)
    for quiet in (True, False):
        delays.clear()
        ended.clear()
        thread = threading.Thread(target=probe)
        thread.start()
        if quiet:
            time.sleep(4)
            name, figure = "GET, nothing going on", ""
        else:
            with broker(mqtt, directory):
                listener = Listener(mqtt, "evok/bench/#")
                listener.wait_for_message(40)
                first = time.monotonic()
                listener.wait_for_online(20)
                took = time.monotonic() - first
                listener.stop()
            name = f"back after an outage, {listener.count} messages"
            figure = f"all there {took:.2f} s after the first; GET meanwhile "
        ended.set()
        thread.join()
        yield name, f"{figure}{quantiles(delays)}, longest {max(delays):.1f} ms"
    yield "  memory", f"{resident(service):.1f} MB"


def wait_until(true: Any, seconds: float) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit("it did not come in time")
        time.sleep(0.005)


def fleet(mqtt: int) -> Iterator[tuple[str, str]]:
    """Many units on one broker."""
    listener = Listener(mqtt, "evok/+/ao/1_01")
    with process(sys.executable, HERE / "fleet.py", mqtt, UNITS, CHANGES, LASTING) as units:
        ready = wait_for(units, r"ready (\S+)", 120)[1]
        first = wait_for(units, r"memory (\S+)", 60)[1]
        share = used(units.pid, LASTING - 5)
        last = wait_for(units, r"memory (\S+)", 60)[1]
        counted = [int(one) for one in wait_for(units, r"counted (.*)", 60)[1].split()]
        time.sleep(2)
        lost = 0
        for n, count in enumerate(counted):
            arrived = listener.arrived[f"evok/unit{n:03}/ao/1_01"]
            values = [json.loads(payload)["value"] for _, payload in arrived]
            lost += count - len({value for value in values if value})
    listener.stop()
    yield f"{UNITS} units, all online", f"after {ready} s"
    yield f"  {CHANGES} changes/s each", f"{sum(counted)} changes, {lost} lost, CPU {100 * share:.1f} %"
    yield "  memory", f"{first} MB in the first second, {last} MB at the end"


def run() -> None:
    """Measure and print."""
    if shutil.which("mosquitto") is None and not Path("/usr/sbin/mosquitto").exists():
        print("mosquitto is not installed: nothing of MQTT is measured")
        return
    modbus, mqtt, http, other, idle = (free_port() for _ in range(5))
    with tempfile.TemporaryDirectory() as directory:
        talks = f"mqtt: {{enabled: true, broker: 'tcp:127.0.0.1:{mqtt}', unit: bench}}"
        for name, port, more in (("mqtt", http, talks), ("websocket", other, ""), ("nobody", idle, "")):
            (Path(directory) / name).mkdir()
            apis = f"\napis:\n  port: {port}\n  alias_file: ''\n  {more}\n"
            (Path(directory) / name / "config.yaml").write_text(unit_configuration(modbus) + apis)
        with (
            broker(mqtt, directory),
            process(*TWISTD, "evok-simulator", "--config", Path(directory) / "mqtt", "--port", modbus) as simulator,
        ):
            wait_for(simulator, "listening")
            with (
                process(*TWISTD, "evok", "--config", Path(directory) / "mqtt") as service,
                process(*TWISTD, "evok", "--config", Path(directory) / "websocket") as sockets,
                process(*TWISTD, "evok", "--config", Path(directory) / "nobody") as nobody,
            ):
                for one in (service, sockets, nobody):
                    wait_for(one, "slave 3 .* answers")
                time.sleep(2)
                show(latency(mqtt, http, modbus))
                line = websocket.create_connection(f"ws://127.0.0.1:{other}/ws", timeout=30, suppress_origin=True)
                threading.Thread(target=_swallow, args=(line,), daemon=True).start()
                names = ("a broker", "a WebSocket client", "nobody")
                show(cost(dict(zip(names, (service.pid, sockets.pid, nobody.pid), strict=True)), modbus))
                line.close()
            show(fleet(mqtt))
    with tempfile.TemporaryDirectory() as directory:
        text = many_boards(modbus, MANY, f"port: {http}, alias_file: '', {talks}")
        (Path(directory) / "config.yaml").write_text(text)
        with (
            process(*TWISTD, "evok-simulator", "--config", directory, "--port", modbus) as simulator,
            process(*TWISTD, "evok", "--config", directory, stdout=subprocess.DEVNULL) as service,
        ):
            wait_for(simulator, "listening")
            time.sleep(4)
            show(outage(mqtt, http, directory, service.pid))


def _swallow(line: websocket.WebSocket) -> None:
    while True:
        try:
            line.recv()
        except (OSError, websocket.WebSocketException):
            return
