"""The running service, as commands of the shell reach it: over HTTP, or a socket of this machine."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from evok_twisted.config import Apis
from evok_twisted.hosts import as_address

#: Seconds that the service has for an answer; a write has two by default.
PATIENCE = 10.0
#: Where the service is, where nothing else is configured.
DEFAULT = "http://127.0.0.1:8080"


class Remote(Exception):
    """What went wrong, in a sentence.

    :ivar name: that of the error, where the service has told it.
    """

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a socket of this machine."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Service:
    """The running service, over HTTP.

    :param url: ``http://HOST:PORT``, ``https://HOST:PORT``, or ``unix:/PATH``.
    """

    def __init__(self, url: str, token: str = "", timeout: float = PATIENCE) -> None:
        self.url = url.rstrip("/")
        self.token = token
        self._timeout = timeout

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def _connection(self) -> http.client.HTTPConnection:
        if self.url.startswith("unix:"):
            return _SocketConnection(self.url.removeprefix("unix:"), self._timeout)
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Remote(
                f"got {self.url!r}, expected an address such as http://127.0.0.1:8080 or unix:/run/evok/evok.sock"
            )
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname, parts.port, timeout=self._timeout)

    def stream(self, path: str, seconds: float) -> Iterator[bytes]:
        """Ask for a path whose answer takes so long; what comes of it.

        :raises Remote: there was none, or it says no.
        """
        connection = self._connection()
        connection.timeout = seconds + self._timeout
        try:
            connection.request("GET", path, None, self._headers)
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise _refusal(json.loads(answer.read())["errors"])
            while chunk := answer.read1(1 << 16):
                yield chunk
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()

    def _unreachable(self, error: Exception) -> Remote:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Remote(f"{self.url} cannot be asked: {why}; is the service running? (systemctl status evok)")

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Ask for a path, or post to it; the answer.

        :raises Remote: there was none, or it says no.
        """
        headers = self._headers
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            connection.request("GET" if data is None else "POST", path, data, headers)
            answer = connection.getresponse()
            found = json.loads(answer.read())
        except TimeoutError:
            raise Remote(f"{self.url} did not answer within {self._timeout:g} s; it may have been done") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()
        if isinstance(found, dict) and "errors" in found:
            raise _refusal(found["errors"])
        return found


def _refusal(errors: Mapping[str, str]) -> Remote:
    return Remote("; ".join(errors.values()), next(iter(errors), ""))


def address_of(apis: Apis) -> str:
    """Where a program on the unit reaches the service that has these settings."""
    interface = f":interface={apis.address}" if apis.address else ""
    for description in apis.listen or (f"tcp:{apis.port}{interface}",):
        kind, _, rest = description.partition(":")
        if kind == "unix":
            return f"unix:{rest.split(':')[0].removeprefix('address=')}"
        if kind in ("tcp", "tcp6"):
            port, *options = rest.replace("\\:", "\0").split(":")
            given = dict(option.partition("=")[::2] for option in options).get("interface", "").replace("\0", ":")
            known = as_address(given) if given else None
            host = "127.0.0.1" if not given or (known is not None and known.is_unspecified) else given
            return f"http://{f'[{host}]' if ':' in host else host}:{port.removeprefix('port=')}"
    return DEFAULT
