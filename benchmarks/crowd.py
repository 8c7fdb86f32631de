"""Many WebSocket clients in one process that compare what they hear, and one that does not read.

    crowd.py PORT CLIENTS SECONDS

Prints ``ready`` when all are connected. At the end, or on SIGTERM: how many messages and bytes each of those that read
got, as a JSON list of ``[messages, bytes, CRC-32 of all payloads]``, and what the first was told last of each input, by
circuit.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import struct
import sys
import threading
import time
import zlib

from clients import HANDSHAKE, masked

FILTER = json.dumps({"cmd": "filter", "devices": ["input"]}).encode()
TEXT, PING = 1, 9
#: An empty one, with an empty mask.
PONG = bytes((0x8A, 0x80, 0, 0, 0, 0))


class Reader:
    """One client that reads."""

    def __init__(self, port: int, *, remembers: bool) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(HANDSHAKE.encode() + masked(FILTER))
        self.open = False
        self.heard = [0, 0, 0]
        self.last: dict[str, list[int]] = {}
        self._remembers = remembers
        self._buffer = b""

    def readable(self) -> bool:
        """Take what has come; whether the connection is still there."""
        data = self.socket.recv(1 << 18)
        buffer = self._buffer + data
        at = 0
        if not self.open and b"\r\n\r\n" in buffer:
            self.open = True
            at = buffer.index(b"\r\n\r\n") + 4
        while (self.open and len(buffer) - at >= 10) or (self.open and len(buffer) - at >= 2 and buffer[at + 1] < 126):
            size, begin = buffer[at + 1], at + 2
            if size == 126:
                size, begin = struct.unpack_from(">H", buffer, begin)[0], begin + 2
            elif size == 127:
                size, begin = struct.unpack_from(">Q", buffer, begin)[0], begin + 8
            if len(buffer) < begin + size:
                break
            if buffer[at] & 15 == TEXT:
                self._take(buffer[begin : begin + size])
            elif buffer[at] & 15 == PING:
                self.socket.sendall(PONG)
            at = begin + size
        self._buffer = buffer[at:]
        return bool(data)

    def _take(self, payload: bytes) -> None:
        if not payload.startswith(b'[{"dev":"input"'):
            return  # from before the filter
        messages, size, checksum = self.heard
        self.heard = [messages + 1, size + len(payload), zlib.crc32(payload, checksum)]
        if self._remembers:
            for state in json.loads(payload):
                self.last[state["circuit"]] = [state["value"], state["counter"]]


def main(port: int, count: int, seconds: float) -> None:
    """Listen for ``seconds`` from when all are there, or until SIGTERM."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.connect(("127.0.0.1", port))
    # it asks for more than the system keeps for it, so that it is stalled from the begin
    for text in (FILTER, *[b'{"cmd":"all"}'] * 20):
        stalled.sendall((HANDSHAKE.encode() if text == FILTER else b"") + masked(text))
    poll = select.epoll()
    readers = [Reader(port, remembers=not n) for n in range(count - 1)]
    by_descriptor = {reader.socket.fileno(): reader for reader in readers}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    end = time.monotonic() + 60
    ready = False
    while time.monotonic() < end and not over.is_set():
        time.sleep(0.02)  # several messages are read at once, so that we take little of a small machine
        for descriptor, _ in poll.poll(0.05):
            if not by_descriptor[descriptor].readable():
                poll.unregister(descriptor)
        if not ready and all(reader.open for reader in readers):
            ready, end = True, time.monotonic() + seconds
            print("ready", flush=True)
    print(json.dumps([reader.heard for reader in readers]))
    print(json.dumps(readers[0].last))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
