"""A capture of a bus, as the answer to a request that goes on while it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from evok_twisted.conditions import Subscription, Timer
from evok_twisted.pcapng import Form, Frame, begin, packet


@implementer(IPushProducer)
class Capture:
    """What goes over one bus. A client that does not read fast enough misses some, and is told how much.

    :param wall: the time of day, in seconds of the Unix epoch.
    :param every: all captures that there are; this one is among them while it goes on.
    """

    def __init__(self, request: Request, bus: str, wall: Callable[[], float], every: set[Capture]) -> None:
        self._request = request
        self._bus = bus
        self._wall = wall
        self._every = every
        self._form: Form = "mbtcp"
        self._subscriptions: Sequence[Subscription] = ()
        self._timer: Timer | None = None
        self._paused = False
        self._missed = 0

    def begin(self, form: Form, subscriptions: Sequence[Subscription]) -> None:
        """Answer with it from now on.

        :param subscriptions: to what goes over the bus, and to what else is to be said.
        """
        self._form, self._subscriptions = form, subscriptions
        self._every.add(self)
        self._request.notifyFinish().addBoth(self._over)
        self._request.setHeader(b"content-type", b"application/octet-stream")
        self._request.setHeader(b"content-disposition", b'attachment; filename="evok.pcapng"')
        self._request.registerProducer(self, True)
        self._request.write(begin(self._bus))

    def end_after(self, seconds: float, clock: IReactorTime) -> None:
        """End the answer in ``seconds``."""
        self._timer = Timer(clock, self._end)
        self._timer.start(seconds)

    def take(self, sent: bool, data: bytes, comment: str) -> None:
        """Something has gone over the bus."""
        if self._paused:
            self._missed += 1
            return
        if self._missed:
            said = f"{self._missed} frames before this are missing: they were not read fast enough"
            comment, self._missed = f"{said}; {comment}".removesuffix("; "), 0
        self._request.write(packet(Frame(self._wall(), sent, data, comment), self._form))

    def _end(self) -> None:
        self._request.unregisterProducer()
        self._request.finish()

    def _over(self, _: object) -> None:
        self._every.discard(self)
        for one in self._subscriptions:
            one.stop()
        if self._timer is not None:
            self._timer.stop()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False

    def stopProducing(self) -> None:
        """The client is gone; ``notifyFinish`` tells."""
