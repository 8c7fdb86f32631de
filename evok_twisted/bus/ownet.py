"""The protocol of owserver (OWFS), one connection.

It is that of https://owfs.org/index_php_page_owserver-protocol.html: a header of six signed 32-bit numbers, big-endian,
and a payload. Requests carry no number, so one is in flight at a time, and a stream on which an answer is overdue
cannot be used any more.

Of the libraries, pyownet blocks, and aio-ownet (0.1.0) needs asyncio's loop, connects anew for every request and does
not ask for presence; the whole protocol is this page.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from evok_twisted.conditions import Timer
from evok_twisted.errors import BadAnswer, Offline, Timeout

HEADER = struct.Struct(">6i")

#: Flags of a request: keep the connection, and we speak for a user. (All others 0: degrees Celsius, names as 28.xxxx.)
PERSISTENT, OWNET = 0x004, 0x100

#: Of an answer, in bytes; owserver's own limit.
LONGEST_PAYLOAD = 65536


class Message(IntEnum):
    """The requests that we make."""

    NOP = 1
    READ = 2
    WRITE = 3
    PRESENT = 6
    DIRALL = 7


class Answer(NamedTuple):
    """What came back.

    :ivar code: the result; negative is an error.
    :ivar persistent: whether the connection may be used again.
    """

    code: int
    persistent: bool
    payload: bytes


class OwServerProtocol(Protocol):
    """One connection, with one request at a time.

    :param timeout: seconds for an answer or a sign of life: a server that is busy sends keep-alives.
    :param longest: seconds for an answer, whatever signs of life there are.
    :param closed: called when the connection is gone.
    """

    transport: ITCPTransport

    def __init__(
        self, clock: IReactorTime, timeout: float, longest: float, closed: Callable[[OwServerProtocol], None]
    ) -> None:
        self._timeout = timeout
        self._longest = longest
        self._closed = closed
        self._buffer = b""
        self._answer: Deferred[Answer] | None = None
        silent = Timeout(f"owserver was silent for {timeout:g} s")
        endless = StillBusy(f"owserver had no answer within {longest:g} s")
        self._silence = Timer(clock, lambda: self._give_up(silent))
        self._deadline = Timer(clock, lambda: self._give_up(endless))

    @property
    def busy(self) -> bool:
        """Whether a request waits for its answer."""
        return self._answer is not None

    def request(self, message: Message, payload: bytes, size: int = 0) -> Deferred[Answer]:
        """Ask; fails with ``Timeout``, ``StillBusy``, ``BadAnswer`` or ``Offline``, after which the connection is gone.

        :param size: of what is written, or the most that is to be read, in bytes.
        """
        assert not self.busy
        answer = self._answer = Deferred()
        self._silence.start(self._timeout)
        self._deadline.start(self._longest)
        self.transport.write(HEADER.pack(0, len(payload), message, PERSISTENT | OWNET, size, 0) + payload)
        return answer

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            version, length, code, flags, size, _ = HEADER.unpack_from(self._buffer)
            if version != 0 or not -1 <= length <= LONGEST_PAYLOAD or not (self.busy or length == -1):
                self._give_up(BadAnswer("owserver sent what is no answer to the request"))
                return
            if length == -1:  # a keep-alive
                self._buffer = self._buffer[HEADER.size :]
                if self.busy:
                    self._silence.start(self._timeout)
                continue
            end = HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = self._buffer[HEADER.size : end][: max(size, 0)]
            self._buffer = self._buffer[end:]
            asked = self._unask()
            if asked is not None:
                asked.callback(Answer(code, bool(flags & PERSISTENT), payload))

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._closed(self)
        answer = self._unask()
        if answer is not None:
            answer.errback(Offline(f"owserver closed the connection: {reason.getErrorMessage()}"))

    def _give_up(self, error: Exception) -> None:
        self._closed(self)
        answer, self._buffer = self._unask(), b""
        self.transport.abortConnection()
        if answer is not None:
            answer.errback(error)

    def _unask(self) -> Deferred[Answer] | None:
        """Wait no longer for the answer; returns who does."""
        answer, self._answer = self._answer, None
        self._silence.stop()
        self._deadline.stop()
        return answer


class StillBusy(Exception):
    """The server is alive, and works on the request for too long."""
