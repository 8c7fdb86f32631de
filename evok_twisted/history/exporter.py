"""The service that has a PostgreSQL server take over what is kept; until it has, the file is the queue."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from evok_twisted.conditions import Condition, Timer, backoff
from evok_twisted.core.health import ExportHealth
from evok_twisted.history import queue
from evok_twisted.history.keeper import Keeper
from evok_twisted.history.postgres import Refused, Server
from evok_twisted.history.queue import Place
from evok_twisted.logs import Logger, Repeats

_T = TypeVar("_T")

#: Rows that are sent at once, or those of one flush, and seconds between two such pieces: who is far behind is not to
#: be noticed by clients.
MANY, PAUSE = 1000, 0.25
#: Seconds until it is tried again to reach a server, at first and at last.
FIRST, SLOWEST = 1.0, 60.0
#: Seconds that a server may take for a piece.
LONGEST = 60.0


class Exporter(Service):
    """Has a server take over what a keeper keeps, while it runs.

    :param every: seconds between two times that it looks for more.
    """

    _log = Logger()

    def __init__(self, keeper: Keeper, server: Server, every: float, reactor: Any) -> None:
        self._keeper = keeper
        self._server = server
        self._every = every
        self._reactor = reactor
        self._timer = Timer(reactor, self._send_now)
        self._thread = ThreadPool(1, 1, "export")
        self._sending: Deferred[None] | None = None
        self._connected = False
        self._place: Place | None = None
        self._attempts = self._sent = self._lost = 0
        self._problem = ""
        self._trouble = Condition(Repeats(self._log, reactor), reactor)
        keeper.taken_over = 0

    def startService(self) -> None:
        super().startService()
        self._thread.start()
        self._send_now()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._timer.stop()
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        """End; nothing under way is waited for: what the server does not have then it is sent again."""
        if self._sending is not None:
            if not self._sending.called:
                self._server.abort()
            await self._sending
        await self._do(self._server.close)
        self._thread.stop()

    # Sending

    def _send_now(self) -> None:
        self._sending = Deferred.fromCoroutine(self._send())
        self._sending.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        """Something went wrong that nobody has thought of: it is tried again, seldom."""
        self._log.failure("history, export", failure)
        if self.running:
            self._timer.start(SLOWEST)

    async def _send(self) -> None:
        again = self._every if self._keeper.ready else FIRST
        try:
            while self.running and self._keeper.ready and await self._send_some():
                await deferLater(self._reactor, PAUSE)
        except sqlite3.Error:
            pass  # the keeper says so, and this begins again where it was
        except Refused as error:
            self._connected, again = False, backoff(self._attempts, FIRST, SLOWEST)
            self._attempts += 1
            if self.running:
                self._problem = f"{self._server.address}: {error}"
                self._trouble.begin_badly(
                    "history: {problem}; what changes waits in the file, and is sent when it can be",
                    problem=self._problem,
                )
        if self.running:
            self._timer.start(again)

    async def _send_some(self) -> bool:
        """Send what follows; whether there may be more."""
        beginning = await self._keeper.ask(queue.beginning)
        if not self._connected:
            self._place = None
            await self._do(self._server.connect)
            self._connected = True
        if self._place is None or self._place.file != beginning.file:
            self._place = await self._do(self._server.place, beginning.file) or beginning
            self._keeper.taken_over = self._place.until
            self._fine()
        piece = await self._keeper.ask(queue.following, self._place, MANY)
        if piece is None:
            return False
        await self._do(self._server.take, piece)
        self._place = piece.place
        self._sent += len(piece.rows)
        if piece.lost:
            self._lost += piece.lost
            self._log.error("history: {s:.0f} s were let go before the server had them", s=piece.lost / 1000)
        self._keeper.taken_over = piece.place.until
        return True

    def _fine(self) -> None:
        self._problem, self._attempts = "", 0
        self._trouble.end("history: {server} takes it over", server=self._server.address)

    def _do(self, function: Callable[..., _T], *arguments: object) -> Deferred[_T]:
        """Call ``function`` in the thread, for not longer than it may take."""
        done: Deferred[_T] = deferToThreadPool(self._reactor, self._thread, function, *arguments)
        alarm = self._reactor.callLater(LONGEST, self._server.abort)

        def over(result: Any) -> Any:
            if alarm.active():
                alarm.cancel()
            return result

        return done.addBoth(over)

    # What people see

    def report(self) -> ExportHealth:
        """How it is."""
        until = self._place.until if self._place is not None and self._place.run else None
        behind = None if until is None else max(0.0, (self._keeper.wall - until) / 1000)
        lost, problem = self._lost / 1000, self._problem or None
        return ExportHealth(str(self._server.address), self._connected, self._sent, behind, lost, problem)

    def warnings(self) -> tuple[str, ...]:
        """What people should know of."""
        return (f"history: {self._problem}",) if self._problem else ()
