"""What asking for tokens costs: a GET and a set without access, with a token, and with a thousand of them."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import usual
from common import TWISTD, free_port, process, show, unit_configuration, wait_for

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
