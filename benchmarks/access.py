"""What access costs: a GET and a set without it, with a token, with a thousand of them; and noting all sets."""

from __future__ import annotations

import itertools
import json
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import usual
import websocket
from common import TWISTD, cpu, free_port, process, show, unit_configuration, wait_for

from evok_twisted.core.identity import Scopes
from evok_twisted.core.tokens import Token, digest_of, fresh, save

ROUNDS = 5
#: A set for wrk, of a circuit that stands for itself on the board.
POST = 'wrk.method = "POST"\nwrk.body = \'{"value":1}\'\nwrk.headers["Content-Type"] = "application/json"\n'


class Serving(NamedTuple):
    """A service, and the headers that its clients send."""

    url: str
    headers: tuple[str, ...]


@contextmanager
def serving(modbus: int, tokens: int) -> Iterator[Serving]:
    """A service on the boards at ``modbus``; without tokens, one that asks for none."""
    http = free_port()
    with tempfile.TemporaryDirectory() as directory:
        kept, text = {}, ""
        for _ in range(tokens):
            id, text = fresh(kept)
            kept[id] = Token(id, f"client {id}", Scopes("admin"), (), time.time(), None, digest_of(text))
        file = Path(directory) / "tokens.yaml"
        save(file, kept)
        access = f", access: {{tokens: {file}, anonymous: {{local: none}}}}" if tokens else ""
        config = unit_configuration(modbus) + f"\napis: {{alias_file: ''{access}}}\n"
        (Path(directory) / "config.yaml").write_text(config)
        port = f"tcp:{http}:interface=127.0.0.1"
        with process(*TWISTD, "evok", "--config", directory, "--port", port) as service:
            wait_for(service, "slave 3 .* answers")
            yield Serving(f"http://127.0.0.1:{http}", ("-H", f"Authorization: Bearer {text}") if tokens else ())


def rate(one: Serving, path: str, script: Path | None = None) -> float:
    """Requests a second; sets one after the other, for a newer one of the same output takes the place of an older."""
    connections, how = (1, ("-s", str(script))) if script else (4, ())
    found, failed = usual.requests(f"{one.url}{path}", 3, connections, (*one.headers, *how))
    if failed:
        raise SystemExit(f"{path}: {failed}")
    return found


#: Sets a second that are noted, and for how many seconds.
SETS, SECONDS = 500, 5.0


@contextmanager
def noting(modbus: int, audit: str) -> Iterator[tuple[int, int]]:
    """A service that writes its log to a file, with or without a line for each set; its process and its port."""
    http = free_port()
    with tempfile.TemporaryDirectory() as directory:
        access = f"{{tokens: {directory}/tokens.yaml, audit: {audit}}}"
        apis = f"{{port: {http}, alias_file: '', access: {access}, websocket: {{max_message_rate: {2 * SETS}}}}}"
        config = unit_configuration(modbus) + f"\napis: {apis}\n"
        (Path(directory) / "config.yaml").write_text(config)
        said = Path(directory) / "log"
        with said.open("w") as log, process(*TWISTD, "evok", "--config", directory, stdout=log) as service:
            deadline = time.monotonic() + 20
            while "slave 3 " not in said.read_text():
                if time.monotonic() > deadline:
                    raise SystemExit(f"the service does not start: {said.read_text()}")
                time.sleep(0.05)
            yield service.pid, http


def setting(pid: int, http: int, sets: Iterator[str]) -> float:
    """The share of a CPU that a service takes for so many sets a second."""
    over = websocket.create_connection(f"ws://127.0.0.1:{http}/ws", timeout=5, suppress_origin=True)
    over.send('{"cmd":"filter","devices":["none"]}')
    total, done, answers = int(SETS * SECONDS), threading.Event(), {True: 0, False: 0}

    def count() -> None:
        while sum(answers.values()) < total:
            found = re.search(r'"success":(true|false)', over.recv())
            if found:
                answers[found[1] == "true"] += 1
        done.set()

    threading.Thread(target=count, daemon=True).start()
    spent, begun = cpu(pid), time.monotonic()
    for n, message in enumerate(itertools.islice(sets, total)):
        time.sleep(max(0.0, begun + n / SETS - time.monotonic()))
        over.send(message)
    # a few are superseded, by the next of their output
    if not done.wait(10) or answers[True] < 0.9 * total:
        raise SystemExit(f"{total} sets, and {answers[True]} were done")
    share = (cpu(pid) - spent) / (time.monotonic() - begun)
    over.close()
    return share


def switched() -> Iterator[str]:
    """Four outputs that are switched again and again: after the first second, most lines have been there."""
    for n in itertools.count():
        led, value = f"1_0{1 + n % 4}", n // 4 % 2
        yield json.dumps({"cmd": "set", "dev": "led", "circuit": led, "value": value, "id": n})


def varied() -> Iterator[str]:
    """An output that never has the same value again: each set is a line of its own."""
    for n in itertools.count():
        yield json.dumps({"cmd": "set", "dev": "ao", "circuit": "1_01", "value": n % 5000 / 500, "id": n})


def noted(modbus: int) -> Iterator[tuple[str, str]]:
    """What the lines for all sets cost, by how often they are the same."""
    with noting(modbus, "off") as off, noting(modbus, "writes") as on:
        for name, sets in (("switched", switched), ("each different", varied)):
            shares = [[setting(*one, sets()) for one in (off, on)] for _ in range(ROUNDS)]
            without, withal = (100 * statistics.median(column) for column in zip(*shares, strict=True))
            yield f"{SETS} sets/s, {name}", f"CPU {without:.1f} %, with their lines {withal:.1f} %"


def run() -> None:
    """Measure and print."""
    modbus = free_port()
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "config.yaml").write_text(unit_configuration(modbus))
        script = Path(directory) / "post.lua"
        script.write_text(POST)
        with (
            process(*TWISTD, "evok-simulator", "--config", directory, "--port", modbus) as simulator,
            serving(modbus, 0) as without,
            serving(modbus, 1) as one,
            serving(modbus, 1000) as many,
        ):
            wait_for(simulator, "listening")
            for name, path, how in (("GET", "/rest/di/1_01", None), ("set", "/rest/led/1_01", script)):
                rates = [[rate(each, path, how) for each in (without, one, many)] for _ in range(ROUNDS)]
                free, single, thousand = (statistics.median(column) for column in zip(*rates, strict=True))
                figures = f"{free:.0f}/s without access, ratio with a token {single / free:.2f}"
                show(iter([(f"{name}, access", f"{figures}, with 1000 tokens {thousand / free:.2f}")]))
        with process(*TWISTD, "evok-simulator", "--config", directory, "--port", modbus) as simulator:
            wait_for(simulator, "listening")
            show(noted(modbus))
