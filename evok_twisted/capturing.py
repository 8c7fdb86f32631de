"""``evok capture``: what goes over a bus of the running service, into a file for Wireshark."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote

#: Seconds, by default and at most.
SECONDS, LONGEST = 60, 3600
#: Exit status where there is nowhere to write to.
NOWHERE = 1


class Service(Protocol):
    """Where the running service is asked."""

    def stream(self, path: str, seconds: float) -> Iterator[bytes]:
        """Ask for a path whose answer takes some time."""


def add(commands: Any) -> argparse.ArgumentParser:
    """The parser of ``evok capture``."""
    parser: argparse.ArgumentParser = commands.add_parser("capture", help="write what goes over a bus, for Wireshark")
    parser.add_argument("bus", metavar="BUS", help="as the configuration calls it")
    seconds = f"for how long, at most {LONGEST}; by default %(default)s, and Ctrl-C ends it"
    parser.add_argument("--seconds", type=int, default=SECONDS, help=seconds)
    parser.add_argument("--output", "-o", type=Path, metavar="FILE.pcapng", help="by default, standard output")
    parser.set_defaults(remote=_capture)
    return parser


def _capture(service: Service, given: argparse.Namespace) -> int:
    if given.output is None and sys.stdout.isatty():
        print("evok: a capture is not for a terminal: -o FILE.pcapng, or | wireshark -k -i -", file=sys.stderr)
        return NOWHERE
    chunks = service.stream(f"/modbus/{quote(given.bus, safe='')}/capture?seconds={given.seconds}", given.seconds)
    blocks = whole(chunks)
    first = next(blocks)  # or there is no capture, and no file
    if given.output is None:
        _write(sys.stdout.buffer, first, blocks)
    else:
        with given.output.open("wb") as file:
            count = _write(file, first, blocks)
        print(f"{count} frames in {given.output}", file=sys.stderr)
    return 0


def _write(file: BinaryIO, first: bytes, blocks: Iterator[bytes]) -> int:
    """Write all that comes, until its end or Ctrl-C; how many frames that were."""
    count = -1  # what follows first says which bus it is
    try:
        file.write(first)
        for block in blocks:
            file.write(block)
            file.flush()
            count += 1
    except KeyboardInterrupt:
        pass
    return max(count, 0)


def whole(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks of a capture, each complete: whatever comes last, nothing is cut off."""
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= 8 and len(buffer) >= (size := int.from_bytes(buffer[4:8], "little")):
            yield buffer[:size]
            buffer = buffer[size:]
