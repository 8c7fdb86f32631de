"""Who has set what: a line in the log for every write that was acknowledged, failed or was forbidden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime

from evok_twisted.conditions import Timer
from evok_twisted.core.identity import Identity
from evok_twisted.errors import EvokError
from evok_twisted.logs import Logger
from evok_twisted.model.device import Device
from evok_twisted.model.parameters import shown


class Audit(Service):
    """Writes the lines; the same again within ``period`` is one line with a count.

    Beyond the first of a period they are written together at its end, which costs a fraction.
    """

    _log = Logger()

    #: seconds
    period = 1.0
    #: different lines that are counted at once; more, and a period ends early
    most = 1000
    #: lines of a period that are written at once
    at_once = 20

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._again: dict[str, int] = {}
        self._late: list[str] = []
        self._end = Timer(clock, self.flush)

    def note(
        self, device: Device, parameters: Mapping[str, Any], by: Identity, error: EvokError | None, begun: float
    ) -> None:
        """A set came to its end.

        :param error: what went wrong, if anything.
        :param begun: the time of the clock at which it was asked for.
        """
        wanted = " ".join(f"{name}={shown(value)}" for name, value in parameters.items()) or "nothing"
        place = f" from {by.address}" if by.address else ""
        became = "done" if error is None else f"{error.code}"
        line = f"set {device!r} {wanted} by {by}{place} over {by.via}: {became}"
        if line in self._again:
            self._again[line] += 1
            return
        if len(self._again) >= self.most:
            self.flush()
        self._again[line] = 0
        if not self._end.running:
            self._end.start(self.period)
        ms = (self._clock.seconds() - begun) * 1000
        line += f" in {ms:.0f} ms" if error is None else f", after {ms:.0f} ms: {error}"
        if by.command is not None:
            line += f" (id {shown(by.command)})"
        if len(self._again) <= self.at_once:
            self._log.info("{line}", line=line)
        else:
            self._late.append(line)

    def stopService(self) -> None:
        super().stopService()
        self.flush()

    def flush(self) -> None:
        """Write what is to be written yet, and how often lines came again; and begin anew."""
        again, self._again = self._again, {}
        late, self._late = self._late, []
        self._end.stop()
        for line in late:
            self._log.info("{line}", line=line)
        for line, count in again.items():
            if count:
                self._log.info("{line}, {count} more times in {period:g} s", line=line, count=count, period=self.period)
