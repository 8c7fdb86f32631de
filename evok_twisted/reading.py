"""Reads a configuration for a service that runs, and hands it over: its own program, as no scan must wait for it.

    python -m evok_twisted.reading OPTIONS

with the options of ``twistd evok``. What is wrong goes to standard error, a line each, with an exit status of 1; else
standard output gets a pickle of the configuration and of the warnings that came of reading it.
"""

from __future__ import annotations

import os
import pickle
import sys
from contextlib import suppress

if __name__ == "__main__" and hasattr(os, "SCHED_IDLE"):
    # A processor with what is only nice on it counts as busy, and scans are left to wait for another; with nothing but
    # idle work on it, it counts as free.
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

from twisted.internet import reactor

from evok_twisted.problems import Problems
from evok_twisted.tap import Options, load, wire


def main() -> None:
    """Read it, and look over what it comes down to, which finds what reading alone does not."""
    options, problems = Options(), Problems()
    options.parseOptions(sys.argv[1:])
    config = load(options, problems)
    read = pickle.dumps((config, problems))
    if config is not None and not problems.errors:
        wire(options, config, reactor, problems)
    if config is None or problems.errors:
        sys.exit("\n".join(map(str, problems.errors)) or "there is no configuration")
    sys.stdout.buffer.write(read)


if __name__ == "__main__":
    main()
