"""Who asks: makes an identity of what a request shows, at the doors of HTTP and of the WebSocket."""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from twisted.internet.address import UNIXAddress
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from evok_twisted.api.origins import host_of, texts
from evok_twisted.config import AccessSettings
from evok_twisted.core.identity import ANONYMOUS, EVERYTHING, NOTHING, Identity, Role, Scopes
from evok_twisted.core.keyring import Keyring
from evok_twisted.core.sessions import LASTS
from evok_twisted.core.tokens import Network, Token
from evok_twisted.errors import BadRequest, EvokError, Unauthorized
from evok_twisted.hosts import as_address, is_loopback
from evok_twisted.logs import Logger

#: The only path that takes a token in its query: other addresses are kept in histories and logs.
WEBSOCKET = "/ws"
#: How a page of another origin, which cannot set headers, offers its token among the WebSocket's subprotocols.
SUBPROTOCOL, BEARER = "evok", "evok.bearer."
#: The name of a socket that only proxies use: nobody who comes through it is local.
PROXY_SOCKET = "proxy.sock"

#: The cookie of a session; and where one begins and ends, whatever there was before.
COOKIE = "evok_session"
_LOGIN = b"/access/log"
#: Where a token may be shown in more than one way.
_UNCACHED = WEBSOCKET.encode()
#: Clients that are remembered, each by what it shows.
MOST_KNOWN = 1024

#: What says that a proxy stands between.
_FORWARDED = (b"x-forwarded-for", b"forwarded", b"via", b"x-real-ip")

_TOKEN = re.compile(r"([?&]token=)[^&\s]*")


class Place(NamedTuple):
    """Where a request comes from.

    :ivar address: of the client, as far as it is known.
    :ivar local: it comes from a program on this machine itself.
    :ivar proxied: it comes through a proxy that is trusted.
    """

    address: str
    local: bool
    proxied: bool


#: What comes of it where somebody is known.
DONE = "done"


class Gate:
    """Decides who somebody is; what they may do then is decided in the core.

    :param access: None where everybody may do everything.
    :param keyring: of the tokens; there is one where there is ``access``.
    :param proxies: networks of proxies, whose ``X-Forwarded-For`` counts.
    :ivar counts: who was asked, by what they have shown (``token``, ``link``, ``session``, ``nothing``), and what came
        of it: ``done``, or the code of an error.
    """

    _log = Logger()

    def __init__(
        self, access: AccessSettings | None = None, keyring: Keyring | None = None, proxies: Iterable[Network] = ()
    ) -> None:
        self._access = access
        self._keyring = keyring
        self._proxies = tuple(proxies)
        #: who has shown what is in an Authorization header, by that and the address: most requests are of few clients
        self._known: dict[tuple[bytes, str], Identity] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        if keyring is not None:
            keyring.changed.watch(self._known.clear)

    @property
    def keyring(self) -> Keyring | None:
        """Where tokens are known."""
        return self._keyring

    def admit(self, request: Request) -> Identity:
        """Whose request it is.

        :raises BadRequest: it shows two different tokens, or one where none belongs.
        :raises Unauthorized: its token is of no use.
        :raises TooManyFailures: too many wrong ones came from there.
        """
        if self._access is None:
            return Identity(ANONYMOUS, "", EVERYTHING, getattr(request.getClientAddress(), "host", ""))
        given = request.requestHeaders.getRawHeaders(b"authorization")
        key = None
        if given is not None and len(given) == 1 and not request.uri.startswith(_UNCACHED) and b"?" not in request.uri:
            key = given[0], getattr(request.getClientAddress(), "host", "")
            known = self._known.get(key)
            if known is not None:
                self.counts["token", DONE] += 1
                return known
        place = self._place(request)
        shown = list(dict.fromkeys(_credentials(request)))
        if len(shown) > 1:
            raise BadRequest("there are two different tokens in this request; expected one")
        if shown:
            identity = self.known(shown[0], place.address)
            # through a proxy come others, too
            if key is not None and key[1] and key[1] == place.address and not self._is_proxy(key[1]):
                if len(self._known) >= MOST_KNOWN:
                    self._known.clear()
                self._known[key] = identity
            return identity
        session = self._session(request, place)
        if session:
            with self._counted("session"):
                return self._of_session(request, session, place)
        self.counts["nothing", DONE] += 1
        return self._anonymous(place)

    @contextmanager
    def _counted(self, way: str) -> Iterator[None]:
        try:
            yield
        except EvokError as error:
            self.counts[way, error.code] += 1
            raise
        self.counts[way, DONE] += 1

    def log_in(self, request: Request, text: str, *, code: bool = False) -> Identity:
        """Whose token it is, or code of a link; a cookie stands for it from then on.

        :raises Unauthorized: nobody's.
        :raises TooManyFailures: too many wrong ones came from there.
        :raises NotSaved: that the link was used could not be kept.
        """
        place = self._place(request)
        identity = self.known(text, place.address, code=code)
        self._begin_session(request, identity, place)
        self._log.info("{name} logged in from {address}", name=str(identity), address=place.address or "here")
        return identity

    def log_out(self, request: Request) -> Identity:
        """Let the cookie be forgotten; who is asking, then."""
        _set_cookie(request, "", 0)
        return Identity(ANONYMOUS, "", EVERYTHING) if self._access is None else self._anonymous(self._place(request))

    def _anonymous(self, place: Place) -> Identity:
        assert self._access is not None, "somebody is asked"
        role: Role = self._access.anonymous.local if place.local else self._access.anonymous.network
        return Identity(ANONYMOUS, "", NOTHING if role == "none" else Scopes(role), place.address)

    def _begin_session(self, request: Request, identity: Identity, place: Place) -> None:
        assert self._keyring is not None, "it has known the token"
        assert isinstance(identity.proof, Token), "it is of one"
        session = self._keyring.begin_session(identity.proof)
        _set_cookie(request, session, LASTS, secure=_scheme(request, place) == "https")

    def _of_session(self, request: Request, session: str, place: Place) -> Identity:
        assert self._keyring is not None, "there is one where somebody is asked"
        try:
            identity = _of_token(self._keyring.find_session(session, place.address), place.address)
        except Unauthorized:
            _set_cookie(request, "", 0)
            raise
        if self._keyring.is_old(session):
            self._begin_session(request, identity, place)
        return identity

    def _session(self, request: Request, place: Place) -> str:
        """The session that a request shows, where it counts: cookies know neither ports nor what page sends them."""
        session = request.getCookie(COOKIE.encode())
        if session is None or request.uri.startswith(_LOGIN):
            return ""
        origins = texts(request.requestHeaders, b"origin")
        hosts = texts(request.requestHeaders, b"host")
        ours = len(hosts) == 1 and origins == [f"{_scheme(request, place)}://{hosts[0]}"]
        harmless = not origins and request.method in (b"GET", b"HEAD")
        return session.decode(errors="replace") if ours or harmless else ""

    def known(self, text: str, address: str, *, code: bool = False) -> Identity:
        """Whose token it is, or code of a link.

        :raises Unauthorized: nobody's.
        :raises TooManyFailures: too many wrong ones came from there.
        :raises NotSaved: that the link was used could not be kept.
        """
        if self._keyring is None:
            raise Unauthorized("there are no tokens here")
        find = self._keyring.redeem if code else self._keyring.find
        with self._counted("link" if code else "token"):
            return _of_token(find(text, address), address)

    def still(self, identity: Identity) -> bool:
        """Whether somebody is who they were when they came."""
        proof = identity.proof
        return not isinstance(proof, Token) or (self._keyring is not None and self._keyring.still(proof))

    def _place(self, request: Request) -> Place:
        headers = request.requestHeaders
        peer, here = request.getClientAddress(), request.getHost()
        host = str(getattr(peer, "host", ""))
        by_socket = isinstance(here, UNIXAddress)
        of_proxies = by_socket and _path(here).endswith(PROXY_SOCKET)
        forwarded = any(map(headers.hasHeader, _FORWARDED))
        on_this_machine = (by_socket or is_loopback(host)) and not of_proxies and not forwarded
        address = host
        proxied = of_proxies or self._is_proxy(host)
        if proxied:
            hops = [hop.strip() for value in texts(headers, b"x-forwarded-for") for hop in value.split(",")]
            address = next((hop for hop in reversed(hops) if not self._is_proxy(hop)), hops[0] if hops else host)
        return Place(address, on_this_machine and _names_this_machine(headers), proxied)

    def _is_proxy(self, address: str) -> bool:
        found = as_address(address)
        return found is not None and any(found in network for network in self._proxies)


