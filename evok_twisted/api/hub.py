"""Hands changes to the clients that want them: each message is built and framed once for all who share it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from evok_twisted.api.dialects import listing
from evok_twisted.api.filters import DEFAULT, Filter
from evok_twisted.core.events import ChangeSet
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import Dialect


class Client(Protocol):
    """Who listens."""

    def deliver(self, message: Any, devices: tuple[Device, ...]) -> None:
        """Take a prepared message that tells of ``devices``."""


Group = tuple[Dialect, Filter]


class Hub:
    """Clients grouped by what they hear.

    :param prepare: makes of the JSON what clients take, such as a framed WebSocket message.
    """

    def __init__(self, prepare: Callable[[bytes], Any]) -> None:
        self._prepare = prepare
        self._groups: dict[Group, dict[Client, None]] = {}
        self._group_of: dict[Client, Group] = {}

    def __len__(self) -> int:
        return len(self._group_of)

    def join(self, client: Client, dialect: Dialect, wanted: Filter = DEFAULT) -> None:
        """Let ``client`` hear, from now on, what ``wanted`` accepts; a filter it had before is gone."""
        self.leave(client)
        self._group_of[client] = (dialect, wanted)
        self._groups.setdefault((dialect, wanted), {})[client] = None

    def leave(self, client: Client) -> None:
        """Let ``client`` hear nothing."""
        group = self._group_of.pop(client, None)
        if group is not None:
            del self._groups[group][client]
            if not self._groups[group]:
                del self._groups[group]

    def publish(self, changes: ChangeSet) -> None:
        """Tell everybody who wants to know; a subscriber of ``Events``."""
        for (dialect, wanted), clients in tuple(self._groups.items()):
            devices = tuple(device for device in changes.devices if wanted.accepts(device))
            if devices:
                message = self._prepare(listing(devices, dialect))
                for client in tuple(clients):
                    client.deliver(message, devices)
