"""Which outputs are to go back by themselves, and when: kept in a file, so that a crash does not leave them on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from evok_twisted.core.kept import InThread, Kept
from evok_twisted.logs import Logger
from evok_twisted.model.device import BoardDevice, Pulse

#: Where it is, in the directory of what is kept over a restart.
FILE = Path("run", "pulses.json")
#: Seconds after which the end of a pulse is of no matter any more: its board was not there for so long.
FORGOTTEN = 30 * 86400.0


class Entry(msgspec.Struct, frozen=True):
    """A pulse that was asked for, and may have begun.

    :ivar during: the value of its output until it ends, and ``value`` from then on.
    :ivar seconds: how long it is.
    :ivar ends: the time of the clock, which is that of the machine since it was started: since ``boot``.
    :ivar wall: when it ends, in seconds of the Unix epoch.
    """

    kind: str
    circuit: str
    during: float
    value: float
    seconds: float
    ends: float
    boot: str
    wall: float


class PulseRecord:
    """Keeps the pulses that run.

    A pulse is written down before anything of it is written to its board, beside the one that it may take the place of:
    whichever of them the output then shows is the one that has to end. What is over is let go after the board
    has acknowledged it.

    :param file: None keeps nothing, and hinders nothing.
    :param in_thread: runs what blocks; needed where there is a file.
    :param wall: the time of day, in seconds of the Unix epoch.
    :param boot: a name of the time since the machine was started.
    """

    _log = Logger()

    def __init__(
        self,
        file: Path | None,
        clock: IReactorTime,
        in_thread: InThread | None = None,
        *,
        wall: Callable[[], float] = time.time,
        boot: str = "",
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._boot = boot or _boot()
        self._entries: dict[tuple[str, str], tuple[Entry, ...]] = {}
        #: when those of each output changed last, as a version of the file
        self._versions: dict[tuple[str, str], int] = {}
        self._kept = Kept(file, clock, in_thread, self._all)

    def _all(self) -> list[Entry]:
        return [entry for entries in self._entries.values() for entry in entries]

    @property
    def count(self) -> int:
        """How many outputs are to go back."""
        return len(self._entries)

    def load(self) -> None:
        """Read what the run before has left."""
        for entry in self._kept.load(list[Entry]) or ():
            if self._wall() - entry.wall < FORGOTTEN:
                key = entry.kind, entry.circuit
                self._entries[key] = (*self._entries.get(key, ()), self._of_now(entry))
        if self._entries:
            names = ", ".join(" ".join(key) for key in self._entries)
            self._log.warn("outputs that were to go back when the service ended: {names}", names=names)

    def of(self, device: BoardDevice) -> tuple[Entry, ...]:
        """The pulses of ``device`` that may run."""
        return self._entries.get(_key(device), ())

    def left(self, entry: Entry) -> float:
        """The seconds until a pulse ends."""
        return max(entry.ends - self._clock.seconds(), 0.0)

    def _of_now(self, entry: Entry) -> Entry:
        """An entry on the clock of this run: the same as before, or, after another boot, by the time of day.

        It never ends later than a pulse of its length that begins now, whatever became of the time of day.
        """
        now = self._clock.seconds()
        ends = entry.ends if entry.boot == self._boot else now + entry.wall - self._wall()
        return msgspec.structs.replace(entry, ends=min(ends, now + entry.seconds), boot=self._boot)

    def begin(self, pulses: Mapping[BoardDevice, Pulse]) -> Deferred[dict[BoardDevice, Entry]]:
        """Write down pulses that are to begin.

        :raises Unavailable: (in the Deferred) that cannot be done.
        """
        begun = {device: self._entry(device, pulse) for device, pulse in pulses.items()}
        for device, entry in begun.items():
            self._change(device, (*self.of(device), entry))
        done = self._kept.flush()

        def undo(failure: object) -> object:
            for device, entry in begun.items():
                self._change(device, [one for one in self.of(device) if one is not entry])
            return failure

        return done.addCallbacks(lambda _: begun, undo)  # type: ignore[arg-type]

    def _entry(self, device: BoardDevice, pulse: Pulse) -> Entry:
        ends, wall = self._clock.seconds() + pulse.seconds, self._wall() + pulse.seconds
        return Entry(
            device.kind, device.circuit, pulse.during, pulse.value, pulse.seconds, ends, self._boot, round(wall, 3)
        )

    def keep(self, device: BoardDevice, entry: Entry | None) -> None:
        """Only ``entry`` of the pulses of ``device`` runs; the file is to say so soon."""
        if self.of(device) != (() if entry is None else (entry,)):
            self._change(device, () if entry is None else (entry,))
            self.try_flush()

    def unsaved(self, device: BoardDevice) -> bool:
        """Whether the file still says something else of ``device``."""
        return self._versions.get(_key(device), 0) > self._kept.saved

    def _change(self, device: BoardDevice, entries: Iterable[Entry]) -> None:
        key, entries = _key(device), tuple(entries)
        if entries:
            self._entries[key] = entries
        else:
            self._entries.pop(key, None)
        self._kept.change()
        self._versions[key] = self._kept.version

    def try_flush(self) -> Deferred[None]:
        """Write what was not written yet; where that cannot be done, the log says so."""
        return self._kept.try_flush()


def _key(device: BoardDevice) -> tuple[str, str]:
    return device.kind, device.circuit


def _boot() -> str:
    """Another name each time that the machine is started; where there is none, no time before counts."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return f"{os.getpid()} {time.time()}"
