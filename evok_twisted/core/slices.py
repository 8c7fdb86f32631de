"""Long work in slices, between which others have their turn."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

from twisted.internet.interfaces import IReactorTime

from evok_twisted.conditions import breathe

T = TypeVar("T")

#: Items that are done in one turn of the reactor: some milliseconds of work of the kinds that are done so.
SLICE = 50


async def sliced(items: Iterable[T], clock: IReactorTime) -> AsyncIterator[T]:
    """Go through ``items``; after every ``SLICE`` of them, come back in the next turn."""
    for n, item in enumerate(items, 1):
        yield item
        if n % SLICE == 0:
            await breathe(clock)
