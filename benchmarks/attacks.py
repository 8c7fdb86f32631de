"""Clients that misbehave, each in a way of its own.

    attacks.py NAME PORT CLIENTS SECONDS

Goes on for SECONDS from when all CLIENTS are connected, and prints ``ready`` then. What the service closes is connected
again, as somebody would who means it; what it answers is thrown away, or not even read.
"""

from __future__ import annotations

import itertools
import json
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from clients import HANDSHAKE, masked

#: Seconds between two looks whether time is up, while nothing moves.
LOOK = 0.05
#: Seconds for a connection, which the system may not take at once in a crowd.
CONNECT_TIMEOUT = 0.5
#: Bytes that are offered to the system at once.
PIECE = 1 << 16

Chunks = Iterator[bytes]


def post(path: str, body: bytes, *, announced: int | None = None) -> bytes:
    """A request with a body, which may be announced as longer than what comes."""
    length = len(body) if announced is None else announced
    return b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), length, body)


def get(path: str) -> bytes:
    """A request without a body."""
    return b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path.encode()


def bulk(**lists: object) -> bytes:
    """A bulk request."""
    return post("/bulk", json.dumps(lists).encode())


def forever(chunk: bytes, *first: bytes) -> Chunks:
    """``first``, then ``chunk`` again and again, in pieces of a size that is worth sending."""
    yield from first
    piece = chunk * max(1, PIECE // len(chunk))
    while True:
        yield piece


def one_after_the_other(*pieces: bytes) -> Chunks:
    """Each of ``pieces``, and then nothing; an empty one is a pause."""
    yield from pieces


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A frame of a client, masked with zeros."""
    return bytes([opcode | (0x80 if final else 0), 0x80 | len(payload), 0, 0, 0, 0]) + payload


def long_frame(payload: bytes) -> bytes:
    """A text message of 126 to 65535 bytes."""
    return b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload


def dripping(first: bytes) -> Chunks:
    """``first``, then a byte now and then; the pause is the attack."""
    yield first
    while True:
        yield b""
        yield b"x"


def frames(*repeated: bytes, first: bytes = b"") -> Chunks:
    """Frames, a moment after the handshake: what comes right behind that is not read as frames."""
    return forever(b"".join(repeated), HANDSHAKE.encode(), b"", *([first] if first else []))


NAMES = ["ai", "ao", "di", "do", "ro", "led", "wd", "register", "relay", "input"]
#: Tells clients apart.
NUMBERS = itertools.count()


def patterns(number: int) -> bytes:
    """A filter of 256 patterns, which no other number has."""
    names = [f"{kind}/*{n}*{number}*b*c*" for n in range(32) for kind in NAMES[:8]]
    return long_frame(json.dumps({"cmd": "filter", "devices": names}).encode())


CHUNKED = b"POST /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
CIRCUITS = [f"1_{n}" for n in range(8000)]
LEDS = {"device_type": "led", "assigned_values": {"value": 0}}
CALLS = [{"jsonrpc": "2.0", "id": n, "method": "owbus_list", "params": [str(n)]} for n in range(1000)]

#: By name: what one client sends, whether it reads the answers, and how many connections one such client makes.
ATTACKS: dict[str, tuple[Callable[[], Chunks], bool, int]] = {
    "pipelined, not read": (lambda: forever(get("/rest/all")), False, 1),
    "pipelined, read": (lambda: forever(get("/rest/all")), True, 1),
    "bulk: kinds x circuits": (
        lambda: forever(bulk(group_queries=[{"device_types": NAMES * 800, "device_circuits": CIRCUITS}])),
        True,
        1,
    ),
    "bulk: one kind 20000 times": (
        lambda: forever(bulk(group_queries=[{"device_types": ["register"] * 20000}])),
        True,
        1,
    ),
    "bulk: 1000 groups": (lambda: forever(bulk(group_queries=[{"device_types": ["register"]}] * 1000)), True, 1),
    "bulk: 1000 group sets": (lambda: forever(bulk(group_assignments=[LEDS] * 1000)), True, 1),
    "JSON-RPC batch": (lambda: forever(post("/rpc", json.dumps(CALLS).encode())), True, 1),
    "all, again and again": (lambda: frames(masked(b'{"cmd":"all"}')), True, 1),
    "filters of 256 patterns": (
        lambda: one_after_the_other(HANDSHAKE.encode(), b"", patterns(next(NUMBERS))),
        True,
        64,
    ),
    "other filters all the time": (lambda: frames(*map(patterns, range(100))), True, 1),
    "one property of all": (lambda: forever(get("/rest/register/all/value")), True, 1),
    "OpenAPI": (lambda: forever(get("/openapi.json")), True, 1),
    "pings": (lambda: frames(frame(9, b"x")), False, 1),
    "pings, pongs read": (lambda: frames(frame(9, b"x")), True, 1),
    "empty continuations": (lambda: frames(frame(0, final=False), first=frame(1, final=False)), True, 1),
    "tiny messages": (lambda: frames(masked(b" ")), True, 1),
    "bodies that do not end": (
        lambda: one_after_the_other(post("/json/di/1_01", b" " * 1_048_000, announced=1_048_576)),
        True,
        200,
    ),
    "an endless body": (lambda: forever(b" " * PIECE, post("/bulk", b"", announced=1 << 40)), True, 1),
    "a form of 300000 fields": (
        lambda: forever(
            post("/rest/led/1_01", b"a=&" * 300_000).replace(
                b"\r\n\r\n", b"\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n", 1
            )
        ),
        True,
        1,
    ),
    "chunks of one byte": (lambda: forever(b"1\r\n \r\n", CHUNKED), True, 1),
    "headers that do not end": (lambda: dripping(b"GET / HTTP/1.1\r\nX-Slow: "), True, 200),
    "a crowd": (one_after_the_other, True, 1200),
}


class Attacker:
    """One connection that sends what it was told to."""

    def __init__(self, port: int, make: Callable[[], Chunks], *, reads: bool) -> None:
        self.socket = socket.socket()
        if not reads:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(CONNECT_TIMEOUT)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.reads = reads
        self._chunks = make()
        self._left = memoryview(b"")
        self._paused = 0.0

    @property
    def sends(self) -> bool:
        """Whether there is something to send now."""
        return self._paused < time.monotonic()

    def write(self) -> None:
        """Send a piece, or as much of it as is taken."""
        if not self._left:
            piece = next(self._chunks, None)
            if not piece:
                self._paused = time.monotonic() + (0.5 if piece is not None else 1e9)
                return
            self._left = memoryview(piece)
        with suppress(BlockingIOError):
            self._left = self._left[self.socket.send(self._left) :]

    def read(self) -> bool:
        """Throw away what has come; whether the connection is still there."""
        with suppress(BlockingIOError):
            return bool(self.socket.recv(1 << 18))
        return True


class Attack:
    """So many connections, each made again when it is closed."""

    def __init__(self, name: str, port: int, clients: int) -> None:
        self._make, self._reads, connections = ATTACKS[name]
        self._port = port
        self._poll = select.epoll()
        self._attackers: dict[int, Attacker] = {}
        self._wanted: dict[int, int] = {}
        late = time.monotonic() + 20
        for _ in range(clients * connections):
            if time.monotonic() < late:
                self._connect()

    def _connect(self) -> None:
        with suppress(OSError):  # the service may well refuse it
            one = Attacker(self._port, self._make, reads=self._reads)
            self._attackers[one.socket.fileno()] = one

    def go_on(self) -> None:
        """Send and read what can be sent and read now."""
        for descriptor, one in self._attackers.items():
            wanted = (select.EPOLLIN if one.reads else 0) | (select.EPOLLOUT if one.sends else 0)
            if self._wanted.get(descriptor) != wanted:
                (self._poll.modify if descriptor in self._wanted else self._poll.register)(descriptor, wanted)
                self._wanted[descriptor] = wanted
        gone = [descriptor for descriptor, events in self._poll.poll(LOOK) if not self._moved(descriptor, events)]
        for descriptor in gone:
            self._poll.unregister(descriptor)
            del self._wanted[descriptor]
            self._attackers.pop(descriptor).socket.close()
        for _ in gone:
            self._connect()

    def _moved(self, descriptor: int, events: int) -> bool:
        one = self._attackers[descriptor]
        try:
            if events & select.EPOLLOUT:
                one.write()
            ended = events & (select.EPOLLHUP | select.EPOLLERR)
            return not ended and (not events & select.EPOLLIN or one.read())
        except OSError:
            return False


def main(name: str, port: int, clients: int, seconds: float) -> None:
    """Attack."""
    attack = Attack(name, port, clients)
    print("ready", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        attack.go_on()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
