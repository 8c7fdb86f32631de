"""A bus over TCP: Modbus TCP, or RTU frames that a serial server tunnels."""

from __future__ import annotations

import ipaddress
from typing import Literal

from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from evok_twisted.bus.base import Connection, ModbusBus
from evok_twisted.bus.framing import SocketFraming
from evok_twisted.bus.line import Pipeline, Turns, gap
from evok_twisted.bus.rtuframing import RtuFraming

#: longest wait for a connection, in seconds
CONNECT_TIMEOUT = 3.0

LOOPBACK_PIPELINE = 8

#: Registers that take no longer than one more request: two bytes each, against a request of 12 bytes and an answer of
#: 9 besides its registers, each in a packet with headers of 40.
GAP = (12 + 9 + 2 * 40) // 2
#: What the line behind a serial server is taken for.
TUNNELLED = 19200


def default_pipeline(host: str) -> int:
    """How many requests may be in flight to ``host``: only a server on this machine is trusted with several."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    return LOOPBACK_PIPELINE if loopback else 1


class TcpBus(ModbusBus):
    """A server and the slaves behind it.

    :param endpoint: how to connect to it.
    :param pipeline: how many requests may be in flight; of RTU frames, which have no numbers, it is one.
    :param framer: what frames go through the connection.
    """

    may_be_closed = True

    def __init__(
        self,
        name: str,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
        *,
        timeout: float,
        write_timeout: float,
        pipeline: int,
        framer: Literal["socket", "rtu"] = "socket",
    ) -> None:
        super().__init__(name, endpoint, clock, timeout=timeout, write_timeout=write_timeout)
        self.framing = "mbtcp" if framer == "socket" else "mbrtu"
        self.gap = GAP if framer == "socket" else gap(TUNNELLED)
        self._framing = SocketFraming if framer == "socket" else RtuFraming
        self._line = Pipeline(pipeline) if framer == "socket" else Turns(clock, timeout)
        #: for a server that closes after an answer: of what it was sent besides, nobody knows what became
        self._careful = Pipeline(1) if framer == "socket" else self._line

    def _make(self) -> Connection:
        line = self._careful if self.short_lived else self._line
        return Connection(self, self._clock, self.timeout, self._framing(), line)
