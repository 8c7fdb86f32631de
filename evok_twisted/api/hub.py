"""Hands changes to the clients that want them, grouped by what they hear."""

from __future__ import annotations

from collections import Counter

from evok_twisted.api.groups import Client, Group, Prepare, Stream
from evok_twisted.core.desk import Desk
from evok_twisted.core.events import ChangeSet
from evok_twisted.core.filters import DEFAULT, Filter

#: Dialect, filter, and the pace of subscribers.
Key = tuple[str, Filter, float | None]


class Hub:
    """Clients grouped by what they hear.

    :ivar dropped: how many clients were given up, by why.
    """

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare
        self._groups: dict[Key, Group] = {}
        self._key_of: dict[Client, Key] = {}
        self.dropped: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._key_of)

    def join(self, client: Client, desk: Desk, wanted: Filter = DEFAULT, every: float | None = None) -> None:
        """Let ``client`` hear, from now on, what ``wanted`` accepts; what it heard before is no more.

        :param every: of a subscriber, the seconds in which it gets one message at most; 0 is one for each change.
        """
        self.leave(client)
        key = self._key_of[client] = (desk.dialect, wanted, every)
        group = self._groups.get(key)
        if group is None:
            prepare = self._prepare
            made = Group(desk, wanted, prepare) if every is None else Stream(desk, wanted, prepare, every)
            group = self._groups[key] = made
        group.join(client)

    def message(self, client: Client, changes: ChangeSet) -> bytes | None:
        """What tells ``client``, who hears something, of ``changes``; None where nothing does."""
        return self._groups[self._key_of[client]].message(changes)

    def leave(self, client: Client) -> None:
        """Let ``client`` hear nothing."""
        key = self._key_of.pop(client, None)
        if key is not None:
            group = self._groups[key]
            group.leave(client)
            if not group.clients:
                group.close()
                del self._groups[key]
