"""Tokens: what they look like, and the file that says whose they are. The tokens themselves are kept nowhere.

A token is ``evok_<id>_<secret>``: eight hexadecimal digits that name it, and 256 random bits.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from msgspec import Meta

from evok_twisted.core.identity import Scopes
from evok_twisted.errors import ConfigError
from evok_twisted.files import write_file
from evok_twisted.hosts import as_address
from evok_twisted.model.kinds import KINDS
from evok_twisted.problems import Problems, nearest
from evok_twisted.typedyaml import Reader, Settings, load_yaml

VERSION = "1"

_TOKEN = re.compile(r"evok_([0-9a-f]{8})_([A-Za-z0-9_-]{43})\Z")


Network = IPv4Network | IPv6Network


class Token(NamedTuple):
    """What is known of a token.

    :ivar networks: where it may come from; empty is anywhere.
    :ivar created: seconds of the Unix epoch.
    :ivar expires: likewise; None is never.
    :ivar digest: the SHA-256 of the whole token, in hexadecimal digits.
    :ivar once: it is the code of a link: of use for one login.
    """

    id: str
    name: str
    scopes: Scopes
    networks: tuple[Network, ...]
    created: float
    expires: float | None
    digest: str
    once: bool = False

    def fits(self, text: str) -> bool:
        """Whether ``text`` is the token."""
        return hmac.compare_digest(digest_of(text), self.digest)

    def admits(self, address: str) -> bool:
        """Whether it may come from an address."""
        if not self.networks:
            return True
        found = as_address(address)
        return found is not None and any(found in network for network in self.networks)

    def expired(self, now: float) -> bool:
        """Whether it is of no use any more."""
        return self.expires is not None and now >= self.expires


def digest_of(text: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def id_of(text: str) -> str | None:
    """The id in a token; None where it is none."""
    found = _TOKEN.match(text)
    return None if found is None else found[1]


def fresh(taken: Iterable[str]) -> tuple[str, str]:
    """A new token, with its id.

    :param taken: ids that there are already.
    """
    known = set(taken)
    while (id := secrets.token_hex(4)) in known:
        pass
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    return id, f"evok_{id}_{secret}"


# The file


class _TokenSettings(Settings, frozen=True, kw_only=True):
    """One of the ``tokens`` of the file, by its id."""

    also = {"from": "networks"}

    name: Annotated[str, Meta(min_length=1, max_length=64, description="a name of 1 to 64 characters")]
    role: Literal["viewer", "operator", "admin"]
    write: tuple[str, ...] | None = None
    networks: tuple[str, ...] = ()
    created: str = ""
    expires: str | None = None
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="64 hexadecimal digits")]
    once: bool = False


def load(file: Path, problems: Problems, *, owned: bool = True) -> dict[str, Token]:
    """The tokens of a file, by their ids; of one that is not there, none.

    A token that has an error is left out, and the error noted.

    :param owned: whether it has to be our own, or root's: root may look at the service's.
    :raises ConfigError: the file cannot be used; the message says why, and not where it is.
    """
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}") from error
    if owned and found.st_uid not in (os.geteuid(), 0):
        raise ConfigError(
            f"belongs to the user {found.st_uid}, who could make tokens; expected {os.geteuid()}, or root"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"can be written by others (mode {stat.S_IMODE(found.st_mode):o}); expected 600")
    if found.st_mode & stat.S_IROTH:
        problems.warning(file, "", f"can be read by everybody (mode {stat.S_IMODE(found.st_mode):o}); expected 600")
    document = load_yaml(file, problems)
    if not isinstance(document, dict) or not isinstance(document.get("tokens", {}) or {}, dict):
        raise ConfigError("expected a mapping with version and tokens")
    if document.get("version") != VERSION:
        raise ConfigError(f"is of version {document.get('version')!r:.40}, expected {VERSION}")
    reader = Reader(file, problems, fatal=False)
    tokens = (_read(reader, id, node) for id, node in (document.get("tokens") or {}).items())
    return {token.id: token for token in tokens if token is not None}


def _read(reader: Reader, id: str, node: Any) -> Token | None:
    path = f"tokens.{id}"
    if not re.fullmatch("[0-9a-f]{8}", id):
        reader.error(path, "expected an id of 8 hexadecimal digits")
        return None
    settings = reader.struct(_TokenSettings, node, path)
    if settings is None:
        return None
    try:
        scopes = scopes_of(settings.role, settings.write)
        networks = networks_of(settings.networks)
        created = time_of(settings.created) if settings.created else 0.0
        expires = None if settings.expires is None else time_of(settings.expires)
    except ValueError as error:
        reader.error(path, f"{error}; the token {settings.name} is not taken")
        return None
    return Token(id, settings.name, scopes, networks, created, expires, settings.sha256, settings.once)


def scopes_of(role: Literal["viewer", "operator", "admin"], write: Iterable[str] | None) -> Scopes:
    """Scopes as a user writes them.

    :raises ValueError: a pattern names no kind; the message says which.
    """
    patterns = None if write is None else tuple(write)
    for pattern in patterns or ():
        kind, slash, circuit = pattern.partition("/")
        if kind not in KINDS:
            raise ValueError(f"write: got {pattern!r}, expected a kind and perhaps a circuit; {nearest(kind, KINDS)}")
        if slash and not circuit:
            raise ValueError(f"write: got {pattern!r}, expected a circuit or a pattern of circuits behind the slash")
    return Scopes(role, patterns)


def networks_of(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks and addresses as a user writes them.

    :raises ValueError: one is none; the message says which.
    """
    found = []
    for text in texts:
        try:
            found.append(ip_network(text, strict=False))
        except ValueError:
            raise ValueError(f"from: got {text!r}, expected an address or a network such as 192.168.1.0/24") from None
    return tuple(found)


