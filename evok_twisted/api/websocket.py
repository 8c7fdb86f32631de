"""The WebSocket, on Autobahn: connections, the transport's signals, and the upgrade from HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from msgspec import Meta
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from evok_twisted.api.asyncapi import AsyncApi
from evok_twisted.api.client import Client
from evok_twisted.api.front import Context, Front
from evok_twisted.api.gate import SUBPROTOCOL, Gate
from evok_twisted.api.http import NOBODY
from evok_twisted.api.hub import Hub
from evok_twisted.api.limits import Guest
from evok_twisted.api.login import BY_MESSAGE, UNAUTHORIZED, Login
from evok_twisted.api.session import Session
from evok_twisted.api.traffic import Traffic, measure_clients
from evok_twisted.api.upgrade import UpgradeResource
from evok_twisted.conditions import Timer
from evok_twisted.config import FrontSettings
from evok_twisted.core.desk import Desks
from evok_twisted.core.filters import DEFAULT
from evok_twisted.core.identity import Identity
from evok_twisted.logs import Logger, MutedLogger, Repeats
from evok_twisted.model.kinds import DIALECTS, Dialect

#: Seconds that clients have to answer the close at the end of the service.
GOODBYE = 0.5
#: Seconds that a client has to answer any other close, before it is dropped.
CLOSE_TIMEOUT = 5
#: Where it is.
PATH = b"ws"
#: Close codes of RFC 6455.
GOING_AWAY, POLICY_VIOLATION = 1001, 1008

#: Bytes of the shortest frame of a client, and fragments that a message may have.
SHORTEST_FRAME, MOST_FRAGMENTS = 6, 1024

#: Hosts of clients of which it is remembered what was logged.
MOST_REPEATS = 1000


@implementer(IPushProducer)
class Connection(WebSocketServerProtocol):
    """What carries one client: Autobahn's protocol, with every frame counted and the transport's signals heeded.

    Autobahn has hundreds of attributes; ours are few.

    :ivar client: from the opening handshake on.
    :ivar guest: what is to leave when the connection ends.
    :ivar key: what the client has sent as ``Sec-WebSocket-Key``.
    :ivar identity: whose it is.
    """

    _log = Logger()
    log = MutedLogger()  # Autobahn's

    def __init__(self) -> None:
        super().__init__()
        self.client: Client | None = None
        self.guest: Guest | None = None
        self.key = ""
        self.identity = NOBODY
        self._talk: Session | None = None
        self._dialect: Dialect | None = None
        self._logging_in: Login | None = None
        self._fragments = 0
        self._closing: Timer | None = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.guest is not None:
            self.guest.leave()
        super().connectionLost(reason)

    def onConnect(self, request: ConnectionRequest) -> str | None:
        for name in request.params.get("dialect", ()):
            if name not in DIALECTS:
                raise ConnectionDeny(400, f"unknown dialect, expected one of {', '.join(DIALECTS)}")
            self._dialect = name
        if request.params.get("auth") == [BY_MESSAGE]:
            self._logging_in = Login(self, self.factory.gate, self.factory.reactor)
        if self.key:
            self._wskey = self.key
        return SUBPROTOCOL if SUBPROTOCOL in request.protocols else None

    def onOpen(self) -> None:
        factory = self.factory
        self._closing = Timer(factory.reactor, self.drop)
        factory.connections[self] = None
        if ITCPTransport.providedBy(self.transport):
            # Autobahn's own option comes to nothing: it is applied before the protocol has its options
            self.transport.setTcpNoDelay(True)
        self.registerProducer(self, True)
        self._log.debug("{peer} connected", peer=self.peer)
        if self._logging_in is None:
            self.begin(self.identity)
        else:
            self._logging_in.begin()

    def begin(self, identity: Identity) -> None:
        """Serve the client, whose identity is known now."""
        factory = self.factory
        self.identity = identity
        self._logging_in = None
        desk = factory.desks(identity, self._dialect)
        self.client = Client(self, desk, factory.hub, factory.reactor, factory.max_message_rate)
        self._talk = factory.session(self, self.client)
        self.client.listen(DEFAULT)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.connections.pop(self, None)
        if self._closing is not None:
            self._closing.stop()
        if self._logging_in is not None:
            self._logging_in.stop()
        if self.client is not None:
            self.client.leave()
        if self._talk is not None:
            self._talk.close()
        self._log.debug("{peer} is gone: {code} {reason}", peer=self.peer, code=code, reason=reason)

    def dataReceived(self, data: bytes) -> None:
        if self.client is not None:
            self.client.heard()  # whatever it is, somebody is there
        self._dataReceived(data)  # where Autobahn's own would make up a line of its log first

    def consumeData(self) -> None:
        if self.client is not None:
            self.client.begin_turn()
        super().consumeData()

    def processData(self) -> bool:
        """Take what comes next of what was received, if this client may have it taken now; whether there was any.

        Every frame counts, for every one costs something, pings and the empty ones too.
        """
        if self.client is not None:
            begins = self.current_frame is None and len(self.data) >= SHORTEST_FRAME
            if not (self.client.may_take() if begins else self.client.may_read):
                return False
        elif self._logging_in is not None and not self._logging_in.may_take():
            return False
        processed: bool = super().processData()
        return processed

    def onMessageBegin(self, isBinary: bool) -> None:
        self._fragments = 0
        super().onMessageBegin(isBinary)

    def onMessageFrameBegin(self, length: int) -> None:
        self._fragments += 1
        if self._fragments > MOST_FRAGMENTS:
            self.close_with(POLICY_VIOLATION, f"a message has at most {MOST_FRAGMENTS} fragments")
        super().onMessageFrameBegin(length)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.received.add(len(payload))
        if self._talk is not None:
            self._talk.handle(payload)
        elif self._logging_in is not None:
            self._logging_in.take(payload)

    def _fail_connection(self, code: int = GOING_AWAY, reason: str = "going away") -> None:
        if self.state == self.STATE_OPEN:
            repeats = self.factory.repeats_of(self.transport.getPeer())
            repeats.warn("{peer} is closed with {code}: {why}", peer=self.peer, code=code, why=reason)
            self.factory.hub.dropped["protocol"] += 1
        super()._fail_connection(code, reason)

    def close_with(self, code: int, reason: str) -> None:
        """Close, with a code that ``sendClose`` would not take; a client that does not answer is dropped."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode(), isReply=False)
            # Autobahn's own timer for this is on a global clock
            if self._closing is not None:
                self._closing.start(CLOSE_TIMEOUT)

    # The carrier of a client

    @property
    def name(self) -> str:
        return str(self.peer)

    def send(self, payload: bytes) -> None:
        # prepared, for the limit of what a client may send would hold for what it is sent in sendMessage
        self.send_prepared(self.factory.prepareMessage(payload))

    def send_prepared(self, message: Any) -> None:
        if self.state == self.STATE_OPEN:
            self.factory.sent.add(len(message.payloadHybi))
            self.sendPreparedMessage(message)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        if sync or chopsize or self.send_queue:
            super().sendData(data, sync, chopsize)
        else:
            self.transport.write(data)  # Autobahn's makes up a line of its log for each, a quarter of what a send costs

    def ping(self) -> None:
        self.sendPing()

    def drop(self) -> None:
        self.dropConnection(abort=True)

    def refuse(self, reason: str) -> None:
        self.close_with(POLICY_VIOLATION, reason)

    def pause(self) -> None:
        self.transport.pauseProducing()

    def resume(self) -> None:
        self.consumeData()
        if self.client is None or self.client.may_read:
            self.transport.resumeProducing()

    # The transport tells whether the client reads

    def pauseProducing(self) -> None:
        if self.client is not None:
            self.client.stall()

    def resumeProducing(self) -> None:
        if self.client is not None:
            self.client.go_on()

    def stopProducing(self) -> None:
        """The transport is gone; ``onClose`` follows."""


