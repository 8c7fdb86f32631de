"""Logging: twisted.logger with a level below which nothing is made, let alone formatted."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel


class Logger(TwistedLogger):
    """The logger of every module here; name it ``_log``, for Autobahn claims ``log`` on its classes."""

    #: the least level that is logged, of the whole process
    least: ClassVar[Any] = LogLevel.info

    def __get__(self, instance: object, owner: type | None = None) -> Logger:
        # for the class: a line that waits must not keep a board that was taken away
        return cast("Logger", super().__get__(None, owner))

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        if level >= Logger.least:
            super().emit(level, format, **kwargs)


class QuietLogger(Logger):
    """For library code that tells of every routine step at level info: takes that as debug."""

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        super().emit(LogLevel.debug if level is LogLevel.info else level, format, **kwargs)


class MutedLogger(Logger):
    """For library code that warns of whatever a client does: takes all but errors as debug."""

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        super().emit(LogLevel.debug if level < LogLevel.error else level, format, **kwargs)


class Repeats:
    """Logs what may come again and again: the first times as it is, then a line each minute while it goes on.

    The line has how often it came, and the last of the messages. When a minute brought none it is over, which is
    logged, and all begins anew.

    :param burst: messages in a row that are logged at once: what begins, and its end.
    """

    #: seconds between two lines while it goes on
    period = 60.0

    def __init__(self, log: TwistedLogger, clock: IReactorTime, burst: int = 2) -> None:
        self._log = log
        self._clock = clock
        self._burst = burst
        self._burst_used = 0
        self._last: tuple[Any, str, dict[str, object]] = (LogLevel.info, "", {})
        self._count = self._total = 0
        self._alarm: IDelayedCall | None = None

    @property
    def going_on(self) -> bool:
        """Whether something was logged in the last minute."""
        return self._alarm is not None

    def info(self, format: str, **kwargs: object) -> None:
        """Tell of it, at level info."""
        self._log_or_count(LogLevel.info, format, kwargs)

    def warn(self, format: str, **kwargs: object) -> None:
        """Tell of it, at level warn."""
        self._log_or_count(LogLevel.warn, format, kwargs)

    def error(self, format: str, **kwargs: object) -> None:
        """Tell of it, at level error."""
        self._log_or_count(LogLevel.error, format, kwargs)

    def _log_or_count(self, level: Any, format: str, kwargs: dict[str, object]) -> None:
        if self._alarm is None:
            self._alarm = self._clock.callLater(self.period, self._sum_up)
        if self._burst_used < self._burst:
            self._burst_used += 1
            self._log.emit(level, format, **kwargs)
        else:
            self._count += 1
            self._last = level, format, kwargs

    def _sum_up(self) -> None:
        self._alarm = None
        level, format, kwargs = self._last
        count, self._count = self._count, 0
        self._total += count
        if count:
            message = format + "; {repeated} messages like this in {period:g} s, this is the last"
            self._log.emit(level, message, repeated=count, period=self.period, **kwargs)
            self._alarm = self._clock.callLater(self.period, self._sum_up)
        else:
            if self._total:
                message = "this was the last of {repeated} more messages, and is over now: " + format
                self._log.emit(LogLevel.info, message, repeated=self._total, **kwargs)
            self._burst_used = self._total = 0
            self._last = (LogLevel.info, "", {})


def set_level(name: str) -> None:
    """Set the least level: debug, info, warn or warning, error, critical."""
    Logger.least = LogLevel.levelWithName("warn" if name == "warning" else name)
