"""The WebSocket, on Autobahn: connections, the transport's signals, and the upgrade from HTTP."""

from __future__ import annotations

from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny, ConnectionRequest
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from evok_twisted.api.http import options
from evok_twisted.api.hub import Hub
from evok_twisted.api.limits import Allowance, Guest
from evok_twisted.api.session import Session
from evok_twisted.core.desk import Desk, Desks
from evok_twisted.core.events import Change
from evok_twisted.core.filters import DEFAULT, Filter
from evok_twisted.core.identity import ANONYMOUS, Identity
from evok_twisted.logs import Logger, MutedLogger, Repeats
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import DIALECTS, Dialect

#: Seconds after which a client that reads nothing is closed.
STALL_LIMIT = 60
#: Seconds that clients have to answer the close at the end of the service.
GOODBYE = 0.5
#: Seconds that a client has to answer any other close, before it is dropped.
CLOSE_PATIENCE = 5
#: Close codes of RFC 6455.
GOING_AWAY, POLICY_VIOLATION = 1001, 1008

#: A key that Autobahn takes.
ANY_KEY = b"AAAAAAAAAAAAAAAAAAAAAA=="

#: Bytes of the shortest frame of a client, and fragments that a message may have.
SHORTEST_FRAME, MOST_FRAGMENTS = 6, 1024

#: Hosts of clients of which it is remembered what was told.
MOST_TOLD = 1000

#: Seconds that a client's frames may take in one turn; then it waits four times as long as they took.
LONGEST_TURN = 0.002

#: Seconds between two pings, and how many a client may leave without a sign of life.
PING_INTERVAL = 30
PATIENCE = 2


