"""``/openapi.json``: the HTTP interface for programs, made from the tables that route and validate."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from twisted.web.resource import IResource
from twisted.web.server import Request

from evok_twisted.api import rpc
from evok_twisted.api.bulk import BulkRequest
from evok_twisted.api.dialects import FIELDS, schema
from evok_twisted.api.http import Front, JsonResource, Operation, json, our_version, schema_of
from evok_twisted.core.health import Report
from evok_twisted.core.registry import Registry
from evok_twisted.errors import EvokError
from evok_twisted.model.kinds import DIALECTS, names

#: What may be wrong with any request, by status: answered before a resource sees it, or when we have a bug.
_ALWAYS: Mapping[int, str] = {
    403: "Forbidden",
    405: "MethodNotAllowed",
    413: "TooLarge",
    500: "EvokError",
}

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


class OpenApi(JsonResource):
    """Describes ``tree``, itself included.

    :param tree: what is served, by path; may grow later.
    """

    paths = {"": {b"GET": Operation("This description", {"type": "object"})}}

    def __init__(self, tree: Mapping[bytes, IResource], registry: Registry) -> None:
        super().__init__()
        self._tree = tree
        self._registry = registry
        self._made = b""
        #: how many devices there were then
        self._made_of = -1

    def get(self, request: Request) -> bytes:
        if self._made_of != self._registry.size:
            self._made, self._made_of = msgspec.json.encode(document(self._tree, self._registry)), self._registry.size
        return json(request, self._made)


def document(tree: Mapping[bytes, IResource], registry: Registry) -> dict[str, Any]:
    """The OpenAPI 3.1 description of ``tree``; what can be set is that of the circuits of ``registry``."""
    paths: dict[str, Any] = {}
    for prefix, resource in tree.items():
        if isinstance(resource, JsonResource):
            for template, operations in resource.paths.items():
                path = "/".join(["", prefix.decode(), *([template] if template else [])])
                paths[path] = {
                    "parameters": _parameters(path, registry, chooses=isinstance(resource, Front)),
                    **{method.decode().lower(): _operation(one) for method, one in operations.items()},
                    "options": _operation(Operation("The methods that this path takes", None, also={204: "Allow"})),
                }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "evok-twisted",
            "version": our_version(),
            "description": "Inputs and outputs of a unit. The WebSocket at /ws has a document of its own.",
        },
        "paths": paths,
        "components": {"schemas": _schemas(registry)},
    }


def _parameters(path: str, registry: Registry, *, chooses: bool) -> list[dict[str, Any]]:
    circuits = list(dict.fromkeys(device.circuit for device in registry))
    known: dict[str, Any] = {
        "dev": {"enum": names()},
        "circuit": {"type": "string", "minLength": 1, "examples": circuits[:8]},
        "property": {"type": "string", "minLength": 1, "examples": ["value"]},
    }
    found = [
        {"name": name, "in": "path", "required": True, "schema": known[name]} for name in re.findall(r"{(\w+)}", path)
    ]
    return [*found, {"name": "dialect", "in": "query", "schema": {"enum": list(DIALECTS)}}] if chooses else found


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
        responses[str(status)] = {"description": " or ".join(found), "content": {_JSON: {"schema": _failure(found)}}}
    described: dict[str, Any] = {"summary": operation.summary, "responses": responses}
    if operation.takes is not None:
        kinds = (_JSON, *((_FORM,) if operation.form else ()))
        content = {kind: {"schema": operation.takes} for kind in kinds}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _content(answer: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"text/plain": {"schema": {"type": "string"}}} if answer is None else {_JSON: {"schema": answer}}


def _failure(found: Iterable[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "success": {"const": False},
            "errors": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in found},
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
            },
            "sent": {"type": "boolean", "description": "Whether what was asked for may have been done"},
        },
        "required": ["success", "errors"],
        "additionalProperties": False,
    }


def _schemas(registry: Registry) -> dict[str, Any]:
    classes = tuple(FIELDS)
    types = _components([device.shows for device in classes])
    states = [schema(device, dialect, types[device.shows.__name__]) for device in classes for dialect in DIALECTS]
    unique = [state for n, state in enumerate(states) if state not in states[:n]]
    state = schema_of("State")
    outcomes = {"type": "array", "items": {"anyOf": [state, schema_of("Failure")]}}
    return {
        **types,
        **_components([BulkRequest, Report]),
        "State": {"anyOf": unique},
        "Success": _object(success={"const": True}, result=state),
        "Failure": _failure(error.name for error in _subclasses(EvokError)),
        "Parameters": _parameters_of(registry),
        "BulkAnswer": _object(
            individual_assignments=outcomes,
            group_assignments={"type": "array", "items": outcomes},
            group_queries={"type": "array", "items": {"type": "array", "items": state}},
        ),
        "RpcCall": {
            "type": "object",
            "properties": {
                "jsonrpc": {"const": "2.0"},
                "method": {"enum": sorted(rpc.NAMES)},
                "params": {"type": ["array", "object"]},
                "id": {"type": ["string", "number", "null"]},
            },
            "required": ["jsonrpc", "method"],
        },
        "RpcRequest": _one_or_many("RpcCall", rpc.LARGEST_BATCH),
        "RpcResult": {
            "anyOf": [
                _object(jsonrpc={"const": "2.0"}, result={}, id={"type": ["string", "number", "null"]}),
                _object(jsonrpc={"const": "2.0"}, error=_RPC_ERROR, id={"type": ["string", "number", "null"]}),
            ]
        },
        "RpcAnswer": _one_or_many("RpcResult", rpc.LARGEST_BATCH),
    }


_RPC_ERROR = {
    "type": "object",
    "properties": {
        "code": {"type": "integer"},
        "message": {"type": "string"},
        "data": {"type": "object", "properties": {"code": {"type": "string"}}},
    },
    "required": ["code", "message"],
}


def _components(types: Iterable[type]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components(
        list(dict.fromkeys(types)), ref_template="#/components/schemas/{name}"
    )
    return components


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _one_or_many(name: str, most: int) -> dict[str, Any]:
    several = {"type": "array", "items": schema_of(name), "minItems": 1, "maxItems": most}
    return {"anyOf": [schema_of(name), several]}


def _parameters_of(registry: Registry) -> dict[str, Any]:
    """What can be set; which of it a circuit takes is of its kind. Every value may be text, too."""
    found: dict[str, list[Any]] = {"alias": [{"type": "string"}]}
    for device in registry:
        for name, parameter in device.parameters.items():
            schemas = found.setdefault(name, [{"type": "string"}])
            if parameter.schema not in schemas:
                schemas.append(parameter.schema)
    properties = {name: {"anyOf": schemas} for name, schemas in found.items()}
    return {"type": "object", "properties": properties, "minProperties": 1}


def _subclasses(error: type[EvokError]) -> list[type[EvokError]]:
    return [error, *(below for one in error.__subclasses__() for below in _subclasses(one))]
