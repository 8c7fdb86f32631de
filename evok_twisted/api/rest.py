"""``/rest`` and ``/json``: states by path, and sets by POST."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Raw
from twisted.web.server import Request

from evok_twisted.api.http import DeskResource, Operation, json, path_of, schema_of
from evok_twisted.api.messages import Done, encode
from evok_twisted.core.desk import Desk
from evok_twisted.errors import COMMAND_ERRORS, BadRequest, BadValue, UnknownCircuit, UnknownDevice, UnknownProperty
from evok_twisted.model.device import Device

#: In place of a circuit: every one of the kind.
EVERY = "all"

#: Fields that a form may have, and bytes of one in several parts.
MOST_FIELDS = 100
LARGEST_FORM = 65536

_EMPTY_FIELDS = re.compile("&{2,}")


_READ = (UnknownDevice, UnknownCircuit, BadValue)
_STATES = {"type": "array", "items": schema_of("State")}
_SOME = {"type": "object", "minProperties": 1}

_LIST_ALL = Operation("list_all", "The states of all circuits", _STATES, errors=(BadValue,))
_LIST_KIND = Operation("list_kind", "The states of all circuits of a kind", _STATES, errors=_READ)
_LIST_PROPERTY = Operation(
    "list_property",
    "One property of all circuits of a kind; those that have none are left out",
    {"type": "array", "items": _SOME},
    errors=(*_READ, UnknownProperty),
)
_GET = Operation("get", "The state of a circuit", schema_of("State"), errors=_READ)
_GET_PROPERTY = Operation("get_property", "One property of a circuit", _SOME, errors=(*_READ, UnknownProperty))
_SET = Operation(
    "set",
    "Set a circuit; answered after the hardware has acknowledged it, with the new state",
    schema_of("Success"),
    schema_of("Parameters"),
    COMMAND_ERRORS,
    form=True,
)


class Rest(DeskResource):
    """The tree of states: ``all``, ``{dev}/{circuit}``, ``{dev}/{circuit}/{property}``.

    A set is POSTed to ``{dev}/{circuit}``, as a form or as JSON, whatever its content type says: clients post JSON as
    text/plain.
    """

    paths = {
        "all": {b"GET": _LIST_ALL},
        "{dev}/all": {b"GET": _LIST_KIND},
        "{dev}/all/{property}": {b"GET": _LIST_PROPERTY},
        "{dev}/{circuit}": {b"GET": _GET, b"POST": _SET},
        "{dev}/{circuit}/{property}": {b"GET": _GET_PROPERTY},
    }

    via = "rest"

    def show(self, request: Request, desk: Desk) -> bytes:
        path = path_of(request)
        if path == [EVERY]:
            return json(request, desk.listing(desk))
        name, circuit = path[:2]
        if circuit == EVERY:
            devices = desk.select((name,))
            if len(path) == 2:
                return json(request, desk.listing(devices))
            return json(request, encode(_properties(devices, desk, path[2])))
        device = desk.find(name, circuit)
        if len(path) == 2:
            return json(request, desk.fragment(device))
        return json(request, encode({path[2]: _property(device, desk, path[2])}))

    async def answer(self, request: Request, desk: Desk) -> bytes:
        name, circuit = path_of(request)
        desk.find(name, circuit)  # that it is not there is told before what is wrong with the body
        given = _parameters(self.body(request), request.getHeader(b"content-type") or b"")
        device = await desk.set(name, circuit, given)
        return json(request, encode(Done(result=Raw(desk.fragment(device)))))


def _property(device: Device, desk: Desk, name: str) -> Any:
    """One field of a state; an alias is one of every circuit, whether it has one or not.

    :raises UnknownProperty: the state has no such field.
    """
    shown = desk.state(device)
    if name not in shown and name != "alias":
        raise UnknownProperty(f"{device!r} has no property {name!r:.60}; there are {', '.join(shown)}")
    return shown.get(name, "")


def _properties(devices: list[Device], desk: Desk, name: str) -> list[dict[str, Any]]:
    """One field of the states of several circuits, without those that have no such field.

    :raises UnknownProperty: none of them has.
    """
    found, missing = [], None
    for device in devices:
        try:
            found.append({"circuit": device.circuit_in(desk.dialect), name: _property(device, desk, name)})
        except UnknownProperty as error:
            missing = error
    if missing is not None and not found:
        raise missing
    return found


def _parameters(body: bytes, content_type: bytes) -> dict[str, Any]:
    """What a POST sets, from JSON or a form."""
    if content_type.lower().startswith(b"multipart/form-data"):
        return _multipart(body, content_type)
    if body.lstrip()[:1] in (b"{", b"["):
        try:
            parameters = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise BadRequest(f"the body is not JSON: {error}"[:200]) from None
        if not isinstance(parameters, dict):
            raise BadRequest("the body is a list, expected an object of parameters")
        return parameters
    try:
        text = _EMPTY_FIELDS.sub("&", body.decode()).strip("&\r\n ")
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=MOST_FIELDS)
    except (ValueError, UnicodeDecodeError):
        raise BadRequest(f"the body is neither JSON nor a form (value=1&...) of at most {MOST_FIELDS} fields") from None
    return dict(pairs)


def _multipart(body: bytes, content_type: bytes) -> dict[str, Any]:
    if body.count(b"\n--") > MOST_FIELDS or len(body) > LARGEST_FORM:
        raise BadRequest(f"the form is too large, expected at most {MOST_FIELDS} fields in {LARGEST_FORM} bytes")
    message = message_from_bytes(b"Content-Type: %b\r\n\r\n%b" % (content_type, body), policy=HTTP)
    fields: dict[str, Any] = {}
    try:
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            if not isinstance(name, str):
                raise BadRequest("a part of the form has no name")
            payload: Any = part.get_payload(decode=True)
            fields[name] = payload.decode().removesuffix("\r\n")
    except (UnicodeDecodeError, AttributeError, KeyError, ValueError, TypeError):
        raise BadRequest("the body is no multipart form") from None
    if not fields:
        raise BadRequest("the body is no multipart form, or has no field")
    return fields
