"""The HTTP side: one port for everything that clients reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from evok_twisted.api.bulk import Bulk
from evok_twisted.api.channel import BoundedRequest, Channel
from evok_twisted.api.front import AlwaysThere, Context, Front
from evok_twisted.api.gate import Gate, without_token
from evok_twisted.api.http import JsonResource, Nowhere, Operation, identity_of, json, our_version, schema_of
from evok_twisted.api.limits import Bodies, Doorkeeper
from evok_twisted.api.messages import encode
from evok_twisted.api.openapi import OpenApi
from evok_twisted.api.origins import Origins
from evok_twisted.api.panel import to
from evok_twisted.api.rest import Rest
from evok_twisted.api.rpc import Rpc
from evok_twisted.core.desk import Desks
from evok_twisted.errors import Unauthorized
from evok_twisted.logs import Logger


class Root(JsonResource):
    """``/``: says what is here.

    :param children: what is served, by path; may change later.
    """

    isLeaf = False
    paths = {"": {b"GET": Operation("get", "What is here", {"type": "object"})}}

    def __init__(self, children: Mapping[bytes, IResource]) -> None:
        super().__init__()
        self._served = children

    @property
    def _paths(self) -> list[str]:
        return sorted("/" + path.decode() for path in self._served)

    def getChild(self, path: bytes, request: Request) -> IResource:
        return self if path == b"" else self._served.get(path) or Nowhere(self._paths)

    def get(self, request: Request) -> bytes:
        if b"panel" in self._served and b"text/html" in (request.getHeader(b"accept") or b""):
            request.setHeader(b"vary", b"Accept")
            return to(request, b"panel/")
        about = {"service": "evok-twisted", "version": our_version(), "paths": self._paths}
        return json(request, encode(about))


class HealthResource(JsonResource):
    """``/health``: 200 while everything that is configured works, else 503 and why."""

    paths = {
        "": {
            b"GET": Operation(
                "get",
                "How the service is: each bus, each board, and what is wrong",
                schema_of("Report"),
                also={503: "Something does not work: reasons says what"},
            )
        }
    }

    def __init__(self, desks: Desks) -> None:
        super().__init__()
        self._desks = desks

    def get(self, request: Request) -> bytes:
        try:
            report = self._desks(identity_of(request, "rest"), None).health()
        except Unauthorized:
            healthy = self._desks.healthy
            return json(request, encode({"healthy": healthy}), 200 if healthy else 503)
        return json(request, encode(report), 200 if report.healthy else 503)


def make(context: Context, _settings: AlwaysThere) -> None:
    """Serve REST, bulk requests, JSON-RPC and what describes them."""
    resources(context.desks, context.tree)


FRONT = Front(None, AlwaysThere, make)


def resources(desks: Desks, tree: dict[bytes, IResource]) -> dict[bytes, IResource]:
    """What is served under each path, put into ``tree``, of which all is described, whoever puts it there."""
    rest = Rest(desks)
    tree.update(
        {
            b"rest": rest,
            b"json": rest,
            b"bulk": Bulk(desks),
            b"rpc": Rpc(desks),
            b"health": HealthResource(desks),
            b"version": Version(),
            b"openapi.json": OpenApi(tree, desks),
        }
    )
    return tree


class Version(JsonResource):
    """``/version``: ``v`` and our version, as text."""

    paths = {"": {b"GET": Operation("get", "The version, as text", None)}}

    def get(self, request: Request) -> bytes:
        version = b"v" + our_version().encode()
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"content-length", b"%d" % len(version))
        return version


class ApiSite(Site):
    """Serves the resources.

    :param access_log: whether every request is logged, which alone costs a tenth of a small answer.
    :param origins: which web pages may talk to us; by default those of our own host.
    :param max_body: bytes that the body of a request may have; bodies that are not complete have together room for
        four such, those of one address for two.
    :param max_header: bytes that the headers of a request may have.
    :param idle: seconds after which a connection on which nothing happens is closed.
    :param door: lets connections in; what it does not let in is closed at once.
    :param gate: says whose a request is; by default everybody may do everything.
    """

    _log = Logger()

    protocol = Channel  # type: ignore[assignment]  # Twisted's own chooses between HTTP/1.1 and 2

    noisy = False
    displayTracebacks = False

    def __init__(
        self,
        root: Resource,
        reactor: IReactorTime,
        origins: Origins | None = None,
        *,
        access_log: bool = False,
        max_body: int = 1 << 20,
        max_header: int = 16384,
        idle: float = 60,
        door: Doorkeeper | None = None,
        gate: Gate | None = None,
    ) -> None:
        super().__init__(root, timeout=idle, reactor=reactor, requestFactory=BoundedRequest)
        self._door = Doorkeeper() if door is None else door
        self.origins = Origins() if origins is None else origins
        self.gate = Gate() if gate is None else gate
        self._access_log = access_log
        self.max_body = max_body
        self.max_header = max_header
        self.reactor = reactor
        self.bodies = Bodies(4 * max_body, 2 * max_body)

    def acceptableProtocols(self) -> list[bytes]:
        """What a client that negotiates (ALPN) may speak; HTTP/2 is not for WebSockets."""
        return [b"http/1.1"]

    def buildProtocol(self, addr: IAddress | None) -> Protocol:  # type: ignore[override]
        guest = self._door.enter(addr)
        if guest is None:
            return _Refused()
        channel: Channel = super().buildProtocol(addr)
        channel.guest = guest
        return channel

    def log(self, request: Request) -> None:  # type: ignore[override]
        """Tell of a request that was answered, where that is wanted."""
        if self._access_log:
            method, uri = request.method.decode(errors="replace"), without_token(request.uri.decode(errors="replace"))
            peer = request.getClientAddress()
            message = "{peer} {method} {uri} {code}"
            self._log.info(message, peer=getattr(peer, "host", peer), method=method, uri=uri, code=request.code)


class _Refused(Protocol):
    """A connection that is not let in. TLS would not take None for a protocol."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()
