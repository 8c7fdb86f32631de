"""``/openapi.json``: the HTTP interface for programs, made from the tables that route and validate."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from twisted.web.resource import IResource
from twisted.web.server import Request

from evok_twisted.api import rpc
from evok_twisted.api.bulk import BulkRequest
from evok_twisted.api.http import DeskResource, JsonResource, Operation, json, our_version, schema_of
from evok_twisted.core.desk import Desk
from evok_twisted.core.dialects import schema
from evok_twisted.core.health import Report
from evok_twisted.errors import COMMAND_ERRORS, EvokError, Superseded
from evok_twisted.model.kinds import DEVICES, DIALECTS, names

#: What may be wrong with any request, by status: answered before a resource sees it, or when we have a bug. By their
#: names, those that are no ``EvokError``, each with what it means.
_ALWAYS: Mapping[int, str] = {403: "Forbidden", 405: "MethodNotAllowed", 413: "TooLarge", 500: "EvokError"}
_MEANINGS: Mapping[str, str] = {
    "Forbidden": "A browser that may not talk to the service: a page of another host, or a name that is not the unit's",
    "MethodNotAllowed": "The path does not take this method",
    "TooLarge": "The body is larger than the service takes",
}

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"

#: Under which heading a path stands, by its first part.
_TAGS: Mapping[str, str] = {
    "rest": "States and sets, one circuit at a time",
    "json": "The same as /rest, for clients of Evok that use this path",
    "bulk": "Many sets and queries in one request",
    "rpc": "JSON-RPC 2.0",
    "service": "The service itself",
}


class OpenApi(JsonResource):
    """Describes ``tree``, itself included.

    :param tree: what is served, by path; may grow later.
    """

    paths = {"": {b"GET": Operation("get", "This description", {"type": "object"})}}

    def __init__(self, tree: Mapping[bytes, IResource], desk: Desk) -> None:
        super().__init__()
        self._tree = tree
        self._desk = desk
        self._made = b""
        #: the version of what there was then
        self._made_of = -1

    def get(self, request: Request) -> bytes:
        if self._made_of != self._desk.version:
            self._made, self._made_of = msgspec.json.encode(document(self._tree, self._desk)), self._desk.version
        return json(request, self._made)


def document(tree: Mapping[bytes, IResource], desk: Desk) -> dict[str, Any]:
    """The OpenAPI 3.1 description of ``tree``; what can be set is that of the circuits of ``desk``."""
    paths: dict[str, Any] = {}
    for prefix, resource in tree.items():
        if isinstance(resource, JsonResource):
            for template, operations in resource.paths.items():
                path = "/".join(["", prefix.decode(), *([template] if template else [])])
                paths[path] = _path(path, resource, operations, desk)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "evok-twisted",
            "version": our_version(),
            "description": "Inputs and outputs of a unit. The WebSocket at /ws has a document of its own.",
        },
        "servers": [{"url": "/", "description": "The unit that this description is of"}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "paths": paths,
        "components": {"schemas": _without_defaults(_referred_to(paths, _schemas(desk)))},
    }


def _path(path: str, resource: JsonResource, operations: Mapping[bytes, Operation], desk: Desk) -> dict[str, Any]:
    first = path.split("/")[1].removesuffix(".json")
    tag = first if first in _TAGS else "service"
    names_of = [one.name for one in operations.values()]
    options = Operation(f"options_of_{names_of[0]}", "The methods that this path takes", None, also={204: "Allow"})
    described = {method.decode().lower(): one for method, one in operations.items()} | {"options": options}
    return {
        "parameters": _parameters(path, desk, chooses=isinstance(resource, DeskResource)),
        **{
            method: {"operationId": f"{first}_{one.name}", "tags": [tag], **_operation(one)}
            for method, one in described.items()
        },
    }


def _parameters(path: str, desk: Desk, *, chooses: bool) -> list[dict[str, Any]]:
    circuits = list(dict.fromkeys(device.circuit for device in desk))
    known: dict[str, tuple[str, Any]] = {
        "dev": ("The kind of the circuit, by any name that it has in either dialect", schema_of("Dev")),
        "circuit": (
            "The circuit, or its alias",
            {"type": "string", "minLength": 1, "examples": circuits[:8]},
        ),
        "property": ("A field of the state", {"type": "string", "minLength": 1, "examples": ["value"]}),
    }
    found = [
        {"name": name, "in": "path", "required": True, "description": known[name][0], "schema": known[name][1]}
        for name in re.findall(r"{(\w+)}", path)
    ]
    dialect = {
        "name": "dialect",
        "in": "query",
        "description": "Whose names the answer has: those of Evok 2 (classic) or of Evok 3 (v3)",
        "schema": schema_of("Dialect"),
    }
    return [*found, dialect] if chooses else found


def _operation(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    content = _content(operation.answer)
    if operation.also.keys() != {204} or operation.answer is not None:
        responses["200"] = {"description": operation.summary, "content": content}
    for status, meaning in operation.also.items():
        responses[str(status)] = {"description": meaning, **({} if status == 204 else {"content": content})}
    by_status: dict[int, list[str]] = defaultdict(list)
    for status, name in _ALWAYS.items():
        by_status[status].append(name)
    for error in operation.errors:
        by_status[error.status].append(error.name)
    for status, found in sorted(by_status.items()):
        refs = [schema_of(_error_schema(name)) for name in found]
        wrong = refs[0] if len(refs) == 1 else {"anyOf": refs}
        responses[str(status)] = {"description": " or ".join(found), "content": {_JSON: {"schema": wrong}}}
    described: dict[str, Any] = {"summary": operation.summary, "responses": responses}
    if operation.takes is not None:
        kinds = (_JSON, *((_FORM, _MULTIPART) if operation.form else ()))
        content = {kind: {"schema": operation.takes} for kind in kinds}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _content(answer: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"text/plain": {"schema": {"type": "string"}}} if answer is None else {_JSON: {"schema": answer}}


def _error_schema(name: str) -> str:
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


def _schemas(desk: Desk) -> dict[str, Any]:
    classes = DEVICES
    types = _components([device.shows for device in classes])
    states = _states(types)
    state = schema_of("State")
    failures = {
        **{_error_schema(error.name): _failure(error.name, _meaning(error)) for error in _subclasses(EvokError)},
        **{_error_schema(name): _failure(name, meaning) for name, meaning in _MEANINGS.items()},
    }
    outcome = {"anyOf": [state, *(schema_of(_error_schema(error.name)) for error in _hardware_errors())]}
    outcomes = {"type": "array", "items": outcome}
    bulk = _components([BulkRequest, Report])
    for name in ("IndividualAssignment", "GroupAssignment"):
        bulk[name]["properties"]["assigned_values"] = schema_of("Parameters")
    return {
        **{name: of for name, of in types.items() if name not in states},
        **bulk,
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
        **failures,
        "Dev": {"description": "A name of a kind of circuit", "type": "string", "enum": names()},
        "Dialect": {"description": "Whose names are used", "type": "string", "enum": list(DIALECTS)},
        "Success": _object("A set that was done", success={"const": True}, result=state),
        "Parameters": _parameters_of(desk),
        "BulkAnswer": _object(
            "Outcomes and answers, in the order of the request",
            individual_assignments=outcomes,
            group_assignments={"type": "array", "items": outcomes},
            group_queries={"type": "array", "items": {"type": "array", "items": state}},
        ),
        "RpcCall": {
            "type": "object",
            "description": "A call; without an id it has no answer",
            "properties": {
                "jsonrpc": {"const": "2.0"},
                "method": {"enum": sorted(rpc.NAMES)},
                "params": {"anyOf": [{"type": "array", "items": {}}, {"type": "object"}]},
                "id": {"type": ["string", "number", "null"]},
            },
            "required": ["jsonrpc", "method"],
        },
        "RpcRequest": _one_or_many("RpcCall", rpc.LARGEST_BATCH),
        "RpcSuccess": _object(
            "What a call returned", jsonrpc={"const": "2.0"}, result={}, id={"type": ["string", "number", "null"]}
        ),
        "RpcFailure": _object(
            "What went wrong with a call",
            jsonrpc={"const": "2.0"},
            error=_RPC_ERROR,
            id={"type": ["string", "number", "null"]},
        ),
        "RpcResult": {"anyOf": [schema_of("RpcSuccess"), schema_of("RpcFailure")]},
        "RpcAnswer": _one_or_many("RpcResult", rpc.LARGEST_BATCH),
    }


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


def _components(types: Iterable[type]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components(
        list(dict.fromkeys(types)), ref_template="#/components/schemas/{name}"
    )
    for component in components.values():
        if "description" in component:
            component["description"] = component["description"].replace("``", "`")
    return components


def _referred_to(paths: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``schemas`` that ``paths`` need, themselves or through others."""
    found: dict[str, Any] = {}
    todo = list(_references(paths))
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = schemas[name]
            todo += _references(schemas[name])
    return {name: found[name] for name in schemas if name in found}


def _without_defaults(node: Any) -> Any:
    """A schema without what msgspec says of defaults: generated clients would demand what has one."""
    if isinstance(node, Mapping):
        return {key: _without_defaults(value) for key, value in node.items() if key != "default"}
    return [_without_defaults(value) for value in node] if isinstance(node, list) else node


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield reference.rpartition("/")[2]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


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
