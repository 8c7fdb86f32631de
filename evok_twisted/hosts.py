"""Connections to hosts, by whatever name the system can resolve."""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from zope.interface import implementer


def unit_name() -> str:
    """What this unit is called elsewhere, unless its configuration says otherwise."""
    return re.sub(r"[^a-z0-9_-]", "-", socket.gethostname().lower())[:64] or "unit"


@implementer(IStreamClientEndpoint)
class HostEndpoint:
    """Connects to a host; to its addresses one after the other, where it has several.

    Twisted's own takes no name that cannot be a domain, such as one with an underscore, as containers have.

    :param host: a name, or an address; one of IPv6 may have brackets.
    :param timeout: seconds for each address.
    """

    def __init__(self, reactor: Any, host: str, port: int, timeout: float) -> None:
        self._reactor = reactor
        self._host = host.removeprefix("[").removesuffix("]")
        self._port = port
        self._timeout = timeout

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        failed: Exception = DNSLookupError(f"there is no address of {self._host}")
        for address in await self._addresses():
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            try:
                connected: IProtocol = await kind(self._reactor, address, self._port, self._timeout).connect(factory)
            except ConnectError as error:
                failed = error
            else:
                return connected
        raise failed

    async def _addresses(self) -> list[str]:
        try:
            ipaddress.ip_address(self._host.partition("%")[0])
        except ValueError:
            resolution = _Resolution()
            self._reactor.nameResolver.resolveHostName(resolution, self._host, self._port)
            return await resolution.done
        return [self._host]


def as_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, perhaps with a zone, as what it is: one of IPv4 also where it is written as one of IPv6.

    :returns: None where it is none.
    """
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def is_loopback(text: str) -> bool:
    """Whether it is an address of this machine itself, which no other reaches."""
    found = as_address(text)
    return found is not None and found.is_loopback


def one_host(address: str) -> str:
    """What counts as one host: an address, or, of IPv6, the /64 that one host commonly has."""
    found = as_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return address if found is None else str(found)


@implementer(IResolutionReceiver)
class _Resolution:
    """The addresses of a name, when all are known."""

    def __init__(self) -> None:
        self.done: Deferred[list[str]] = Deferred()
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        self._found.append(address.host)  # type: ignore[attr-defined]

    def resolutionComplete(self) -> None:
        if not self.done.called:  # it may have been given up
            self.done.callback(self._found)