@implementer(IPushProducer)
class Connection(WebSocketServerProtocol):
    """One client.

    While it does not read what it is sent (its transport says so), changes are not queued: the devices that changed
    are remembered, and told of once, with their latest state, when it reads again. Its own frames wait meanwhile, as
    they do while it sends more than it may: nothing is read from its socket then. Every frame counts, for every one
    costs something, pings and the empty ones too.

    Autobahn has hundreds of attributes; ours begin with ``evok``.
    """

    _log = Logger()
    log = MutedLogger()  # Autobahn's

    def __init__(self) -> None:
        super().__init__()
        self.evok_desk: Desk | None = None
        self.evok_session: Session | None = None
        self.evok_stalled = False
        self.evok_missed: dict[Device, None] = {}
        self.evok_fragments = 0
        self.evok_turn = 0.0
        self.evok_allowance = Allowance(1, 0.0)
        self.evok_throttled: IDelayedCall | None = None
        self.evok_patience: IDelayedCall | None = None
        self.evok_unanswered = 0
        self.evok_next_ping: IDelayedCall | None = None
        self.evok_guest: Guest | None = None
        #: what the client has sent as ``Sec-WebSocket-Key``
        self.evok_key = ""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.evok_guest is not None:
            self.evok_guest.leave()
        super().connectionLost(reason)

    def onConnect(self, request: ConnectionRequest) -> None:
        dialect: Dialect | None = None
        for name in request.params.get("dialect", ()):
            if name not in DIALECTS:
                raise ConnectionDeny(400, f"unknown dialect, expected one of {', '.join(DIALECTS)}")
            dialect = name
        self.evok_desk = self.factory.desks(Identity(ANONYMOUS, "websocket"), dialect)
        if self.evok_key:
            self._wskey = self.evok_key

    def onOpen(self) -> None:
        assert self.evok_desk is not None  # since onConnect
        self.evok_session = self.factory.session(self, self.evok_desk)
        self.evok_allowance = Allowance(self.factory.max_message_rate, self.factory.reactor.seconds())
        if ITCPTransport.providedBy(self.transport):
            # Autobahn's own option comes to nothing: it is applied before the protocol has its options
            self.transport.setTcpNoDelay(True)
        self.registerProducer(self, True)
        self.factory.connections[self] = None
        self.evok_listen(DEFAULT)
        self.evok_next_ping = self.factory.reactor.callLater(PING_INTERVAL, self.evok_ping)
        self._log.debug("{peer} connected", peer=self.peer)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.hub.leave(self)
        self.factory.connections.pop(self, None)
        for call in (self.evok_next_ping, self.evok_patience, self.evok_throttled):
            if call is not None and call.active():
                call.cancel()
        self.evok_missed.clear()
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

    def consumeData(self) -> None:
        self.evok_turn = self.factory.reactor.seconds()
        super().consumeData()

    def processData(self) -> bool:
        """Take what comes next of what was received, if this client may have it taken now; whether there was any."""
        if self.evok_stalled or self.evok_throttled is not None:
            return False
        if self.current_frame is None and len(self.data) >= SHORTEST_FRAME:
            now = self.factory.reactor.seconds()
            lasted = now - self.evok_turn
            wait = 4 * lasted if lasted > LONGEST_TURN else self.evok_allowance.take(now)
            if wait:
                self.evok_throttled = self.factory.reactor.callLater(wait, self.evok_go_on)
                self.transport.pauseProducing()
                return False
        processed: bool = super().processData()
        return processed

    def onMessageBegin(self, isBinary: bool) -> None:
        self.evok_fragments = 0
        super().onMessageBegin(isBinary)

    def onMessageFrameBegin(self, length: int) -> None:
        self.evok_fragments += 1
        if self.evok_fragments > MOST_FRAGMENTS:
            self.evok_close(POLICY_VIOLATION, f"a message has at most {MOST_FRAGMENTS} fragments")
        super().onMessageFrameBegin(length)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.evok_session is not None:
            self.evok_session.handle(payload)

    def evok_go_on(self) -> None:
        """The client has waited."""
        self.evok_throttled = None
        self.evok_read()

    def evok_read(self) -> None:
        """Take what was received, and read from the socket again, if there is nothing against it."""
        self.consumeData()
        if not self.evok_stalled and self.evok_throttled is None:
            self.transport.resumeProducing()

    def evok_send(self, payload: bytes) -> None:
        """Send one message, if the client is still there."""
        if self.state == self.STATE_OPEN:
            # prepared, for the limit of what a client may send would hold for what it is sent in sendMessage
            self.sendPreparedMessage(self.factory.prepareMessage(payload))

    def evok_listen(self, wanted: Filter) -> None:
        """Hear from now on what ``wanted`` accepts."""
        if self.evok_desk is not None:
            self.factory.hub.join(self, self.evok_desk, wanted)

    def deliver(self, message: Any, changes: tuple[Change, ...]) -> None:
        """Take a prepared message: the ``Client`` of a ``Hub``."""
        if self.evok_stalled:
            self.evok_missed.update(dict.fromkeys(device for device, _ in changes))
        elif self.state == self.STATE_OPEN:
            self.sendPreparedMessage(message)

    # The transport tells whether the client reads.

    def pauseProducing(self) -> None:
        self.evok_stalled = True
        self.transport.pauseProducing()
        if self.evok_patience is None:
            self.evok_patience = self.factory.reactor.callLater(STALL_LIMIT, self.evok_give_up)

    def evok_give_up(self) -> None:
        """The client has read nothing for too long."""
        self.evok_patience = None
        self._log.info("{peer} has read nothing for {n} s; closed", peer=self.peer, n=STALL_LIMIT)
        self.factory.hub.leave(self)
        self.evok_close(POLICY_VIOLATION, "messages are not read")

    def _fail_connection(self, code: int = GOING_AWAY, reason: str = "going away") -> None:
        if self.state == self.STATE_OPEN:
            told = self.factory.telling(self.transport.getPeer())
            told.warn("{peer} is closed with {code}: {why}", peer=self.peer, code=code, why=reason)
        super()._fail_connection(code, reason)

    def evok_close(self, code: int, reason: str) -> None:
        """Close, with a code that ``sendClose`` would not take; a client that does not answer is dropped."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode(), isReply=False)
            # Autobahn's own timer for this is on a global clock
            self.evok_patience = self.factory.reactor.callLater(CLOSE_PATIENCE, self.dropConnection, True)

    def resumeProducing(self) -> None:
        self.evok_stalled = False
        if self.evok_patience is not None:
            self.evok_patience.cancel()
            self.evok_patience = None
        if self.evok_missed and self.evok_desk is not None:
            missed, self.evok_missed = tuple(self.evok_missed), {}
            self.evok_send(self.evok_desk.listing(missed))
        self.evok_read()

    def stopProducing(self) -> None:
        """The transport is gone; ``onClose`` follows."""


class ConnectionFactory(WebSocketServerFactory):
    """Makes connections, and keeps what they share.

    :param all_filtered: whether the command ``all`` answers with what the client's filter accepts only.
    :param max_message_size: in bytes; a client that sends more is closed with 1009.
    :param max_message_rate: frames a second that a client may send, messages and all others; more have to wait.
    :ivar connections: those that are open.
    """

    _log = Logger()

    noisy = False
    protocol = Connection

    def __init__(
        self,
        desks: Desks,
        reactor: IReactorTime,
        *,
        all_filtered: bool = False,
        max_clients: int = 1024,
        max_message_size: int = 65536,
        max_message_rate: int = 200,
    ) -> None:
        super().__init__(server="evok-twisted", reactor=reactor)
        self.desks = desks
        self.max_message_rate = max_message_rate
        self.hub = Hub(self.prepareMessage)
        self.connections: dict[Connection, None] = {}
        self._all_filtered = all_filtered
        self._told: dict[str, Repeats] = {}
        self.setProtocolOptions(
            maxConnections=max_clients,
            maxMessagePayloadSize=max_message_size,
            maxFramePayloadSize=max_message_size,
            closeHandshakeTimeout=CLOSE_PATIENCE,
            failByDrop=False,  # a close frame with its code, not a dropped line
            webStatus=False,  # who asks without an upgrade gets an error, not a page about Autobahn
        )

    async def stop(self) -> None:
        """Tell every client that the service goes away, and wait a moment for them."""
        for connection in tuple(self.connections):
            connection.evok_close(GOING_AWAY, "the service stops")
        end = self.reactor.seconds() + GOODBYE
        while self.connections and self.reactor.seconds() < end:
            await deferLater(self.reactor, 0.01)

    def session(self, connection: Connection, desk: Desk) -> Session:
        """What a connection's client talks to."""
        return Session(
            desk,
            all_filtered=self._all_filtered,
            send=connection.evok_send,
            listen=connection.evok_listen,
            peer=connection.peer or "",
            told=self.telling(connection.transport.getPeer()),
        )

    def telling(self, peer: Any) -> Repeats:
        """What tells of one client, by its host: however often it connects."""
        host = str(getattr(peer, "host", ""))
        if len(self._told) > MOST_TOLD:
            self._told = {host: told for host, told in self._told.items() if told.going_on}
        return self._told.setdefault(host, Repeats(self._log, self.reactor, burst=1))


