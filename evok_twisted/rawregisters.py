"""``evok registers``: any register of any slave through the running service, and what it may stand for."""

from __future__ import annotations

import argparse
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Protocol
from urllib.parse import quote

from evok_twisted.model.registers import TABLES

#: Exit status where a question was answered with no.
REFUSED = 1


class Service(Protocol):
    """Where the running service is asked."""

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask for a path, or post to it."""


def add(commands: Any) -> list[argparse.ArgumentParser]:
    """The parsers of ``evok registers``."""
    registers = commands.add_parser("registers", help="read and write registers and coils of any slave")
    actions = registers.add_subparsers(required=True, metavar="ACTION")
    read = actions.add_parser("read", help="read, and show what the values may stand for")
    write = actions.add_parser("write", help="write; asks first")
    for parser in (read, write):
        parser.add_argument("bus", metavar="BUS", help="as the configuration calls it")
        parser.add_argument("unit", metavar="UNIT", type=_number, help="the slave-id, as 3")
        parser.add_argument("start", metavar="START", type=_number, help="the first address, as 1000 or 0x3E8")
    read.add_argument("count", metavar="COUNT", type=_number, nargs="?", default=1, help="how many; by default one")
    table = read.add_mutually_exclusive_group()
    for name in TABLES[1:]:
        table.add_argument(f"--{name}", dest="table", action="store_const", const=name, help=f"of the table {name}")
    read.add_argument("--json", action="store_true", help="print JSON, for programs")
    read.set_defaults(remote=_read, table="holding")
    write.add_argument("values", metavar="VALUE", type=_number, nargs="+", help="as 5 or 0x1F; of coils 0 or 1")
    write.add_argument("--coils", dest="table", action="store_const", const="coils", help="write coils")
    write.add_argument("--yes", action="store_true", help="do not ask")
    write.set_defaults(remote=_write, table="holding")
    return [read, write]


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number, as 5 or 0x1F") from None


def _path(given: argparse.Namespace) -> str:
    return f"/modbus/{quote(given.bus, safe='')}/{given.unit}/{given.table}/{given.start}"


def _read(service: Service, given: argparse.Namespace) -> int:
    answer = service.ask(f"{_path(given)}?count={given.count}")
    if given.json:
        print(str(answer["values"]))
    elif given.table in ("coils", "discrete"):
        for n, value in enumerate(answer["values"]):
            print(f"{given.start + n:5}  {value}")
    else:
        print(*decoded(given.start, answer["values"]), sep="\n")
    return 0


def decoded(start: int, words: Sequence[int]) -> Iterator[str]:
    """A table of what registers may stand for: numbers of 16 bits, and, with the one behind, of 32.

    Those of 32 bits are with the low word first, as boards of Unipi have them, and then with the high word first.
    """
    head = ("", "u16", "s16", "hex", "bits", "u32 low, high first", "f32 low, high first")
    yield "{:5}  {:>5} {:>6} {:>6}  {:19}  {:>23}  {:>25}".format(*head)
    for n, word in enumerate(words):
        signed = word - 0x10000 if word & 0x8000 else word
        bits = " ".join(f"{word:016b}"[at : at + 4] for at in range(0, 16, 4))
        line = f"{start + n:5}  {word:5} {signed:6} 0x{word:04x}  {bits}"
        if n + 1 < len(words):
            low = struct.pack(">HH", words[n + 1], word)
            high = struct.pack(">HH", word, words[n + 1])
            whole = [int.from_bytes(both) for both in (low, high)]
            real = [f"{struct.unpack('>f', both)[0]:.6g}" for both in (low, high)]
            line += f"  {whole[0]:11} {whole[1]:11}  {real[0]:>12} {real[1]:>12}"
        yield line


def _write(service: Service, given: argparse.Namespace) -> int:
    what = f"{' '.join(map(str, given.values))} to {given.table} {given.start} of unit {given.unit} on {given.bus}"
    if not given.yes:
        print(f"write {what}? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("nothing is written", file=sys.stderr)
            return REFUSED
    service.ask(_path(given), {"values": given.values})
    print(f"wrote {what}")
    return 0
