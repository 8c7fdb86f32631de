"""Mechanisms that the whole service is made of: what lasts, who watches, when to try again, a timer, breaks, a stop."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, Protocol

from twisted.application.service import IService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

_P = ParamSpec("_P")

#: Part of a wait by which it may be shorter, so that those who lost one peer at one time do not all return at one time.
JITTER = 0.1


def backoff(attempt: int, first: float, longest: float, chance: Callable[[], float] = random.random) -> float:
    """Seconds to wait: twice as long each time, ``longest`` at most, and up to a tenth less by chance.

    :param attempt: how many waits there were before, 0 for the first.
    :param chance: gives numbers from 0 to 1.
    """
    # the exponent has a bound, for a float has one, and whatever fails may do so for years
    return min(first * 2.0 ** min(attempt, 32), longest) * (1 - JITTER * chance())


class Subscription:
    """What undoes that somebody watches."""

    __slots__ = ("_stopped", "active")

    def __init__(self, stopped: Callable[[Subscription], None]) -> None:
        self._stopped = stopped
        #: whether what is watched for still comes
        self.active = True

    def stop(self) -> None:
        """Let nothing come any more, from this moment on; may be called again."""
        if self.active:
            self.active = False
            self._stopped(self)


class Signal(Generic[_P]):
    """Calls everybody who watches for something, in the order in which they began to."""

    __slots__ = ("_log", "_watchers")

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._watchers: dict[Subscription, Callable[_P, object]] = {}

    def __bool__(self) -> bool:
        """Whether somebody watches."""
        return bool(self._watchers)

    def watch(self, watcher: Callable[_P, object]) -> Subscription:
        """Call ``watcher`` from now on."""
        subscription = Subscription(self._watchers.__delitem__)
        self._watchers[subscription] = watcher
        return subscription

    def emit(self, *args: _P.args, **kwargs: _P.kwargs) -> None:
        """Call everybody. A failure of one is logged, and costs the others nothing."""
        for subscription, watcher in tuple(self._watchers.items()):
            if subscription.active:
                try:
                    watcher(*args, **kwargs)
                except Exception:
                    self._log.failure("{watcher!r} failed on {args!r:.500}", watcher=watcher, args=args)


class Timer:
    """One call that is to come, or none.

    :param call: what is called when the time is over.
    """

    __slots__ = ("_call", "_clock", "_pending")

    def __init__(self, clock: IReactorTime, call: Callable[[], object]) -> None:
        self._clock = clock
        self._call = call
        self._pending: IDelayedCall | None = None

    @property
    def running(self) -> bool:
        """Whether the call is to come."""
        return self._pending is not None

    def start(self, seconds: float) -> None:
        """Call in ``seconds`` from now, and not when it was to be before."""
        self.stop()
        self._pending = self._clock.callLater(seconds, self._due)

    def start_within(self, seconds: float) -> None:
        """Call in ``seconds`` from now, unless the call comes sooner as it is."""
        self.start_by(self._clock.seconds() + seconds)

    def start_by(self, time: float) -> None:
        """Call at ``time`` of the clock, unless the call comes sooner as it is."""
        if self._pending is None or self._pending.getTime() > time:
            self.start(max(0.0, time - self._clock.seconds()))

    def stop(self) -> None:
        """Do not call; may be called again."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None

    def _due(self) -> None:
        self._pending = None
        self._call()


class LineLog(Protocol):
    """Who writes the lines of a log: a ``Logger``, or ``Repeats`` for what may come again and again."""

    def info(self, format: str, **kwargs: Any) -> None:
        """Write a line of level info."""

    def warn(self, format: str, **kwargs: Any) -> None:
        """Write a line of level warn."""

    def error(self, format: str, **kwargs: Any) -> None:
        """Write a line of level error."""


class Condition:
    """Something that lasts: it is told when it begins and when it ends, and not in between.

    ``{lasted}`` in what is told is for how many seconds it was the other way before.

    :param lasts: whether it does so from the start, untold; None where that is not known, so that either is news.
    :ivar since: when that last changed.
    """

    __slots__ = ("_clock", "_log", "lasts", "since")

    def __init__(self, log: LineLog, clock: IReactorTime, *, lasts: bool | None = False) -> None:
        self._log = log
        self._clock = clock
        self.lasts = lasts
        self.since = clock.seconds()

    def begin(self, format: str, **kwargs: object) -> bool:
        """It is so, which is a warning; whether that is new."""
        return self._turn(True, self._log.warn, format, kwargs)

    def begin_badly(self, format: str, **kwargs: object) -> bool:
        """``begin`` of what is an error."""
        return self._turn(True, self._log.error, format, kwargs)

    def end(self, format: str, **kwargs: object) -> bool:
        """It is so no more; whether that is new."""
        return self._turn(False, self._log.info, format, kwargs)

    def _turn(self, lasts: bool, tell: Callable[..., None], format: str, kwargs: dict[str, object]) -> bool:
        if self.lasts is lasts:
            return False
        now = self._clock.seconds()
        lasted, self.since, self.lasts = now - self.since, now, lasts
        tell(format, lasted=lasted, **kwargs)
        return True


def breathe(clock: IReactorTime) -> Deferred[None]:
    """Let what is due come first, in the middle of what takes long in all: no scan is to wait for that."""
    return deferLater(clock, 0.0, lambda: None)


async def stop(service: IService, log: Logger) -> None:
    """Stop a service. A failure is logged, for nobody else would tell, and others are to be stopped all the same."""
    try:
        await maybeDeferred(service.stopService)
    except Exception:
        log.failure("at the stop of {service!r}", service=service)
