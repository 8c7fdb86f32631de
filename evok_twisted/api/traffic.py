"""What is told in numbers of the WebSocket's clients and what goes to and fro."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from evok_twisted.meters import Meters

#: Why clients are given up: they read nothing, give no sign of life, or break the rules.
WHY = ("stalled", "silent", "protocol")


class Traffic:
    """Messages of one direction, and their bytes."""

    __slots__ = ("bytes", "messages")

    def __init__(self) -> None:
        self.messages = self.bytes = 0

    def add(self, size: int) -> None:
        """Count a message of ``size`` bytes."""
        self.messages += 1
        self.bytes += size


class _Client(Protocol):
    @property
    def stalled(self) -> bool: ...


class _Connection(Protocol):
    @property
    def client(self) -> _Client | None: ...


def measure_clients(
    meters: Meters,
    connections: Collection[_Connection],
    dropped: Mapping[str, int],
    received: Traffic,
    sent: Traffic,
) -> None:
    """Tell in numbers of clients.

    :param connections: those that are open.
    :param dropped: how many clients were given up, by why.
    """
    both = (("received", received), ("sent", sent))
    meters.one(
        "clients_stalled",
        "gauge",
        "Clients of the WebSocket that do not read what they are sent",
        lambda: sum(one.client is not None and one.client.stalled for one in connections),
    )
    meters.ask(
        "clients_dropped_total",
        "counter",
        "Clients of the WebSocket that were given up",
        ("why",),
        lambda: (((why,), dropped.get(why, 0)) for why in WHY),
    )
    meters.ask(
        "messages_total",
        "counter",
        "Messages of the WebSocket",
        ("direction",),
        lambda: (((name,), one.messages) for name, one in both),
    )
    meters.ask(
        "message_bytes_total",
        "counter",
        "What was in messages of the WebSocket",
        ("direction",),
        lambda: (((name,), one.bytes) for name, one in both),
    )
