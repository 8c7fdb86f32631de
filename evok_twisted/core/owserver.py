"""What the core asks of an owserver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from evok_twisted.conditions import Subscription


class OwServer(Protocol):
    """The server of a 1-Wire bus.

    All requests answer in bounded time; they fail with ``Offline``, ``Timeout``, ``Refused``, ``BadAnswer``, ``Busy``.
    """

    @property
    def online(self) -> bool:
        """Whether it answers; while not, requests fail at once."""

    def watch(self, watcher: Callable[[bool], object]) -> Subscription:
        """Call ``watcher`` with ``online`` when that is known first, and whenever it changes."""

    def directory(self, path: str) -> Deferred[list[str]]:
        """The full paths of everything in a directory."""

    def read(self, path: str) -> Deferred[str]:
        """The text of a property."""

    def write(self, path: str, text: str) -> Deferred[None]:
        """Write a property."""

    def present(self, path: str) -> Deferred[bool]:
        """Whether a sensor is on the bus."""
