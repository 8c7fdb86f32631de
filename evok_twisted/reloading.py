"""Takes a new configuration over while the service runs: whole, or not at all."""

from __future__ import annotations

import pickle
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.utils import getProcessOutputAndValue

from evok_twisted import config as cfg
from evok_twisted.errors import Busy, ConfigError
from evok_twisted.fronts import Fronts, Wanted
from evok_twisted.listening import Listening, Place
from evok_twisted.logs import Logger, set_level
from evok_twisted.problems import Problems
from evok_twisted.unit import Unit

#: Reloads that may wait for the one that is under way.
MOST_WAITING = 2
#: Seconds that reading a configuration may take.
LONGEST_READING = 60.0
#: What of ``apis`` is taken over without a restart, besides what belongs to fronts.
_AT_ONCE = frozenset({"listen", "address", "port", "allowed_origins", "allowed_hosts"})


class Running(NamedTuple):
    """What takes a configuration over.

    :ivar wanted: the fronts that it asks for.
    :ivar places: where it has the service listen, but for what takes a restart.
    """

    unit: Unit
    fronts: Fronts
    listening: Listening
    wanted: Callable[[cfg.Config], Wanted]
    places: Callable[[cfg.Apis, Problems], Sequence[Place]]


class Reloader:
    """Reads the configuration again when it is told to.

    :param config: what runs.
    :param command: what reads the configuration, in a process of its own, as a scan must not wait for that.
    """

    _log = Logger()

    def __init__(self, config: cfg.Config, running: Running, command: Sequence[str], reactor: Any) -> None:
        self._config = config
        self._running = running
        self._command = command
        self._reactor = reactor
        self._changing = DeferredLock()

    def reload(self) -> Deferred[list[str]]:
        """Take over what is configured now.

        :returns: what has changed, for people; also what takes a restart.
        :raises ConfigError: (in the Deferred) there are errors; all goes on as before.
        :raises Busy: several are waiting already.
        """
        if len(self._changing.waiting) >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} reloads are waiting; the last of them will see what is configured now")
        return self._changing.run(lambda: Deferred.fromCoroutine(self._reload()))

    def reload_on_signal(self) -> None:
        """The same, for nobody who waits for an answer: the log has it."""
        done = maybeDeferred(self.reload).addErrback(lambda failure: failure.trap(ConfigError, Busy))
        done.addErrback(lambda failure: self._log.failure("at the reload", failure))

    async def _reload(self) -> list[str]:
        begun = self._reactor.seconds()
        try:
            changed = await self._take_over()
        except ConfigError as error:
            self._log.error("the configuration is refused, all goes on as before: {why}", why=str(error))
            raise
        took = 1000 * (self._reactor.seconds() - begun)
        what = "; ".join(changed) or "nothing has changed"
        self._log.info("the configuration was read again, in {took:.0f} ms: {what}", took=took, what=what)
        return changed

    async def _take_over(self) -> list[str]:
        config, problems = await self._read()
        before, unit = self._config, self._running.unit
        restart = [
            name
            for name in cfg.Apis.__struct_fields__
            if name not in _AT_ONCE and getattr(before.apis, name) != getattr(config.apis, name)
        ]
        kept = {name: getattr(before.apis, name) for name in restart}
        config = msgspec.structs.replace(config, apis=msgspec.structs.replace(config.apis, **kept))
        close = self._running.listening.open(self._running.places(config.apis, problems))
        if close is None:
            raise ConfigError("apis.listen: a port cannot be had; the log says which")
        changed = differences(before, config)
        await unit.reconfigure(config, problems)
        changed += await self._running.fronts.become(self._running.wanted(config), problems)
        self._running.listening.let_in(config.apis)
        await close()
        set_level(config.logging.level)
        self._config = config
        if before.logging.file != config.logging.file:
            restart.append("logging.file")
        return [*changed, *(f"{_key(name)} takes a restart" for name in restart)]

    async def _read(self) -> tuple[cfg.Config, Problems]:
        """What is configured now, and what is to be known of it.

        :raises ConfigError: with everything that is wrong.
        """
        executable, *arguments = self._command
        reading: Deferred[Any] = getProcessOutputAndValue(executable, arguments, None, None, self._reactor)
        reading.addTimeout(LONGEST_READING, self._reactor)
        try:
            read, wrong, status = await reading
        except TimeoutError:
            raise ConfigError(f"reading it took more than {LONGEST_READING:g} s") from None
        if status:
            lines = wrong.decode(errors="replace").splitlines()
            errors = [line for line in lines if line.startswith("error: ")]
            raise ConfigError("\n".join(errors or lines[-5:]) or f"reading it ended with status {status}")
        found: tuple[cfg.Config, Problems] = pickle.loads(read)  # noqa: S301 -- of our own process
        return found


def _key(name: str) -> str:
    return name if "." in name else f"apis.{name}"


def differences(before: cfg.Config, now: cfg.Config) -> list[str]:
    """What differs in the hardware and in where the service listens, for people."""
    found = []
    old = {bus.name: bus for bus in before.buses}
    new = {bus.name: bus for bus in now.buses}
    found += [f"bus {name} is no more" for name in old if name not in new]
    for name, bus in new.items():
        if name not in old:
            found.append(f"bus {name} is new")
        elif bus != old[name]:
            were = {board.name: board for board in old[name].boards}
            are = {board.name: board for board in bus.boards}
            boards = [f"board {board} is no more" for board in were if board not in are]
            boards += [f"board {board} is new" for board in are if board not in were]
            boards += [f"board {board} has changed" for board in are if board in were and are[board] != were[board]]
            found += boards or [f"bus {name} has changed"]
    return found + [f"apis.{name} has changed" for name in sorted(_AT_ONCE) if _of(before, name) != _of(now, name)]


def _of(config: cfg.Config, name: str) -> object:
    return getattr(config.apis, name)


def command(options: Sequence[str]) -> list[str]:
    """What reads a configuration, with the options of ``twistd evok``."""
    python = [sys.executable, "-P", "-m", "evok_twisted.reading", *options]
    nice = shutil.which("nice")  # scans come first, where there is one processor for both
    return python if nice is None else [nice, "-n", "19", *python]
