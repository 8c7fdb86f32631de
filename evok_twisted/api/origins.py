"""Which web pages may talk to us.

A browser lets any page that its user visits send requests to any address that it can reach, a PLC's among them; all it
does is to name the page's origin. A page whose own name is made to resolve to us (DNS rebinding) would look like ours:
so what a browser sends must also name us, as none else can. Programs that are no browsers send no origin and may call
us what they like.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from twisted.web.http_headers import Headers

EVERYBODY = "*"

#: Methods that change nothing.
SAFE = (b"GET", b"HEAD", b"OPTIONS")

#: Names that no stranger can have resolved to us.
_PRIVATE = ("local", "lan", "home.arpa", "internal")

_AUTHORITY = r"(?P<host>\[[0-9a-fA-F:.]+\]|[^/?#@:\s\[\]]+)(?::(?P<port>\d{1,5}))?"
_HOST = re.compile(rf"{_AUTHORITY}\Z")
_ORIGIN = re.compile(rf"(?:(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://)?{_AUTHORITY}/?\Z")


class Origins:
    """Decides by what browsers send.

    :param allowed: origins (``https://panel.example``) or hosts that are let in besides our own; ``*`` is everybody.
    :param hosts: names that we have besides those that only we can have; ``*.plc.example`` is any below.
    """

    def __init__(self, allowed: Iterable[str] = (), hosts: Iterable[str] = ()) -> None:
        self.everybody = False
        self._allowed: set[str] = set()
        for origin in allowed:
            self.everybody = self.everybody or origin == EVERYBODY
            self._allowed.add(origin.lower().rstrip("/"))
        self._hosts = {host.lower().rstrip(".") for host in hosts}

    def objection(self, method: bytes, headers: Headers) -> str:
        """Why a request is not taken, in a sentence; nothing where it is.

        :param headers: of the request.
        """
        if self.everybody or not from_browser(headers):
            return ""
        hosts = texts(headers, b"host")
        host = host_of(hosts[0]) if len(hosts) == 1 else None
        if host is None or not self.names_us(host):
            asked = ", ".join(hosts) or "no host"
            return (
                f"{asked!r:.100} is no name of this service that a browser may use; apis.allowed_hosts lets it be one"
            )
        origins = texts(headers, b"origin")
        if len(origins) > 1:
            return "there is more than one Origin"
        if origins and not self.allow(origins[0], host):
            return f"pages of {origins[0]!r:.100} may not talk to this service; apis.allowed_origins lets them"
        foreign = texts(headers, b"sec-fetch-site") not in ([], ["same-origin"], ["none"])
        if foreign and not origins and (method not in SAFE or headers.hasHeader(b"upgrade")):
            return "a page of another site sends this and does not say which"
        return ""

    def allow(self, origin: str, host: str) -> bool:
        """Whether a page of ``origin`` may talk to us.

        :param host: the host that the request asked for, without its port: a page of our own host is our own, whatever
            port it is from.
        """
        if self.everybody or origin.lower() in self._allowed:
            return True
        name = origin_host_of(origin)
        return name is not None and (name == host or name in self._allowed)

    def names_us(self, host: str) -> bool:
        """Whether a host is one that nobody else can have resolved to us, or that we were told to have."""
        try:
            ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            pass
        else:
            return True
        _, *above = host.split(".")
        if not above or any(host.endswith(f".{private}") for private in _PRIVATE):
            return True
        patterns = (f"*.{'.'.join(above[n:])}" for n in range(len(above)))
        return not self._hosts.isdisjoint((EVERYBODY, host, *patterns))


def host_of(text: str) -> str | None:
    """The host of a ``Host`` header; None when it is none."""
    found = _HOST.match(text)
    return None if found is None else found["host"].lower().rstrip(".")


def origin_host_of(origin: str) -> str | None:
    """The host of an origin, which some clients write without a scheme; None when it is none, as ``null``."""
    found = _ORIGIN.match(origin)
    return None if found is None or origin.lower() == "null" else found["host"].lower().rstrip(".")


def from_browser(headers: Headers) -> bool:
    """Whether a request looks like one of a browser."""
    if any(map(headers.hasHeader, (b"origin", b"cookie", b"sec-fetch-site", b"sec-fetch-mode", b"sec-fetch-dest"))):
        return True
    return any(agent.startswith("Mozilla/") for agent in texts(headers, b"user-agent"))


def texts(headers: Headers, name: bytes) -> list[str]:
    """Every value of a header."""
    return [value.decode(errors="replace").strip() for value in headers.getRawHeaders(name, ())]
