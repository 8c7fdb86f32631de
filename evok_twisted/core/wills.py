"""Last wills: what clients want to be set when they are gone, whatever has become of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from evok_twisted.conditions import Timer
from evok_twisted.core.commands import Commands
from evok_twisted.core.identity import Identity, Role, Scopes
from evok_twisted.core.kept import InThread, Kept
from evok_twisted.core.registry import Registry
from evok_twisted.errors import EvokError, Offline, Unavailable
from evok_twisted.logs import Logger
from evok_twisted.model.device import Device

#: Where they are, in the directory of what is kept over a restart.
FILE = Path("run", "wills.json")
#: Sets that one may have.
MOST_SETS = 64
#: Seconds for which a board is waited for that does not answer, and between two looks.
PATIENCE, LOOK = 60.0, 0.5


class WilledSet(msgspec.Struct, frozen=True):
    """One set of a will."""

    kind: str
    circuit: str
    parameters: dict[str, Any]


class Will(msgspec.Struct, frozen=True, eq=False):
    """What is to be set when a client is gone.

    :ivar by: its name; ``owner`` tells those apart who may have one name: the id of a token, or an address.
    :ivar role: what the client may do, with ``write``.
    """

    owner: str
    by: str
    token: str
    address: str
    role: Role
    write: tuple[str, ...] | None
    sets: tuple[WilledSet, ...]

    @property
    def identity(self) -> Identity:
        """Who wants it."""
        return Identity(self.by, "will", Scopes(self.role, self.write), self.address, token=self.token)


def will_of(by: Identity, sets: Iterable[tuple[Device, Mapping[str, Any]]]) -> Will:
    """The will of a client."""
    wanted = tuple(WilledSet(device.kind, device.circuit, dict(parameters)) for device, parameters in sets)
    owner = by.token or by.address or by.name
    return Will(owner, by.name, by.token, by.address, by.scopes.role, by.scopes.write, wanted)


class Wills:
    """Keeps the wills of clients, and carries them out.

    :param file: None keeps them in memory only.
    :param in_thread: runs what blocks; needed where there is a file.
    """

    _log = Logger()

    def __init__(
        self,
        registry: Registry,
        commands: Commands,
        clock: IReactorTime,
        file: Path | None = None,
        in_thread: InThread | None = None,
    ) -> None:
        self._registry = registry
        self._commands = commands
        self._clock = clock
        #: of clients that are there
        self._wills: dict[Will, None] = {}
        #: of clients of a run before, that may come back yet
        self._left: dict[Will, None] = {}
        #: that are being carried out
        self._due: dict[Will, Deferred[None]] = {}
        self._ending = False
        self._kept = Kept(file, clock, in_thread, lambda: [*self._wills, *self._left, *self._due])
        self._grace = Timer(clock, self._give_up_waiting)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._wills) + len(self._left) + len(self._due)

    def load(self, grace: float) -> None:
        """Read those that a run before has left.

        :param grace: seconds for which its clients are waited for.
        """
        self._left = dict.fromkeys(self._kept.load(list[Will]) or ())
        if self._left:
            names = ", ".join(sorted({will.by for will in self._left}))
            self._log.warn("wills of {names} are carried out if they are not back in {n:g} s", names=names, n=grace)
            self._grace.start(grace)

    async def register(self, sets: Sequence[tuple[Device, Mapping[str, Any]]], by: Identity) -> Will:
        """Carry out ``sets`` when ``by`` is gone.

        :raises EvokError: a mistake in any of them, as for ``Commands.set_all``; or it is too late, or cannot be kept.
        """
        if self._ending:
            raise Offline("the service is stopping")
        self._commands.check_all(sets, by)
        will = will_of(by, sets)
        self._wills[will] = None
        self._forget_left(will)
        self._kept.change()
        try:
            await self._kept.flush()
        except Unavailable:
            self.withdraw(will)
            raise
        return will

    def _forget_left(self, will: Will) -> None:
        """Its client is back: the one that it had before, or, of several, the one that is the same."""
        theirs = [one for one in self._left if one.owner == will.owner]
        if theirs:
            same = [one for one in theirs if one.sets == will.sets]
            del self._left[(same or theirs)[0]]

    def withdraw(self, will: Will) -> None:
        """Its client wants it no more."""
        if will in self._wills:
            del self._wills[will]
            self._kept.change()
            self._kept.try_flush()

    def carry_out(self, will: Will) -> None:
        """Its client is gone."""
        if will in self._wills and not self._ending:
            del self._wills[will]
            self._begin(will, PATIENCE)

    def _give_up_waiting(self) -> None:
        left, self._left = self._left, {}
        for will in left:
            self._begin(will, PATIENCE)

    def _begin(self, will: Will, patience: float) -> None:
        outputs = ", ".join(f"{one.kind} {one.circuit}" for one in will.sets)
        where = f" ({will.address})" if will.address else ""
        self._log.warn(
            "{by}{where} is gone: its will for {outputs} is due", by=str(will.identity), where=where, outputs=outputs
        )
        sets = [Deferred.fromCoroutine(self._do(one, will.identity, patience)) for one in will.sets]
        done: Deferred[None] = Deferred()
        self._due[will] = done
        DeferredList(sets, consumeErrors=True).addCallback(self._done, will).chainDeferred(done)

    def _done(self, results: list[tuple[bool, Any]], will: Will) -> None:
        for succeeded, failure in results:
            if not succeeded:
                self._log.failure("will of {by}", failure, by=str(will.identity))
        del self._due[will]
        self._kept.change()
        self._kept.try_flush()

    async def _do(self, one: WilledSet, by: Identity, patience: float) -> None:
        """Do one set, as soon as its board answers; after ``patience`` seconds no more."""
        begun = self._clock.seconds()
        while True:
            try:
                device = self._registry.find(one.kind, one.circuit, "v3")
            except EvokError as error:
                self._log.error("will of {by}: {why}", by=str(by), why=error)
                return
            if self._commands.reachable(device):
                break
            if self._ending or self._clock.seconds() - begun >= patience:
                gone = Offline(f"{device!r}: it was not there for {self._clock.seconds() - begun:.0f} s; given up")
                self._commands.note(device, one.parameters, by, gone, begun)
                self._log.error("will of {by}: {why}", by=str(by), why=gone)
                return
            await deferLater(self._clock, LOOK)
        try:
            await self._commands.set(device, one.parameters, by)
        except EvokError as error:
            self._log.error("will of {by}: {why}", by=str(by), why=error)

    async def end(self) -> None:
        """The service stops: carry out all that there are, as far as boards answer now."""
        self._ending = True
        self._grace.stop()
        wills, self._wills, self._left = [*self._wills, *self._left], {}, {}
        for will in wills:
            self._begin(will, 0.0)
        await DeferredList(list(self._due.values()))
        await self._kept.try_flush()
