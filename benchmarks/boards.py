"""Simulated boards that count what they are asked, on TCP or on a serial line of a certain speed.

    boards.py MODEL COUNT PORT
    boards.py MODEL,MODEL,... 1 PORT
    boards.py MODEL COUNT PATH BAUDRATE

Units are numbered from 1. Prints ``ready``, and then, once a second, the time in seconds (CLOCK_MONOTONIC), how often a
register 0 was read (a scan: it is in the block of frequency 1), and how many requests there were in all.
"""

from __future__ import annotations

import struct
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor, task

from evok_twisted.definitions import Definitions, shipped_definitions
from evok_twisted.problems import Problems
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.rtu import RtuSimulatorFactory, RtuSimulatorProtocol, Terminal
from evok_twisted.simulator.server import SimulatorFactory

#: Bits of a character on the line (8N1).
CHARACTER = 10
#: Seconds that a board takes until its answer begins.
TURNAROUND = 0.004

loop: Any = reactor


class Counting:
    """Counts what a factory answers."""

    scans = 0
    requests = 0

    def answer(self, frame: bytes) -> bytes:
        """As the factory does."""
        self.requests += 1
        if frame[7] in (3, 4) and struct.unpack_from(">H", frame, 8)[0] == 0:
            self.scans += 1
        return super().answer(frame)  # type: ignore[misc]


class OnTcp(Counting, SimulatorFactory):
    """Boards behind a server."""


class SlowProtocol(RtuSimulatorProtocol):
    """Its answers come when they had crossed a line."""

    baudrate: int

    def dataReceived(self, data: bytes) -> None:
        """What came is there when it has crossed the line, and so is the answer."""
        self._asked = len(data)
        super().dataReceived(data)

    def makeConnection(self, transport: Any) -> None:
        """Put the line between."""
        super().makeConnection(Line(transport, self))

    def delay(self, answer: bytes) -> float:
        """Seconds from the begin of the request to the end of its answer."""
        return (self._asked + len(answer)) * CHARACTER / self.baudrate + TURNAROUND


class Line:
    """Lets what is written come late."""

    def __init__(self, transport: Any, protocol: SlowProtocol) -> None:
        self._transport = transport
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, answer: bytes) -> None:
        """Send an answer."""
        loop.callLater(self._protocol.delay(answer), self._transport.write, answer)


class OnLine(Counting, RtuSimulatorFactory):
    """Boards on a serial line."""

    baudrate = 19200

    def buildProtocol(self, addr: object) -> SlowProtocol:
        """The protocol at the end of the line."""
        protocol = SlowProtocol(self)
        protocol.baudrate = self.baudrate
        return protocol


def main(models: str, count: str, where: str, baudrate: str = "") -> None:
    """Serve, and count."""
    definitions = Definitions(shipped_definitions(), Problems())
    wanted = models.split(",") * int(count)
    boards = {n: SimulatedBoard(definitions.get(model)) for n, model in enumerate(wanted, start=1)}  # type: ignore[arg-type]
    if baudrate:
        factory: Any = OnLine(boards)
        factory.baudrate = int(baudrate)
        Terminal(Path(where), factory, loop).startService()
    else:
        factory = OnTcp(boards)
        loop.listenTCP(int(where), factory, interface="127.0.0.1")
    print("ready", flush=True)
    task.LoopingCall(lambda: print(time.monotonic(), factory.scans, factory.requests, flush=True)).start(1.0)
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
