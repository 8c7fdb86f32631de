"""Finds out what can be read of a block of registers that a slave refuses to read as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec
from twisted.internet.defer import Deferred

from evok_twisted.definitions import Block
from evok_twisted.errors import Refused

#: Modbus exceptions that say that a register is not there: illegal data address, illegal data value.
NOT_THERE = (2, 3)


class Findings(NamedTuple):
    """What can be read of a block, in as few blocks as there can be, and which registers cannot."""

    readable: tuple[Block, ...]
    refused: tuple[int, ...]


async def explore(block: Block, read: Callable[[Block], Deferred[tuple[int, ...]]]) -> Findings:
    """Halve ``block``, and what is refused of it again, down to single registers.

    :raises EvokError: the slave does not answer, or refuses for another reason; nothing is known then.
    """
    readable: list[Block] = []
    refused: list[int] = []
    todo = _halves(block)
    while todo:
        part = todo.pop(0)
        try:
            await read(part)
        except Refused as error:
            if error.exception not in NOT_THERE:
                raise
            if part.count == 1:
                refused.append(part.start)
            else:
                todo[:0] = _halves(part)
        else:
            readable.append(part)
    # joined again, for a value of several registers must not be read in two pieces; but where no register as such is
    # refused, it is the size or a boundary that the slave does not like
    return Findings(_joined(readable) if refused else tuple(readable), tuple(refused))


def _halves(block: Block) -> list[Block]:
    if block.count == 1:
        return [block]
    half = block.count // 2
    return [
        msgspec.structs.replace(block, count=half),
        msgspec.structs.replace(block, start=block.start + half, count=block.count - half),
    ]


def _joined(parts: Iterable[Block]) -> tuple[Block, ...]:
    joined: list[Block] = []
    for part in parts:
        if joined and joined[-1].start + joined[-1].count == part.start:
            joined[-1] = msgspec.structs.replace(joined[-1], count=joined[-1].count + part.count)
        else:
            joined.append(part)
    return tuple(joined)


def ranges(registers: Iterable[int]) -> str:
    """Registers for people: ``3, 7 to 9``."""
    runs: list[list[int]] = []
    for register in registers:
        if runs and runs[-1][-1] + 1 == register:
            runs[-1][1:] = [register]
        else:
            runs.append([register])
    return ", ".join(" to ".join(map(str, run)) for run in runs)
