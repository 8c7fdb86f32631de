"""Reads back what the broker retains of a unit, so that only what differs is sent, and what is no more goes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from twisted.internet.task import deferLater

from evok_twisted.api.mqtt.connection import Connection, Message, Wanted
from evok_twisted.api.mqtt.outbox import Outbox
from evok_twisted.api.mqtt.topics import GET, SET, Topics
from evok_twisted.core.desk import Desk
from evok_twisted.logs import Logger, Repeats
from evok_twisted.model.kinds import KINDS

#: Seconds that it may take in all, and without a message until a part is thought to be complete.
LONGEST, QUIET = 2.0, 0.05
#: Bytes of it that are kept, at most: others may have had the broker retain what they like.
MOST = 16 << 20
#: Kinds of which there are many, each of which is a part.
_MANY = frozenset({"di", "ro", "do", "ai", "ao", "led", "register", "input", "relay"})
#: Codes of the answer to a subscription from here on are refusals.
REFUSED = 0x80


class ReadBack:
    """What is read back, in parts: a broker may keep no more than a thousand messages ready for one client.

    :param discovery: the topics of what Home Assistant is told.
    """

    _log = Logger()

    def __init__(self, desk: Desk, topics: Topics, discovery: str) -> None:
        self._desk = desk
        self._topics = topics
        kinds: dict[str, list[str]] = {}
        for kind in KINDS.values():
            # not +/+, which would have commands come twice
            fields = {field for of in kind.devices for field in f"{of.fields} {of.v3_fields} typ alias".split()}
            dev = kind.dev(desk.dialect)
            kinds.setdefault(dev, []).extend(
                f"{topics.root}{dev}/{tail}" for tail in ("+", *(f"+/{f}" for f in fields))
            )
        few = [pattern for dev, patterns in kinds.items() if dev not in _MANY for pattern in patterns]
        self._parts = [
            [discovery, f"{topics.root}boards/+/status", f"{topics.root}buses/+/status"],
            *(patterns for dev, patterns in kinds.items() if dev in _MANY),
            few,
        ]
        self._discovery = discovery.removesuffix("+/config")
        escaped = "|".join(map(re.escape, kinds))
        self._ours = re.compile(
            rf"{re.escape(topics.root)}((boards|buses)/[^/]+/status|({escaped})/[^/]+(/(?!({SET}|{GET})$)[^/]+)?)$"
        )
        self._repeats = Repeats(self._log, desk.clock)
        self._heard = 0.0
        self._room = MOST

    def take(self, message: Message, outbox: Outbox) -> None:
        """Note what the broker retains, if it is of ours."""
        if self._ours.match(message.topic) or message.topic.startswith(self._discovery):
            self._heard = self._desk.clock.seconds()
            self._room -= len(message.topic) + len(message.payload)
            if self._room > 0:
                outbox.known[message.topic] = message.payload

    async def read(self, connection: Connection) -> None:
        """Ask for all of it, and wait until it has come, or for ``LONGEST``.

        :raises BrokerError: the connection is lost.
        """
        clock = self._desk.clock
        end = clock.seconds() + LONGEST
        self._room = MOST
        for part in self._parts:
            codes = await connection.subscribe([Wanted(pattern, qos=0) for pattern in part])
            for pattern, code in zip(part, codes, strict=False):
                if code >= REFUSED:
                    self._repeats.warn("MQTT: the broker lets us read nothing of {pattern}", pattern=pattern)
            self._heard = clock.seconds()
            while not connection.lost.called:
                now = clock.seconds()
                wait = min(self._heard + QUIET, end) - now
                if wait <= 0:
                    break
                await deferLater(clock, wait)
            await connection.unsubscribe(part)
            if clock.seconds() >= end:
                break

    def stale(self, outbox: Outbox, wanted: Iterable[str]) -> Iterator[str]:
        """The topics of states that the broker retains, and that are none of ``wanted``."""
        kept = set(wanted)
        for topic, payload in outbox.known.items():
            if payload and topic not in kept and self._ours.match(topic):
                yield topic
