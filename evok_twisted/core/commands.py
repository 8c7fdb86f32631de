"""Carries commands to the hardware, and the acknowledgement back. Every front comes through ``Commands``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from evok_twisted.conditions import Condition, Signal
from evok_twisted.core.audit import Audit
from evok_twisted.core.events import Events
from evok_twisted.core.identity import Identity
from evok_twisted.core.registry import Registry
from evok_twisted.core.slices import sliced
from evok_twisted.errors import BadAnswer, BadParameter, Conflict, EvokError, Forbidden, Offline, Refused, Timeout
from evok_twisted.logs import Logger
from evok_twisted.meters import Histogram
from evok_twisted.model.device import Device


class Assignment(NamedTuple):
    """What one device is to be set to.

    :ivar parameters: checked and typed.
    :ivar by: who wants it.
    :ivar replaceable: a newer set of the same parameters may take its place while it waits.
    """

    device: Device
    parameters: Mapping[str, Any]
    by: Identity
    replaceable: bool = True


#: What became of a set that the hardware has acknowledged, or that left nothing to be done.
DONE = "done"

#: Parameters of a client that asks for what is there already: nothing is to be done, and that is a success.
UNCHANGED: Mapping[str, Any] = {}


class Writer(Protocol):
    """Who does what is asked of the devices of one group."""

    def check(self, device: Device, wanted: Mapping[str, Any]) -> None:
        """Find out now what can be known to be wrong with a ``set``, whose parameters are checked and typed.

        :raises EvokError: it cannot work; ``Offline`` when it could at another time.
        """

    def submit_all(self, sets: Sequence[Assignment]) -> list[Deferred[None]]:
        """Do what one client asked for at once.

        :returns: for each, fires when the hardware has acknowledged everything and the device shows it.
        """

    async def stop(self) -> None:
        """Fail what waits and come to an end, in bounded time."""


class Commands:
    """The one way in for whoever wants to change something.

    :param writers: who writes to the devices of a group, by the name of the group.
    :ivar clock: what commands run on.
    :ivar audit: notes who has set what; None where that is not wanted.
    :ivar counts: sets, by what they came through and what became of them: ``done``, or the code of an error.
    :ivar seconds: that sets have taken which were done.
    :ivar waiting: sets that are under way.
    :ivar asked: tells of each set before it is begun, to whoever wants to know.
    """

    _log = Logger()

    audit: Audit | None = None

    def __init__(self, registry: Registry, events: Events, writers: Mapping[str, Writer]) -> None:
        self.clock = events.clock
        self._registry = registry
        self._events = events
        self._writers = dict(writers)
        self.counts: Counter[tuple[str, str]] = Counter()
        self.seconds = Histogram()
        self.waiting = 0
        self.asked: Signal[[Assignment]] = Signal(self._log)
        #: devices to which commands fail at the hardware
        self._failing: dict[Device, Condition] = {}

    def attach(self, group: str, writer: Writer) -> None:
        """Let ``writer`` write to the devices of ``group`` from now on."""
        self._writers[group] = writer

    def detach(self, group: str) -> None:
        """Let nobody write to the devices of ``group`` any more."""
        self._writers.pop(group, None)
        self._failing = {device: failing for device, failing in self._failing.items() if device.group != group}

    async def set(self, device: Device, parameters: Mapping[str, Any], by: Identity) -> Device:
        """Set one device.

        :param parameters: what to set, as the client sent it; ``alias`` is one for every kind.
        :param by: who wants it.
        :returns: the device, with its new state, once the hardware has acknowledged every write.
        :raises EvokError: any of the tree; of those that say what the client did wrong, nothing has reached the
            hardware.
        """
        (outcome,) = await self.set_all([(device, parameters)], by)
        if outcome is not None:
            raise outcome
        return device

    async def set_all(self, sets: Sequence[tuple[Device, Mapping[str, Any]]], by: Identity) -> list[EvokError | None]:
        """Set several devices at once, each to its parameters.

        Slaves are written to at the same time; on one slave the order is kept, but coils next to each other are
        switched as one.

        :param by: who wants it.
        :returns: for each, None when the hardware has acknowledged it, or what went wrong on the way to it.
        :raises EvokError: a client's mistake in any of them; then none of them was done. Its ``index`` tells which it
            was.
        """
        self.waiting += len(sets)
        try:
            return await self._set_all(sets, by)
        except EvokError as error:
            if not isinstance(error, Forbidden):  # that is noted
                self.counts[by.via, error.code] += 1
            raise
        finally:
            self.waiting -= len(sets)

    async def _set_all(self, sets: Sequence[tuple[Device, Mapping[str, Any]]], by: Identity) -> list[EvokError | None]:
        begun = self.clock.seconds()
        outcomes: list[EvokError | None] = [None] * len(sets)
        wanted: list[Mapping[str, Any]] = []
        async for n, (device, parameters) in sliced(enumerate(sets), self.clock):
            checked, outcomes[n] = self._examined(n, device, parameters, by)
            wanted.append(checked)
        renamings = self._rename({n: one for n, one in enumerate(sets) if outcomes[n] is None})
        submitted = self._submit(
            {
                n: Assignment(device, wanted[n], by, "alias" not in parameters)
                for n, (device, parameters) in enumerate(sets)
                # an alias is given to the device already, and who gets "superseded" would not expect that
                if outcomes[n] is None and wanted[n]
            }
        )
        done: Any = await DeferredList([deferred for _, deferred in submitted], consumeErrors=True)
        for (n, _), (succeeded, result) in zip(submitted, done, strict=True):
            if not succeeded:
                outcomes[n] = self._error_of(result, sets[n][0])
                if n in renamings:
                    renamings[n].undo()
            self._log_outcome(sets[n][0], outcomes[n])
        for (device, parameters), outcome in zip(sets, outcomes, strict=True):
            self.note(device, parameters, by, outcome, begun)
        # what was given and taken back is reported, too: somebody may have seen it
        self._events.publish(dict.fromkeys(sets[n][0] for n, one in renamings.items() if one.renamed), by)
        return outcomes

    def check_all(self, sets: Sequence[tuple[Device, Mapping[str, Any]]], by: Identity) -> None:
        """Find out what can be known now to be wrong with ``sets``, which are to be done later, if at all.

        :raises EvokError: a client's mistake in any of them. Its ``index`` tells which it was.
        """
        for n, (device, parameters) in enumerate(sets):
            self._examined(n, device, parameters, by)

    def _examined(
        self, n: int, device: Device, parameters: Mapping[str, Any], by: Identity
    ) -> tuple[dict[str, Any], Offline | None]:
        """What is left of the ``n``-th of several sets for a writer, and what is wrong with it at this time only."""
        with _distinct(n):
            self._check_right(device, parameters, by)
            wanted = self._checked(device, parameters)
            try:
                self._check(device, wanted)
            except Offline as error:
                return wanted, error
            return wanted, None

    def reachable(self, device: Device) -> bool:
        """Whether a set of ``device`` would have somebody to go to now."""
        writer = self._writers.get(device.group)
        try:
            if writer is not None:
                writer.check(device, {})
        except Offline:
            return False
        return True

    def _rename(self, sets: Mapping[int, tuple[Device, Mapping[str, Any]]]) -> dict[int, _Renaming]:
        """Give aliases, all of them or none."""
        renamings: dict[int, _Renaming] = {}
        try:
            for n, (device, parameters) in sets.items():
                if "alias" in parameters:
                    with _distinct(n):
                        renamings[n] = _Renaming(self._registry, device, parameters["alias"])
        except EvokError:
            for renaming in reversed(renamings.values()):
                renaming.undo()
            raise
        return renamings

    def _check_right(self, device: Device, parameters: Mapping[str, Any], by: Identity) -> None:
        try:
            by.check(device, parameters)
        except Forbidden as error:
            self.note(device, parameters, by, error, self.clock.seconds())
            raise

    def note(
        self, device: Device, parameters: Mapping[str, Any], by: Identity, error: EvokError | None, begun: float
    ) -> None:
        """What became of a set, to be counted, and for the audit, if there is one; as ``Audit.note``."""
        if error is None:
            self.counts[by.via, DONE] += 1
            self.seconds.observe(self.clock.seconds() - begun)
        else:
            self.counts[by.via, error.code] += 1
        if self.audit is not None:
            self.audit.note(device, parameters, by, error, begun)

    def _error_of(self, failure: Failure, device: Device) -> EvokError:
        """What went wrong; a bug must not hide what became of the other sets."""
        if isinstance(failure.value, EvokError):
            return failure.value
        self._log.failure("set of {device!r}", failure, device=device)
        return EvokError("something went wrong in the service; its log says more")

    def _checked(self, device: Device, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """What is left to be done by a writer: an alias is none of its business."""
        if not parameters and parameters is not UNCHANGED:
            allowed = ", ".join([*device.parameters, "alias"])
            raise BadParameter(f"{device!r}: there is nothing to set; allowed are {allowed}")
        return device.checked({key: value for key, value in parameters.items() if key != "alias"})

    def _check(self, device: Device, wanted: Mapping[str, Any]) -> None:
        writer = self._writers.get(device.group)
        if wanted and writer is not None:
            writer.check(device, wanted)

    def _submit(self, sets: Mapping[int, Assignment]) -> list[tuple[int, Deferred[None]]]:
        """Hand each writer what is for it; returns what to wait for, by the numbers of ``sets``."""
        batches: dict[Writer, dict[int, Assignment]] = {}
        for n, one in sets.items():
            if self.asked:
                self.asked.emit(one)
            writer = self._writers.get(one.device.group)
            if writer is not None:
                batches.setdefault(writer, {})[n] = one
        return [
            (n, deferred)
            for writer, batch in batches.items()
            for n, deferred in zip(batch, writer.submit_all(tuple(batch.values())), strict=True)
        ]

    def _log_outcome(self, device: Device, error: EvokError | None) -> None:
        """Log when commands to a device begin to fail at the hardware, and when they work again."""
        if error is None and device in self._failing:
            self._failing.pop(device).end("{device!r}: commands work again, after {lasted:.1f} s", device=device)
        elif isinstance(error, Refused | Timeout | BadAnswer | Offline):
            failing = self._failing.setdefault(device, Condition(self._log, self.clock))
            failing.begin("{device!r}: a command failed: {error}", device=device, error=error.message)


class _Renaming:
    """An alias that was given, until it is known whether it may stay.

    :raises EvokError: it cannot be given.
    """

    def __init__(self, registry: Registry, device: Device, alias: object) -> None:
        self._registry = registry
        self._device = device
        self._before = device.alias
        kept = registry.book.kept(alias)
        self.renamed = registry.book.rename(device, alias)
        self._kept = kept
        self._given = device.alias

    def undo(self) -> None:
        """Put the old one back, if nobody has given another meanwhile."""
        if self.renamed and self._device.alias == self._given:
            with suppress(Conflict):  # somebody has taken the old one meanwhile; then there is none
                self._registry.book.rename(self._device, "")
                self._registry.book.rename(self._device, self._before)
            for kept, target in self._kept.items():
                with suppress(Conflict):
                    self._registry.restore(kept, target)


@contextmanager
def _distinct(index: int) -> Iterator[None]:
    """Let an error say about which of several sets it is."""
    try:
        yield
    except EvokError as error:
        error.index = index
        raise
