"""Who reaches the service at each port, and what they may do there."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.interfaces import IStreamServerEndpoint

from evok_twisted.api.gate import PROXY_SOCKET
from evok_twisted.config import Apis
from evok_twisted.core.tokens import Token, load
from evok_twisted.errors import ConfigError
from evok_twisted.problems import Problems


class Listener(NamedTuple):
    """Where the service listens.

    :ivar where: for people.
    :ivar reach: who gets there.
    :ivar secure: what is sent cannot be read on the way.
    """

    where: str
    reach: str
    secure: bool


THIS_MACHINE, NETWORK, PROXIES = "this machine", "the network", "proxies"


def listener(scheme: str, endpoint: IStreamServerEndpoint) -> Listener:
    """What an endpoint is to be.

    :param scheme: of its URLs, ``ws`` or ``wss``.
    """
    of: Any = endpoint
    path = getattr(of, "_address", None)
    if isinstance(path, str) and not hasattr(of, "_port"):
        return Listener(f"unix:{path}", PROXIES if path.endswith(PROXY_SOCKET) else THIS_MACHINE, True)
    interface = str(getattr(of, "_interface", "") or "")
    try:
        here = ipaddress.ip_address(interface).is_loopback
    except ValueError:
        here = interface == "localhost"
    where = f"{interface or 'every address'}, port {getattr(of, '_port', '?')}"
    return Listener(where, THIS_MACHINE if here else NETWORK, scheme == "wss")


def notice(apis: Apis, listeners: Iterable[Listener], problems: Problems) -> None:
    """Note what is open to more people than its owner may think."""
    open_to_all = [one for one in listeners if one.reach == NETWORK]
    if not open_to_all:
        return
    wheres = "; ".join(one.where for one in open_to_all)
    access = apis.access
    if access is None:
        message = f"is not there: everybody who reaches {wheres} may set every output; docs/access.md says more"
        problems.warning(problems.file_of("apis.access"), "apis.access", message)
        return
    if access.anonymous.network in ("operator", "admin"):
        path = "apis.access.anonymous.network"
        message = f"is {access.anonymous.network}: everybody who reaches {wheres} may set outputs, without a token"
        problems.warning(problems.file_of(path), path, message)
    plain = [one.where for one in open_to_all if not one.secure]
    if plain and _tokens(apis):
        message = f"tokens can be read on the way to {'; '.join(plain)}; an ssl: endpoint would keep them secret"
        problems.warning(problems.file_of("apis.listen"), "apis.listen", message)


def verdicts(apis: Apis, listeners: Iterable[Listener]) -> Iterator[str]:
    """Who may do what on each listener, for people, line by line."""
    for one in listeners:
        tls = ", with TLS" if one.secure and one.reach == NETWORK else ""
        yield f"listener {one.where}: reached by {one.reach}{tls}"
        if apis.access is None:
            yield "    everybody: admin (there is no apis.access)"
        else:
            roles = apis.access.anonymous
            if one.reach == THIS_MACHINE:
                yield f"    without a token, programs on this machine: {roles.local}"
            else:
                yield f"    without a token: {roles.network}"
    for token in _tokens(apis):
        write = token.scopes.write
        narrowed = "" if write is None else f", writes {', '.join(write) or 'nothing'} only"
        networks = f", from {', '.join(map(str, token.networks))}" if token.networks else ""
        yield f"token {token.id} {token.name}: {token.scopes.role}{narrowed}{networks}"


def _tokens(apis: Apis) -> list[Token]:
    if apis.access is None:
        return []
    try:
        return list(load(Path(apis.access.tokens), Problems(), owned=False).values())
    except ConfigError:
        return []


def check_tokens(apis: Apis, problems: Problems) -> None:
    """Note what is wrong with the file of tokens."""
    if apis.access is not None:
        try:
            load(Path(apis.access.tokens), problems, owned=False)
        except ConfigError as error:
            problems.unreadable(Path(apis.access.tokens), error, fatal=False)
