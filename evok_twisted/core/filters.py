"""Which devices a client wants to hear of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from evok_twisted.errors import BadValue, UnknownDevice
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import KINDS, Dialect, named

#: Words for "everything", which is every kind but those that are sent on request only.
EVERYTHING = ("default", "all")

#: Bounds of one filter, of which many clients may each have one.
MOST_NAMES = 256
MOST_CHARACTERS = 8192


class _Patterns:
    """Some patterns, tried on a text all at once, in a time that depends on neither's form.

    A finite automaton, whose states are the bits of a number: one for each place in each pattern. A character moves
    on those that stand before it, or before a ``?`` or a set with it; such as stand before a ``*`` stay, too.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._first = self._last = self._stays = self._any = 0
        #: by character: the states that it moves on, and those that move on with every other
        self._moves: dict[str, int] = {}
        self._holds: dict[str, int] = {}
        state = 1
        for pattern in patterns:
            self._first |= state
            for excluded, chosen, one in _PARTS.findall(pattern):
                if one == "*":
                    self._stays |= state
                    continue
                if one == "?" or excluded:
                    self._any |= state
                which = self._holds if excluded else self._moves
                for character in _members(chosen) if chosen else one:
                    which[character] = which.get(character, 0) | state
                state <<= 1
            self._last |= state
            state <<= 1

    def fit(self, text: str) -> bool:
        """Whether one of them fits the whole of ``text``."""
        states = self._first
        for character in text:
            moves = self._moves.get(character, 0) | self._any & ~self._holds.get(character, 0)
            states = states & self._stays | (states & moves) << 1
        return bool(states & self._last)


#: A character, or a set of them with ``!`` where all others are meant.
_PARTS = re.compile(r"\[(!?)([^\]]+)\]|(.)", re.DOTALL)


def _members(chosen: str) -> Iterator[str]:
    """The characters of a set; with ranges, of ASCII."""
    for first, last in re.findall(r"(.)(?:-(.))?", chosen, re.DOTALL):
        yield from map(chr, range(ord(first), min(ord(last), 127) + 1)) if last else first


class Filter:
    """Kinds, whole or narrowed by a pattern for the circuit or the alias (``*``, ``?``, ``[...]`` as in file names).

    What it has found out of a device it keeps, until that gets another alias.
    """

    def __init__(self, kinds: Iterable[str], patterns: Iterable[tuple[str, str]] = ()) -> None:
        self.kinds = frozenset(kinds)
        self.patterns = frozenset(patterns)
        self._hash = hash((self.kinds, self.patterns))
        by_kind: dict[str, list[str]] = {}
        for kind, pattern in self.patterns:
            by_kind.setdefault(kind, []).append(pattern)
        self._of_kind = {kind: _Patterns(found) for kind, found in by_kind.items()}
        self._found: dict[Device, tuple[str, bool]] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Filter) and (self.kinds, self.patterns) == (other.kinds, other.patterns)

    def __hash__(self) -> int:
        return self._hash

    def accepts(self, device: Device) -> bool:
        """Whether the client wants to hear of ``device``."""
        if device.kind in self.kinds:
            return True
        patterns = self._of_kind.get(device.kind)
        if patterns is None:
            return False
        alias, accepted = self._found.get(device, (None, False))
        if alias != device.alias:
            accepted = patterns.fit(device.circuit) or (device.alias != "" and patterns.fit(device.alias))
            self._found[device] = device.alias, accepted
        return accepted


DEFAULT = Filter(name for name, kind in KINDS.items() if not kind.on_request)


def parse_filter(devices: object, dialect: Dialect) -> tuple[Filter, list[str]]:
    """The filter that a client asks for.

    :param devices: a list of names of kinds, of either dialect, each perhaps with ``/`` and a pattern.
    :returns: the filter, and the names in it that we do not know; they are ignored.
    :raises BadValue: it is no list of text.
    :raises UnknownDevice: there are names, and none of them is known.
    """
    names = [devices] if isinstance(devices, str) else devices
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise BadValue('devices: expected a list of kinds, such as ["relay", "ai"]')
    if len(names) > MOST_NAMES or sum(map(len, names)) > MOST_CHARACTERS:
        raise BadValue(f"devices: expected at most {MOST_NAMES} names, of {MOST_CHARACTERS} characters in all")
    kinds: set[str] = set()
    patterns: set[tuple[str, str]] = set()
    unknown: list[str] = []
    for name in names:
        kind, slash, pattern = name.partition("/")
        if name in EVERYTHING:
            kinds |= DEFAULT.kinds
            continue
        try:
            meant = named(kind, dialect)
        except UnknownDevice:
            unknown.append(name)
            continue
        if slash:
            patterns.update((one, pattern) for one in meant)
        else:
            kinds.update(meant)
    if names and len(unknown) == len(names):
        raise UnknownDevice(f"none of these kinds is known: {', '.join(unknown)[:200]}; the filter stays as it was")
    return Filter(kinds, patterns), unknown
