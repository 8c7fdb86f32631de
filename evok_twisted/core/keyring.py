"""Who a token is of, while the service runs: its file is looked at now and then, and wrong tokens are slowed down."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from evok_twisted.conditions import Condition, Signal
from evok_twisted.core.sessions import is_of, is_old, session_of, token_id
from evok_twisted.core.tokens import Token, changing, digest_of, fresh, id_of, load
from evok_twisted.errors import ConfigError, NotSaved, TooManyFailures, Unauthorized
from evok_twisted.hosts import one_host
from evok_twisted.logs import Logger, Repeats
from evok_twisted.problems import Problems

#: Seconds between two looks at the file.
LOOK = 2.0
#: Seconds for which a link that was used stands for whoever used it, at most.
LINKED = 365 * 86400.0


class Keyring(Service):
    """The tokens of a file, while it runs.

    A file that cannot be used leaves the tokens as they were; one that is not there has none.

    :param wall: the time of day, in seconds of the Unix epoch.
    :ivar changed: emitted when some tokens are not what they were.
    """

    _log = Logger()

    def __init__(self, file: Path, clock: IReactorTime, wall: Callable[[], float]) -> None:
        self.file = file
        self.changed: Signal[[]] = Signal(self._log)
        self.failures = Failures(clock)
        self._wall = wall
        self._tokens: dict[str, Token] = {}
        self._seen: object = None
        self._unusable = Condition(self._log, clock)
        self._refusals = Repeats(self._log, clock)
        self._loop = LoopingCall(self.look)
        self._loop.clock = clock

    def startService(self) -> None:
        super().startService()
        self._loop.start(LOOK)

    def stopService(self) -> None:
        super().stopService()
        if self._loop.running:
            self._loop.stop()

    def look(self) -> None:
        """Take over what the file says, if it is another; and let go of what has expired."""
        before = self._tokens
        try:
            seen = _stamp(self.file)
        except OSError as error:
            self._begin_unusable(error.strerror or "it cannot be read")
            return
        if seen != self._seen:
            self._take(seen)
        now = self._wall()
        self._tokens = {token.id: token for token in self._tokens.values() if not token.expired(now)}
        if self._tokens != before:
            self._log_changes(before, now)
            self.changed.emit()

    def _log_changes(self, before: dict[str, Token], now: float) -> None:
        for id in dict.fromkeys((*before, *self._tokens)):
            old, new = before.get(id), self._tokens.get(id)
            if old == new:
                continue
            token = new or old
            assert token is not None, "it is in one of them"
            if new is None:
                became = "has expired" if token.expired(now) else "was revoked"
            else:
                became = f"is known, with the role {new.scopes.role}" if old is None else "was changed"
            self._log.info("token {id} of {name} {became}", id=id, name=token.name, became=became)

    def _take(self, seen: object) -> None:
        self._seen = seen
        problems = Problems()
        try:
            self._tokens = load(self.file, problems)
        except ConfigError as error:
            self._begin_unusable(str(error))
            return
        for problem in problems.found:
            self._log.warn("{problem}", problem=problem)
        self._unusable.end("{file} can be used again, after {lasted:.1f} s", file=self.file)

    def _begin_unusable(self, why: str) -> None:
        self._unusable.begin_badly("{file} {why}; its tokens stay as they were", file=self.file, why=why)

    def find(self, text: str, address: str) -> Token:
        """The token that somebody shows.

        :param address: where it comes from.
        :raises Unauthorized: it is none, or of no use (any more, or from there).
        :raises TooManyFailures: too many wrong ones came from there; this one was not looked at.
        """
        return self._find(text, address, once=False)

    def redeem(self, code: str, address: str) -> Token:
        """The token that comes of the code of a link, which is of no use from then on.

        Nobody knows its text: a session stands for it.

        :raises Unauthorized: as for ``find``.
        :raises TooManyFailures: as for ``find``.
        :raises NotSaved: that it was used could not be kept, so it was not.
        """
        link = self._find(code, address, once=True)
        _, unknown = fresh(())
        token = link._replace(once=False, expires=self._wall() + LINKED, digest=digest_of(unknown))
        with self.changing() as tokens:
            if tokens.get(link.id) != link:
                raise Unauthorized("this link was used, or is not for use any more")
            tokens[link.id] = token
        return token

    @contextmanager
    def changing(self) -> Iterator[dict[str, Token]]:
        """The tokens of the file, which is written with what becomes of them, and then holds.

        :raises NotSaved: it cannot be; nothing has changed.
        """
        try:
            with changing(self.file, Problems()) as tokens:
                yield tokens
        except (ConfigError, OSError) as error:
            raise NotSaved(f"{self.file}: {getattr(error, 'strerror', None) or error}") from error
        self.look()

    @property
    def tokens(self) -> tuple[Token, ...]:
        """Those that are of use."""
        return tuple(self._tokens.values())

    @property
    def now(self) -> float:
        """The time of day, in seconds of the Unix epoch."""
        return self._wall()

    def _find(self, text: str, address: str, *, once: bool) -> Token:
        self.failures.check(address)
        id = id_of(text)
        if id is not None and id not in self._tokens:
            self.look()  # it may have been made just now
        token = self._tokens.get(id or "")
        why = ""
        if token is None or not token.fits(text):
            why = "this is no token of this service"
        elif token.expired(self._wall()):
            why = f"the token {token.id} has expired"
        elif not token.admits(address):
            why = f"the token {token.id} is not for this address"
        elif token.once is not once:
            why = "the code of a link is for one login, and nothing else" if token.once else "this is no code of a link"
        if token is None or why:
            self.failures.note(address)
            self._refusals.warn("a token from {address} was refused: {why}", address=address or "here", why=why)
            raise Unauthorized(why)
        return token

    def find_session(self, session: str, address: str) -> Token:
        """The token whose session a browser shows.

        :raises Unauthorized: it is none, or of no use any more.
        """
        token = self._tokens.get(token_id(session))
        now = self._wall()
        if token is None or not is_of(session, token, now) or token.expired(now) or not token.admits(address):
            raise Unauthorized("this session is over, or of another service; log in again")
        return token

    def begin_session(self, token: Token) -> str:
        """A new session of a token."""
        return session_of(token, self._wall())

    def is_old(self, session: str) -> bool:
        """Whether it is time for another one."""
        return is_old(session, self._wall())

    def still(self, token: Token) -> bool:
        """Whether a token is what it was."""
        return self._tokens.get(token.id) == token and not token.expired(self._wall())


def _stamp(file: Path) -> object:
    """What tells one content of a file from another; None where there is none."""
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode, found.st_uid


class Failures:
    """Slows down who shows wrong tokens: so many at once, then one every few seconds, of each host."""

    #: failures that an address has, and seconds until it has one more
    most, pause = 10, 10.0
    #: addresses that are remembered
    remembered = 10_000

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        #: by address, the time at which nothing would be left of its failures
        self._forgotten: OrderedDict[str, float] = OrderedDict()

    def check(self, address: str) -> None:
        """Whether another try from ``address`` is looked at.

        :raises TooManyFailures: not now.
        """
        wait = self._forgotten.get(one_host(address), 0.0) - self._clock.seconds() - (self.most - 1) * self.pause
        if wait > 0:
            raise TooManyFailures(f"too many wrong tokens came from this address; try again in {wait:.0f} s")

    def note(self, address: str) -> None:
        """One more failure from ``address``."""
        key = one_host(address)
        self._forgotten[key] = max(self._clock.seconds(), self._forgotten.get(key, 0.0)) + self.pause
        self._forgotten.move_to_end(key)
        if len(self._forgotten) > self.remembered:
            self._forgotten.popitem(last=False)
