"""``twistd evok --check``: prints what would run, and everything that is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NoReturn

from evok_twisted.problems import Problems

#: Exit status where there are errors.
FAILED = 1


def check(lines: Iterable[str], problems: Problems) -> NoReturn:
    """Print what would run, and everything that is wrong.

    :param lines: what would run.
    :raises SystemExit: always: 0, or ``FAILED`` where there are errors.
    """
    for line in lines:
        print(line)
    for problem in problems.found:
        costs = "" if problem.level == "warning" else "; the rest would run"
        print(problem, "; the service would not start" if problem.fatal else costs, sep="", file=sys.stderr)
    if problems.errors:
        count = len(problems.errors)
        print(f"{count} error{'' if count == 1 else 's'}", file=sys.stderr)
        raise SystemExit(FAILED)
    print("no errors")
    raise SystemExit(0)
