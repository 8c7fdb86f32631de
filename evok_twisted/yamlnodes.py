"""One YAML document as mappings, lists and text, with the line that each value stands in.

Scalars stay the text that was written, so that a model named ``00`` stays ``00``. What merge keys, tags and keys that
stand twice mean is decided here, whatever version of the YAML library is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from evok_twisted.errors import ConfigError

#: Values that a file may have, aliases written out.
MOST_NODES = 100_000

_CORE = "tag:yaml.org,2002:"
#: Tags that say what a field says anyway. Those of Python, dates and other languages' types are refused.
_SCALARS = frozenset(_CORE + name for name in ("str", "int", "float", "bool", "null"))


class Document(NamedTuple):
    """What is in a file.

    :ivar value: nested dicts, lists and strings; ``{}`` for an empty file.
    :ivar lines: the line, from 1, by the path of a value, such as ``apis.listen.0``; ``""`` is the whole.
    :ivar repeated: paths of keys that stand twice in one mapping, each with the line of the last, which counts.
    """

    value: Any
    lines: dict[str, int]
    repeated: list[tuple[str, int]]


def read(file: Path) -> Document:
    """Read a file of one YAML document.

    :raises ConfigError: it cannot be read, or is no YAML; the message names the place, not the file.
    """
    try:
        root = yaml.compose(file.read_text("utf-8"), yaml.BaseLoader)
        return _Reading().whole(root)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text: {error.reason} at byte {error.start}") from error
    except yaml.MarkedYAMLError as error:
        raise _at(error.problem_mark, str(error.problem)) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"is not YAML: {error}") from error


def within(path: str, key: object) -> str:
    """The path of what stands under ``key`` at ``path``."""
    return f"{path}.{key}" if path else str(key)


def _at(mark: yaml.Mark | None, message: str) -> ConfigError:
    if mark is None:
        return ConfigError(message)
    error = ConfigError(f"line {mark.line + 1}, column {mark.column + 1}: {message}")
    error.line = mark.line + 1
    return error


def _wrong(node: yaml.Node, message: str) -> ConfigError:
    return _at(node.start_mark, message)


class _Reading:
    """Makes values of nodes, and notes where they are."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}
        self._repeated: list[tuple[str, int]] = []
        self._count = 0
        self._open: set[int] = set()  # nodes that are being read: one that contains itself would have no end

    def whole(self, root: yaml.Node | None) -> Document:
        value = "" if root is None else self._value(root, "")
        return Document(value or {}, self._lines, self._repeated)

    def _value(self, node: yaml.Node, path: str) -> Any:
        self._count += 1
        if self._count > MOST_NODES:
            raise ConfigError(f"has more than {MOST_NODES} values, with those that aliases (*name) bring in")
        if id(node) in self._open:
            raise _wrong(node, "an alias (*name) stands within what it is the name of")
        self._lines[path] = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            _expect_tag(node, _SCALARS)
            text: str = node.value
            return text
        self._open.add(id(node))
        try:
            return self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._list(node, path)
        finally:
            self._open.discard(id(node))

    def _list(self, node: yaml.Node, path: str) -> list[Any]:
        _expect_tag(node, {f"{_CORE}seq"})
        return [self._value(item, within(path, n)) for n, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        _expect_tag(node, {f"{_CORE}map"})
        made: dict[str, Any] = {}
        for brought in _brought(node):
            made.update(self._value(brought, path))
        self._lines[path] = node.start_mark.line + 1
        own: set[str] = set()
        for key, value in node.value:
            if _merges(key):
                continue
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong(key, "a mapping or a list cannot be a key, expected text")
            _expect_tag(key, _SCALARS)
            where = within(path, key.value)
            if key.value in own:
                self._repeated.append((where, key.start_mark.line + 1))
            own.add(key.value)
            made[key.value] = self._value(value, where)
            self._lines[where] = key.start_mark.line + 1
        return made


def _brought(node: yaml.MappingNode) -> Iterator[yaml.MappingNode]:
    """What merge keys bring into a mapping, what counts most last: of several mappings the first one does."""
    for key, value in reversed(node.value):
        if _merges(key):
            for brought in reversed(value.value) if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(brought, yaml.MappingNode):
                    message = "what a merge key (<<) brings in has to be a mapping, or a list of mappings"
                    raise _wrong(brought, message)
                yield brought


def _merges(key: yaml.Node) -> bool:
    if key.tag == f"{_CORE}merge":
        return True
    return isinstance(key, yaml.ScalarNode) and key.value == "<<" and key.style is None


def _expect_tag(node: yaml.Node, tags: frozenset[str] | set[str]) -> None:
    if node.tag not in tags:
        tag = node.tag.replace(_CORE, "!!")
        raise _wrong(node, f"the tag {tag!r:.80} means nothing here; leave it out")
