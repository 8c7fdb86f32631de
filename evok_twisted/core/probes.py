"""Whose turn it is, of the silent slaves on one bus, to be asked whether they are back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from evok_twisted.conditions import Timer

#: Asks one slave; fires with whether it answered, and never fails.
Probe = Callable[[], Deferred[bool]]


class Probes:
    """Lets one slave be asked at a time, and such as do not answer for a tenth of the time at most.

    On a serial line everybody waits while a silent slave has its time to answer: the others must not feel that.
    """

    #: part of the time that waiting for silent slaves may take
    share = 0.1
    #: the longest pause after one, in seconds, whatever its share
    longest_pause = 4.0

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: deque[Probe] = deque()  # each slave is in it once at most
        self._busy = False
        self._choosing = False
        self._pause = Timer(clock, self._next)

    def add(self, probe: Probe) -> None:
        """Call ``probe`` when its turn comes: at once, if there is no other."""
        self._waiting.append(probe)
        self._next()

    def _next(self) -> None:
        if self._choosing:
            return  # called by a probe that was answered at once: the loop below goes on
        self._choosing = True
        while self._waiting and not self._busy and not self._pause.running:
            self._busy = True
            self._waiting.popleft()().addCallback(self._done, self._clock.seconds())
        self._choosing = False

    def _done(self, answered: bool, begun: float) -> None:
        self._busy = False
        if not answered:
            pause = (self._clock.seconds() - begun) * (1 / self.share - 1)
            self._pause.start(min(pause, self.longest_pause))
        self._next()

    def remove(self, probe: Probe) -> None:
        """Do not call ``probe``, if it waits for its turn."""
        if probe in self._waiting:
            self._waiting.remove(probe)

    def stop(self) -> None:
        """Call nobody any more."""
        self._waiting.clear()
        self._pause.stop()
