"""The file of aliases: ours, and those of Evok 2 and 3, which are read and never written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from evok_twisted.errors import ConfigError, UnknownDevice
from evok_twisted.model.aliases import Target
from evok_twisted.model.kinds import named
from evok_twisted.problems import Problems
from evok_twisted.typedyaml import load_yaml

VERSION = "2.0"

#: Evok's numbers of kinds in its older files. To Evok 2 transistor outputs were relays, too; the circuit tells which.
#: An alias of another number is kept and not used.
NUMBERS: Mapping[str, tuple[str, ...]] = {
    "0": ("ro", "do"),
    "1": ("di",),
    "2": ("ai",),
    "3": ("ao",),
    "5": ("temp", "1wdevice"),
    "8": ("owbus",),
    "15": ("modbus_slave",),
    "17": ("do",),
    "18": ("led",),
    "19": ("wd",),
    "20": ("register",),
    "24": ("data_point",),
    "28": ("device_info",),
    "29": ("owpower",),
    "30": ("run",),
    "31": ("nv_save",),
}


def written(aliases: Mapping[str, Target]) -> str:
    """The text of a file of ours."""
    entries = {
        alias: {"circuit": circuit, "devtype": kinds[0] if len(kinds) == 1 else list(kinds)}
        for alias, (kinds, circuit) in sorted(aliases.items())
    }
    text: str = yaml.safe_dump({"version": VERSION, "aliases": entries}, sort_keys=False)
    return text


def entries(file: Path, problems: Problems) -> Iterable[tuple[str, Any]]:
    """The entries of a file: each alias, with what stands for its ``target``.

    :raises ConfigError: it is none that we know.
    """
    document = load_yaml(file, problems)
    if not isinstance(document, dict):
        raise ConfigError("has no aliases in it, expected a mapping with version and aliases")
    version, listed = document.get("version"), document.get("aliases") or {}
    if version not in ("1.0", "2.0", "1", "2"):
        raise ConfigError(f"is of version {version!r:.40}, expected 1.0 or 2.0")
    if isinstance(listed, list):  # Evok 2
        return [(_name(entry), entry) for entry in listed]
    if not isinstance(listed, dict):
        raise ConfigError("has no aliases in it, expected a mapping from alias to circuit and devtype")
    return listed.items()


def _name(entry: Any) -> str:
    """What an entry of a list is called; ``""``, which is no alias, where it says nothing of the kind."""
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else ""


def target(node: Any) -> Target:
    """What an entry stands for; ``relay`` is any output, as in classic: the circuit tells which.

    :raises ConfigError: it has no circuit and kind.
    """
    circuit = node.get("circuit") if isinstance(node, dict) else None
    names = (node.get("devtype") or node.get("dev_type")) if isinstance(node, dict) else None
    names = [names] if isinstance(names, str) else names
    if not isinstance(circuit, str) or not names or not all(map(_is_text, (circuit, *names))):
        raise ConfigError("expected a circuit and a devtype")
    kinds: dict[str, None] = {}
    for name in names:
        try:
            kinds.update(dict.fromkeys(NUMBERS.get(name) or named(name, "classic")))
        except UnknownDevice:
            kinds[name] = None
    return Target(tuple(kinds), circuit)


def _is_text(value: object) -> bool:
    """Whether ``value`` is text that can be shown: YAML can spell halves of characters."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)
