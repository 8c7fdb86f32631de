"""The service that keeps the history: when it writes, and what it does when it cannot."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred, DeferredLock, TimeoutError
from twisted.internet.task import deferLater

from evok_twisted.conditions import Condition, Subscription, Timer
from evok_twisted.core.desk import Desk
from evok_twisted.core.events import ChangeSet
from evok_twisted.core.filters import Filter
from evok_twisted.core.health import HistoryHealth
from evok_twisted.history import schema, store, tiers
from evok_twisted.history.batch import Batch, Series
from evok_twisted.history.recorder import Recorder
from evok_twisted.history.store import HOUR, Event, Live
from evok_twisted.history.tiers import Found, Keep
from evok_twisted.logs import Logger, Repeats
from evok_twisted.model.kinds import KINDS

_T = TypeVar("_T")

#: Changes that wait before they are written though it is not time; and that wait at most, while nothing can be written.
MANY, MOST = 5000, 50_000
#: Seconds until it is tried again to use a file that cannot be used.
AGAIN = 30.0
#: Seconds of work in the background at once, and between two of these.
_PIECE, _PAUSE = 0.003, 0.03
#: Seconds that writing what waits may take at the end.
LONGEST_END = 3.0
#: Milliseconds before the hour at which everything is written: the hour can then be made from what follows.
_AHEAD = 1000


class Keeper(Service):
    """Keeps what circuits show, while it runs.

    :param desk: whose circuits.
    :param wanted: what of them.
    :param write_every: seconds between two times that it writes.
    """

    _log = Logger()

    def __init__(self, file: str, desk: Desk, wanted: Filter, keep: Keep, write_every: float, reactor: Any) -> None:
        self._file = file
        self._desk = desk
        self._keep = keep
        self._write_every = write_every
        self._reactor = reactor
        self._recorder = Recorder(desk, wanted, reactor, MOST)
        self._pool: ConnectionPool | None = None
        self._run = 0
        #: series that are in the file, and up to when, in milliseconds of the Unix epoch, changes are
        self._written = self._until = 0
        self._size = 0
        self._watching: Subscription | None = None
        self._writing = DeferredLock()
        self._write_timer = Timer(reactor, self._write_now)
        self._whole_timer = Timer(reactor, self._whole)
        self._again = Timer(reactor, self._open_now)
        self._problem = ""
        self._trouble = Condition(Repeats(self._log, reactor), reactor)
        self._maintained = -1
        self._job: Iterator[None] | None = None
        self._maintaining = False
        #: up to when, in milliseconds of the Unix epoch, another place has what is kept; None where there is none
        self.taken_over: int | None = None

    # Begin and end

    def startService(self) -> None:
        super().startService()
        self._open_now()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        for timer in (self._write_timer, self._whole_timer, self._again):
            timer.stop()
        if self._watching is not None:
            self._watching.stop()
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        if self._run:
            writing = Deferred.fromCoroutine(self._write())
            writing.addTimeout(LONGEST_END, self._reactor)
            try:
                await writing
            except TimeoutError:
                self._log.error("history: the last changes could not be written in {s} s; given up", s=LONGEST_END)
                return
        await self._writing.run(self._close)

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _open_now(self) -> None:
        opened = self._writing.run(lambda: Deferred.fromCoroutine(self._open()))
        opened.addErrback(lambda failure: self._log.failure("history", failure))

    async def _open(self) -> None:
        """Open the file, and begin; or try again later."""
        self._pool = self._connect()
        try:
            known, last = await self._do(_known)
            self._recorder.begin(known, last)
            if self._watching is None:
                self._watching = self._desk.subscribe(self._note, Filter(KINDS))
            self._run = await self._do(store.begin_run, self._recorder.offset)
        except schema.Unusable as error:
            self._close()
            self._say(f"{self._file}: {error}; it is left as it is, and nothing is kept")
        except (sqlite3.Error, OSError) as error:
            self._close()
            if schema.is_broken(error):
                self._set_aside(error)
            else:
                self._say(f"{self._file}: {error}; what changes is not kept until it can be")
            if self.running:
                self._again.start(0.0 if schema.is_broken(error) else AGAIN)
        else:
            self._written = len(known)
            self._fine()
            self._whole_timer.start(self._until_whole())
            self._write_timer.start(self._write_every)

    def _connect(self) -> ConnectionPool:
        pool = ConnectionPool(
            "sqlite3",
            self._file,
            check_same_thread=False,
            cp_min=1,
            cp_max=1,  # one thread: what is asked first is done first, and a file in memory is the same for all
            cp_noisy=False,
            cp_reactor=self._reactor,
            cp_openfun=lambda db: schema.prepare(db, self._keep.at_most),
        )
        pool.start()
        return pool

    def _do(self, function: Callable[..., _T], *arguments: object) -> Deferred[_T]:
        """Call ``function`` with the connection to the file, in the thread, as one transaction."""
        assert self._pool is not None
        done: Deferred[_T] = self._pool.runWithConnection(function, *arguments)
        return done

    def _set_aside(self, error: Exception) -> None:
        aside = schema.set_aside(Path(self._file))
        self._log.error("history: {file} is broken ({why}); it is now {aside}", file=self._file, why=error, aside=aside)

    # What is wrong

    def _say(self, problem: str) -> None:
        self._problem = problem
        self._trouble.begin_badly("history: {problem}", problem=problem)

    def _fine(self) -> None:
        self._problem = ""
        self._trouble.end("history: it is kept again, after {lasted:.0f} s")

    def report(self) -> HistoryHealth:
        """How it is."""
        recorder = self._recorder
        return HistoryHealth(self._file, self._size, recorder.waiting, recorder.lost, self._problem or None)

    def warnings(self) -> tuple[str, ...]:
        """What people should know of."""
        return (f"history: {self._problem}",) if self._problem else ()

    # Writing

    def _note(self, changes: ChangeSet) -> None:
        self._recorder.note(changes)
        if self._recorder.waiting >= MANY and not self._writing.locked and not self._problem:
            self._write_now()

    def _whole(self) -> None:
        self._recorder.begin_anew()
        self._whole_timer.start(self._until_whole())

    def _until_whole(self) -> float:
        """Seconds until shortly before the next hour."""
        return (HOUR - (self._recorder.wall + _AHEAD) % HOUR) / 1000

    def _write_now(self) -> None:
        written = Deferred.fromCoroutine(self._write())
        written.addErrback(lambda failure: self._log.failure("history", failure))

    async def _write(self) -> None:
        await self._writing.run(lambda: Deferred.fromCoroutine(self._write_all()))
        if self.running:
            self._write_timer.start(self._write_every)
            await self._maintain()

    async def _write_all(self) -> None:
        if self._pool is None:
            return
        recorder = self._recorder
        until = recorder.wall
        batches, new = recorder.take(), recorder.series_from(self._written + 1)
        try:
            self._size = await self._do(_write, self._run, batches, new)
        except (sqlite3.Error, OSError) as error:
            recorder.give_back(batches)
            await self._could_not(error)
        else:
            self._written += len(new)
            self._until = until
            self._fine()

    async def _could_not(self, error: Exception) -> None:
        if schema.is_broken(error):
            self._close()
            self._set_aside(error)
            await self._open()
        else:
            self._say(f"{self._file}: {error}; {self._recorder.waiting} changes wait, the oldest go first")
            self._maintained = -1  # if the file is as large as it may be, the oldest makes room

    # In the background

    async def _maintain(self) -> None:
        """Make minutes and hours, and let go what is old; once an hour, and a little at a time."""
        hour = self._recorder.wall // HOUR
        if self._maintaining or hour == self._maintained or self._pool is None:
            return
        self._maintaining, self._maintained, self._job = True, hour, None
        try:
            while self.running and self._pool is not None and await self._do(self._some):
                await deferLater(self._reactor, _PAUSE)
        except (sqlite3.Error, OSError) as error:
            self._say(f"{self._file}: {error}; minutes and hours have to wait")
        finally:
            self._maintaining = False

    def _some(self, db: sqlite3.Connection) -> bool:
        """Do some of it; whether there is more."""
        if self._job is None:
            until = self._until
            self._job = chain(tiers.roll_up(db, until), tiers.let_go(db, until, self._keep, self.taken_over))
        end = monotonic() + _PIECE
        return any(monotonic() > end for _ in self._job)

    # Reading

    def find(self, series: Series, begin: int, end: int, points: int) -> Deferred[Found]:
        """What a series was, as ``tiers.find``; it is one of ``numbers``."""
        return self._do(tiers.find, self.numbers[series], begin, end, points, self._live())

    def events(self, series: Mapping[int, Series], begin: int, end: int, most: int) -> Deferred[list[Event]]:
        """Changes, as ``store.events``."""
        return self._do(store.events, series.keys(), begin, end, most, self._live())

    @property
    def numbers(self) -> dict[Series, int]:
        """The series that there are, or were."""
        return self._recorder.numbers

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
        return self._pool is not None and self._run != 0

    def ask(self, function: Callable[..., _T], *arguments: object) -> Deferred[_T]:
        """Call ``function`` with the connection to the file, in the thread.

        :raises sqlite3.Error: it cannot be read; or the Deferred fails with that.
        """
        if self._pool is None:
            raise sqlite3.OperationalError("it is not open")
        return self._do(function, *arguments)

    @property
    def wall(self) -> int:
        """Milliseconds of the Unix epoch, as the history has them."""
        return self._recorder.wall

    def _live(self) -> Live:
        return Live(self._run, self._recorder.offset, self._recorder.now(), self._recorder.flushes())


def _write(db: sqlite3.Connection, run: int, batches: Sequence[Batch], new: Mapping[int, Series]) -> int:
    """Write what has changed, in one transaction with what follows of it; the bytes of the file."""
    moved = store.write(db, run, batches, new)
    if moved is not None:
        tiers.unroll(db, moved)
    return schema.size_of(db)[1]


def _known(db: sqlite3.Connection) -> tuple[dict[Series, int], int]:
    """The series of the file, and when its last run ended."""
    there = store.runs(db)
    return store.series(db), there[-1].until if there else 0
