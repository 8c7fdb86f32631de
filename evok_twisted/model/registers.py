"""What is known of one slave's registers, and what can be written to it.

Holding registers, input registers and coils share one number space: a *key* is the address of a holding register, or
the address plus ``INPUT`` or ``COIL``. Coils are there only where no register shows them: their word is the value that
the slave acknowledged last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import msgspec

from evok_twisted.definitions import Block

#: What a slave has: registers that can be written, or only read, and bits likewise.
Table = Literal["holding", "input", "coils", "discrete"]
TABLES: tuple[Table, ...] = get_args(Table)

INPUT = 0x10000
COIL = 0x20000


def keys_of(block: Block) -> range:
    """The keys of the registers that ``block`` reads."""
    start = block.start | INPUT if block.input else block.start
    return range(start, start + block.count)


class Registers:
    """The words that were last read from, or acknowledged by, a slave; ``registers[key]`` is 0..65535.

    :raises KeyError: a register that was not read yet.
    """

    __slots__ = ("_blocks", "_words")

    def __init__(self) -> None:
        self._words: dict[int, int] = {}
        self._blocks: dict[Block, tuple[int, ...]] = {}

    def __getitem__(self, key: int) -> int:
        return self._words[key]

    def __contains__(self, key: object) -> bool:
        return key in self._words

    def last_written(self, coil: int) -> int:
        """What was acknowledged last for a coil that nothing shows; 0 at first."""
        return self._words.get(coil | COIL, 0)

    def store(self, block: Block, words: tuple[int, ...]) -> Sequence[int]:
        """Take what a scan read.

        :param words: ``block.count`` words, 0..65535.
        :returns: the keys whose word changed; none, at the cost of one comparison, for an unchanged block.
        """
        if self._blocks.get(block) == words:
            return ()
        keys = keys_of(block)
        changed = self._put(keys, words)
        if changed:
            for other in self._blocks:
                others = keys_of(other)
                if keys.start < others.stop and others.start < keys.stop:
                    self._blocks[other] = ()  # what it last brought is no longer what is known
        self._blocks[block] = words
        return changed

    def forget(self, block: Block) -> None:
        """``block`` is not read any more; its words stay."""
        self._blocks.pop(block, None)

    def write_through(self, key: int, words: Iterable[int]) -> Sequence[int]:
        """Take words that the slave acknowledged, from ``key`` on; returns as ``store``."""
        values = tuple(words)
        changed = self._put(range(key, key + len(values)), values)
        if changed:
            self._blocks.clear()  # what the next scan brings is compared word by word again
        return changed

    def _put(self, keys: range, words: tuple[int, ...]) -> Sequence[int]:
        mine = self._words
        changed = [key for key, word in zip(keys, words, strict=True) if mine.get(key) != word]
        mine.update(zip(keys, words, strict=True))
        return changed


class WriteCoil(msgspec.Struct, frozen=True):
    """Modbus function 5.

    :ivar shown_in: the register and the bit of it that show this coil, when some do.
    """

    address: int
    value: int
    shown_in: tuple[int, int] | None = None

    def apply(self, registers: Registers) -> Sequence[int]:
        """Put what the slave acknowledged into ``registers``; returns the keys that changed."""
        if self.shown_in is None:
            return registers.write_through(self.address | COIL, (self.value,))
        register, bit = self.shown_in
        if register not in registers:
            return ()
        return registers.write_through(register, (registers[register] & ~(1 << bit) | self.value << bit,))

    @property
    def touches(self) -> range:
        """The keys that this changes."""
        key = self.shown_in[0] if self.shown_in else self.address | COIL
        return range(key, key + 1)


class WriteCoils(msgspec.Struct, frozen=True):
    """Modbus function 15.

    :ivar coils: at least one; each is next to the one before.
    """

    coils: tuple[WriteCoil, ...]

    @property
    def address(self) -> int:
        """The address of the first."""
        return self.coils[0].address

    def apply(self, registers: Registers) -> Sequence[int]:
        """Put what the slave acknowledged into ``registers``; returns the keys that changed."""
        return [key for coil in self.coils for key in coil.apply(registers)]

    @property
    def touches(self) -> range:
        """The keys that this changes, and what is between them."""
        each = [coil.touches for coil in self.coils]
        return range(min(keys.start for keys in each), max(keys.stop for keys in each))


class WriteRegisters(msgspec.Struct, frozen=True):
    """Modbus function 16."""

    address: int
    values: tuple[int, ...]

    def apply(self, registers: Registers) -> Sequence[int]:
        """Put what the slave acknowledged into ``registers``; returns the keys that changed."""
        return registers.write_through(self.address, self.values)

    @property
    def touches(self) -> range:
        """The keys that this changes."""
        return range(self.address, self.address + len(self.values))


class WriteRegister(msgspec.Struct, frozen=True):
    """Modbus function 6."""

    address: int
    value: int

    def apply(self, registers: Registers) -> Sequence[int]:
        """Put what the slave acknowledged into ``registers``; returns the keys that changed."""
        return registers.write_through(self.address, (self.value,))

    @property
    def touches(self) -> range:
        """The keys that this changes."""
        return range(self.address, self.address + 1)


Write = WriteCoil | WriteCoils | WriteRegister | WriteRegisters