def _of_token(token: Token, address: str) -> Identity:
    return Identity(token.name, "", token.scopes, address, token, token.id)


def _set_cookie(request: Request, session: str, seconds: int, *, secure: bool = False) -> None:
    """Let the browser keep a session for so long; 0 is no more."""
    how: dict[str, Any] = {"path": "/", "max_age": str(seconds), "httpOnly": True, "sameSite": "strict"}
    request.addCookie(COOKIE, session, secure=secure, **how)


def _scheme(request: Request, place: Place) -> str:
    """As the browser has it: a proxy may have taken TLS off."""
    told = texts(request.requestHeaders, b"x-forwarded-proto")
    return "https" if request.isSecure() or (told == ["https"] and place.proxied) else "http"


def _credentials(request: Request) -> Iterator[str]:
    """Every token that a request shows.

    :raises BadRequest: one that is not where it belongs, or of a form that we do not know.
    """
    headers = request.requestHeaders
    given = texts(headers, b"authorization")
    if len(given) > 1:
        raise BadRequest("there are two Authorization headers; expected one")
    for value in given:
        yield _authorization(value)
    path, _, query = request.uri.partition(b"?")
    if b"token=" in query:
        for token in request.args.get(b"token", ()):
            if path.decode(errors="replace").rstrip("/") != WEBSOCKET:
                raise BadRequest(f"a token in the address is for {WEBSOCKET}; here, send Authorization: Bearer TOKEN")
            yield token.decode(errors="replace")
    for value in texts(headers, b"sec-websocket-protocol"):
        for name in value.split(","):
            if name.strip().startswith(BEARER):
                yield name.strip()[len(BEARER) :]


def _authorization(value: str) -> str:
    scheme, _, rest = value.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            raise BadRequest("Authorization: Basic is not followed by base64 of user:token") from None
    raise BadRequest(f"Authorization: got the scheme {scheme!r:.20}, expected Bearer or Basic")


def without_token(uri: str) -> str:
    """An address as it may be logged."""
    return _TOKEN.sub(r"\1...", uri)


def _names_this_machine(headers: Headers) -> bool:
    hosts = texts(headers, b"host")
    if not hosts:
        return True
    host = host_of(hosts[0]) if len(hosts) == 1 else None
    return host is not None and (host == "localhost" or is_loopback(host.strip("[]")))


def _path(address: UNIXAddress) -> str:
    name: Any = address.name
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name or "")
