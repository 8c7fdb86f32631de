"""What a simulated board remembers: registers, counters among them, and coils."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence


class _Space(Mapping[int, int]):
    """Numbers that have a Modbus address each; not every address has one.

    :raises KeyError: on reading or writing an address that the board does not have.
    """

    @abstractmethod
    def __setitem__(self, address: int, value: int) -> None: ...

    def read(self, address: int, count: int) -> Sequence[int]:
        """The ``count`` numbers from ``address`` on."""
        return [self[n] for n in range(address, address + count)]

    def write(self, address: int, values: Sequence[int]) -> None:
        """Set the numbers from ``address`` on: all of them, or none when one does not exist."""
        self.read(address, len(values))
        for n, value in enumerate(values, start=address):
            self[n] = value


class Words(_Space):
    """Registers, 0..65535 each; some count the rising edges of a bit of another."""

    def __init__(self, addresses: Iterable[int]) -> None:
        self._words = dict.fromkeys(addresses, 0)
        self._counters: dict[int, list[tuple[int, int]]] = {}

    def __getitem__(self, address: int) -> int:
        return self._words[address]

    def __iter__(self) -> Iterator[int]:
        return iter(self._words)

    def __len__(self) -> int:
        return len(self._words)

    def __setitem__(self, address: int, word: int) -> None:
        rising = word & ~self._words[address]
        if not 0 <= word <= 0xFFFF:
            raise ValueError(f"register {address}: got {word}, expected a word from 0 to 65535")
        self._words[address] = word
        for mask, counter in self._counters.get(address, ()):
            if rising & mask:
                count = (self._words[counter] | self._words[counter + 1] << 16) + 1
                self._words[counter], self._words[counter + 1] = count & 0xFFFF, count >> 16 & 0xFFFF

    def read(self, address: int, count: int) -> Sequence[int]:
        # the same as above, four times as fast: it is what a scan does all day
        return list(map(self._words.__getitem__, range(address, address + count)))

    def count_edges(self, register: int, mask: int, counter: int) -> None:
        """From now on, count rising edges of a bit of ``register`` in ``counter`` and the one after it, low first."""
        self._counters.setdefault(register, []).append((mask, counter))


class Coils(_Space):
    """Coils, 0 or 1 each: bits of registers, and some that stand alone."""

    def __init__(self, holding: Words) -> None:
        self._holding = holding
        self._bits: dict[int, tuple[int, int]] = {}
        self._alone: dict[int, int] = {}
        self._momentary: set[int] = set()

    def __getitem__(self, coil: int) -> int:
        if coil not in self._bits:
            return self._alone[coil]
        register, mask = self._bits[coil]
        return 1 if self._holding[register] & mask else 0

    def __iter__(self) -> Iterator[int]:
        yield from self._bits
        yield from self._alone

    def __len__(self) -> int:
        return len(self._bits) + len(self._alone)

    def __setitem__(self, coil: int, value: int) -> None:
        if coil in self._bits:
            register, mask = self._bits[coil]
            word = self._holding[register]
            self._holding[register] = word | mask if value else word & ~mask
        elif coil not in self._alone:
            raise KeyError(coil)
        elif coil not in self._momentary:
            self._alone[coil] = 1 if value else 0

    def add_bit(self, coil: int, register: int, bit: int) -> None:
        """Add a coil that is a bit of ``register``; where there is no such register, it stands alone."""
        if register in self._holding:
            self._bits[coil] = (register, 1 << bit)
        else:
            self.add(coil)

    def add(self, coil: int, *, momentary: bool = False) -> None:
        """Add a coil that stands alone.

        :param momentary: it starts something that is over at once: it can be written, and always reads 0.
        """
        self._alone[coil] = 0
        if momentary:
            self._momentary.add(coil)
