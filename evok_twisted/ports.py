"""Ports to listen on: their descriptions, and the service that holds one open."""

from __future__ import annotations

from typing import Any

from cryptography.x509 import DNSName, ExtensionNotFound, SubjectAlternativeName
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.python.failure import Failure

from evok_twisted.logs import Logger
from evok_twisted.settings import Problems

LARGEST_PORT = 65535


def described(description: str, reactor: Any, where: str, problems: Problems) -> IStreamServerEndpoint | None:
    """The endpoint that a user described.

    :param description: a Twisted endpoint description; a bare number is a TCP port on 127.0.0.1.
    :param where: the option or key that it is from.
    :returns: None when it is no description; that is noted.
    """
    if description.isdigit():
        description = f"tcp:{description}:interface=127.0.0.1"
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    except Exception as error:  # whatever a parser of endpoint descriptions, a plugin perhaps, raises
        problems.error(where, "", f"got {description!r}, expected an endpoint description such as tcp:8080: {error}")
        return None
    port = getattr(endpoint, "_port", 0)
    if isinstance(port, int) and port > LARGEST_PORT:
        problems.error(where, "", f"got {description!r}, expected a port number of at most {LARGEST_PORT}")
        return None
    return endpoint


def certified(endpoint: IStreamServerEndpoint) -> list[str]:
    """The host names in the certificate of an endpoint with TLS; none without."""
    try:
        certificate = endpoint._sslContextFactory.certificate.to_cryptography()  # type: ignore[attr-defined]
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except (AttributeError, ExtensionNotFound):
        return []
    found: list[str] = names.get_values_for_type(DNSName)
    return found


class Port(Service):
    """Listens while it runs.

    :param what: how to tell, with ``{where}``, what is to be found at a port.
    """

    _log = Logger()

    def __init__(self, endpoint: IStreamServerEndpoint, factory: IProtocolFactory, what: str) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self._what = what
        self._port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Listen: here, so that a port below 1024 can be had before twistd gives up being root.

        :raises SystemExit: the port cannot be had; a service that nobody can reach would only seem to run.
        """
        super().privilegedStartService()
        failures: list[Failure] = []
        self._endpoint.listen(self._factory).addCallback(self._listening).addErrback(failures.append)
        if failures:
            self._log.critical("{why}", why=failures[0].getErrorMessage())
            raise SystemExit(1)

    def _listening(self, port: IListeningPort) -> None:
        self._port = port
        host: Any = port.getHost()
        where = f"{host.host}:{host.port}" if hasattr(host, "port") else str(host)
        self._log.info("listening: {what}", what=self._what.format(where=where))

    def stopService(self) -> Deferred[None]:
        super().stopService()
        port, self._port = self._port, None
        return Deferred.fromCoroutine(_close(port))


async def _close(port: IListeningPort | None) -> None:
    if port is not None:
        await maybeDeferred(port.stopListening)