class WebSocketSettings(FrontSettings, frozen=True, kw_only=True):
    """``apis.websocket``.

    :ivar all_filtered: whether the command ``all`` answers with what the client's filter accepts only.
    :ivar max_message_size: in bytes; a client that sends more is closed with 1009.
    :ivar will_grace: seconds for which clients with a will are waited for after a crash of the service.
    :ivar max_message_rate: frames a second that a client may send, messages and all others; more have to wait.
    """

    enabled: bool = True
    all_filtered: bool = False
    will_grace: Annotated[float, Meta(ge=0, le=3600, description="a number of seconds, at most 3600")] = 10.0
    max_clients: Annotated[int, Meta(ge=1, description="a whole number of clients, 1 or more")] = 1024
    max_message_size: Annotated[int, Meta(ge=128, description="a whole number of bytes, 128 or more")] = 65536
    max_message_rate: Annotated[int, Meta(ge=1, description="a whole number of messages a second, 1 or more")] = 200


class ConnectionFactory(WebSocketServerFactory):
    """Makes connections, and keeps what they share.

    :ivar connections: those that are open.
    :ivar received: messages of clients.
    :ivar sent: messages to them.
    """

    _log = Logger()

    noisy = False
    protocol = Connection

    def __init__(
        self, desks: Desks, reactor: IReactorTime, settings: WebSocketSettings, gate: Gate | None = None
    ) -> None:
        super().__init__(server="evok-twisted", reactor=reactor)
        self.desks = desks
        self.gate = Gate() if gate is None else gate
        if self.gate.keyring is not None:
            self.gate.keyring.changed.watch(self._look_again)
        self.max_message_rate = settings.max_message_rate
        self.hub = Hub(self.prepareMessage)
        self.connections: dict[Connection, None] = {}
        self.received, self.sent = Traffic(), Traffic()
        self._all_filtered = settings.all_filtered
        self._repeats: dict[str, Repeats] = {}
        self.setProtocolOptions(
            maxConnections=settings.max_clients,
            maxMessagePayloadSize=settings.max_message_size,
            maxFramePayloadSize=settings.max_message_size,
            closeHandshakeTimeout=CLOSE_TIMEOUT,
            failByDrop=False,  # a close frame with its code, not a dropped line
            webStatus=False,  # who asks without an upgrade gets an error, not a page about Autobahn
        )

    def _look_again(self) -> None:
        for connection in tuple(self.connections):
            if not self.gate.still(connection.identity):
                connection.close_with(UNAUTHORIZED, "the token is of no use any more")

    async def stop(self) -> None:
        """Tell every client that the service goes away, and wait a moment for them."""
        for connection in tuple(self.connections):
            connection.close_with(GOING_AWAY, "the service stops")
        end = self.reactor.seconds() + GOODBYE
        while self.connections and self.reactor.seconds() < end:
            await deferLater(self.reactor, 0.01)

    def session(self, connection: Connection, client: Client) -> Session:
        """The session that understands what the client of ``connection`` sends."""
        return Session(
            client.desk,
            all_filtered=self._all_filtered,
            send=connection.send,
            listen=client.listen,
            watch_closely=client.watch_closely,
            peer=connection.peer or "",
            repeats=self.repeats_of(connection.transport.getPeer()),
        )

    def repeats_of(self, peer: Any) -> Repeats:
        """What tells of one client, by its host: however often it connects."""
        host = str(getattr(peer, "host", ""))
        if len(self._repeats) > MOST_REPEATS:
            self._repeats = {host: one for host, one in self._repeats.items() if one.going_on}
        return self._repeats.setdefault(host, Repeats(self._log, self.reactor, burst=1))


class _Goodbye(Service):
    """Tells clients at its end that the service goes away."""

    def __init__(self, clients: ConnectionFactory) -> None:
        self._clients = clients

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._clients.stop())


def make(context: Context, settings: WebSocketSettings) -> IService:
    """Serve the WebSocket, under the path ``PATH``."""
    clients = ConnectionFactory(context.desks, context.reactor, settings, context.gate)
    context.desks.report("clients", lambda: len(clients.connections))
    measure_clients(context.desks.meters, clients.connections, clients.hub.dropped, clients.received, clients.sent)
    context.tree[PATH] = UpgradeResource(clients)
    context.tree[b"asyncapi.json"] = AsyncApi(context.desks)
    return _Goodbye(clients)


FRONT = Front("websocket", WebSocketSettings, make)
