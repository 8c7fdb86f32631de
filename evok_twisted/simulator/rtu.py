"""Simulated boards on a serial line: RTU frames in front of what serves Modbus TCP, and a line made of nothing."""

from __future__ import annotations

import os
import struct
import tty
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet import fdesc
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from evok_twisted.logs import Logger
from evok_twisted.simulator.server import SimulatorFactory, SimulatorProtocol, crc

#: bytes of what came that are kept: two of the longest frames
_LIMIT = 512
#: where a request says how many bytes follow, and how long it is without them, by function
_COUNTED = {15: (6, 9), 16: (6, 9), 23: (10, 13)}
_SIZES = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 22: 10}
_SHORTEST = 8


class RtuSimulatorProtocol(SimulatorProtocol):
    """Slaves on one line: each answers what is sound and meant for it, and nobody answers for one that is not there."""

    def dataReceived(self, data: bytes) -> None:
        if self._factory.echo:
            self.transport.write(data)
        self._buffer = (self._buffer + data)[-_LIMIT:]
        while (found := _find(self._buffer)) is not None:
            begin, end = found
            frame, self._buffer = self._buffer[begin : end - 2], self._buffer[end:]
            if frame[0] in self._factory.units:
                answer = self._factory.answer(struct.pack(">HHH", 0, 0, len(frame)) + frame)[6:]
                if answer:
                    self.transport.write(answer + crc(answer))


class RtuSimulatorFactory(SimulatorFactory):
    """Serves boards as ``SimulatorFactory`` does, in RTU frames: one that is not there is silent.

    :ivar echo: send back whatever comes, as an adapter does that hears itself.
    """

    def buildProtocol(self, addr: IAddress | None) -> RtuSimulatorProtocol:
        return RtuSimulatorProtocol(self)


def _find(buffer: bytes) -> tuple[int, int] | None:
    """Where the first sound request begins and ends."""
    for begin in range(len(buffer) - _SHORTEST + 1):
        function = buffer[begin + 1]
        size = _SIZES.get(function, 0)
        if function in _COUNTED:
            place, size = _COUNTED[function]
            size += buffer[begin + place] if begin + place < len(buffer) else _LIMIT
        end = begin + size
        if size and end <= len(buffer) and crc(buffer[begin : end - 2]) == buffer[end - 2 : end]:
            return begin, end
    return None


class Terminal(Service):
    """A serial device that does not exist: a pseudo-terminal, linked at ``path`` while this runs.

    :param factory: builds the protocol that is at its other end.
    """

    _log = Logger()

    def __init__(self, path: Path, factory: SimulatorFactory, reactor: Any) -> None:
        self._path = path
        self._factory = factory
        self._reactor = reactor
        self._end: _FarEnd | None = None

    def startService(self) -> None:
        """Make it.

        :raises SystemExit: it cannot be made; a service that nobody can reach would only seem to run.
        """
        super().startService()
        far, near = os.openpty()
        tty.setraw(near)  # nothing that is sent is echoed, nor taken for a line of text
        self._end = _FarEnd(far, near, self._factory.buildProtocol(None), self._reactor)
        fresh = self._path.with_name(f".{self._path.name}.new")
        try:
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self._end.name)
            fresh.replace(self._path)
        except OSError as error:
            self._log.critical("{path} cannot be made: {why}", path=self._path, why=error)
            raise SystemExit(1) from error
        self._log.info("listening: Modbus RTU at {path}", path=self._path)

    def stopService(self) -> None:
        super().stopService()
        end, self._end = self._end, None
        if end is not None:
            if self._path.is_symlink() and os.readlink(self._path) == end.name:
                self._path.unlink()
            end.connectionLost(Failure(connectionDone.value))


class _FarEnd(FileDescriptor):
    """The end of a pseudo-terminal that the slaves are at. The near one is held, too: clients come and go."""

    def __init__(self, far: int, near: int, protocol: IProtocol, reactor: Any) -> None:
        super().__init__(reactor)
        fdesc.setNonBlocking(far)
        self._far = far
        self._near = near
        self._protocol = protocol
        self.name = os.ttyname(near)
        self.connected = 1
        protocol.makeConnection(self)
        self.startReading()

    def fileno(self) -> int:
        return self._far

    def doRead(self) -> Any:
        return fdesc.readFromFD(self._far, self._protocol.dataReceived)

    def writeSomeData(self, data: bytes) -> Any:
        return fdesc.writeToFD(self._far, data)

    def connectionLost(self, reason: Failure) -> None:
        if self.connected:
            super().connectionLost(reason)
            os.close(self._far)
            os.close(self._near)
            self._protocol.connectionLost(reason)

    def abortConnection(self) -> None:
        """End it at once."""
        self.connectionLost(Failure(connectionDone.value))
