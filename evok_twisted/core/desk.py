"""What the rest of the service is to one client: every front has a desk for each of its clients, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from evok_twisted.conditions import Subscription
from evok_twisted.core.commands import Commands
from evok_twisted.core.dialects import fragment, fragment_of, listing, settable, state_object
from evok_twisted.core.events import Change, ChangeSet, Events, Subscriber
from evok_twisted.core.filters import Filter, parse_filter
from evok_twisted.core.health import Health, Report
from evok_twisted.core.identity import Identity
from evok_twisted.core.journal import Journal
from evok_twisted.core.pulserecord import PulseRecord
from evok_twisted.core.rawmodbus import RawModbus
from evok_twisted.core.registry import Registry
from evok_twisted.core.slices import sliced
from evok_twisted.core.wills import Will, Wills
from evok_twisted.errors import EvokError, Unauthorized
from evok_twisted.meters import Meters
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import KINDS, Dialect

#: Answers, to a client, what it asks in a message; the answer is JSON.
Question = Callable[["Desk", Mapping[str, Any]], Deferred[bytes]]


class Core(NamedTuple):
    """What is behind the desks."""

    registry: Registry
    commands: Commands
    events: Events
    journal: Journal
    health: Health
    pulses: PulseRecord
    wills: Wills
    meters: Meters
    raw: RawModbus
    #: what fronts answer besides, by the name of the command
    questions: dict[str, Question]

    def desks(self, default: Dialect) -> Desks:
        """How fronts come by desks.

        :param default: the dialect of whoever chooses none.
        """
        return Desks(self, default)


class Snapshot(NamedTuple):
    """What a client is to know, to hear of changes from now on and miss none.

    :ivar complete: whether ``devices`` are all that it wants, or those only that have changed since it was here last.
    :ivar gone: what went since then.
    :ivar wall: when this is, in seconds of the Unix epoch.
    """

    complete: bool
    devices: list[Device]
    gone: list[Device]
    wall: float


class Desk:
    """What one client may see and do, in its dialect.

    :ivar clock: what commands run on.
    """

    __slots__ = ("_core", "clock", "dialect", "identity")

    def __init__(self, core: Core, dialect: Dialect, identity: Identity) -> None:
        self._core = core
        self.clock: IReactorTime = core.events.clock
        self.dialect = dialect
        self.identity = identity

    # What there is

    def __iter__(self) -> Iterator[Device]:
        """Every device, in the order of ``all``."""
        return iter(self._core.registry)

    @property
    def version(self) -> int:
        """Changes whenever devices come or go."""
        return self._core.registry.version

    def find(self, name: object, circuit: object) -> Device:
        """The device that a client means; as ``Registry.find``."""
        return self._core.registry.find(name, circuit, self.dialect)

    def select(
        self,
        names: Sequence[object],
        *,
        circuits: Sequence[object] | None = None,
        group: object = None,
        number: object = None,
    ) -> list[Device]:
        """The devices that a client means by several conditions; as ``Registry.select``."""
        return self._core.registry.select(names, self.dialect, circuits=circuits, group=group, number=number)

    def health(self) -> Report:
        """How the service is."""
        return self._core.health.report()

    def wall(self) -> float:
        """The time of day, in seconds of the Unix epoch."""
        return self._core.events.wall()

    @property
    def questions(self) -> Mapping[str, Question]:
        """What can be asked besides, by the name of the command."""
        return self._core.questions

    # How it looks

    def state(self, device: Device) -> dict[str, Any]:
        """The whole state of a device, as its JSON object has it."""
        return state_object(device, self.dialect)

    def fragment(self, device: Device) -> bytes:
        """The JSON of ``state``."""
        return fragment(device, self.dialect)

    def listing(self, devices: Iterable[Device]) -> bytes:
        """The JSON list of the states of ``devices``."""
        return listing(devices, self.dialect)

    def render(self, changes: Iterable[Change]) -> bytes:
        """The JSON list of the states that ``changes`` brought."""
        return b"[%b]" % b",".join([fragment_of(change, self.dialect) for change in changes])

    # What is done

    def set(
        self, name: object, circuit: object, parameters: Mapping[str, Any], command: str | int | float | None = None
    ) -> Deferred[Device]:
        """Set a circuit.

        :param name: any name of its kind.
        :param circuit: its circuit or alias.
        :param parameters: what to set, as the client sent it: a state that was given out can be given back.
        :param command: what the client calls this command.
        :returns: the device, with its new state, once the hardware has acknowledged every write.
        :raises EvokError: (in the Deferred) any of the tree, ``Forbidden`` where the client may not do this; of those
            that say what the client did wrong, nothing has reached the hardware.
        """
        by = self.identity if command is None else self.identity._replace(command=command)
        return Deferred.fromCoroutine(self._set(name, circuit, parameters, by))

    async def _set(self, name: object, circuit: object, parameters: Mapping[str, Any], by: Identity) -> Device:
        device = self.find(name, circuit)
        wanted = settable(device, parameters, self.dialect)
        return await self._core.commands.set(device, wanted, by)

    async def set_all(self, sets: Sequence[tuple[Device, Mapping[str, Any]]]) -> list[EvokError | None]:
        """Set several devices at once, each to what the client sent for it; as ``Commands.set_all``."""
        wanted = [
            (device, settable(device, parameters, self.dialect))
            async for device, parameters in sliced(sets, self.clock)
        ]
        return await self._core.commands.set_all(wanted, self.identity)

    async def will(self, sets: Sequence[tuple[object, object, Mapping[str, Any]]]) -> Will:
        """Let sets be done when the client is gone, each of a kind and a circuit.

        :raises EvokError: as ``Wills.register``.
        """
        found = [(self.find(name, circuit), parameters) for name, circuit, parameters in sets]
        wanted = [(device, settable(device, parameters, self.dialect)) for device, parameters in found]
        return await self._core.wills.register(wanted, self.identity)

    def unwill(self, will: Will) -> None:
        """Let nothing be done for that."""
        self._core.wills.withdraw(will)

    def carry_out(self, will: Will) -> None:
        """The client is gone."""
        self._core.wills.carry_out(will)

    # What changes

    @property
    def epoch(self) -> str:
        """As which run of the service the numbers of changes are known."""
        return self._core.journal.epoch

    @property
    def number(self) -> int:
        """The number of the last change."""
        return self._core.events.number

    def snapshot(self, wanted: Filter, since: tuple[str, int] | None = None) -> Snapshot:
        """What a client is to know before it hears of changes.

        :param since: the epoch and the number up to which it knows all.
        """
        core = self._core
        missed = core.journal.since(since[1]) if since is not None and since[0] == self.epoch else None
        now = core.events.wall()
        if missed is None:
            every = (device for kind in KINDS for device in core.registry.of_kind(kind))
            return Snapshot(True, [device for device in every if wanted.accepts(device)], [], now)
        devices, gone = ([device for device in those if wanted.accepts(device)] for those in missed)
        return Snapshot(False, devices, gone, now)

    def wanted(self, names: object) -> tuple[Filter, list[str]]:
        """The filter that a client asks for, and the names in it that are not known; as ``parse_filter``."""
        return parse_filter(names, self.dialect)

    def subscribe(self, subscriber: Subscriber, wanted: Filter) -> Subscription:
        """Tell ``subscriber`` of the changes that ``wanted`` accepts, from now on."""

        def narrowed(changes: ChangeSet) -> None:
            accepted = tuple([change for change in changes.changes if wanted.accepts(change.device)])
            gone = tuple([device for device in changes.gone if wanted.accepts(device)]) if changes.gone else ()
            if accepted or gone:
                subscriber(changes._replace(changes=accepted, gone=gone))

        return self._core.events.subscribe(narrowed)


class Desks:
    """Gives each client its desk."""

    def __init__(self, core: Core, default: Dialect) -> None:
        self._core = core
        self._default = default

    def __call__(self, identity: Identity, dialect: Dialect | None) -> Desk:
        """The desk of a client.

        :param dialect: the one that it chose, if it did.
        :raises Unauthorized: it may not see anything.
        """
        if not identity.scopes.may_read:
            raise Unauthorized("this takes a token, as Authorization: Bearer TOKEN")
        return Desk(self._core, dialect or self._default, identity)

    def report(self, name: str, of: Callable[[], object], warnings: Callable[[], Iterable[str]] = tuple) -> None:
        """Let the health of the service have, in the field ``name``, what ``of`` returns, and these warnings."""
        self._core.health.ask(name, of, warnings)

    @property
    def reports(self) -> MutableMapping[str, Any]:
        """What is there by ``report``, by its name."""
        return self._core.health.fronts

    @property
    def questions(self) -> MutableMapping[str, Question]:
        """What clients can ask besides, by the name of the command; fronts add to it."""
        return self._core.questions

    def wall(self) -> float:
        """The time of day, in seconds of the Unix epoch."""
        return self._core.events.wall()

    @property
    def raw(self) -> RawModbus:
        """Registers of any slave, for those who may do everything."""
        return self._core.raw

    @property
    def meters(self) -> Meters:
        """What is counted."""
        return self._core.meters

    @property
    def healthy(self) -> bool:
        """Whether everything works that is configured: this everybody may know."""
        return self._core.health.healthy
