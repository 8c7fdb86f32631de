"""Which devices a client wants to hear of."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from evok_twisted.errors import BadValue, UnknownDevice
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import KINDS, Dialect, named

#: Words for "everything", which is every kind but those that are sent on request only.
EVERYTHING = ("default", "all")

#: Bounds of one filter: every pattern is tried on every change.
MOST_NAMES = 256
LONGEST_NAME = 160


class Filter(msgspec.Struct, frozen=True):
    """Kinds, whole or narrowed by a pattern for the circuit or the alias (``*`` and ``?`` as in file names)."""

    kinds: frozenset[str]
    patterns: frozenset[tuple[str, str]] = frozenset()

    def accepts(self, device: Device) -> bool:
        """Whether the client wants to hear of ``device``."""
        if device.kind in self.kinds:
            return True
        return any(
            kind == device.kind and (fnmatchcase(device.circuit, pattern) or fnmatchcase(device.alias, pattern))
            for kind, pattern in self.patterns
        )


DEFAULT = Filter(frozenset(name for name, kind in KINDS.items() if not kind.on_request))


def parse_filter(devices: object, dialect: Dialect) -> tuple[Filter, list[str]]:
    """The filter that a client asks for.

    :param devices: a list of names of kinds, of either dialect, each perhaps with ``/`` and a pattern.
    :returns: the filter, and the names in it that we do not know; they are passed over.
    :raises BadValue: it is no list of text.
    :raises UnknownDevice: there are names, and none of them is known.
    """
    names = [devices] if isinstance(devices, str) else devices
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise BadValue('devices: expected a list of kinds, such as ["relay", "ai"]')
    if len(names) > MOST_NAMES or any(len(name) > LONGEST_NAME for name in names):
        raise BadValue(f"devices: expected at most {MOST_NAMES} names of at most {LONGEST_NAME} characters")
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
    return Filter(frozenset(kinds), frozenset(patterns)), unknown
