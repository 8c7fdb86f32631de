"""``/panel/``: a page on which a person sees and operates the unit, over ``/ws`` and HTTP as every client."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
from twisted.web.server import Request

from evok_twisted import panel
from evok_twisted.api.front import Context, Front, chosen
from evok_twisted.api.http import DeskResource, Nowhere, Operation, json, not_allowed, options, path_of, schema_of
from evok_twisted.api.messages import encode
from evok_twisted.config import FrontSettings
from evok_twisted.core.desk import Desk, Desks
from evok_twisted.core.filters import Filter
from evok_twisted.core.identity import CONFIGURING, OPERATING, VIEWER, Identity
from evok_twisted.errors import BadValue

STATIC = Path(panel.__file__).parent / "static"

#: By the ends of names, what files are.
TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}

#: What the page may do: nothing but what it is made for, and nothing with anybody else.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

_HEADERS: Mapping[str, str] = {
    "cache-control": "no-cache",
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "vary": "Accept-Encoding",
}

_METHODS = (b"GET", b"HEAD", b"OPTIONS")

#: Bytes from which on it pays to compress.
WORTHWHILE = 256


class File(NamedTuple):
    """A file, as it is sent.

    :ivar zipped: the same, compressed; None where that is not smaller.
    """

    body: bytes
    zipped: bytes | None
    etag: str
    type: str


def files() -> dict[str, File]:
    """The files of the page, by their names; the page itself has none."""
    found = {}
    for path in sorted(STATIC.iterdir()):
        if path.suffix in TYPES:
            body = path.read_bytes()
            zipped = gzip.compress(body, mtime=0) if len(body) > WORTHWHILE else None
            etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
            found["" if path.name == "index.html" else path.name] = File(body, zipped, etag, TYPES[path.suffix])
    return found


class PanelSettings(FrontSettings, frozen=True, kw_only=True):
    """``apis.panel``.

    :ivar confirm: circuits that ask before they are set, as filters have them: ``ro/2_01``.
    """

    enabled: bool = True
    confirm: tuple[str, ...] = ()


class Rules(msgspec.Struct):
    """What the page has to know to offer what can be done, and no more.

    :ivar confirm: by kind, the circuits that ask before they are set.
    :ivar operating: parameters that an operator may set; every other takes an admin.
    :ivar configuring: kinds that take an admin altogether.
    :ivar tokens: whether there are tokens here.
    :ivar history: whether what circuits showed is kept.
    """

    confirm: dict[str, list[str]]
    operating: list[str]
    configuring: list[str]
    tokens: bool
    history: bool


class Panel(DeskResource):
    """The page and its files, for everybody: what it shows it asks for as whoever uses it."""

    paths = {
        "rules": {
            b"GET": Operation(
                "rules", "What the panel asks before, and what takes whom", schema_of("Rules"), errors=(BadValue,)
            )
        }
    }
    via = "panel"

    def __init__(self, desks: Desks, confirm: Filter, *, tokens: bool) -> None:
        super().__init__(desks)
        self._files = files()
        self._confirm = confirm
        self._tokens = tokens

    def render(self, request: Request) -> bytes | int:
        path = path_of(request)
        if path == ["rules"]:
            return super().render(request)
        file = self._files.get(path[0] if path else "") if len(path) < 2 else None
        if file is None:
            return Nowhere(sorted(f"/panel/{name}" for name in self._files)).render(request)
        if request.method == b"OPTIONS":
            return options(request, _METHODS)
        if request.method not in _METHODS:
            return not_allowed(request, _METHODS)
        if not request.path.endswith(b"/") and not path:
            return to(request, b"panel/")  # or what the page asks for would be looked for a level above
        return _send(request, file)

    def show(self, request: Request, desk: Desk) -> bytes:
        asking: dict[str, list[str]] = {}
        for device in desk:
            if self._confirm.accepts(device):
                asking.setdefault(device.kind, []).append(device.circuit_in("v3"))
        history = "history" in desk.questions
        return json(request, encode(Rules(asking, sorted(OPERATING), sorted(CONFIGURING), self._tokens, history)))


def to(request: Request, place: bytes) -> bytes:
    """Lead a browser somewhere else, by a path from where it is: there may be a prefix that only its proxy knows."""
    request.setResponseCode(302)
    request.setHeader(b"location", place)
    request.setHeader(b"content-length", b"0")
    return b""


def _send(request: Request, file: File) -> bytes:
    headers = request.responseHeaders
    for name, value in {**_HEADERS, "content-type": file.type, "etag": file.etag}.items():
        headers.setRawHeaders(name, [value])
    if request.setETag(file.etag.encode()):
        return b""  # the browser has it
    body = file.body
    if file.zipped is not None and b"gzip" in (request.getHeader(b"accept-encoding") or b""):
        headers.setRawHeaders(b"content-encoding", [b"gzip"])
        body = file.zipped
    headers.setRawHeaders(b"content-length", [b"%d" % len(body)])
    return b"" if request.method == b"HEAD" else body


def make(context: Context, settings: PanelSettings) -> None:
    """Serve the page."""
    desk = context.desks(Identity("panel", "panel", VIEWER), "v3")
    confirm: Filter | None = Filter(())
    if settings.confirm:
        confirm = chosen(settings.confirm, desk, context.problems, "apis.panel.confirm")
    if confirm is None:
        return
    context.tree[b"panel"] = Panel(context.desks, confirm, tokens=context.gate.keyring is not None)


FRONT = Front("panel", PanelSettings, make)
