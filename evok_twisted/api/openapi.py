"""``/openapi.json``: the HTTP interface for programs, made from the tables that route and validate."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from twisted.web.resource import IResource
from twisted.web.server import Request

from evok_twisted.api.http import DeskResource, JsonResource, Operation, identity_of, json, our_version, schema_of
from evok_twisted.api.schemas import error_schema, schemas
from evok_twisted.core.desk import Desk, Desks
from evok_twisted.model.registers import TABLES

#: What may be wrong with any request, by status: answered before a resource sees it, or when we have a bug.
_ALWAYS: Mapping[int, str] = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    405: "MethodNotAllowed",
    413: "TooLarge",
    429: "TooManyFailures",
    500: "EvokError",
}

#: How to show a token.
_SECURITY: Mapping[str, Mapping[str, str]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token, as evok token create prints it"},
    "basic": {"type": "http", "scheme": "basic", "description": "The token as password, with any user"},
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
    "access": "Who asks, and what they may do",
    "modbus": "Registers and coils of slaves",
    "history": "What circuits have shown",
    "service": "The service itself",
}


_Kind = TypeVar("_Kind")


class Made(Generic[_Kind]):
    """What is made of the devices that there are, and made again when devices have come or gone.

    :param make: makes it of any desk.
    """

    def __init__(self, make: Callable[[Desk], _Kind]) -> None:
        self._make = make
        self._kept: tuple[object, _Kind] | None = None

    def of(self, desk: Desk, more: object = None) -> _Kind:
        """It, as it is now.

        :param more: what else it is made of.
        """
        key = desk.version, more
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._make(desk)
        return self._kept[1]


class OpenApi(JsonResource):
    """Describes ``tree``, itself included.

    :param tree: what is served, by path; may grow later.
    """

    paths = {"": {b"GET": Operation("get", "This description", {"type": "object"})}}

    def __init__(self, tree: Mapping[bytes, IResource], desks: Desks) -> None:
        super().__init__()
        self._desks = desks
        self._tree = tree
        self._made = Made(lambda desk: msgspec.json.encode(document(tree, desk)))

    def get(self, request: Request) -> bytes:
        desk = self._desks(identity_of(request, "rest"), None)
        return json(request, self._made.of(desk, tuple(self._tree.values())))


def document(tree: Mapping[bytes, IResource], desk: Desk) -> dict[str, Any]:
    """The OpenAPI 3.1 description of ``tree``; what can be set is that of the circuits of ``desk``."""
    paths: dict[str, Any] = {}
    for prefix, resource in tree.items():
        if isinstance(resource, JsonResource):
            for template, operations in resource.paths.items():
                path = "/".join(["", prefix.decode(), *([template] if template else [])])
                paths[path] = _path(path, resource, operations, desk)
    used = {tag for described in paths.values() for one in described.values() if "tags" in one for tag in one["tags"]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "evok-twisted",
            "version": our_version(),
            "description": "Inputs and outputs of a unit. The WebSocket at /ws has a document of its own.",
        },
        "servers": [{"url": "/", "description": "The unit that this description is of"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items() if name in used],
        "paths": paths,
        # where there is no apis.access, and for programs on the unit, none is needed
        "security": [{}, *({name: []} for name in _SECURITY)],
        "components": {
            "schemas": without_defaults(referred_to(paths, schemas(desk))),
            "securitySchemes": _SECURITY,
        },
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
        "id": ("The id of a token", {"type": "string", "minLength": 1, "examples": ["0a1b2c3d"]}),
        "bus": ("The name of a Modbus bus in the configuration", {"type": "string", "minLength": 1}),
        "unit": ("The slave-id", {"type": "integer", "minimum": 1, "maximum": 255}),
        "table": ("What of the slave", {"enum": list(TABLES)}),
        "start": ("The first address", {"type": "integer", "minimum": 0, "maximum": 65535}),
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
    content = _content(operation.answer, operation.media)
    if operation.csv:
        content = {**content, "text/csv": {"schema": {"type": "string"}}}
    if operation.also.keys() != {204} or operation.answer is not None:
        responses["200"] = {"description": operation.summary, "content": content}
    for status, meaning in operation.also.items():
        responses[str(status)] = {"description": meaning, **({} if status == 204 else {"content": content})}
    by_status: dict[int, list[str]] = defaultdict(list)
    for status, name in _ALWAYS.items():
        by_status[status].append(name)
    for error in operation.errors:
        if error.name not in by_status[error.status]:
            by_status[error.status].append(error.name)
    for status, found in sorted(by_status.items()):
        refs = [schema_of(error_schema(name)) for name in found]
        wrong = refs[0] if len(refs) == 1 else {"anyOf": refs}
        responses[str(status)] = {"description": " or ".join(found), "content": {_JSON: {"schema": wrong}}}
    described: dict[str, Any] = {"summary": operation.summary, "responses": responses}
    if operation.query:
        described["parameters"] = [
            {"name": name, "in": "query", "description": what, "schema": schema}
            for name, (what, schema) in operation.query.items()
        ]
    if operation.takes is not None:
        kinds = (_JSON, *((_FORM, _MULTIPART) if operation.form else ()))
        content = {kind: {"schema": operation.takes} for kind in kinds}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _content(answer: Mapping[str, Any] | None, media: str) -> dict[str, Any]:
    return {media: {"schema": {"type": "string"}}} if answer is None else {_JSON: {"schema": answer}}


def referred_to(paths: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``schemas`` that ``paths`` need, themselves or through others."""
    found: dict[str, Any] = {}
    todo = list(_references(paths))
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = schemas[name]
            todo += _references(schemas[name])
    return {name: found[name] for name in schemas if name in found}


def without_defaults(node: Any) -> Any:
    """A schema without what msgspec says of defaults: generated clients would demand what has one."""
    if isinstance(node, Mapping):
        return {key: without_defaults(value) for key, value in node.items() if key != "default"}
    return [without_defaults(value) for value in node] if isinstance(node, list) else node


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