class UpgradeResource(Resource):
    """Where HTTP requests become WebSocket connections.

    Autobahn reads the handshake once more. What is checked here already, or what Evok's clients have and it would not
    take, it is not shown: origins, and keys that are not 16 bytes in Base64 (FHEM's).
    """

    isLeaf = True

    def __init__(self, factory: ConnectionFactory) -> None:
        super().__init__()
        self._factory = factory

    def render(self, request: Request) -> Any:
        if request.method == b"OPTIONS":
            return options(request, (b"GET", b"OPTIONS"))
        channel: Any = request.channel
        connection: Any = self._factory.buildProtocol(request.getClientAddress())
        headers = request.requestHeaders.copy()
        headers.removeHeader(b"origin")
        keys = headers.getRawHeaders(b"sec-websocket-key", ())
        if len(keys) == 1 and keys[0].strip():
            connection.evok_key = keys[0].decode("latin-1").strip()
            headers.setRawHeaders(b"sec-websocket-key", [ANY_KEY])
        # the connection was born on an HTTP channel, whose idle timeout must not close it later and whose place as the
        # transport's producer the WebSocket takes
        channel.setTimeout(None)
        transport, channel.transport = channel.transport, None
        transport.unregisterProducer()
        connection.evok_guest, channel.guest = channel.guest, None
        channel.successor = connection
        if isinstance(transport, ProtocolWrapper):  # TLS
            transport.wrappedProtocol = connection
        else:
            transport.protocol = connection
        connection.makeConnection(transport)
        transport.resumeProducing()
        lines = [b"%b: %b" % (name, b",".join(values)) for name, values in headers.getAllRawHeaders()]
        connection.dataReceived(b"\r\n".join([b"%b %b HTTP/1.1" % (request.method, request.uri), *lines, b"", b""]))
        return NOT_DONE_YET
