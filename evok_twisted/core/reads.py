"""Which requests the blocks that are due become, and how much of a serial line they take."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from twisted.internet.interfaces import IReactorTime

from evok_twisted.conditions import backoff
from evok_twisted.definitions import Block

#: Registers that one request may read, by the Modbus standard.
MOST = 125

#: Ticks over which the use of a line is averaged; frequencies that do not divide it come out a little off.
ROUNDS = 100


class Read(NamedTuple):
    """One request.

    :ivar span: what is asked for; one of ``blocks`` itself, where it is the only one.
    :ivar blocks: what is taken of the answer.
    """

    span: Block
    blocks: tuple[Block, ...]

    def words_of(self, block: Block, words: tuple[int, ...]) -> tuple[int, ...]:
        """The words of one of its blocks."""
        first = block.start - self.span.start
        return words[first : first + block.count]


def joined(blocks: Iterable[Block], gap: int) -> tuple[Read, ...]:
    """The fewest requests that read ``blocks``, none of which is read in two pieces.

    :param gap: registers that may be read in vain where that saves a request; below 0, nothing is joined.
    """
    reads: list[Read] = []
    for block in sorted(blocks, key=lambda block: (block.input, block.start, block.count)):
        last = reads[-1] if reads else None
        if last is not None and _fit(last.span, block, gap):
            stop = max(last.span.start + last.span.count, block.start + block.count)
            span = Block(last.span.start, stop - last.span.start, input=block.input)
            reads[-1] = Read(span, (*last.blocks, block))
        else:
            reads.append(Read(block, (block,)))
    return tuple(reads)


def _fit(span: Block, block: Block, gap: int) -> bool:
    stop = max(span.start + span.count, block.start + block.count)
    return (
        gap >= 0
        and span.join
        and block.join
        and span.input == block.input
        and block.start - (span.start + span.count) <= gap
        and stop - span.start <= MOST
    )


class Reads:
    """Joins the blocks of one slave, and remembers which it does not answer for when they are joined.

    :param gap: as for ``joined``.
    """

    #: seconds until blocks that had to be parted are joined again, and how long that may become
    first_try, last_try = 10.0, 3600.0
    #: sets of blocks whose requests are kept: which are due together repeats itself soon
    most_kept = 256

    def __init__(self, gap: int, clock: IReactorTime) -> None:
        self._gap = gap
        self._clock = clock
        #: until when each block is asked for by itself, and how often it had to be parted from others
        self._apart: dict[Block, tuple[float, int]] = {}
        self._kept: dict[tuple[Block, ...], tuple[Read, ...]] = {}

    def of(self, blocks: tuple[Block, ...], alone: Collection[Block] = ()) -> tuple[Read, ...]:
        """The requests for ``blocks``.

        :param alone: such as are not to be joined now.
        """
        if self._apart:
            now = self._clock.seconds()
            alone = {*alone, *(block for block in blocks if self._apart.get(block, (0.0, 0))[0] > now)}
        if alone:
            rest = joined((block for block in blocks if block not in alone), self._gap)
            return (*rest, *(Read(block, (block,)) for block in blocks if block in alone))
        kept = self._kept.get(blocks)
        if kept is None:
            if len(self._kept) >= self.most_kept:
                self._kept.clear()
            kept = self._kept[blocks] = joined(blocks, self._gap)
        return kept

    def part(self, blocks: Iterable[Block]) -> None:
        """A request for ``blocks`` was not answered, or refused: each is asked for by itself, for a while."""
        now = self._clock.seconds()
        for block in blocks:
            _, times = self._apart.get(block, (0.0, 0))
            self._apart[block] = now + backoff(times, self.first_try, self.last_try), times + 1

    def work(self, blocks: Iterable[Block]) -> None:
        """A request for ``blocks`` together was answered."""
        if self._apart:
            for block in blocks:
                self._apart.pop(block, None)


def due_at(blocks: Sequence[Block], tick: int, first: int) -> Iterator[Block]:
    """The blocks that a tick reads. Slow ones take turns, of one slave and of several, so that no tick reads them all.

    :param first: what shifts the turns of this slave against those of others.
    """
    for n, block in enumerate(blocks, first):
        if (tick + n) % block.frequency == 0:
            yield block


class LineUse(msgspec.Struct, frozen=True):
    """What the scans of all boards ask of a serial line that they share.

    :ivar baudrate: of the line.
    :ivar round: seconds that one scan of every board takes, on the average.
    :ivar percent: of the time that the line would be busy if every board were scanned as often as it is to be.
    :ivar text: that in a sentence.
    """

    baudrate: int
    round: float
    percent: float
    text: str


def line_use(
    boards: Iterable[tuple[Sequence[Block], float]], baudrate: int, gap: int, cost: Callable[[Block], float]
) -> LineUse | None:
    """What scanning asks of a line; None where nothing is scanned.

    :param boards: the blocks of each, and how many times a second it is to be scanned.
    :param gap: as for ``joined``.
    :param cost: seconds that the line is busy with a request and its answer.
    """
    scanned = [(_scan_time(blocks, gap, cost), rate) for blocks, rate in boards if rate]
    if not scanned:
        return None
    rates = sorted({rate for _, rate in scanned})
    percent = 100 * sum(seconds * rate for seconds, rate in scanned)
    asked = f"{rates[0]:g}" if len(rates) == 1 else f"{rates[0]:g} to {rates[-1]:g}"
    count = f"{len(scanned)} board{'s' * (len(scanned) != 1)}"
    text = f"{count} at {asked} scans a second need {percent:.0f} % of this line at {baudrate} baud"
    if percent > 100:
        expected = [f"{rate * 100 / percent:.2g}" for rate in (rates[0], rates[-1])]
        text += "; expect " + " to ".join(dict.fromkeys(expected))
    return LineUse(baudrate, round(sum(seconds for seconds, _ in scanned), 4), round(percent, 1), text)


def _scan_time(blocks: Sequence[Block], gap: int, cost: Callable[[Block], float]) -> float:
    """Seconds that a line is busy with one scan of a board, on the average."""
    ticks = (joined(due_at(blocks, tick, 0), gap) for tick in range(ROUNDS))
    return sum(cost(read.span) for reads in ticks for read in reads) / ROUNDS
