"""Who reaches the service at each port, and what they may do there."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.interfaces import IStreamServerEndpoint

from evok_twisted.api.gate import PROXY_SOCKET
from evok_twisted.config import Apis
from evok_twisted.core.tokens import Token, load
from evok_twisted.errors import ConfigError
from evok_twisted.hosts import is_loopback
from evok_twisted.problems import Problems


class Listener(NamedTuple):
    """Where the service listens.

    :ivar where: for people.
    :ivar reach: who gets there.
    :ivar secure: what is sent cannot be read on the way.
    :ivar named: how another program's configuration names it: a port, or the path of a socket.
    """

    where: str
    reach: str
    secure: bool
    named: str


THIS_MACHINE, NETWORK, PROXIES = "this machine", "the network", "proxies"
#: Where nginx has its sites, on Debian.
NGINX = Path("/etc/nginx")


class Exposure:
    """What is open to whom.

    :param endpoints: where the service listens, each with the scheme of its URLs.
    """

    def __init__(self, apis: Apis, endpoints: Iterable[tuple[str, IStreamServerEndpoint]]) -> None:
        self._apis = apis
        self._listeners = [_listener(scheme, endpoint) for scheme, endpoint in endpoints]
        self._problems = Problems()

    @property
    def url(self) -> str:
        """Where others reach the service; empty where they do not, or by a proxy that nothing is known of."""
        for one in sorted(self._listeners, key=lambda one: not one.secure):
            if one.reach == NETWORK:
                return f"{'https' if one.secure else 'http'}://{socket.gethostname()}:{one.named}/"
        return ""

    def notice(self, problems: Problems) -> None:
        """Note what is open to more people than its owner may think."""
        self._notice_network(problems)
        access = self._apis.access
        if access is not None and access.anonymous.local != access.anonymous.network:
            for file, named in self._unannounced():
                message = (
                    f"passes requests on to {named} and does not say for whom (X-Forwarded-For): who asks nginx for "
                    f"localhost has the role {access.anonymous.local}; docs/access.md has the site to use"
                )
                problems.warning(file, "", message)

    def _unannounced(self) -> Iterator[tuple[Path, str]]:
        """The sites of nginx through which others look like programs on this machine, and where those lead."""
        for file in sorted((*NGINX.glob("sites-enabled/*"), *NGINX.glob("conf.d/*.conf"))):
            try:
                text = re.sub(r"(?m)^\s*#.*", "", file.read_text(errors="replace"))
            except OSError:
                continue
            if re.search(r"(?i)\bproxy_set_header\s+(x-forwarded-for|forwarded|via|x-real-ip)\s", text) is None:
                for one in self._listeners:
                    before = r"unix:" if one.named.startswith("/") else r"(127\.0\.0\.1|localhost|\[::1\]):"
                    if one.reach != PROXIES and re.search(rf"{before}{re.escape(one.named)}(?![\w.-])", text):
                        yield file, one.where

    def _notice_network(self, problems: Problems) -> None:
        open_to_all = [one for one in self._listeners if one.reach == NETWORK]
        if not open_to_all:
            return
        wheres = "; ".join(one.where for one in open_to_all)
        access = self._apis.access
        if access is None:
            path = "apis.access"
            message = f"is not there: everybody who reaches {wheres} may set every output; docs/access.md says more"
            problems.warning(problems.file_of(path), path, message)
            return
        if access.anonymous.network in ("operator", "admin"):
            path = "apis.access.anonymous.network"
            message = f"is {access.anonymous.network}: everybody who reaches {wheres} may set outputs, without a token"
            problems.warning(problems.file_of(path), path, message)
        plain = [one.where for one in open_to_all if not one.secure]
        if plain and self._tokens:
            message = f"tokens can be read on the way to {'; '.join(plain)}; an ssl: endpoint would keep them secret"
            problems.warning(problems.file_of("apis.listen"), "apis.listen", message)

    def verdicts(self, problems: Problems) -> Iterator[str]:
        """Who may do what on each listener, for people, line by line.

        :param problems: what is wrong with the file of tokens is noted here.
        """
        for one in self._listeners:
            tls = ", with TLS" if one.secure and one.reach == NETWORK else ""
            yield f"listener {one.where}: reached by {one.reach}{tls}"
            if self._apis.access is None:
                yield "    everybody: admin (there is no apis.access)"
            elif one.reach == THIS_MACHINE:
                yield f"    without a token, programs on this machine: {self._apis.access.anonymous.local}"
            else:
                yield f"    without a token: {self._apis.access.anonymous.network}"
        for token in self._tokens:
            write = token.scopes.write
            narrowed = "" if write is None else f", writes {', '.join(write) or 'nothing'} only"
            networks = f", from {', '.join(map(str, token.networks))}" if token.networks else ""
            yield f"token {token.id} {token.name}: {token.scopes.role}{narrowed}{networks}"
        problems.found += self._problems.found

    @cached_property
    def _tokens(self) -> list[Token]:
        if self._apis.access is None:
            return []
        file = Path(self._apis.access.tokens)
        try:
            return list(load(file, self._problems, owned=False).values())
        except ConfigError as error:
            self._problems.unreadable(file, error, fatal=False)
            return []


def _listener(scheme: str, endpoint: IStreamServerEndpoint) -> Listener:
    """What an endpoint is to be.

    :param scheme: of its URLs, ``ws`` or ``wss``.
    """
    of: Any = endpoint
    path = getattr(of, "_address", None)
    if isinstance(path, str) and not hasattr(of, "_port"):
        return Listener(f"unix:{path}", PROXIES if path.endswith(PROXY_SOCKET) else THIS_MACHINE, True, path)
    interface = str(getattr(of, "_interface", "") or "")
    here = interface == "localhost" or is_loopback(interface)
    port = str(getattr(of, "_port", "?"))
    where = f"{interface or 'every address'}, port {port}"
    return Listener(where, THIS_MACHINE if here else NETWORK, scheme == "wss", port)
