"""Many WebSocket clients in one process, which stamp every message that they get.

    clients.py PORT CLIENTS SECONDS

Prints ``ready`` when all are connected, and at the end one line a client: the nanoseconds (CLOCK_MONOTONIC) at which
its messages came.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time

HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
FILTER = json.dumps({"cmd": "filter", "devices": ["input"]}).encode()


def masked(text: bytes) -> bytes:
    """A frame of a client, of up to 125 bytes."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(HANDSHAKE.encode())
        self.buffer = b""
        self.open = False
        self.stamps: list[int] = []

    def readable(self) -> bool:
        """Take what has come; whether the connection is still there."""
        data = self.socket.recv(65536)
        now = time.monotonic_ns()
        self.buffer += data
        if not self.open:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if end:
                if not head.startswith(b"HTTP/1.1 101"):
                    raise SystemExit(f"refused: {head[:60]!r}")
                self.open, self.buffer = True, rest
                self.socket.sendall(masked(FILTER))
        while self.open and len(self.buffer) >= 4:
            size, begin = self.buffer[1], 2
            if size == 126:
                size, begin = struct.unpack_from(">H", self.buffer, 2)[0], 4
            if len(self.buffer) < begin + size:
                break
            if self.buffer[0] & 15 == 1:
                self.stamps.append(now)
            self.buffer = self.buffer[begin + size :]
        return bool(data)


def main(port: int, count: int, seconds: float) -> None:
    """Connect ``count`` clients, and listen for ``seconds`` from when all are there."""
    poll = select.epoll()
    clients: dict[int, Client] = {}
    for _ in range(count):
        client = Client(port)
        clients[client.socket.fileno()] = client
        poll.register(client.socket, select.EPOLLIN)
    end = time.monotonic() + 60
    ready = False
    while time.monotonic() < end:
        for descriptor, _ in poll.poll(0.05):
            if not clients[descriptor].readable():
                poll.unregister(descriptor)
        if not ready and all(client.open for client in clients.values()):
            ready, end = True, time.monotonic() + seconds
            print("ready", flush=True)
    for client in clients.values():
        print(*client.stamps)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
