"""What is wrong with a configuration: all of it, each with its place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

from evok_twisted.errors import ConfigError


class Problem(NamedTuple):
    """Something wrong in a file: where it is, and what was expected there.

    :ivar level: ``error`` or ``warning``.
    :ivar fatal: the service does not start with this; an error that is not fatal costs what it names, and no more.
    """

    level: Literal["error", "warning"]
    fatal: bool
    file: str
    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        file = self.file if self.line is None else f"{self.file}:{self.line}"
        where = f"{file}: {self.path}" if self.path else file
        return f"{self.level}: {where}: {self.message}"


class Problems:
    """Collects what is wrong, so that a user sees all of it at once."""

    def __init__(self) -> None:
        self.found: list[Problem] = []
        self._lines: dict[str, Mapping[str, int]] = {}
        #: the file that a path of the configuration is from, for those who do not read it themselves
        self.file_of: Callable[[str], object] = _in_config

    def know(self, file: object, lines: Mapping[str, int]) -> None:
        """Learn in which line of a file each path is, for what will be said of it."""
        self._lines[str(file)] = lines

    def error(self, file: object, path: str, message: str, *, fatal: bool = True) -> None:
        """Note something that the service cannot run with, or, not ``fatal``, not with all that was asked for."""
        self._note("error", fatal, str(file), path, message)

    def unreadable(self, file: object, error: ConfigError, *, fatal: bool = True) -> None:
        """Note a file of which nothing can be used."""
        message = str(error).removeprefix(f"line {error.line}, ")
        self.found.append(Problem("error", fatal, str(file), "", message, error.line))

    def warning(self, file: object, path: str, message: str) -> None:
        """Note something that the user should know, and that costs nothing."""
        self._note("warning", False, str(file), path, message)

    def _note(self, level: Literal["error", "warning"], fatal: bool, file: str, path: str, message: str) -> None:
        lines, known = self._lines.get(file, {}), path
        while known and known not in lines:
            known = known.rpartition(".")[0]  # of a key that is missing, where it is missed
        self.found.append(Problem(level, fatal, file, path, message, lines.get(known)))

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self.found if problem.level == "error"]

    @property
    def fatal(self) -> list[Problem]:
        return [problem for problem in self.found if problem.fatal]


def _in_config(_path: str) -> str:
    return "config.yaml"


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a word that is not in ``known``: the closest one that is, else all of them."""
    names = sorted(known)
    by_case = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), by_case, n=1, cutoff=0.5)
    if close:
        return f"did you mean {by_case[close[0]]!r}?"
    return f"known are {', '.join(names)}" if names else "none are known"
