"""Serial ports: how they are opened, written to and lost."""

from __future__ import annotations

import os
import termios
from contextlib import suppress
from typing import Any, NamedTuple, cast

from serial import Serial
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.serialport import SerialPort
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer


class SerialSettings(NamedTuple):
    """A serial port: ``path`` of its device, ``baudrate``, ``parity`` (N, E, O), ``stopbits`` (1, 2)."""

    path: str
    baudrate: int = 19200
    parity: str = "N"
    stopbits: int = 1


class _Serial(Serial):
    def __init__(self, path: str, **settings: Any) -> None:
        # exclusive: a second master on the line would garble both. The inter-byte timeout makes reading an empty port
        # no end of file, so that an end of file means that the device is gone
        super().__init__(path, exclusive=True, inter_byte_timeout=0.0, **settings)


class SerialTransport(SerialPort):
    """A serial port as the transport of frames.

    A frame goes out at once, or the port is lost: nothing waits here to be sent later.
    """

    _serialFactory = _Serial  # type: ignore[assignment]
    _closing: Failure | None = None

    def write(self, data: bytes) -> None:
        """Send a frame; what has come before it and was not read yet is dropped."""
        if self._closing is not None:
            return
        try:
            self._serial.reset_input_buffer()
            if os.write(self.fileno(), data) == len(data):
                return
            error = ConnectionLost("it does not take a whole frame")
        except (OSError, termios.error) as why:
            error = ConnectionLost(str(why))
        self._close(Failure(error))

    def discard_output(self) -> None:
        """Drop what was written and is not on the line yet."""
        with suppress(OSError, termios.error):  # a port that is gone has no output, and its loss is told elsewhere
            self._serial.reset_output_buffer()

    def loseConnection(self) -> None:
        self._close(Failure(ConnectionDone()))

    abortConnection = loseConnection

    def _close(self, reason: Failure) -> None:
        # not at once: whoever writes does not expect to lose the connection in the middle of that
        if self._closing is None and self.connected:
            self._closing = reason
            cast(IReactorTime, self.reactor).callLater(0, self._closed, reason)

    def _closed(self, reason: Failure) -> None:
        if self.connected:
            self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        # what a port says that hangs up is of no use
        reason = self._closing or Failure(ConnectionLost("the device is gone"))
        # or closing it may wait for the line to take it
        self.discard_output()
        super().connectionLost(reason)


@implementer(IStreamClientEndpoint)
class SerialEndpoint:
    """Opens a serial port; fails with ``ConnectError``."""

    def __init__(self, settings: SerialSettings, reactor: Any) -> None:
        self._settings = settings
        self._reactor = reactor

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        return deferLater(self._reactor, 0, self._open, factory)

    def _open(self, factory: IProtocolFactory) -> IProtocol:
        path, baudrate, parity, stopbits = self._settings
        protocol = factory.buildProtocol(cast(Any, None))
        assert protocol is not None
        try:
            SerialTransport(protocol, path, self._reactor, baudrate, parity=parity, stopbits=stopbits)
        except (OSError, ValueError, termios.error) as error:
            raise ConnectError(string=str(error)) from error
        return protocol
