"""Ports to listen on: their descriptions, and the service that holds one open."""

from __future__ import annotations

import re
from contextlib import chdir
from pathlib import Path
from typing import Any

from cryptography.x509 import DNSName, ExtensionNotFound, SubjectAlternativeName
from twisted.application.internet import StreamServerEndpointService
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    quoteStringArgument,
    serverFromString,
)
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from evok_twisted.certificates import Certificate
from evok_twisted.logs import Logger
from evok_twisted.problems import Problems

LARGEST_PORT = 65535


#: Files that a description may name.
_FILES = re.compile(r"\b(privateKey|certKey|extraCertChain|dhParameters)=((?:[^:\\]|\\.)+)")


def described(
    description: str, reactor: Any, problems: Problems, file: object, path: str, base: Path | None = None
) -> IStreamServerEndpoint | None:
    """The endpoint that a user described.

    :param description: a Twisted endpoint description; a bare number is a TCP port on 127.0.0.1.
    :param file: what it is from: a file, or an option of the command line.
    :param path: the key in that file.
    :param base: the directory that files in the description are relative to; by default the current one.
    :returns: None when it is no description; that is noted.
    """
    base = Path.cwd() if base is None else base.absolute()
    if description.isdigit():
        description = f"tcp:{description}:interface=127.0.0.1"
    kind, _, rest = description.partition(":")
    if kind == "unix" and not rest.startswith(("/", "address=/")):
        place = quoteStringArgument(str(base)) + "/"
        description = f"unix:{'address=' if rest.startswith('address=') else ''}{place}{rest.removeprefix('address=')}"
    try:
        with chdir(base):
            endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    except Exception as error:  # whatever a parser of endpoint descriptions, a plugin perhaps, raises
        why = _unreadable(description, base) or f"expected an endpoint description such as tcp:8080: {error}"
        problems.error(file, path, f"got {description!r}, {why}")
        return None
    port = getattr(endpoint, "_port", 0)
    if isinstance(port, int) and port > LARGEST_PORT:
        problems.error(file, path, f"got {description!r}, expected a port number of at most {LARGEST_PORT}")
        return None
    return endpoint


def secured(
    description: str, certificate: Certificate, reactor: Any, problems: Problems, file: object, path: str
) -> IStreamServerEndpoint | None:
    """The endpoint of ``ssl:PORT`` or ``ssl:PORT:interface=ADDRESS``, with a certificate that may change.

    :returns: None when it is no such description; that is noted.
    """
    kind, _, rest = description.partition(":")
    plain = described(f"tcp:{rest}", reactor, problems, file, path) if kind == "ssl" else None
    if kind != "ssl":
        problems.error(file, path, f"got {description!r}, expected ssl:PORT, perhaps with :interface=ADDRESS")
    if not isinstance(plain, TCP4ServerEndpoint | TCP6ServerEndpoint):
        return None
    of: Any = plain
    return SSL4ServerEndpoint(reactor, of._port, certificate, of._backlog, of._interface)


def _unreadable(description: str, base: Path) -> str:
    """What is wrong with the files that a description names; nothing, where they are not what is wrong."""
    files = {name: base / found.replace("\\", "") for name, found in _FILES.findall(description)}
    for name, file in files.items():
        try:
            file.read_bytes()
        except OSError as error:
            return f"of which {name}, {file}, cannot be read: {error.strerror}"
    if "privateKey" in files:
        return f"of which {' or '.join(map(str, files.values()))} is not in PEM format, or does not go with the other"
    return ""


def certified(endpoint: IStreamServerEndpoint) -> list[str]:
    """The host names in the certificate of an endpoint with TLS; none without."""
    of = getattr(endpoint, "_sslContextFactory", None)
    if isinstance(of, Certificate):
        return list(of.names)
    try:
        certificate = endpoint._sslContextFactory.certificate.to_cryptography()  # type: ignore[attr-defined]
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except (AttributeError, ExtensionNotFound):
        return []
    found: list[str] = names.get_values_for_type(DNSName)
    return found


class Port(StreamServerEndpointService):
    """Listens while it runs.

    :param what: how to tell, with ``{where}``, what is to be found at a port.
    :param page: likewise, what a person is to open in a browser, if there is anything.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, factory: IProtocolFactory, what: str, page: str = "") -> None:
        self._reporting = _Reporting(endpoint, what, page)
        super().__init__(self._reporting, factory)

    def privilegedStartService(self) -> None:
        """Listen: here, so that a port below 1024 can be had before twistd gives up being root.

        :raises SystemExit: the port cannot be had; a service that nobody can reach would only seem to run.
        """
        if not self.open():
            raise SystemExit(1)

    def open(self) -> bool:
        """Listen, or, as the log says then, do not."""
        super().privilegedStartService()
        self.running = True
        return not self._reporting.failed


@implementer(IStreamServerEndpoint)
class _Reporting:
    """An endpoint that logs whether it listens, whenever that is known."""

    _log = Logger()

    def __init__(self, endpoint: IStreamServerEndpoint, what: str, page: str) -> None:
        self._endpoint = endpoint
        self._what = what
        self._page = page
        self.failed = False

    def listen(self, factory: IProtocolFactory) -> Any:
        return self._endpoint.listen(factory).addCallbacks(self._listening, self._failed)

    def _listening(self, port: IListeningPort) -> IListeningPort:
        host: Any = port.getHost()
        where = f"{host.host}:{host.port}" if hasattr(host, "port") else str(host)
        self._log.info("listening: {what}", what=self._what.format(where=where))
        if self._page and hasattr(host, "port"):
            self._log.info("panel: {page}", page=self._page.format(where=where))
        return port

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):  # at the stop, of an endpoint that takes its time
            self.failed = True
            what = self._what.format(where="?")
            self._log.critical("{what} cannot be listened on: {why}", what=what, why=failure.getErrorMessage())
