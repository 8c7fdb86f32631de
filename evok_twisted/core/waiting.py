"""Sets that wait for their turn at the hardware."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from evok_twisted.conditions import Timer
from evok_twisted.core.commands import Assignment
from evok_twisted.errors import Busy, EvokError, Superseded, Timeout
from evok_twisted.model.parameters import replaces


class Waiting:
    """One set on its way.

    :ivar request: what it came with: sets that a client asks for at once have one, and what the service does on its own
        has another each.
    :ivar deadline: the time of the clock by which it is to be begun.
    :ivar done: what the client waits for.
    """

    __slots__ = ("by", "deadline", "device", "done", "expiry", "parameters", "replaceable", "request")

    def __init__(self, what: Assignment, request: object) -> None:
        self.device, self.parameters, self.by, self.replaceable = what
        self.request = request
        self.deadline = 0.0
        self.done: Deferred[None] = Deferred()
        self.expiry: Timer | None = None

    def replaces(self, older: Waiting) -> bool:
        """Whether nothing of ``older`` would be missed if only this one were done."""
        return (
            older.replaceable
            and self.device is older.device
            and replaces(self.device.parameters, self.parameters, older.parameters)
        )

    def succeed(self) -> None:
        """Tell the client that it is done, unless it was told something before."""
        if not self.done.called:
            self.done.callback(None)

    def fail(self, error: EvokError) -> None:
        """Tell the client what went wrong, unless it was told something before."""
        if not self.done.called:
            self.done.errback(error)


class Queue:
    """The sets that wait for one slave or one bus, in the order in which they came.

    Each waits until its deadline at most, and is never done later. A newer one of the same parameters takes the place
    of an older.

    :param seconds: that each may wait.
    :param limit: how many requests may wait; what one client asks for at once counts as one.
    :param whom: what they wait for, in messages.
    :param dropped: is told of each that leaves without having had its turn.
    """

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float,
        limit: int,
        whom: object,
        dropped: Callable[[Waiting], object] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._limit = limit
        self._whom = whom
        self._dropped = dropped
        self._waiting: dict[Waiting, None] = {}
        # what a newer one replaces is found without looking at all of them
        self._of_device: dict[object, dict[Waiting, None]] = {}
        self._requests: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        """Those that wait, the one that has waited for longest first."""
        return iter(self._waiting)

    def ask(self, sets: Sequence[Assignment]) -> list[Deferred[None]]:
        """Let what one client asked for at once wait for its turn.

        :returns: for each, what the client waits for; it fails with ``Busy`` where too many wait already.
        """
        return [self._ask(Waiting(one, sets)) for one in sets]

    def _ask(self, job: Waiting) -> Deferred[None]:
        for older in tuple(self._of_device.get(job.device, ())):
            if older.request is not job.request and job.replaces(older):
                self._drop(older, Superseded(f"{job.device!r}: a newer set came before this one was sent"))
        if len(self._requests) >= self._limit and id(job.request) not in self._requests:
            job.fail(Busy(f"{job.device!r}: {self._limit} commands wait for {self._whom!r} already"))
        else:
            self.append(job)
        return job.done

    def append(self, job: Waiting) -> Deferred[None]:
        """Let ``job`` wait, however many do; behind all that came before: the newest has the last word."""
        job.deadline = self._clock.seconds() + self._seconds
        job.expiry = Timer(self._clock, lambda: self._expire(job))
        job.expiry.start(self._seconds)
        self._waiting[job] = None
        self._of_device.setdefault(job.device, {})[job] = None
        self._requests[id(job.request)] = self._requests.get(id(job.request), 0) + 1
        return job.done

    def take(self, jobs: Iterable[Waiting]) -> None:
        """``jobs`` have their turn: they wait no more."""
        for job in jobs:
            self._leave(job)

    def fail(self, error: Callable[[Waiting], EvokError | None]) -> None:
        """Let those fail for which ``error`` has one."""
        for job in tuple(self._waiting):
            why = error(job)
            if why is not None and job in self._waiting:
                self._drop(job, why)

    def _leave(self, job: Waiting) -> None:
        if job.expiry is not None:
            job.expiry.stop()
        del self._waiting[job]
        same = self._of_device[job.device]
        del same[job]
        if not same:
            del self._of_device[job.device]
        self._requests[id(job.request)] -= 1
        if not self._requests[id(job.request)]:
            del self._requests[id(job.request)]

    def _drop(self, job: Waiting, error: EvokError) -> None:
        self._leave(job)
        self._dropped(job)
        job.fail(error)

    def _expire(self, job: Waiting) -> None:
        self._drop(job, Timeout(f"{job.device!r}: could not be sent within {self._seconds:g} s"))
