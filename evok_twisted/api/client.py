"""One client that listens: what it hears, and how fast it may ask; free of what carries it."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

from evok_twisted.api.hub import Hub
from evok_twisted.api.latest import Latest
from evok_twisted.api.limits import Allowance
from evok_twisted.conditions import Timer
from evok_twisted.core.desk import Desk
from evok_twisted.core.events import ChangeSet
from evok_twisted.core.filters import Filter
from evok_twisted.logs import Logger

#: Seconds after which a client that reads nothing is closed.
STALL_LIMIT = 60
#: Seconds between two pings, and how many a client may leave without a sign of life.
PING_INTERVAL = 30
UNANSWERED_PINGS = 2
#: Seconds that what a client sends may take in one turn; then it waits four times as long as that took.
LONGEST_TURN = 0.002


class Carrier(Protocol):
    """What a client needs of its connection."""

    @property
    def name(self) -> str:
        """What the log calls it."""

    def send(self, payload: bytes) -> None:
        """Send one message, if the client is still there."""

    def send_prepared(self, message: Any) -> None:
        """Send a message that was made ready for many, if the client is still there."""

    def ping(self) -> None:
        """Send a ping, which a client that is there answers."""

    def drop(self) -> None:
        """End the connection at once."""

    def refuse(self, reason: str) -> None:
        """Close the connection, and say why."""

    def pause(self) -> None:
        """Read nothing more from the client."""

    def resume(self) -> None:
        """Take what was received, and if that leaves nothing against it (``may_read``), read on."""


class Client:
    """One client.

    While it does not read what it is sent (its carrier says so), changes are not queued: the devices that changed are
    remembered, and told of once, with their latest state, when it reads again. What it sends waits meanwhile, as it
    does while it sends more than it may: nothing is read from it then.

    :param rate: how much it may send a second.
    :ivar stalled: whether it does not read what it is sent.
    """

    _log = Logger()

    def __init__(self, carrier: Carrier, desk: Desk, hub: Hub, clock: IReactorTime, rate: float) -> None:
        self.desk = desk
        self._carrier = carrier
        self._hub = hub
        self._clock = clock
        self._allowance = Allowance(rate, clock.seconds())
        self.stalled = False
        self._missed = Latest()
        self._turn = 0.0
        self._unanswered = 0
        self._throttle = Timer(clock, carrier.resume)
        self._stall_end = Timer(clock, self._give_up)
        self._pings = Timer(clock, self._ping)
        self._interval: float = PING_INTERVAL
        self._pings.start(self._interval)

    def listen(self, wanted: Filter, every: float | None = None) -> None:
        """Hear from now on what ``wanted`` accepts.

        :param every: of a subscriber, as for ``Hub.join``.
        """
        self._hub.join(self, self.desk, wanted, every)

    def leave(self) -> None:
        """Forget the client: its connection is gone."""
        self._hub.leave(self)
        for timer in (self._throttle, self._stall_end, self._pings):
            timer.stop()
        self._missed.take()

    # What it hears

    def deliver(self, message: Any, changes: ChangeSet | None) -> None:
        """Take a prepared message: the ``Client`` of a ``Group``."""
        if not self.stalled:
            self._carrier.send_prepared(message)
        elif changes is not None:
            self._missed.add(changes)

    def stall(self) -> None:
        """Keep changes back: the client does not read what it is sent."""
        self.stalled = True
        self._carrier.pause()
        if not self._stall_end.running:
            self._stall_end.start(STALL_LIMIT)

    def go_on(self) -> None:
        """Send what was kept back: the client reads again."""
        self.stalled = False
        self._stall_end.stop()
        for changes in self._missed.take():
            message = self._hub.message(self, changes)
            if message is not None:
                self._carrier.send(message)
        self._carrier.resume()

    def _give_up(self) -> None:
        self._hub.dropped["stalled"] += 1
        self._log.info("{name} has read nothing for {n} s; closed", name=self._carrier.name, n=STALL_LIMIT)
        self._hub.leave(self)
        self._missed.take()  # it may read again before it is gone
        self._carrier.refuse("messages are not read")

    # What it sends

    @property
    def may_read(self) -> bool:
        """Whether there is nothing against reading from it."""
        return not self.stalled and not self._throttle.running

    def begin_turn(self) -> None:
        """What was received from it is taken from now on, as long as ``may_take`` lets it."""
        self._turn = self._clock.seconds()

    def may_take(self) -> bool:
        """Whether one more of what it sent may be taken now. If not, it is when its carrier is resumed."""
        if not self.may_read:
            return False
        now = self._clock.seconds()
        lasted = now - self._turn
        wait = 4 * lasted if lasted > LONGEST_TURN else self._allowance.take(now)
        if wait:
            self._throttle.start(wait)
            self._carrier.pause()
        return not wait

    # Whether it is there

    def heard(self) -> None:
        """Note that the client answered a ping, or sent anything else."""
        self._unanswered = 0

    def watch_closely(self, within: float | None) -> None:
        """Notice within so many seconds that it is gone; None is as ever."""
        self._interval = PING_INTERVAL if within is None else within / (UNANSWERED_PINGS + 1)
        self._pings.start_within(self._interval)

    def _ping(self) -> None:
        if self._unanswered >= UNANSWERED_PINGS:
            self._hub.dropped["silent"] += 1
            self._log.info("{name} is silent; dropped", name=self._carrier.name)
            self._carrier.drop()
            return
        self._unanswered += 1
        self._carrier.ping()
        self._pings.start(self._interval)
