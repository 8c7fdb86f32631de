"""State objects on the wire: which fields a device shows, in which order, in each of the two dialects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from evok_twisted.core.commands import UNCHANGED
from evok_twisted.core.events import Change
from evok_twisted.model import aliases
from evok_twisted.model.device import Device, State
from evok_twisted.model.kinds import KINDS, Dialect

_encode = msgspec.json.Encoder().encode

_CLASSIC_ONLY = ("glob_dev_id", "relay_type")

#: What a field of a state is called in classic.
_CLASSIC_NAMES: Mapping[str, str] = {"type": "typ"}

_RELAY_TYPES: Mapping[str, str] = {"do": "digital", "ro": "physical"}


def fields(device: type[Device], dialect: Dialect) -> tuple[str, ...]:
    """The fields that a device of a class may show, between ``dev`` and ``alias``."""
    shown = device.fields if dialect == "classic" else device.v3_fields or device.fields
    if dialect == "v3":
        return tuple(field for field in shown.split() if field not in _CLASSIC_ONLY)
    return tuple(_CLASSIC_NAMES.get(field, field) for field in shown.split())


#: Fields of states, by what they are called.
_FIELD_OF: Mapping[str, str] = {name: field for field, name in _CLASSIC_NAMES.items()}


def state_object(device: Device, dialect: Dialect, state: State | None = None) -> dict[str, Any]:
    """The whole state of a device, as its JSON object has it.

    :param state: which, where that is not the one that it has now.
    """
    state = state or device.state
    fixed = {
        "circuit": device.circuit_in(dialect),
        "glob_dev_id": device.number,
        "relay_type": _RELAY_TYPES.get(device.kind),
    }
    shown: dict[str, Any] = {"dev": KINDS[device.kind].dev(dialect)}
    for field in fields(type(device), dialect):
        value = fixed[field] if field in fixed else getattr(state, _FIELD_OF.get(field, field))
        if value is not UNSET:
            shown[field] = value
    if dialect == "classic" and isinstance(shown.get("valid"), bool):
        shown["valid"] = "true" if shown["valid"] else "false"
    if "aliases" in shown:
        shown["aliases"] = {name: _shown_target(target, dialect) for name, target in shown["aliases"].items()}
    if device.alias:
        shown["alias"] = device.alias
    return shown


def _shown_target(target: aliases.Target, dialect: Dialect) -> str | dict[str, str]:
    kind = target.kinds[0]
    dev = KINDS[kind].dev(dialect) if kind in KINDS else kind
    circuit = f"{dev}_{target.circuit}"
    return circuit if dialect == "classic" else {"circuit": circuit, "devtype": dev}


def schema(device: type[Device], dialect: Dialect, types: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of what ``state_object`` returns for a device of a class.

    :param types: the schema of its class of states, as msgspec makes it.
    """
    own = types["properties"]
    text = {"type": "string"}
    target = {"type": "object", "properties": {"circuit": text, "devtype": text}, "required": ["circuit", "devtype"]}
    fixed: dict[str, Any] = {
        "circuit": text,
        "glob_dev_id": {"type": "integer"},
        "relay_type": {"enum": list(_RELAY_TYPES.values())},
        "aliases": {"type": "object", "additionalProperties": text if dialect == "classic" else target},
    }
    if dialect == "classic":
        fixed["valid"] = {"enum": ["true", "false", None]}
    shown = fields(device, dialect)
    own = {_CLASSIC_NAMES.get(name, name) if dialect == "classic" else name: of for name, of in own.items()}
    required = {_CLASSIC_NAMES.get(name, name) if dialect == "classic" else name for name in types["required"]}
    properties = {field: fixed.get(field) or own[field] for field in shown}
    # what a state need not have has no default in msgspec's schema and is not required there
    always = [field for field in shown if field not in own or field in required or "default" in own[field]]
    return {
        "type": "object",
        "title": f"{KINDS[device.kind].dev(dialect)}, {dialect}",
        "properties": {"dev": {"const": KINDS[device.kind].dev(dialect)}, **properties, "alias": text},
        "required": ["dev", *always],
        "additionalProperties": False,
    }


#: What names a circuit, and is in its state.
IDENTITY = frozenset({"dev", "circuit", "glob_dev_id", "relay_type"})


def settable(device: Device, parameters: Mapping[str, Any], dialect: Dialect) -> Mapping[str, Any]:
    """What a client asks to be set, without what it only gives back.

    Clients post a state back whole, or with one field of it changed. What is shown and cannot be set is ignored
    where it is as it is shown. Of a whole state, if that has more fields than one or two, all of it is, and what can be
    set is where it differs: what is given back unchanged is not to be written.

    :returns: ``UNCHANGED`` where nothing is left.
    """
    known = {*device.parameters, "alias"}
    if parameters.keys() <= known:
        return parameters
    shown = state_object(device, dialect)
    read_only = shown.keys() - known - IDENTITY
    fields = shown.keys() - IDENTITY - {"alias"}
    whole = bool(read_only) and len(fields) > 2 and fields <= parameters.keys()
    left = {
        key: value
        for key, value in parameters.items()
        if not (
            key in shown
            and ((whole and key in read_only) or ((whole or key not in known) and _is_shown_as(value, shown[key])))
        )
    }
    return left or (UNCHANGED if parameters else left)


def _is_shown_as(given: object, shown: object) -> bool:
    """Whether a value is the one that is shown; forms have all as text."""
    plain = msgspec.json.decode(_encode(shown))
    if not isinstance(given, str) or isinstance(plain, str):
        return bool(given == plain)
    try:
        return bool(msgspec.json.decode(given) == plain)
    except msgspec.DecodeError:
        return given.lower() in ("" if plain is None else str(plain).lower(), str(plain).lower())


def fragment(device: Device, dialect: Dialect) -> bytes:
    """The JSON of ``state_object``, kept with the device until its state changes."""
    return fragment_of(Change(device, device.state), dialect)


def fragment_of(change: Change, dialect: Dialect) -> bytes:
    """The JSON of what a change brought, whatever has changed since."""
    device, state = change
    kept = device.fragments.get(dialect)
    if kept is not None and kept[0] is state:
        return kept[1]
    made = _encode(state_object(device, dialect, state))
    device.fragments[dialect] = state, made
    return made


def listing(devices: Iterable[Device], dialect: Dialect) -> bytes:
    """The JSON list of the states of ``devices``."""
    return b"[" + b",".join([fragment(device, dialect) for device in devices]) + b"]"
