"""Many subscribers in one process that take what they are sent and do nothing with it.

    subscribers.py PORT CLIENTS SECONDS MESSAGE

Prints ``ready`` when all are connected, and at the end the bytes that all of them got.
"""

from __future__ import annotations

import select
import socket
import sys
import time

from clients import HANDSHAKE, masked


def main(port: int, count: int, seconds: float, message: bytes) -> None:
    """Listen for ``seconds`` from when all are there."""
    poll, sockets, size = select.epoll(), {}, 0
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", port))
        one.sendall(HANDSHAKE.encode())
        if not one.recv(4096).startswith(b"HTTP/1.1 101"):
            raise SystemExit("refused")
        one.sendall(masked(message))
        sockets[one.fileno()] = one
        poll.register(one.fileno(), select.EPOLLIN)
    print("ready", flush=True)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left):
            data = sockets[descriptor].recv(1 << 18)
            if not data:
                raise SystemExit("the service has closed a connection")
            size += len(data)
    print(size)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4].encode())
