"""A bus over a serial line: Modbus RTU through a port that may go and come back, as USB adapters do."""

from __future__ import annotations

from typing import cast

from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from evok_twisted.bus.base import Connection, ModbusBus, retry_delay
from evok_twisted.bus.line import LONGEST, Turns, character_time, gap, request_time
from evok_twisted.bus.modbus import ModbusClientProtocol
from evok_twisted.bus.rtuframing import RtuFraming
from evok_twisted.conditions import Timer
from evok_twisted.definitions import Block
from evok_twisted.serialport import SerialTransport

#: seconds for which a port must stay open, or until something comes through it, to be told of: one that opens and
#: fails at once is no better than one that does not open
SETTLED = 1.0


def _reopen_delay(attempt: int) -> float:
    # never ten times a second, as the first of a TCP connection: a port that opens may fail at once, again and again
    return retry_delay(attempt + 2)


class RtuBus(ModbusBus):
    """A serial port and the slaves on its line.

    :param endpoint: opens the port.
    :param timeout: seconds for an answer, besides those that it and the request take on the line.
    """

    framing = "mbrtu"

    def __init__(
        self,
        name: str,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
        *,
        baudrate: int,
        timeout: float,
        write_timeout: float,
    ) -> None:
        both = 2 * LONGEST * character_time(baudrate)
        super().__init__(
            name, endpoint, clock, timeout=timeout + both, write_timeout=write_timeout, retry=_reopen_delay
        )
        self.baudrate = baudrate
        self.gap = gap(baudrate)
        self._answer_timeout = timeout
        self._line = Turns(clock, timeout, baudrate)
        self._settling = Timer(clock, self.heard)

    def cost(self, block: Block) -> float:
        return request_time(self.baudrate, block.count)

    def _make(self) -> Connection:
        return _SerialConnection(self, self._clock, self._answer_timeout, RtuFraming(), self._line)

    def connected(self, protocol: ModbusClientProtocol) -> None:
        self._settling.start(SETTLED)
        super().connected(protocol)

    def lost(self, protocol: ModbusClientProtocol, why: str) -> None:
        self._settling.stop()
        super().lost(protocol, why)


class _SerialConnection(Connection):
    def _hopeless(self, late: object) -> str:
        # there is no connection to drop, and silence says nothing of the port: slaves may be off. But what the system
        # has not put on the line yet must not go there later
        cast(SerialTransport, self.transport).discard_output()
        return ""
