"""HTTP/1.1 on one connection: what one client can have read, kept and done at once is bounded, for the others' sake."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.server import Request

from evok_twisted.api.http import NOBODY, failed, failure, refused
from evok_twisted.api.limits import Guest, counted
from evok_twisted.errors import EvokError
from evok_twisted.logs import QuietLogger

#: Seconds, from the first byte of a request, in which its headers have to be complete, and its body.
HEADERS_TIME = 10.0
BODY_TIME = 30.0
#: HTTP's status for a request that may well be taken at another time.
BUSY = 503
#: Seconds that a client whose request was refused has to take the answer; and where there are too many of them.
LINGER = 1.0
BRIEFLY = 0.25
#: Bytes that are parsed in one turn of the reactor, so that what is expensive to parse holds up nobody for long.
SLICE = 4096
#: Bytes of a body that there is always room for: whatever others do, a set can be sent.
SMALL_BODY = 8192
#: Bytes that a chunk counts as, besides those in it: without that, a body in chunks of one byte costs far too much.
CHUNK = 256

#: A request target with a scheme and a host.
_ABSOLUTE = re.compile(rb"(?:https?|wss?)://(?P<host>[^/?#\s]*)(?P<path>[^\s]*)\Z", re.IGNORECASE)
#: Where the headers of a request may end as FHEM lets them.
_WEBSOCKET = re.compile(rb"/ws/?(?:\?.*)?\Z")


class BoundedRequest(Request):
    """A request as every resource here meets it.

    Its body is in memory, and no larger than the site takes; a larger one was answered with 413 at its bound. It comes
    from no browser, or from a page that may talk to us; any other was answered with 403.
    """

    #: whose it is
    identity = NOBODY
    #: of its body: bytes that count against its bound, and those that are counted among all that wait
    _counted = 0
    _kept = 0
    _per_chunk = 0
    _content_types: Sequence[bytes] = ()

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()  # Twisted would put a large body into a temporary file
        self._per_chunk = CHUNK if length is None else 0
        if length is not None and length > self._site.max_body:
            self._refuse_size()

    def handleContentChunk(self, data: bytes) -> None:
        channel: Any = self.channel
        if channel.refused:
            return
        self._counted += len(data) + self._per_chunk
        if self._counted > self._site.max_body:
            self._refuse_size()
        elif not self._keep(self._counted - SMALL_BODY - self._kept):
            channel.refuse(BUSY, b"Service Unavailable", "Busy", "too many large bodies are under way; try again")
        else:
            super().handleContentChunk(data)

    def _keep(self, more: int) -> bool:
        """Count ``more`` bytes of this body among those that wait, if there is room."""
        if more > 0:
            if not self._site.bodies.take(self._host, more):
                return False
            self._kept += more
        return True

    def _refuse_size(self) -> None:
        channel: Any = self.channel
        message = f"the body is larger than {self._site.max_body} bytes"
        if self._per_chunk:
            message += f", with {CHUNK} for each of its chunks"
        channel.refuse(413, b"Content Too Large", "TooLarge", message)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        channel: Any = self.channel
        if channel.refused:
            return  # answered already, at its bound: what came after that is not done
        absolute = _ABSOLUTE.match(path)  # as clients of a proxy write it: its host is the one that is asked for
        if absolute is not None:
            self.requestHeaders.setRawHeaders(b"host", [absolute["host"]])
            path = absolute["path"] if absolute["path"][:1] == b"/" else b"/" + absolute["path"]
        # Twisted would parse forms itself, of any number of fields; whoever wants one does
        self._content_types = self.requestHeaders.getRawHeaders(b"content-type", ())
        self.requestHeaders.removeHeader(b"content-type")
        super().requestReceived(command, path, version)

    def process(self) -> None:
        self._give()
        self.requestHeaders.setRawHeaders(b"content-type", self._content_types)
        objection = self._site.origins.objection(self.method, self.requestHeaders)
        if objection:
            self.write(failed(self, "Forbidden", objection, 403))
            self.finish()
            return
        origin = self.getHeader(b"origin")
        if origin is not None:
            self.setHeader(b"access-control-allow-origin", origin)
            self.setHeader(b"vary", b"Origin")
            self.setHeader(b"content-security-policy", b"frame-ancestors 'none'")
        try:
            self.identity = self._site.gate.admit(self)
        except EvokError as error:
            self.write(refused(self, error))
            self.finish()
            return
        super().process()

    def connectionLost(self, reason: Failure) -> None:
        self._give()
        super().connectionLost(reason)

    def _give(self) -> None:
        kept, self._kept = self._kept, 0
        if kept:
            self._site.bodies.give(self._host, kept)

    @property
    def _host(self) -> str:
        channel: Any = self.channel
        host: str = channel.host
        return host

    @property
    def _site(self) -> Any:
        channel: Any = self.channel
        return channel.site


class Channel(HTTPChannel):
    """HTTP/1.1 on one connection.

    A client that does not take its answers is not read. One that sends requests without waiting for answers has one of
    them done in a turn of the reactor. Of larger headers Twisted answers 400 itself.

    :ivar successor: the protocol that has taken the connection over.
    :ivar guest: this connection, as the doorkeeper knows it.
    :ivar refused: whether a request was refused before it was complete; what still comes is thrown away.
    :ivar host: the client's address; nothing where that is this machine.
    """

    _log = QuietLogger()  # it tells of every client that is timed out

    site: Any

    def __init__(self) -> None:
        super().__init__()
        self.refused = False
        self.host = ""
        self.successor: Protocol | None = None
        self.guest: Guest | None = None
        self._begun = 0.0
        self._deadline: IDelayedCall | None = None
        self._lingering: IDelayedCall | None = None
        #: what was received and not parsed yet
        self._unparsed = b""
        #: what is done, and its requestDone not called yet
        self._answered: Request | None = None
        self._later: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self.totalHeadersSize = self.MAX_LENGTH = self.site.max_header
        self.host = counted(self.getPeer())
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        if self.refused:
            return
        self._unparsed += data
        if self._later is None:
            self._parse()

    def _parse(self) -> None:
        """Parse up to the end of one request, or a slice of chunks; until the rest is parsed, no more is read."""
        while self._unparsed and not self.refused and not self._handlingRequest:
            size = SLICE
            if not self.line_mode and self.length is not None and self._transferDecoder is not None:
                size = self._transferDecoder.contentLength  # all of a plain body: it is cheap
            data, self._unparsed = self._unparsed[:size], self._unparsed[size:]
            super().dataReceived(data)
            if self._transferDecoder is not None and self.length is None:
                break
        if self.successor is not None:
            self._hand_over(self.successor)
        elif self.refused:
            self._forget()
        elif self._unparsed:
            self._networkProducer.pauseProducing()
            if not self._handlingRequest:
                self._go_on_later()
        self._watch_deadline()

    def _forget(self) -> None:
        """Keep nothing of a request that was refused: the connection may linger."""
        self._unparsed = b""
        requests, self.requests = self.requests, []
        for request in requests:
            request.connectionLost(Failure(connectionDone.value))

    def setLineMode(self, extra: bytes = b"") -> None:
        self.line_mode = 1
        self._unparsed = extra + self._unparsed  # it had come before

    def _hand_over(self, successor: Protocol) -> None:
        """What came right behind a request for an upgrade is for the protocol that it upgraded to."""
        data, self._unparsed = b"".join(self._dataBuffer) + self._unparsed, b""
        self._dataBuffer.clear()
        if data:
            successor.dataReceived(data)

    def _go_on_later(self) -> None:
        if self._later is None:
            self._later = self.callLater(0, self._go_on)

    def _go_on(self) -> None:
        self._later = None
        answered, self._answered = self._answered, None
        if answered is not None:
            super().requestDone(answered)
        if self._unparsed and not self._handlingRequest:
            self._parse()
        if self.persistent and not self._unparsed and not self._waitingForTransport:
            self._networkProducer.resumeProducing()

    def requestDone(self, request: Request) -> None:
        if self.persistent and (self._waitingForTransport or self._buffer or self._unparsed or self._dataBuffer):
            # the next of a row waits until this answer is taken, and until others had their turn
            self._answered = request
            if self._waitingForTransport:
                self.setTimeout(self._savedTimeOut)
            else:
                self._go_on_later()
        else:
            super().requestDone(request)

    def pauseProducing(self) -> None:
        super().pauseProducing()
        self._networkProducer.pauseProducing()  # whatever is under way

    def resumeProducing(self) -> None:
        if self._answered is None and not self._unparsed:
            super().resumeProducing()
            return
        self._waitingForTransport = False
        if self._answered is not None:
            self.setTimeout(None)
        self._go_on_later()

    # A request has its time from its first byte on, however slowly its bytes come.

    def _watch_deadline(self) -> None:
        receiving = bool(self._buffer or self.requests) and not self._handlingRequest and not self.refused
        if not receiving:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            return
        now = self.site.reactor.seconds()
        if self._deadline is None:
            self._begun = now
            self._deadline = self.callLater(HEADERS_TIME, self._too_late)
        if not self.line_mode and self._deadline.getTime() < self._begun + BODY_TIME:
            self._deadline.reset(self._begun + BODY_TIME - now)

    def _too_late(self) -> None:
        self._deadline = None
        what = "headers were" if self.line_mode else "body was"
        seconds = HEADERS_TIME if self.line_mode else BODY_TIME
        self.refuse(408, b"Request Timeout", "TooSlow", f"the request's {what} not complete in {seconds:g} s")
        self._forget()

    def lineReceived(self, line: bytes) -> None:
        if line.endswith(b"\n") and self.requests and self._command == b"GET" and _WEBSOCKET.match(self._path):
            # the headers of FHEM's handshake end in LF CR LF
            if line != b"\n":
                super().lineReceived(line[:-1])
            line = b""
        super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse(400, b"Bad Request", "BadRequest", f"a line of the headers is longer than {self.MAX_LENGTH} bytes")

    def _send100Continue(self) -> None:
        if not self.refused:
            super()._send100Continue()

    def refuse(self, status: int, phrase: bytes, name: str, message: str) -> None:
        """Answer a request that is not complete, and close the connection.

        What still comes is thrown away for a moment: a connection that is closed with something unread in it is reset,
        and many a client would not see the answer. Where there is too much already, even that is too much.
        """
        if self.refused or self.transport is None:
            return
        self.refused = True
        body = failure(name, message)
        head = b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        self.transport.write(head % (status, phrase, len(body)) + body)
        transport: Any = self.transport
        self._lingering = self.callLater(BRIEFLY if status == BUSY else LINGER, transport.abortConnection)
        self._watch_deadline()
        self.loseWriteConnection()
        if status == BUSY:
            self._networkProducer.pauseProducing()

    def loseWriteConnection(self) -> None:
        """Say that nothing more is coming, where the transport can."""
        half_close = getattr(self.transport, "loseWriteConnection", None)
        if half_close is not None:
            half_close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        for call in (self._deadline, self._lingering, self._later):
            if call is not None and call.active():
                call.cancel()
        self._answered = None
        if self.guest is not None:
            self.guest.leave()
        super().connectionLost(reason)
