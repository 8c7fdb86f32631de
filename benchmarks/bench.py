"""How fast the service is here: ``make bench``, or ``make bench BENCH=load`` for one of its parts.

Each starts simulated boards and the service in processes of their own, measures, prints a table, and asserts nothing.
Times depend on the machine.
"""

from __future__ import annotations

import sys

import access
import compare
import history
import hostile
import load
import mqtt
import reload
import scrape
import stream
import usual

PARTS = {
    "usual": usual.run,
    "compare": compare.run,
    "access": access.run,
    "stream": stream.run,
    "mqtt": mqtt.run,
    "metrics": scrape.run,
    "reload": reload.run,
    "history": history.run,
    "load": load.run,
    "hostile": hostile.run,
}


def main(wanted: list[str]) -> None:
    """Run some parts, or all of them, and print the table."""
    for name in wanted or PARTS:
        if name not in PARTS:
            raise SystemExit(f"there is no part {name!r}; there are {', '.join(PARTS)}")
        PARTS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
