"""A file that is written as a whole, soon after what it is to say has changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.interfaces import IReactorTime

from evok_twisted.conditions import Condition
from evok_twisted.errors import Unavailable
from evok_twisted.files import write_file
from evok_twisted.logs import Logger

InThread = Callable[[Callable[[], None]], Deferred[None]]

_Type = TypeVar("_Type")


class Kept:
    """What has to survive a crash, as JSON.

    :param file: None keeps nothing, and hinders nothing.
    :param in_thread: runs what blocks; needed where there is a file.
    :param content: returns what the file is to say.
    :ivar version: counts the changes; ``saved`` is that of the file.
    """

    _log = Logger()

    def __init__(
        self, file: Path | None, clock: IReactorTime, in_thread: InThread | None, content: Callable[[], Any]
    ) -> None:
        self.file = file
        self.version = self.saved = 0
        self._in_thread = in_thread
        self._content = content
        self._lock = DeferredLock()
        self._failing = Condition(self._log, clock)

    def load(self, kind: type[_Type]) -> _Type | None:
        """What a run before has left; None where there is nothing. A file of no use is logged, and put aside."""
        if self.file is None:
            return None
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            aside = self.file.with_suffix(".bad")
            self._log.error("{file} cannot be used: {why}; kept as {aside}", file=self.file, why=error, aside=aside)
            try:
                os.replace(self.file, aside)
            except OSError as why:
                self._log.error("{file} stays where it is: {why}", file=self.file, why=why)
            return None

    def change(self) -> None:
        """The file is to say something else."""
        self.version += 1

    def flush(self) -> Deferred[None]:
        """Write what was not written yet.

        :raises Unavailable: (in the Deferred) that cannot be done.
        """
        if self.file is None or self._in_thread is None:
            self.saved = self.version
        if self.saved == self.version:
            return succeed(None)
        return self._lock.run(lambda: Deferred.fromCoroutine(self._save()))

    def try_flush(self) -> Deferred[None]:
        """Write it, and go on where that cannot be done, which the log says."""
        return self.flush().addErrback(lambda failure: failure.trap(Unavailable) and None)

    async def _save(self) -> None:
        file, version = self.file, self.version
        if file is None or self._in_thread is None or self.saved == version:
            return  # another has done it meanwhile
        text = msgspec.json.encode(self._content()).decode()
        try:
            await self._in_thread(lambda: write_file(file, text, 0o600))
        except OSError as error:
            message = "{file} cannot be written: {why}; what needs it is refused, unless apis.pulses is unrecorded"
            self._failing.begin_badly(message, file=file, why=error.strerror)
            raise Unavailable(f"this cannot be kept over a crash: {file}: {error.strerror}") from error
        self.saved = version
        self._failing.end("{file} is written again, after {lasted:.1f} s", file=file)
