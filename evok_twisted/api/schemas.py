"""The schemas of ``/openapi.json``: what is sent and answered, made from the tables that validate and render."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from evok_twisted.api import rpc
from evok_twisted.api.bulk import BulkRequest
from evok_twisted.api.historian import History, HistoryEvents
from evok_twisted.api.http import schema_of
from evok_twisted.api.logbook import LogPage
from evok_twisted.api.panel import Rules
from evok_twisted.api.registers import Values
from evok_twisted.api.reload import Reloaded
from evok_twisted.api.tokens import Issued, Narrowing, NewLink, NewToken, ShownTokens
from evok_twisted.core.desk import Desk
from evok_twisted.core.dialects import schema
from evok_twisted.core.health import Report
from evok_twisted.errors import COMMAND_ERRORS, EvokError, Superseded
from evok_twisted.model.kinds import DEVICES, DIALECTS, names

#: What may be wrong that is no ``EvokError``, by its name, each with what it means.
_MEANINGS: Mapping[str, str] = {
    "MethodNotAllowed": "The path does not take this method",
}


def error_schema(name: str) -> str:
    """The name of the schema of an error."""
    return f"{name.removesuffix('Error')}Error"


def _failure(name: str, meaning: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": meaning,
        "properties": {
            "success": {"const": False},
            "errors": {
                "type": "object",
                "description": "What went wrong, in a sentence, by its name",
                "properties": {name: {"type": "string"}},
                "required": [name],
                "additionalProperties": False,
            },
            "sent": {"type": "boolean", "description": "Whether what was asked for may have been done all the same"},
        },
        "required": ["success", "errors"],
        "additionalProperties": False,
    }


def schemas(desk: Desk) -> dict[str, Any]:
    """Every schema, by its name; what can be set is that of the circuits of ``desk``."""
    types = components([device.shows for device in DEVICES])
    states = _states(types)
    return {
        **{name: of for name, of in types.items() if name not in states},
        **_sent_and_answered(),
        **states,
        "State": {
            "description": "What a circuit shows; its kind is told by dev",
            "oneOf": [schema_of(name) for name in states],
            "discriminator": {
                "propertyName": "dev",
                "mapping": {
                    of["properties"]["dev"]["const"]: f"#/components/schemas/{name}" for name, of in states.items()
                },
            },
        },
        **{error_schema(error.name): _failure(error.name, _meaning(error)) for error in _subclasses(EvokError)},
        **{error_schema(name): _failure(name, meaning) for name, meaning in _MEANINGS.items()},
        "Dev": {"description": "A name of a kind of circuit", "type": "string", "enum": names()},
        "Dialect": {"description": "Whose names are used", "type": "string", "enum": list(DIALECTS)},
        "Success": _object("A set that was done", success={"const": True}, result=schema_of("State")),
        "Parameters": _parameters_of(desk),
        "BulkAnswer": _bulk_answer(),
        **_RPC,
    }


def _sent_and_answered() -> dict[str, Any]:
    access = (ShownTokens, NewToken, Narrowing, NewLink, Issued)
    made = components([BulkRequest, Report, LogPage, *access, Rules, Reloaded, Values, History, HistoryEvents])
    for name in ("IndividualAssignment", "GroupAssignment"):
        made[name]["properties"]["assigned_values"] = schema_of("Parameters")
    return made


def _bulk_answer() -> dict[str, Any]:
    state = schema_of("State")
    outcome = {"anyOf": [state, *(schema_of(error_schema(error.name)) for error in _hardware_errors())]}
    outcomes = {"type": "array", "items": outcome}
    return _object(
        "Outcomes and answers, in the order of the request",
        individual_assignments=outcomes,
        group_assignments={"type": "array", "items": outcomes},
        group_queries={"type": "array", "items": {"type": "array", "items": state}},
    )


def _states(types: Mapping[str, Any]) -> dict[str, Any]:
    """A schema for each value of ``dev``: what those of several classes, or of both dialects, have is all in it."""
    variants: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for device in DEVICES:
        for dialect in DIALECTS:
            one = schema(device, dialect, types[device.shows.__name__])
            if one not in variants[one["properties"]["dev"]["const"]]:
                variants[one["properties"]["dev"]["const"]].append(one)
    return {_state_name(dev): _merged(dev, every) for dev, every in variants.items()}


def _state_name(dev: str) -> str:
    return f"{dev.replace('1wdevice', 'one_wire_device').title().replace('_', '')}State"


def _merged(dev: str, variants: Iterable[dict[str, Any]]) -> dict[str, Any]:
    properties: dict[str, list[Any]] = defaultdict(list)
    required: list[set[str]] = []
    for variant in variants:
        required.append(set(variant["required"]))
        for name, of in variant["properties"].items():
            if of not in properties[name]:
                properties[name].append(of)
    return {
        "type": "object",
        "description": f"The state of a circuit whose dev is {dev}",
        "properties": {name: of[0] if len(of) == 1 else {"anyOf": of} for name, of in properties.items()},
        "required": [name for name in properties if all(name in one for one in required)],
        "additionalProperties": False,
    }


def components(types: Iterable[type]) -> dict[str, Any]:
    """The schemas of structs, by their names, with those of what is in them."""
    _, made = msgspec.json.schema_components(list(dict.fromkeys(types)), ref_template="#/components/schemas/{name}")
    for component in made.values():
        if "description" in component:
            component["description"] = component["description"].replace("``", "`")
    return made


def _object(description: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _one_or_many(name: str, most: int) -> dict[str, Any]:
    several = {"type": "array", "items": schema_of(name), "minItems": 1, "maxItems": most}
    return {"anyOf": [schema_of(name), several]}


def _parameters_of(desk: Desk) -> dict[str, Any]:
    """What can be set; which of it a circuit takes is of its kind. Every value may be text, too."""
    found: dict[str, list[Any]] = {"alias": [{"type": "string"}]}
    for device in desk:
        for name, parameter in device.parameters.items():
            schemas = found.setdefault(name, [{"type": "string"}])
            if parameter.schema not in schemas:
                schemas.append(parameter.schema)
    properties = {name: {"anyOf": schemas} for name, schemas in found.items()}
    return {
        "type": "object",
        "description": "What is to be set; which of these a circuit takes is of its kind",
        "properties": properties,
        "minProperties": 1,
    }


def _meaning(error: type[EvokError]) -> str:
    """The first sentence of what is said of an error."""
    return " ".join((error.__doc__ or "").split("\n\n")[0].split()).replace("``", "`")


def _hardware_errors() -> list[type[EvokError]]:
    """What may stand in the place of a state in the answer to a bulk request."""
    return [error for error in COMMAND_ERRORS if error.status >= 500 or error is Superseded]


def _subclasses(error: type[EvokError]) -> list[type[EvokError]]:
    return [error, *(below for one in error.__subclasses__() for below in _subclasses(one))]


_RPC_ID = {"type": ["string", "number", "null"]}
_RPC_ERROR = {
    "type": "object",
    "properties": {
        "code": {"type": "integer"},
        "message": {"type": "string"},
        "data": {
            "type": "object",
            "properties": {"code": {"type": "string"}, "sent": {"type": "boolean"}},
        },
    },
    "required": ["code", "message"],
}
_RPC: Mapping[str, Any] = {
    "RpcCall": {
        "type": "object",
        "description": "A call; without an id it has no answer",
        "properties": {
            "jsonrpc": {"const": "2.0"},
            "method": {"enum": sorted(rpc.NAMES)},
            "params": {"anyOf": [{"type": "array", "items": {}}, {"type": "object"}]},
            "id": _RPC_ID,
        },
        "required": ["jsonrpc", "method"],
    },
    "RpcRequest": _one_or_many("RpcCall", rpc.LARGEST_BATCH),
    "RpcSuccess": _object("What a call returned", jsonrpc={"const": "2.0"}, result={}, id=_RPC_ID),
    "RpcFailure": _object(
        "What went wrong with a call",
        jsonrpc={"const": "2.0"},
        error=_RPC_ERROR,
        id=_RPC_ID,
    ),
    "RpcResult": {"anyOf": [schema_of("RpcSuccess"), schema_of("RpcFailure")]},
    "RpcAnswer": _one_or_many("RpcResult", rpc.LARGEST_BATCH),
}
