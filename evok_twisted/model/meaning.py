"""What the fields of states mean: once, at the field, for all who describe, show or keep them."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec import Meta


class Meaning(NamedTuple):
    """What a field of a state means.

    :ivar text: a sentence, for users.
    :ivar unit: of the value; None where it has none, or has that of the circuit's mode.
    :ivar measures: the quantity, such as ``temperature``, where it is one.
    :ivar low: the least value that it can have, and
    :ivar high: the greatest, where there are such.
    :ivar writable: a set may carry a parameter of this name.
    """

    text: str
    unit: str | None = None
    measures: str | None = None
    low: float | None = None
    high: float | None = None
    writable: bool = False


def means(
    text: str,
    unit: str | None = None,
    *,
    measures: str | None = None,
    low: float | None = None,
    high: float | None = None,
    writable: bool = False,
) -> Meta:
    """An annotation for a field of a state, with what it means; shown in its JSON Schema, and read by ``meanings``."""
    schema = {"minimum": low, "maximum": high, "x-unit": unit, "x-measures": measures, "readOnly": not writable or None}
    return Meta(
        description=text,
        extra={"meaning": Meaning(text, unit, measures, low, high, writable)},
        extra_json_schema={key: value for key, value in schema.items() if value is not None},
    )


def meanings(state: type[msgspec.Struct]) -> dict[str, Meaning]:
    """What each field of a class of states means."""
    info: Any = msgspec.inspect.type_info(state)
    found = {}
    for field in info.fields:
        extra = getattr(field.type, "extra", None) or {}
        if "meaning" in extra:
            found[field.name] = extra["meaning"]
    return found
