"""What an alias may be, a second name for one circuit, unique over all kinds; and the table of all of them.

An alias is found with and without the prefix ``al_``, which older versions of Evok demanded; two aliases that differ
only in it are therefore the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple

from evok_twisted.errors import BadValue
from evok_twisted.model.device import Device, State
from evok_twisted.model.meaning import means
from evok_twisted.model.parameters import Bit, shown

PREFIX = "al_"
LONGEST = 128

_ALLOWED = re.compile(rf"[A-Za-z0-9_.-]{{0,{LONGEST}}}\Z")


def checked(alias: object) -> str:
    """``alias`` as it is kept; ``""`` removes one.

    :raises BadValue: it has characters that an alias cannot have, is too long, or is a word with a meaning of its own.
    """
    if isinstance(alias, int) and not isinstance(alias, bool):
        alias = str(alias)
    if not isinstance(alias, str) or not _ALLOWED.match(alias) or (alias and bare(alias) in ("all", "")):
        raise BadValue(
            f"alias: got {shown(alias)}, expected at most {LONGEST} letters, digits, '_', '-' or '.', and not 'all'"
        )
    return alias


def bare(alias: str) -> str:
    """``alias`` without the prefix: what it is looked up by."""
    return alias.removeprefix(PREFIX)


class Target(NamedTuple):
    """What an alias stands for.

    :ivar kinds: of which kind it is: one, or, of a device that was not seen yet, those that it may be.
    """

    kinds: tuple[str, ...]
    circuit: str


class AliasTableState(State, frozen=True):
    """``save`` is always false; setting it saves them."""

    aliases: Annotated[Mapping[str, Target], means("Each alias, and the circuit that it stands for")]
    save: Annotated[bool, means("Always false; setting it saves them now", writable=True)] = False


class AliasTable(Device):
    """The circuit ``alias`` of the service itself: all aliases, those of devices that are not there included.

    :param aliases: returns them.
    """

    kind = "run"
    shows = AliasTableState
    fields = "circuit save aliases"

    #: what no configured device can be called
    GROUP = ""

    def __init__(self, aliases: Callable[[], Mapping[str, Target]]) -> None:
        self._aliases = aliases
        super().__init__("alias", self.GROUP, None, None, parameters={"save": Bit().marked(once=True)})

    @property
    def state(self) -> AliasTableState:  # type: ignore[override]
        return AliasTableState(self._aliases())
