"""Where the service listens: what is configured of it, and the ports that are open."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IStreamServerEndpoint

from evok_twisted import config as cfg
from evok_twisted.api import websocket
from evok_twisted.api.front import Context
from evok_twisted.api.limits import Doorkeeper, connections
from evok_twisted.api.metrics import measure_door
from evok_twisted.api.origins import Origins
from evok_twisted.api.site import ApiSite, Root
from evok_twisted.certificates import Certificate
from evok_twisted.core.desk import Core
from evok_twisted.errors import ConfigError
from evok_twisted.logs import Logger
from evok_twisted.ports import Port, certified, described, secured
from evok_twisted.problems import Problems

_log = Logger()


class Place(NamedTuple):
    """Where to listen.

    :ivar description: as it is configured.
    :ivar scheme: of its URLs.
    """

    description: str
    scheme: str
    endpoint: IStreamServerEndpoint


def plain_places(apis: cfg.Apis, ports: Iterable[str], base: Path, reactor: Any, problems: Problems) -> Iterator[Place]:
    """Where to listen without a certificate of ours.

    :param ports: those of the command line, which come instead of what is configured.
    :param base: the directory that files are relative to.
    """
    address = quoteStringArgument(apis.address)
    default = f"tcp:{apis.port}" + (f":interface={address}" if address else "")
    key = "apis.listen"
    for description in ports or apis.listen or (default,):
        if ports:
            endpoint = described(description, reactor, problems, "--port", "")
        else:
            endpoint = described(description, reactor, problems, problems.file_of(key), key, base)
        if endpoint is not None:
            yield Place(description, "wss" if description.startswith("ssl:") else "ws", endpoint)


def secured_places(
    tls: cfg.TlsSettings | None, base: Path, core: Core, reactor: Any, problems: Problems
) -> Iterator[Place]:
    """Where to listen with the certificate of the configuration; one that cannot be used costs these ports."""
    if tls is None:
        return
    try:
        certificate = Certificate(base / tls.certificate, base / tls.key, reactor)
    except ConfigError as error:
        problems.error(problems.file_of("apis.tls"), "apis.tls", str(error), fatal=False)
        return
    core.health.warn_of(certificate.warnings)
    text = "When the certificate ends, in seconds of the Unix epoch"
    core.meters.one("certificate_expiry_timestamp_seconds", "gauge", text, lambda: certificate.ends)
    key = "apis.tls.listen"
    for description in tls.listen:
        endpoint = secured(description, certificate, reactor, problems, problems.file_of(key), key)
        if endpoint is not None:
            yield Place(description, "wss", endpoint)


class Listening(Service):
    """Serves the tree of all fronts at each place."""

    def __init__(self, apis: cfg.Apis, context: Context, places: Iterable[Place]) -> None:
        self._tree = context.tree
        door = Doorkeeper(connections(apis.max_connections), apis.max_connections_per_address)
        measure_door(context.desks, door)
        self._names: list[str] = []
        self._site = ApiSite(
            Root(context.tree),
            context.reactor,
            access_log=apis.access_log,
            max_body=apis.max_body_size,
            max_header=apis.max_header_size,
            idle=apis.idle_timeout,
            door=door,
            gate=context.gate,
        )
        places = list(places)
        self._ports = {place: self._port(place) for place in places}
        self.let_in(apis)

    def _port(self, place: Place) -> Port:
        page = f"{place.scheme.replace('ws', 'http')}://{{where}}/"
        url = f"{place.scheme}://{{where}}/ws" if websocket.PATH in self._tree else page
        return Port(place.endpoint, self._site, url, f"{page}panel/" if b"panel" in self._tree else "")

    def let_in(self, apis: cfg.Apis) -> None:
        """Let web pages in as is configured, and those that call us by a name in a certificate."""
        names = (name for place in self._ports for name in certified(place.endpoint))
        self._site.origins = Origins(apis.allowed_origins, (*apis.allowed_hosts, socket.gethostname(), *names))
        if self._site.origins.everybody:
            _log.warn("apis.allowed_origins is '*': every web page that anybody here visits can switch outputs")

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        for port in self._ports.values():
            port.privilegedStartService()

    def startService(self) -> None:
        super().startService()
        for port in self._ports.values():
            port.startService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return _closed(self._ports.values())

    def open(self, places: Iterable[Place]) -> Callable[[], Deferred[None]] | None:
        """Listen at ``places``, too, where that is not done.

        :returns: stops listening at all others; None where a place cannot be had: then nothing has changed.
        """
        known = {place.description: place for place in self._ports}
        wanted = {place.description: known.get(place.description, place) for place in places}
        added = {place: self._port(place) for place in wanted.values() if place not in self._ports}
        if not all(port.open() for port in added.values()):
            _closed(added.values())
            return None
        before, self._ports = self._ports, {place: added.get(place) or self._ports[place] for place in wanted.values()}
        return lambda: _closed(port for place, port in before.items() if place not in self._ports)


def _closed(ports: Iterable[Port]) -> Deferred[None]:
    stopped: Deferred[Any] = DeferredList([port.stopService() for port in ports], consumeErrors=True)
    return stopped.addCallback(lambda _: None)
