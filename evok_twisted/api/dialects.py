"""State objects on the wire: which fields a device shows, in which order, in each of the two dialects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from evok_twisted.model import aliases, analog, digital, system
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import KINDS, Dialect

_encode = msgspec.json.Encoder().encode

#: The fields after ``dev``, in the order of the wire, and before ``alias``.
FIELDS: Mapping[type[Device], str] = {
    digital.DigitalInput: "circuit value debounce counter_modes counter_mode counter mode modes glob_dev_id"
    " ds_mode ds_modes",
    digital.DigitalOutput: "relay_type circuit value pending mode modes glob_dev_id pwm_freq pwm_duty",
    digital.Relay: "relay_type circuit value pending mode modes glob_dev_id",
    digital.Led: "circuit value glob_dev_id",
    analog.AnalogInput: "circuit value unit glob_dev_id mode modes range",
    analog.AnalogOutput: "circuit mode modes glob_dev_id value unit range",
    analog.MainAnalogOutput: "circuit mode modes glob_dev_id unit value",
    system.BoardWatchdog: "circuit value timeout was_wd_reset nv_save glob_dev_id",
    system.RawRegister: "circuit value glob_dev_id",
    system.DataPoint: "circuit value glob_dev_id name valid unit",
    system.OneWireBusPower: "circuit value glob_dev_id",
    system.NonVolatileSave: "circuit value glob_dev_id",
    system.ModbusSlave: "circuit glob_dev_id last_comm slave_id modbus_type online errors timeouts",
    system.DeviceInfo: "family model sn board_count circuit",
    aliases.AliasTable: "circuit save aliases",
}

_CLASSIC_ONLY = ("glob_dev_id", "relay_type")

#: Where v3 differs in more than leaving out what only classic has.
_V3_FIELDS: Mapping[type[Device], str] = {
    digital.Relay: "circuit value",
    system.ModbusSlave: "circuit last_comm slave_id modbus_type modbus_spec scan_interval online errors timeouts",
}

_RELAY_TYPES: Mapping[str, str] = {"do": "digital", "ro": "physical"}


def fields(device: type[Device], dialect: Dialect) -> tuple[str, ...]:
    """The fields that a device of a class may show, between ``dev`` and ``alias``."""
    if dialect == "v3":
        shown = _V3_FIELDS.get(device, FIELDS[device])
        return tuple(field for field in shown.split() if field not in _CLASSIC_ONLY)
    return tuple(FIELDS[device].split())


def state_object(device: Device, dialect: Dialect) -> dict[str, Any]:
    """The whole state of a device, as its JSON object has it."""
    state = device.current
    fixed = {
        "circuit": device.circuit_in(dialect),
        "glob_dev_id": device.number,
        "relay_type": _RELAY_TYPES.get(device.kind),
    }
    shown: dict[str, Any] = {"dev": KINDS[device.kind].dev(dialect)}
    for field in fields(type(device), dialect):
        value = fixed[field] if field in fixed else getattr(state, field)
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
    properties = {field: fixed.get(field) or own[field] for field in shown}
    # what a state need not have has no default in msgspec's schema and is not required there
    always = [field for field in shown if field not in own or field in types["required"] or "default" in own[field]]
    return {
        "type": "object",
        "title": f"{KINDS[device.kind].dev(dialect)}, {dialect}",
        "properties": {"dev": {"const": KINDS[device.kind].dev(dialect)}, **properties, "alias": text},
        "required": ["dev", *always],
        "additionalProperties": False,
    }


def fragment(device: Device, dialect: Dialect) -> bytes:
    """The JSON of ``state_object``, kept with the device until its state changes."""
    if device.live:
        return _encode(state_object(device, dialect))
    kept = device.fragments.get(dialect)
    if kept is None:
        kept = device.fragments[dialect] = _encode(state_object(device, dialect))
    return kept


def listing(devices: Iterable[Device], dialect: Dialect) -> bytes:
    """The JSON list of the states of ``devices``."""
    return b"[" + b",".join([fragment(device, dialect) for device in devices]) + b"]"
