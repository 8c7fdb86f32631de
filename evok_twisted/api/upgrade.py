"""From HTTP to the WebSocket: what is checked before, and how a connection changes hands."""

from __future__ import annotations

from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.protocols.policies import ProtocolWrapper
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from evok_twisted.api.http import identity_of, options, refused
from evok_twisted.api.login import BY_MESSAGE
from evok_twisted.errors import Unauthorized

#: A key that Autobahn takes.
ANY_KEY = b"AAAAAAAAAAAAAAAAAAAAAA=="


class UpgradeResource(Resource):
    """Where HTTP requests become WebSocket connections.

    Autobahn reads the handshake once more. What is checked here already, or what Evok's clients have and it would not
    take, it is not shown: origins, and keys that are not 16 bytes in Base64 (FHEM's).
    """

    isLeaf = True

    def __init__(self, factory: WebSocketServerFactory) -> None:
        super().__init__()
        self._factory = factory

    def render(self, request: Request) -> Any:
        if request.method == b"OPTIONS":
            return options(request, (b"GET", b"OPTIONS"))
        identity = identity_of(request, "websocket")
        if not identity.scopes.may_read and request.args.get(b"auth") != [BY_MESSAGE.encode()]:
            message = "this takes a token: Authorization: Bearer, ?token=, or ?auth=message and a first message with it"
            return refused(request, Unauthorized(message))
        channel: Any = request.channel
        connection: Any = self._factory.buildProtocol(request.getClientAddress())
        connection.identity = identity
        headers = request.requestHeaders.copy()
        headers.removeHeader(b"origin")
        keys = headers.getRawHeaders(b"sec-websocket-key", ())
        if len(keys) == 1 and keys[0].strip():
            connection.key = keys[0].decode("latin-1").strip()
            headers.setRawHeaders(b"sec-websocket-key", [ANY_KEY])
        # the connection was born on an HTTP channel, whose idle timeout must not close it later and whose place as the
        # transport's producer the WebSocket takes
        channel.setTimeout(None)
        transport, channel.transport = channel.transport, None
        transport.unregisterProducer()
        connection.guest, channel.guest = channel.guest, None
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
