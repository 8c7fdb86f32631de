"""What is to be published and retained: the latest on each topic, as fast as the broker takes it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

from evok_twisted.api.mqtt.connection import LONGEST_TURN, Connection
from evok_twisted.conditions import Timer


class Retained(NamedTuple):
    """What a broker is to retain on a topic; no payload is nothing."""

    topic: str
    payload: bytes
    qos: int = 1


#: Makes what is to be published when its turn comes, so that it is the latest then.
Make = Callable[[], Iterable[Retained]]


class Outbox:
    """What waits for one connection.

    What waits already is not put in twice. What the broker is known to retain is not sent again. So what waits is
    bounded by the number of what there is to tell of.

    :ivar known: by topic, what the broker retains, as far as that is known.
    """

    def __init__(self, connection: Connection) -> None:
        self.known: dict[str, bytes] = {}
        #: messages that were sent
        self.sent = 0
        self._connection = connection
        self._waiting: OrderedDict[Hashable, Make] = OrderedDict()
        self._again: set[Hashable] = set()
        self._next: deque[tuple[Retained, bool]] = deque()
        self._turn = Timer(connection.clock, self.drain)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._next)

    def put(self, key: Hashable, make: Make, *, again: bool = False) -> None:
        """Let something be published.

        :param key: what it is of; of one thing only one waits.
        :param again: also if the broker retains it already.
        """
        self._waiting[key] = make
        if again:
            self._again.add(key)
        if not self._turn.running:
            self.drain()

    def put_one(self, topic: str, payload: bytes, *, again: bool = False) -> None:
        """Let one message be published."""
        self.put(topic, lambda: (Retained(topic, payload),), again=again)

    def hurry(self, key: Hashable) -> None:
        """Let it be the next, if it waits."""
        if key in self._waiting:
            self._waiting.move_to_end(key, last=False)
            self.drain()

    def clear(self) -> None:
        """Let nothing be published any more."""
        self._waiting.clear()
        self._next.clear()
        self._turn.stop()

    def drain(self) -> None:
        """Publish what the broker takes now."""
        self._turn.stop()
        clock = self._connection.clock
        begun = clock.seconds()
        while self._connection.room and (self._next or self._refill()):
            (topic, payload, qos), again = self._next.popleft()
            if again or self.known.get(topic, b"") != payload:
                self.known[topic] = payload
                self._connection.publish(topic, payload, qos, retain=True)
                self.sent += 1
            lasted = clock.seconds() - begun
            if lasted > LONGEST_TURN:
                self._turn.start(lasted)
                return

    def _refill(self) -> bool:
        """Make what is next of what waits; whether there is anything."""
        while self._waiting and not self._next:
            key, make = self._waiting.popitem(last=False)
            again = key in self._again
            self._again.discard(key)
            self._next.extend((one, again) for one in make())
        return bool(self._next)
