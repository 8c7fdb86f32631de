"""Clients that hear the same: each message is built and framed once for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from evok_twisted.api.latest import Latest
from evok_twisted.api.limits import SHORTEST_WAIT
from evok_twisted.api.messages import alive, changed, gone
from evok_twisted.conditions import Timer
from evok_twisted.core.desk import Desk
from evok_twisted.core.events import ChangeSet
from evok_twisted.core.filters import Filter

#: Seconds after which subscribers to whom there is nothing to tell are told so.
HEARTBEAT = 20.0


class Client(Protocol):
    """A client that messages are delivered to."""

    def deliver(self, message: Any, changes: ChangeSet | None) -> None:
        """Take a prepared message that tells of ``changes``; None of one that tells of nothing."""


#: Makes of JSON what clients take, such as a framed WebSocket message.
Prepare = Callable[[bytes], Any]


class Group:
    """Clients of one dialect and one filter, who hear what Evok's do: lists of states."""

    def __init__(self, desk: Desk, wanted: Filter, prepare: Prepare) -> None:
        self.clients: dict[Client, None] = {}
        self.desk = desk
        self._prepare = prepare
        self._subscription = desk.subscribe(self.hear, wanted)

    def join(self, client: Client) -> None:
        """Let ``client`` hear what comes."""
        self.clients[client] = None

    def leave(self, client: Client) -> None:
        """Let it hear nothing more."""
        del self.clients[client]

    def close(self) -> None:
        """There are no more clients."""
        self._subscription.stop()

    def hear(self, changes: ChangeSet) -> None:
        """Something has changed."""
        self.tell(changes)

    def message(self, changes: ChangeSet) -> bytes | None:
        """What tells of ``changes``; None where nothing does: Evok has no word for what is gone."""
        return self.desk.render(changes.changes) if changes.changes else None

    def tell(self, changes: ChangeSet, clients: tuple[Client, ...] | None = None) -> None:
        """Tell ``clients``, or all, of ``changes``."""
        message = self.message(changes)
        if message is not None:
            prepared = self._prepare(message)
            for client in tuple(self.clients) if clients is None else clients:
                client.deliver(prepared, changes)


class Stream(Group):
    """Subscribers of one dialect, one filter and one pace.

    :param every: seconds in which they get one message at most, of the latest states; 0 is one for each change.
    """

    def __init__(self, desk: Desk, wanted: Filter, prepare: Prepare, every: float) -> None:
        super().__init__(desk, wanted, prepare)
        self._every = every
        self._latest = Latest()
        #: who came while something waited, and knows all up to this number
        self._joined: dict[Client, int] = {}
        self._pace = Timer(desk.clock, self._flush)
        self._told = desk.clock.seconds()
        self._heart = Timer(desk.clock, self._beat)
        self._heart.start(HEARTBEAT)
        #: the last heartbeat, by its number
        self._made: tuple[int, Any] = (-1, None)

    def join(self, client: Client) -> None:
        super().join(client)
        if self._latest:
            self._joined[client] = self.desk.number

    def leave(self, client: Client) -> None:
        super().leave(client)
        self._joined.pop(client, None)

    def close(self) -> None:
        super().close()
        self._pace.stop()
        self._heart.stop()

    def hear(self, changes: ChangeSet) -> None:
        if not self._every:
            self.tell(changes)
            return
        self._latest.add(changes)
        if not self._pace.running:
            self._flush()

    def _flush(self) -> None:
        if not self._latest:
            return
        known, self._joined = self._joined, {}
        for number in set(known.values()):
            for changes in self._latest.after(number):
                self.tell(changes, tuple(client for client, then in known.items() if then == number))
        others = tuple(client for client in self.clients if client not in known) if known else None
        for changes in self._latest.take():
            self.tell(changes, others)
        self._pace.start(self._every)

    def message(self, changes: ChangeSet) -> bytes:
        self._told = self.desk.clock.seconds()
        return gone(self.desk, changes) if changes.gone else changed(self.desk, changes)

    def _beat(self) -> None:
        left = self._told + HEARTBEAT - self.desk.clock.seconds()
        if left <= SHORTEST_WAIT:
            # what waits is not known yet, but to who came since it does
            known = self._latest.before if self._latest else self.desk.number
            for client in tuple(self.clients):
                client.deliver(self._alive(self._joined.get(client, known)), None)
            self._told, left = self.desk.clock.seconds(), HEARTBEAT
        self._heart.start(left)

    def _alive(self, number: int) -> Any:
        kept, made = self._made
        if kept != number:
            made = self._prepare(alive(self.desk, number))
            self._made = number, made
        return made
