"""The HTTP side: one port for everything that clients reach."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource, Resource
from twisted.web.server import Request, Site

#: Seconds after which an idle HTTP connection is closed.
IDLE_TIMEOUT = 60


class Root(Resource):
    """``/``: says what is here."""

    def __init__(self, children: Mapping[bytes, IResource]) -> None:
        super().__init__()
        self._paths = sorted("/" + path.decode() for path in children)
        for path, child in children.items():
            self.putChild(path, child)

    def getChild(self, path: bytes, request: Request) -> Resource:
        return self if path == b"" else NotFound(self._paths)

    def render_GET(self, request: Request) -> bytes:
        return _json(request, {"service": "evok-twisted", "version": version("evok-twisted"), "paths": self._paths})


class NotFound(Resource):
    """Any path that is not there."""

    isLeaf = True

    def __init__(self, paths: list[str]) -> None:
        super().__init__()
        self._paths = paths

    def render(self, request: Request) -> bytes:
        request.setResponseCode(404)
        message = f"there is nothing here; there is {', '.join(self._paths)}"
        return _json(request, {"success": False, "errors": {"NotFound": message}})


def _json(request: Request, value: object) -> bytes:
    request.setHeader(b"content-type", b"application/json")
    return msgspec.json.encode(value)


class ApiSite(Site):
    """Serves the resources; requests are not logged, which alone would cost a tenth of a small answer."""

    noisy = False
    displayTracebacks = False

    def __init__(self, root: Resource, reactor: IReactorTime) -> None:
        super().__init__(root, timeout=IDLE_TIMEOUT, reactor=reactor)

    def log(self, request: object) -> None:
        """No access log."""
