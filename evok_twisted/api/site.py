"""The HTTP side: one port for everything that clients reach."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

from evok_twisted.api.bulk import Bulk
from evok_twisted.api.http import BoundedRequest, JsonResource, Nowhere, Operation, json, our_version
from evok_twisted.api.openapi import OpenApi
from evok_twisted.api.origins import Origins
from evok_twisted.api.rest import Rest
from evok_twisted.api.rpc import Rpc
from evok_twisted.core.commands import Commands
from evok_twisted.core.registry import Registry
from evok_twisted.model.kinds import Dialect

#: Seconds after which an idle HTTP connection is closed.
IDLE_TIMEOUT = 60


class Root(JsonResource):
    """``/``: says what is here."""

    isLeaf = False
    paths = {"": {b"GET": Operation("What is here", {"type": "object"})}}

    def __init__(self, children: Mapping[bytes, IResource]) -> None:
        super().__init__()
        self._paths = sorted("/" + path.decode() for path in children)
        for path, child in children.items():
            self.putChild(path, child)

    def getChild(self, path: bytes, request: Request) -> Resource:
        return self if path == b"" else Nowhere(self._paths)

    def get(self, request: Request) -> bytes:
        about = {"service": "evok-twisted", "version": our_version(), "paths": self._paths}
        return json(request, msgspec.json.encode(about))


def resources(registry: Registry, commands: Commands, dialect: Dialect) -> dict[bytes, IResource]:
    """What is served under each path, but for the WebSocket.

    :param dialect: of whoever chooses none.
    """
    rest = Rest(registry, commands, dialect)
    tree: dict[bytes, IResource] = {
        b"rest": rest,
        b"json": rest,
        b"bulk": Bulk(registry, commands, dialect),
        b"rpc": Rpc(registry, commands, dialect),
        b"version": Version(),
    }
    tree[b"openapi.json"] = OpenApi(tree, registry)
    return tree


class Version(JsonResource):
    """``/version``: ``v`` and our version, as text."""

    paths = {"": {b"GET": Operation("The version, as text", None)}}

    def get(self, request: Request) -> bytes:
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b"v" + our_version().encode()


class ApiSite(Site):
    """Serves the resources; requests are not logged, which alone would cost a tenth of a small answer.

    :param origins: which web pages may talk to us; by default those of our own host.
    """

    noisy = False
    displayTracebacks = False

    def __init__(self, root: Resource, reactor: IReactorTime, origins: Origins | None = None) -> None:
        super().__init__(root, timeout=IDLE_TIMEOUT, reactor=reactor, requestFactory=BoundedRequest)
        self.origins = Origins() if origins is None else origins

    def log(self, request: object) -> None:
        """No access log."""