def time_of(text: str) -> float:
    """A time as ``2027-01-31T12:00:00+00:00``, in seconds of the Unix epoch; without a zone it is that of the unit.

    :raises ValueError: it is none.
    """
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"got {text!r}, expected a time such as 2027-01-31T12:00:00+00:00") from None


@contextmanager
def changing(file: Path, problems: Problems, *, owned: bool = True) -> Iterator[dict[str, Token]]:
    """The tokens of a file, which is written with what becomes of them; meanwhile nobody else changes it so.

    What went wrong before the end leaves it as it was.

    :param owned: as for ``load``.
    :raises ConfigError: the file cannot be used, or another changes it; the message says why, and not where it is.
    :raises OSError: it cannot be written.
    """
    directory = os.open(_directory(file), os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tokens = load(file, problems, owned=owned)
        if problems.errors:
            raise ConfigError("has errors, which a change would lose; mend it first")
        yield tokens
        save(file, tokens)
    except BlockingIOError:
        raise ConfigError("is being changed by another; try again") from None
    finally:
        os.close(directory)


def _directory(file: Path) -> Path:
    """The directory that a file is in, or would be made in."""
    return next(parent for parent in file.absolute().parents if parent.exists())


def save(file: Path, tokens: Mapping[str, Token]) -> None:
    """Write the file, for its owner only to read; who that is does not change.

    :raises OSError: it is as it was.
    """
    try:
        found = os.stat(file)
    except FileNotFoundError:
        found = os.stat(_directory(file))
    owner = (found.st_uid, found.st_gid) if os.geteuid() == 0 else None
    entries = {token.id: _entry(token) for token in tokens.values()}
    text: str = yaml.safe_dump({"version": int(VERSION), "tokens": entries}, sort_keys=False)
    write_file(file, text, 0o600, owner)


def _entry(token: Token) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": token.name, "role": token.scopes.role}
    if token.scopes.write is not None:
        entry["write"] = list(token.scopes.write)
    if token.networks:
        entry["from"] = [str(network) for network in token.networks]
    entry["created"] = shown_time(token.created)
    if token.expires is not None:
        entry["expires"] = shown_time(token.expires)
    if token.once:
        entry["once"] = True
    return {**entry, "sha256": token.digest}


def shown_time(seconds: float) -> str:
    """A time for people, with its zone."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
