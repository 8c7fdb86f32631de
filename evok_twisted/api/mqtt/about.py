"""What a unit says of itself: what it is, and which of its boards and buses answer."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from evok_twisted.api.messages import encode, time_of_day
from evok_twisted.api.mqtt.outbox import Outbox, Retained
from evok_twisted.api.mqtt.topics import Topics
from evok_twisted.conditions import Timer
from evok_twisted.core.desk import Desk
from evok_twisted.logs import Logger

#: Seconds between two looks at which boards and buses answer.
LOOK = 1.0
#: Bytes of ``info``, at most: of more boards than fit, it says nothing.
LARGEST_INFO = 2000
#: Seconds by which the time of day has to be set, for the begin of the service to be another.
SET = 60.0
#: Other units of the same name that are told of.
MOST_OTHERS = 16


class Info(msgspec.Struct):
    """What a unit is; ``started`` is when the service was."""

    version: str
    model: str
    family: str
    sn: int
    boards: list[str] | UnsetType
    dialect: str
    started: str
    url: str | UnsetType


class About:
    """What a unit says of itself.

    :param url: of its pages, as others reach it; empty where they do not.
    """

    _log = Logger()

    def __init__(self, desk: Desk, topics: Topics, url: str) -> None:
        self._desk = desk
        self._topics = topics
        self._url = url
        self._outbox: Outbox | None = None
        self._look = Timer(desk.clock, self.look)
        #: when the service began, and what was said of that
        self._started = self._said = 0.0
        #: topics of the boards and buses that were told of
        self._told: set[str] = set()
        #: serial numbers of other units of this name that were told of
        self._others: set[int] = set()

    @property
    def info(self) -> Info:
        """What the unit is, as far as that is configured."""
        desk = self._desk
        boards = [device.circuit for device in desk if device.kind == "modbus_slave"]
        of: Any = next((one.state for one in desk if one.kind == "device_info" and one.group not in boards), None)
        return Info(
            version=version("evok-twisted"),
            model=of.model if of else "",
            family=of.family if of else "",
            sn=of.sn if of else 0,
            boards=boards,
            dialect=desk.dialect,
            started=time_of_day(round(self._began())),
            url=self._url or UNSET,
        )

    def _began(self) -> float:
        """When the service did; another time only when the clock of the unit was set."""
        began = self._desk.wall() - self._desk.health().uptime
        if abs(began - self._started) > SET:
            self._started = began
        return self._started

    def begin(self, outbox: Outbox) -> None:
        """There is a connection to tell on."""
        self._outbox = outbox
        outbox.put("info", self._info)
        self.look()

    def end(self) -> None:
        """It is gone."""
        self._outbox = None
        self._look.stop()

    def _info(self) -> tuple[Retained]:
        info, self._said = self.info, self._started
        payload = encode(info)
        if len(payload) > LARGEST_INFO:
            payload = encode(msgspec.structs.replace(info, boards=UNSET))
        return (Retained(self._topics.info, payload),)

    def look(self) -> None:
        """Tell which boards and buses answer, where that is news."""
        outbox = self._outbox
        if outbox is not None:
            if self._began() != self._said:
                outbox.put("info", self._info)
            found = dict(self.answering())
            for topic, payload in (*((topic, b"") for topic in self._told - found.keys()), *found.items()):
                outbox.put_one(topic, payload)
            self._told = set(found)
            self._look.start(LOOK)

    def answering(self) -> Iterator[tuple[str, bytes]]:
        """By topic, whether each board and each bus answers."""
        for bus in self._desk.health().buses:
            yield self._topics.bus(bus.bus), _word(online=bus.online)
            for slave in bus.slaves:
                yield self._topics.board(slave.circuit), _word(online=bus.online and slave.online)

    def compare(self, payload: bytes) -> None:
        """Look at what somebody has said of a unit of this name: it should be this one."""
        try:
            other = msgspec.json.decode(payload)["sn"]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
            return
        ours = self.info.sn
        known = other in self._others or len(self._others) >= MOST_OTHERS
        if isinstance(other, int) and other and ours and other != ours and not known:
            self._others.add(other)
            self._log.warn(
                "MQTT: another unit, with the serial number {other}, is called {unit}; give one of them another name "
                "(apis.mqtt.unit)",
                other=other,
                unit=self._topics.unit,
            )


def _word(*, online: bool) -> bytes:
    return b"online" if online else b"offline"
