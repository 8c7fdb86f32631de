"""YAML into frozen, typed structs, finding every problem of a file and not only its first.

Scalars are kept as text until the type of their field is known, so that a model named ``00`` stays ``00``.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, get_args, get_origin

import msgspec

from evok_twisted.problems import Problems, nearest
from evok_twisted.yamlnodes import read, within

T = TypeVar("T")

_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|[0-9]+)\Z")

_NULL = ("", "~", "null", "Null", "NULL")
#: Types of which nothing is no value: a key with nothing behind it is as if it were not there.
_NEVER_EMPTY = (int, float, bool)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the typed settings.

    ``also`` maps another accepted spelling of a key to the field, ``misspelt`` one that is accepted with a warning;
    ``ignored`` names keys that other versions of Evok have and that mean nothing here.
    """

    also: ClassVar[Mapping[str, str]] = {}
    misspelt: ClassVar[Mapping[str, str]] = {}
    ignored: ClassVar[frozenset[str]] = frozenset()


def load_yaml(path: Path, problems: Problems) -> Any:
    """Read one YAML document, every scalar as text.

    :param problems: learns the lines of the file, and is told of keys that stand twice.
    :returns: nested dicts, lists and strings; ``{}`` for an empty file.
    :raises ConfigError: it cannot be read, or is no YAML; the message names the place, not the file.
    """
    document = read(path)
    problems.know(path, document.lines)
    for key, line in document.repeated:
        problems.warning(path, key, f"this key stands twice in one mapping; the last, in line {line}, counts")
    return document.value


class Reader:
    """Turns loaded YAML of one file into a ``Settings`` struct, noting every problem on the way.

    :param fatal: whether an error that is found keeps the service from starting.
    """

    def __init__(self, file: object, problems: Problems, *, fatal: bool = True) -> None:
        self._file = file
        self._problems = problems
        self._fatal = fatal

    def file_of(self, path: str) -> object:
        """Where the value at ``path`` was written."""
        return self._file

    def fatal(self, path: str) -> bool:
        """Whether an error at ``path`` keeps the service from starting."""
        return self._fatal

    def error(self, path: str, message: str) -> None:
        self._problems.error(self.file_of(path), path, message, fatal=self.fatal(path))

    def warning(self, path: str, message: str) -> None:
        self._problems.warning(self.file_of(path), path, message)

    def struct(self, cls: type[T], node: Any, path: str = "", others: Iterable[str] = ()) -> T | None:
        """``node`` as a ``cls`` (a ``Settings``), or None when it has an error; the error is noted.

        :param others: keys that may stand beside those of ``cls``, where an unknown one is to be told of.
        """
        node = self._mapping(node, path)
        if node is None:
            return None
        settings: Any = cls
        fields = {field.name: field for field in msgspec.structs.fields(settings)}
        values: dict[str, Any] = {}
        seen: set[str] = set()
        sound = True
        for key, value in node.items():
            where = within(path, key)
            name = settings.misspelt.get(key) or settings.also.get(key) or key
            if key in settings.misspelt:
                self.warning(where, f"this key is spelt {name!r}; taken as that")
            if name not in fields:
                if key not in settings.ignored:
                    self.warning(where, f"unknown key, ignored; {nearest(key, [*fields, *settings.also, *others])}")
            elif value in _NULL and not fields[name].required and _bare(fields[name].type) in _NEVER_EMPTY:
                seen.add(name)  # as if it were not there
            elif name in seen:
                self.error(where, f"the key stands twice, also as another spelling of {name!r}")
                sound = False
            else:
                seen.add(name)
                try:
                    values[name] = self.value(fields[name].type, value, where)
                except ValueError:
                    sound = False
        for name, field in fields.items():
            if field.required and name not in seen:
                names = [name, *(other for other, real in settings.also.items() if real == name)]
                self.error(path, f"the key {' or '.join(map(repr, names))} is missing; expected {expected(field.type)}")
                sound = False
        return cls(**values) if sound else None

    def _mapping(self, node: Any, path: str) -> dict[str, Any] | None:
        if isinstance(node, str) and node in _NULL:
            return {}
        if isinstance(node, dict) and all(isinstance(key, str) for key in node):
            return node
        self.error(path, f"got {shown(node)}, expected a mapping (key: value)")
        return None

    def value(self, kind: Any, node: Any, path: str) -> Any:
        """``node`` as a ``kind``.

        :raises ValueError: it is none; the error is noted already.
        """
        bare, members = _bare(kind), get_args(_bare(kind))
        origin = get_origin(bare)
        if origin in (typing.Union, types.UnionType) and type(None) in members:
            if isinstance(node, str) and node in _NULL:
                return None
            rest = [member for member in members if member is not type(None)]
            return self.value(rest[0] if len(rest) == 1 else typing.Union[tuple(rest)], node, path)  # noqa: UP007
        if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
            made = self.struct(bare, node, path)
            if made is None:
                raise ValueError
            return made
        if origin is dict:
            mapping = self._mapping(node, path)
            if mapping is None:
                raise ValueError
            return self._each(members[1], mapping, path)
        if origin is tuple or origin is list:
            single = [] if isinstance(node, str) and node in _NULL else [node]
            nodes = node if isinstance(node, list) else single
            parts = self._each(members[0], {str(n): item for n, item in enumerate(nodes)}, path)
            return tuple(parts.values())
        return self._scalar(kind, bare, node, path)

    def _each(self, kind: Any, nodes: Mapping[str, Any], path: str) -> dict[str, Any]:
        made = {}
        sound = True
        for key, node in nodes.items():
            try:
                made[key] = self.value(kind, node, within(path, key))
            except ValueError:
                sound = False
        if not sound:
            raise ValueError
        return made

    def _scalar(self, kind: Any, bare: Any, node: Any, path: str) -> Any:
        try:
            made = msgspec.convert(_prepared(bare, node), kind, strict=False)
            if isinstance(made, float) and not math.isfinite(made):
                raise ValueError  # noqa: TRY301
        except (msgspec.ValidationError, ValueError):
            self.error(path, f"got {shown(node)}, expected {expected(kind)}")
            raise ValueError from None
        return made


def _prepared(bare: Any, node: Any) -> Any:
    if isinstance(node, str):
        if bare is bool:
            return _WORDS.get(node.lower(), node)
        if bare is int and _INTEGER.match(node):
            return int(node, 16 if "x" in node.lower() else 10)
        if get_origin(bare) is Literal:
            return next((word for word in get_args(bare) if str(word).lower() == node.lower()), node)
    return node


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is typing.Annotated else kind


def shown(node: Any) -> str:
    """What was written, in a few words."""
    if isinstance(node, dict):
        return "a mapping"
    if isinstance(node, list):
        return "a list"
    return "nothing" if node in _NULL else repr(node)


def expected(kind: Any) -> str:
    """What a value of this type looks like, for people."""
    if get_origin(kind) is typing.Annotated:
        for meta in get_args(kind)[1:]:
            if isinstance(meta, msgspec.Meta) and meta.description:
                return meta.description
    bare = _bare(kind)
    members = get_args(bare)
    if get_origin(bare) is Literal:
        return "one of " + ", ".join(map(str, members))
    if get_origin(bare) in (typing.Union, types.UnionType):
        return " or ".join(expected(member) for member in members if member is not type(None))
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    if bare in names:
        return names[bare]
    return "a list" if get_origin(bare) in (tuple, list) else "a mapping (key: value)"
