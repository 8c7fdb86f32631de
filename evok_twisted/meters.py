"""Counts what happens, for ``/metrics``: plain attributes where it happens, and text when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

#: Bounds of histograms, in seconds.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
#: The values of the labels of a family, and the number.
Sample = tuple[tuple[str, ...], float]
#: As the text format calls them; ``summary`` is not among ours.
Kind = Literal["counter", "gauge"]


class Histogram:
    """How often something was at most as large as each of ``bounds``, and all of it together."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count ``value``."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """Each bound, the last of which is without end, with how much was not above it."""
        total = 0
        for bound, count in zip((*map(_number, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield bound, total


class BusMeter:
    """What is counted of a bus that carries requests.

    :ivar requests: by the unit, what was asked (``read``, ``probe``, ``write``) and what became of it: ``answered``, or
        the code of an error.
    :ivar seconds: from the sending of requests to their answers.
    :ivar busy: seconds in which an answer was awaited.
    :ivar connections: that were made.
    """

    __slots__ = ("_end", "busy", "connections", "requests", "seconds")

    def __init__(self) -> None:
        self.requests: Counter[tuple[int, str, str]] = Counter()
        self.seconds = Histogram()
        self.busy = 0.0
        self.connections = 0
        self._end = 0.0

    def occupied(self, begun: float, end: float) -> None:
        """A request was under way; where several are at once, their time counts once."""
        self.busy += end - max(begun, min(self._end, end))
        self._end = end


class Family(NamedTuple):
    """What is told under one name; ``lines`` are those with numbers."""

    name: str
    kind: str
    text: str
    lines: Callable[[], Iterable[str]]


class Meters:
    """Knows everything that is counted.

    :ivar families: by their names, without ``evok_``.
    """

    def __init__(self) -> None:
        self.families: dict[str, Family] = {}

    def ask(
        self, name: str, kind: Kind, text: str, labels: tuple[str, ...], of: Callable[[], Iterable[Sample]]
    ) -> None:
        """Let what ``of`` returns be told of.

        :param text: what it is, in a few words.
        :param labels: the names of its labels.
        """
        full = name if name.startswith("process_") else f"evok_{name}"

        def lines() -> Iterator[str]:
            for values, number in of():
                yield f"{full}{_labels(labels, values)} {_number(number)}"

        self.families[name] = Family(full, kind, text, lines)

    def counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter[tuple[str, ...]]:
        """What counts, by the values of ``labels``."""
        made: Counter[tuple[str, ...]] = Counter()
        self.ask(name, "counter", text, labels, made.items)
        return made

    def one(self, name: str, kind: Kind, text: str, of: Callable[[], float]) -> None:
        """Let a number be told of that has no labels."""
        self.ask(name, kind, text, (), lambda: [((), of())])

    def histograms(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        of: Callable[[], Iterable[tuple[tuple[str, ...], Histogram]]],
    ) -> None:
        """Let the histograms that ``of`` returns be told of, as ``ask``."""
        full = f"evok_{name}"

        def lines() -> Iterator[str]:
            for values, histogram in of():
                count = 0
                for bound, count in histogram.cumulative():
                    yield f"{full}_bucket{_labels((*labels, 'le'), (*values, bound))} {count}"
                yield f"{full}_sum{_labels(labels, values)} {_number(histogram.sum)}"
                yield f"{full}_count{_labels(labels, values)} {count}"

        self.families[name] = Family(full, "histogram", text, lines)

    def text(self) -> str:
        """All of it, in the text format of Prometheus, version 0.0.4."""
        found: list[str] = []
        for family in self.families.values():
            lines = list(family.lines())
            if lines:
                found += [f"# HELP {family.name} {family.text}", f"# TYPE {family.name} {family.kind}", *lines]
        return "\n".join([*found, ""])


def _number(value: float) -> str:
    return repr(round(value, 9)) if isinstance(value, float) else str(int(value))


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    pairs = ",".join([f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)])
    return f"{{{pairs}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
