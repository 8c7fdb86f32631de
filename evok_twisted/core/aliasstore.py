"""Keeps aliases over a restart, in a YAML file of Evok's format."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorTime

from evok_twisted.conditions import Condition, Timer
from evok_twisted.core.aliasfile import NUMBERS, entries, target, written
from evok_twisted.core.commands import Assignment
from evok_twisted.core.events import Events
from evok_twisted.core.kept import InThread
from evok_twisted.core.registry import Registry
from evok_twisted.errors import ConfigError, EvokError, NotSaved
from evok_twisted.files import write_file
from evok_twisted.logs import Logger
from evok_twisted.model.aliases import AliasTable, Target
from evok_twisted.model.device import Device
from evok_twisted.problems import Problems

FILE = "aliases.yaml"
#: Evok's own, beside ours; read where ours is not there yet, and never written.
EVOKS_FILE = "alias.yaml"

#: Seconds from a change until it is saved, and between two tries where that fails.
SAVE_DELAY = 2.0
RETRY_DELAY = 30.0


def alias_file(setting: str) -> Path | None:
    """The file that ``apis.alias_file`` names, itself or as a directory; None for the empty text."""
    path = Path(setting)
    if not setting:
        return None
    return path if path.suffix in (".yaml", ".yml") and not os.path.isdir(path) else path / FILE


class AliasStore:
    """Reads the aliases at the start, and writes them soon after a change: the ``Writer`` of ``run/alias``.

    :param file: where they are kept; None keeps them in memory.
    :param in_thread: runs what blocks.
    """

    _log = Logger()

    def __init__(
        self, registry: Registry, events: Events, clock: IReactorTime, file: Path | None, in_thread: InThread
    ) -> None:
        self._registry = registry
        self._events = events
        self._clock = clock
        self._file = file
        self._in_thread = in_thread
        self._table = AliasTable(registry.book.all)
        self._lock = DeferredLock()
        self._unsaved = False
        #: saving fails
        self._failing = Condition(self._log, clock)
        self._saving = Timer(clock, self._save_in_time)
        registry.add(self._table)

    def load(self) -> None:
        """Read the file; whatever is wrong with it is logged, and the rest is taken."""
        if self._file is not None:
            if not _writable(self._file.parent):
                message = "{file} cannot be written, aliases will be lost; apis.alias_file names another place"
                self._log.warn(message, file=self._file)
            # Evok's only where there never was one of ours: its aliases may be of other circuits by now
            file = self._file if os.path.exists(self._file) else self._file.with_name(EVOKS_FILE)
            if os.path.exists(file):
                self._load(file)
            if file == self._file:
                self._log_exchanged(file.with_name(EVOKS_FILE))
        self._registry.book.watch(self._changed)
        if self._unsaved:
            self._saving.start_within(SAVE_DELAY)

    def _load(self, file: Path) -> None:
        problems = Problems()
        try:
            listed = entries(file, problems)
        except ConfigError as error:
            kept = self._put_aside(file)
            self._log.error("{file} {error}; its aliases are not used{kept}", file=file, error=error, kept=kept)
            self._unsaved = file == self._file
            return
        wrong = 0
        for problem in problems.found:
            self._log.warn("{problem}", problem=problem)
        for alias, node in listed:
            try:
                self._registry.restore(alias, target(node))
            except EvokError as error:
                wrong += 1
                self._log.error("{file}: {alias}: {error}; left out", file=file, alias=alias, error=error)
        absent = [alias for alias, target in self._registry.book.all().items() if not self._there(target)]
        self._log.info("{n} aliases read from {file}", n=len(self._registry.book.all()), file=file)
        if absent:
            self._log.info("aliases of devices that are not there (yet), kept: {names}", names=", ".join(absent))
        if wrong and file == self._file:
            self._log.error("{file} stays as it was{kept}", file=file, kept=self._put_aside(file))
        self._unsaved = bool(wrong) or file != self._file

    def _log_exchanged(self, evoks: Path) -> None:
        """Tell of aliases that a version before 0.2 took from Evok's file as inputs for outputs, or the reverse.

        Which of the two is meant by now, only the user knows.
        """
        try:
            listed = dict(entries(evoks, Problems()))
        except ConfigError:
            return  # there is none, or it was of no use then either
        for alias, ours in self._registry.book.all().items():
            number = listed.get(alias, {}).get("devtype") if isinstance(listed.get(alias), dict) else None
            if number in ("0", "1") and target(listed[alias]).circuit == ours.circuit:
                theirs = NUMBERS[number]
                if "di" in (ours.kinds[0], theirs[0]) and ours.kinds[0] not in theirs:
                    self._log.error(
                        "the alias {alias} is of {ours} {circuit} here and of {theirs} {circuit} in {file}, which an "
                        "earlier version misread; give it to the circuit that is meant, then remove {file}",
                        alias=alias,
                        ours=ours.kinds[0],
                        theirs=theirs[0],
                        circuit=ours.circuit,
                        file=evoks,
                    )

    def _there(self, target: Target) -> bool:
        try:
            self._registry.find(target.kinds[0], target.circuit, "v3")
        except EvokError:
            return False
        return True

    def _put_aside(self, file: Path) -> str:
        """Copy a file that we would write over; how that came out, for the log."""
        if file != self._file:
            return ""
        numbers = (n for n in range(1, 1000) if not os.path.exists(file.with_name(f"{file.name}.bad{n}")))
        aside = file.with_name(f"{file.name}.bad{next(numbers, 1000)}")
        try:
            shutil.copyfile(file, aside)  # and not renamed: until it is written anew, there is to be one
        except OSError as error:
            return f"; it could not be put aside: {error.strerror}"
        return f"; it is kept as {aside.name}"

    def check(self, device: Device, wanted: Mapping[str, Any]) -> None:
        pass

    def submit_all(self, sets: Sequence[Assignment]) -> list[Deferred[None]]:
        return [self.save() if one.parameters["save"] else succeed(None) for one in sets]

    def _changed(self) -> None:
        self._unsaved = True
        self._events.publish((self._table,))
        if self._file is not None:
            self._saving.start_within(SAVE_DELAY)

    def _save_in_time(self) -> None:
        self.save().addErrback(lambda failure: failure.trap(NotSaved))  # logged, and tried again

    def save(self) -> Deferred[None]:
        """Write what was not written yet.

        :raises NotSaved: (in the Deferred) it could not be written; it will be tried again.
        """
        return self._lock.run(lambda: Deferred.fromCoroutine(self._save()))

    async def _save(self) -> None:
        if self._file is None:
            raise NotSaved("aliases are kept in memory only, for apis.alias_file is empty")
        if not self._unsaved:
            return
        file, text = self._file, written(self._registry.book.all())
        self._unsaved = False
        try:
            await self._in_thread(lambda: write_file(file, text))
        except OSError as error:
            self._unsaved = True
            message = "aliases cannot be saved to {file}: {why}; retrying. apis.alias_file names another place"
            self._failing.begin_badly(message, file=file, why=error.strerror)
            self._saving.start_within(RETRY_DELAY)
            raise NotSaved(f"aliases cannot be saved to {file}: {error.strerror}") from error
        self._failing.end("aliases are saved to {file} again, after {lasted:.1f} s", file=file)

    async def stop(self) -> None:
        """Save what is not saved yet."""
        self._saving.stop()
        if self._file is not None:
            try:
                await self.save()
            except NotSaved as error:
                self._log.error("{error}; what changed since is lost", error=error)
            self._saving.stop()


def _writable(directory: Path) -> bool:
    existing = next(parent for parent in (directory, *directory.absolute().parents) if os.path.exists(parent))
    return os.access(existing, os.W_OK, effective_ids=True)
