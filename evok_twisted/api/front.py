"""What a front is: one way for clients to reach the service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twisted.application.service import IService
from twisted.web.resource import IResource

from evok_twisted.api.gate import Gate
from evok_twisted.config import FrontSettings
from evok_twisted.core.desk import Desk, Desks
from evok_twisted.core.filters import Filter
from evok_twisted.errors import EvokError
from evok_twisted.problems import Problems


class Context(NamedTuple):
    """What fronts are made from.

    :ivar desks: what they know of the rest of the service.
    :ivar tree: what is served under each path of the ports that all share; fronts add to it.
    :ivar gate: what says who their clients are.
    :ivar url: where others reach what is in the tree; empty where they do not.
    """

    desks: Desks
    reactor: Any
    problems: Problems
    tree: dict[bytes, IResource]
    gate: Gate
    url: str = ""


class Front(NamedTuple):
    """One way for clients to reach the service.

    :ivar key: where its settings stand in ``apis``; None of one that has none, and is always there.
    :ivar settings: what they are, and what without any.
    :ivar make: puts what it serves into the tree, and returns the service that is to run for it, if any; called where
        it is enabled.
    """

    key: str | None
    settings: type[FrontSettings]
    make: Callable[[Context, Any], IService | None]


def chosen(names: Sequence[str], desk: Desk, problems: Problems, key: str, *, fatal: bool = True) -> Filter | None:
    """The circuits that settings name, as the command ``filter`` has them; what is wrong with them is noted.

    :param key: where they stand.
    :returns: None where they say nothing that could be.
    """
    try:
        wanted, unknown = desk.wanted(names)
    except EvokError as error:
        problems.error(problems.file_of(key), key, str(error), fatal=fatal)
        return None
    if unknown:
        problems.warning(problems.file_of(key), key, f"unknown kinds, ignored: {', '.join(unknown)}")
    return wanted


class AlwaysThere(FrontSettings, frozen=True, kw_only=True):
    """Of a front that others stand on: it has no settings, and cannot be turned off."""

    enabled: bool = True
