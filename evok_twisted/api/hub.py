"""Hands changes to the clients that want them: each message is built and framed once for all who share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from evok_twisted.core.desk import Desk
from evok_twisted.core.events import Change, ChangeSet
from evok_twisted.core.filters import DEFAULT, Filter


class Client(Protocol):
    """A client that messages are delivered to."""

    def deliver(self, message: Any, changes: tuple[Change, ...]) -> None:
        """Take a prepared message that tells of ``changes``."""


#: Makes of JSON what clients take, such as a framed WebSocket message.
Prepare = Callable[[bytes], Any]

Key = tuple[str, Filter]


class _Group:
    """Clients of one dialect and one filter: they get the same messages."""

    def __init__(self, desk: Desk, wanted: Filter, prepare: Prepare) -> None:
        self.clients: dict[Client, None] = {}
        self._desk = desk
        self._prepare = prepare
        self.subscription = desk.subscribe(self._publish, wanted)

    def _publish(self, changes: ChangeSet) -> None:
        message = self._prepare(self._desk.render(changes.changes))
        for client in tuple(self.clients):
            client.deliver(message, changes.changes)


class Hub:
    """Clients grouped by what they hear."""

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare
        self._groups: dict[Key, _Group] = {}
        self._key_of: dict[Client, Key] = {}

    def __len__(self) -> int:
        return len(self._key_of)

    def join(self, client: Client, desk: Desk, wanted: Filter = DEFAULT) -> None:
        """Let ``client`` hear, from now on, what ``wanted`` accepts; a filter it had before is gone."""
        self.leave(client)
        key = self._key_of[client] = (desk.dialect, wanted)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(desk, wanted, self._prepare)
        group.clients[client] = None

    def leave(self, client: Client) -> None:
        """Let ``client`` hear nothing."""
        key = self._key_of.pop(client, None)
        if key is not None:
            group = self._groups[key]
            del group.clients[client]
            if not group.clients:
                group.subscription.stop()
                del self._groups[key]
