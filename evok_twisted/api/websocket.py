"""The WebSocket, on Autobahn: connections, the transport's signals, and the upgrade from HTTP."""

from __future__ import annotations

from collections import deque
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.web.server import Request
from zope.interface import implementer

from evok_twisted.api.dialects import listing
from evok_twisted.api.filters import DEFAULT, Filter
from evok_twisted.api.hub import Hub
from evok_twisted.api.session import Session
from evok_twisted.core.commands import Commands
from evok_twisted.core.registry import Registry
from evok_twisted.logs import Logger
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import DIALECTS, Dialect

#: Seconds between two pings, and how many a client may leave without a sign of life.
PING_INTERVAL = 30
PATIENCE = 2


@implementer(IPushProducer)
class Connection(WebSocketServerProtocol):
    """One client.

    While it does not read what it is sent (its transport says so), changes are not queued: the devices that changed
    are remembered, and told of once, with their latest state, when it reads again. Its own messages wait meanwhile.

    Autobahn has hundreds of attributes; ours begin with ``evok``.
    """

    _log = Logger()

    def __init__(self) -> None:
        super().__init__()
        self.evok_dialect: Dialect = "classic"
        self.evok_session: Session | None = None
        self.evok_stalled = False
        self.evok_missed: dict[Device, None] = {}
        self.evok_inbox: deque[bytes] = deque()
        self.evok_unanswered = 0
        self.evok_next_ping: IDelayedCall | None = None

    def onConnect(self, request: ConnectionRequest) -> None:
        self.evok_dialect = self.factory.dialect
        for name in request.params.get("dialect", ()):
            if name not in DIALECTS:
                raise ConnectionDeny(400, f"unknown dialect, expected one of {', '.join(DIALECTS)}")
            self.evok_dialect = name

    def onOpen(self) -> None:
        self.evok_session = self.factory.session(self)
        if ITCPTransport.providedBy(self.transport):
            # Autobahn's own option comes to nothing: it is applied before the protocol has its options
            self.transport.setTcpNoDelay(True)
        self.registerProducer(self, True)
        self.evok_listen(DEFAULT)
        self.evok_next_ping = self.factory.reactor.callLater(PING_INTERVAL, self.evok_ping)
        self._log.debug("{peer} connected", peer=self.peer)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.hub.leave(self)
        if self.evok_next_ping is not None and self.evok_next_ping.active():
            self.evok_next_ping.cancel()
        self.evok_missed.clear()
        self.evok_inbox.clear()
        self._log.debug("{peer} is gone: {code} {reason}", peer=self.peer, code=code, reason=reason)

    def dataReceived(self, data: bytes) -> None:
        self.evok_unanswered = 0  # whatever it is, somebody is there
        super().dataReceived(data)

    def evok_ping(self) -> None:
        """Ask for a sign of life; drop a client that gives none."""
        if self.evok_unanswered >= PATIENCE:
            self._log.info("{peer} is silent; dropped", peer=self.peer)
            self.dropConnection(abort=True)
            return
        self.evok_unanswered += 1
        self.sendPing()
        self.evok_next_ping = self.factory.reactor.callLater(PING_INTERVAL, self.evok_ping)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.evok_stalled:
            self.evok_inbox.append(payload)  # bounded, for while it is stalled nothing is read from its socket
        elif self.evok_session is not None:
            self.evok_session.handle(payload)

    def evok_send(self, payload: bytes) -> None:
        """Send one message, if the client is still there."""
        if self.state == self.STATE_OPEN:
            # prepared, for the limit of what a client may send would hold for what it is sent in sendMessage
            self.sendPreparedMessage(self.factory.prepareMessage(payload))

    def evok_listen(self, wanted: Filter) -> None:
        """Hear from now on what ``wanted`` accepts."""
        self.factory.hub.join(self, self.evok_dialect, wanted)

    def deliver(self, message: Any, devices: tuple[Device, ...]) -> None:
        """Take a prepared message: the ``Client`` of a ``Hub``."""
        if self.evok_stalled:
            self.evok_missed.update(dict.fromkeys(devices))
        elif self.state == self.STATE_OPEN:
            self.sendPreparedMessage(message)

    # The transport tells whether the client reads.

    def pauseProducing(self) -> None:
        self.evok_stalled = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.evok_stalled = False
        self.transport.resumeProducing()
        if self.evok_missed:
            missed, self.evok_missed = tuple(self.evok_missed), {}
            self.evok_send(listing(missed, self.evok_dialect))
        while self.evok_inbox and not self.evok_stalled and self.evok_session is not None:
            self.evok_session.handle(self.evok_inbox.popleft())

    def stopProducing(self) -> None:
        """The transport is gone; ``onClose`` follows."""


class ConnectionFactory(WebSocketServerFactory):
    """Makes connections, and keeps what they share.

    :param all_filtered: whether the command ``all`` answers with what the client's filter accepts only.
    :param max_message_size: in bytes; a client that sends more is closed with 1009.
    """

    noisy = False
    protocol = Connection

    def __init__(
        self,
        registry: Registry,
        commands: Commands,
        reactor: IReactorTime,
        *,
        dialect: Dialect = "classic",
        all_filtered: bool = False,
        max_clients: int = 1024,
        max_message_size: int = 65536,
    ) -> None:
        super().__init__(server="evok-twisted", reactor=reactor)
        self.dialect = dialect
        self.hub = Hub(self.prepareMessage)
        self._registry = registry
        self._commands = commands
        self._all_filtered = all_filtered
        self.setProtocolOptions(
            maxConnections=max_clients,
            maxMessagePayloadSize=max_message_size,
            maxFramePayloadSize=max_message_size,
            closeHandshakeTimeout=5,
            failByDrop=False,  # a close frame with its code, not a dropped line
            webStatus=False,  # who asks without an upgrade gets an error, not a page about Autobahn
        )

    def session(self, connection: Connection) -> Session:
        """What a connection's client talks to."""
        return Session(
            self._registry,
            self._commands,
            connection.evok_dialect,
            all_filtered=self._all_filtered,
            send=connection.evok_send,
            listen=connection.evok_listen,
            peer=connection.peer or "",
        )


class UpgradeResource(WebSocketResource):
    """Where HTTP requests become WebSocket connections."""

    def render(self, request: Request) -> Any:
        channel: Any = request.channel
        if channel.transport is not None:
            # the connection was born on an HTTP channel, whose idle timeout must not close it later and whose place
            # as the transport's producer the WebSocket takes
            channel.setTimeout(None)
            channel.transport.unregisterProducer()
        return super().render(request)
