"""Logging: twisted.logger with a level below which nothing is made, let alone formatted."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.logger import Logger as TwistedLogger
from twisted.logger import LogLevel


class Logger(TwistedLogger):
    """The logger of every module here; name it ``_log``, for Autobahn claims ``log`` on its classes."""

    #: the least level that is logged, of the whole process
    least: ClassVar[Any] = LogLevel.info

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        if level >= Logger.least:
            super().emit(level, format, **kwargs)


class QuietLogger(Logger):
    """For library code that tells of every routine step at level info: takes that as debug."""

    def emit(self, level: Any, format: str | None = None, **kwargs: object) -> None:
        super().emit(LogLevel.debug if level is LogLevel.info else level, format, **kwargs)


def set_level(name: str) -> None:
    """Set the least level: debug, info, warn or warning, error, critical."""
    Logger.least = LogLevel.levelWithName("warn" if name == "warning" else name)
