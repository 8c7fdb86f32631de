"""An owserver, reached whenever there is something to ask, and looked for while it does not answer.

Twisted's ``ClientService`` is not used here: it would connect for ever to a server that keeps no connection, and where
its ``prepareConnection`` asks the server something first, a connection that is lost meanwhile ends in ``NoTransition``
(Twisted 26.10).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, TimeoutError, fail
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IProtocol, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from evok_twisted.bus.ownet import LONGEST_PAYLOAD, Answer, Message, OwServerProtocol, StillBusy
from evok_twisted.conditions import Condition, Signal, Subscription, Timer, backoff
from evok_twisted.errors import BadAnswer, Busy, EvokError, Offline, Refused, Timeout
from evok_twisted.logs import Logger

#: longest wait between two attempts to reach a server that is down, in seconds
SLOWEST_RETRY = 5.0
#: longest wait for a connection, in seconds
CONNECT_TIMEOUT = 3.0


def retry_delay(attempt: int) -> float:
    """Seconds to wait before the ``attempt``-th try to reach a server that is down, counted from 1."""
    return backoff(attempt, 0.1, SLOWEST_RETRY)


class OwServer:
    """An owserver, reached when there is something to ask (a ``core.sensorscanner.OwServer``).

    :param name: of the bus, for people.
    :param endpoint: how to connect to it.
    :param limit: how many requests may wait; one more is refused with ``Busy``.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
        *,
        timeout: float = 5.0,
        longest: float = 30.0,
        limit: int = 64,
    ) -> None:
        self.name = name
        self._endpoint = endpoint
        self._clock = clock
        self._times = (timeout, longest)
        self._limit = limit
        self._turn = DeferredLock()
        self._protocol: OwServerProtocol | None = None
        self._connecting: Deferred[IProtocol] | None = None
        self._retry = Timer(clock, self.start)
        self._attempts = 0
        self._turned: Signal[[bool]] = Signal(self._log)
        self._down = Condition(self._log, clock, lasts=None)
        #: looks for the server while it runs
        self.service = _Running(self)

    def __repr__(self) -> str:
        return f"owserver of bus {self.name}"

    @property
    def online(self) -> bool:
        """Whether the server answers; while not, requests fail at once."""
        return self._down.lasts is False

    def watch(self, watcher: Callable[[bool], object]) -> Subscription:
        """Call ``watcher`` with ``online`` when that is known first, and whenever it changes."""
        return self._turned.watch(watcher)

    def directory(self, path: str) -> Deferred[list[str]]:
        """The full paths of everything in a directory."""
        return self._request(Message.DIRALL, path).addCallback(_good, path).addCallback(_names)

    def read(self, path: str) -> Deferred[str]:
        """The text of a property, without the blanks around it; ``Refused`` where it cannot be read."""
        return self._request(Message.READ, path, size=LONGEST_PAYLOAD).addCallback(_good, path).addCallback(_text)

    def write(self, path: str, text: str) -> Deferred[None]:
        """Write a property; ``Refused`` where that is not possible."""
        data = text.encode()
        asked = self._request(Message.WRITE, path, data, len(data))
        return asked.addCallback(_good, path).addCallback(lambda _: None)

    def present(self, path: str) -> Deferred[bool]:
        """Whether a sensor is on the bus."""
        return self._request(Message.PRESENT, path).addCallback(lambda answer: answer.code >= 0)

    def _request(self, message: Message, path: str, data: bytes = b"", size: int = 0) -> Deferred[Answer]:
        if len(self._turn.waiting) >= self._limit:
            return fail(Busy(f"{self._limit} requests wait for the {self!r} already"))
        return Deferred.fromCoroutine(self._in_turn(message, path.encode() + b"\0" + data, size))

    async def _in_turn(self, message: Message, payload: bytes, size: int) -> Answer:
        await self._turn.acquire()
        try:
            self._check_up()
            return await self._ask(message, payload, size)
        except StillBusy as error:
            still = Timeout(str(error))
            still.sent = True
            raise still from None
        except (Offline, Timeout, BadAnswer) as error:
            self._lost(error)
            raise
        finally:
            self._turn.release()

    def _check_up(self) -> None:
        if not self.online:
            raise Offline(f"the {self!r} does not answer")

    async def _ask(self, message: Message, payload: bytes = b"", size: int = 0) -> Answer:
        kept, sent = self._protocol, False
        try:
            if kept is not None:
                sent = True
                try:
                    return self._take(kept, await kept.request(message, payload, size))
                except Offline:
                    # it may have been closed for having been idle, just now: only a fresh one tells. What is asked and
                    # written here can be so twice
                    pass
            protocol = await self._connect()
            sent = True
            return self._take(protocol, await protocol.request(message, payload, size))
        except EvokError as error:
            error.sent = sent
            raise

    def _take(self, protocol: OwServerProtocol, answer: Answer) -> Answer:
        if not answer.persistent:  # the server has enough connections, or keeps none
            self._protocol = None
            protocol.transport.loseConnection()
        return answer

    async def _connect(self) -> OwServerProtocol:
        if not self.service.running:
            raise Offline(f"the {self!r} is not to be asked any more")
        factory = _Factory.forProtocol(lambda: OwServerProtocol(self._clock, *self._times, self._closed))
        self._connecting = self._endpoint.connect(factory)
        self._connecting.addTimeout(CONNECT_TIMEOUT, self._clock)
        try:
            protocol = await self._connecting
        except (ConnectError, ConnectingCancelledError, OSError, ValueError, TimeoutError, CancelledError) as error:
            raise Offline(f"cannot be connected: {str(error) or type(error).__name__}") from None
        finally:
            self._connecting = None
        assert isinstance(protocol, OwServerProtocol)
        self._protocol = protocol
        return protocol

    def _closed(self, protocol: OwServerProtocol) -> None:
        if self._protocol is not protocol:
            return
        self._protocol = None
        if not protocol.busy and self.online and not self._retry.running:
            # it was idle, or the server is gone: see which
            self._retry.start(retry_delay(1))

    def start(self) -> None:
        """Look for the server, and go on until it answers."""
        self._attempts += 1
        Deferred.fromCoroutine(self._probe())

    async def _probe(self) -> None:
        await self._turn.acquire()
        try:
            await self._ask(Message.NOP)
        except (Offline, Timeout, BadAnswer, StillBusy) as error:
            self._lost(error)
        else:
            self._found()
        finally:
            self._turn.release()

    def _found(self) -> None:
        self._attempts = 0
        if self.service.running and self._down.end("the {server!r} answers, after {lasted:.1f} s", server=self):
            self._turned.emit(True)

    def _lost(self, error: Exception) -> None:
        if not self.service.running:
            return
        if not self._retry.running:
            self._retry.start(retry_delay(self._attempts))
        after = " any more, after {lasted:.1f} s" if self.online else ""
        message = "the {server!r} does not answer" + after + ": {why}; retrying"
        if self._down.begin(message, server=self, why=error):
            self._turned.emit(False)

    def stop(self) -> None:
        """Ask nothing more; what is under way fails."""
        self._down.lasts = None
        self._retry.stop()
        if self._connecting is not None:
            self._connecting.cancel()
        if self._protocol is not None:
            self._protocol.transport.abortConnection()


class _Running(Service):
    """Looks for a server while it runs."""

    def __init__(self, server: OwServer) -> None:
        self._server = server

    def startService(self) -> None:
        super().startService()
        self._server.start()

    def stopService(self) -> None:
        super().stopService()
        self._server.stop()


class _Factory(Factory):
    noisy = False


def _good(answer: Answer, path: str) -> bytes:
    if answer.code < 0:
        raise Refused(f"owserver has no answer for {path}: its error {-answer.code}", -answer.code)
    return answer.payload


def _names(payload: bytes) -> list[str]:
    text = payload.rstrip(b"\0").decode("ascii", "replace")
    return [name for name in text.split(",") if name]


def _text(payload: bytes) -> str:
    return payload.decode("ascii", "replace").strip(" \0\r\n")
