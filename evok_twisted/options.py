"""What the commands of this package have in common on the command line."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib.metadata import version

from twisted.python import usage

#: Exit status for a command line that cannot be understood.
BAD_USAGE = 2


class Options(usage.Options):
    """Ends with exit status 2 where twistd, for what stands behind the name of a plugin, would end with 1.

    :cvar command: how the command is called, for its errors.
    """

    command = "twistd"

    def __init__(self) -> None:
        super().__init__()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # a name with a character that the locale has not must not cost the line that it is in
                stream.reconfigure(errors="backslashreplace")

    def opt_version(self) -> None:
        """Tell the version of evok-twisted, and of Twisted."""
        print(f"evok-twisted {version('evok-twisted')}, Twisted {version('twisted')}")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            print(f"{self.command}: {error}; {self.command} --help lists the options", file=sys.stderr)
            raise SystemExit(BAD_USAGE) from None
