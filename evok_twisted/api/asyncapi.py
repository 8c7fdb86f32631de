"""``/asyncapi.json``: the WebSocket for programs, made from the structs that are sent and the tables that validate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from twisted.web.server import Request

from evok_twisted.api.http import DeskResource, Operation, json, our_version, schema_of
from evok_twisted.api.login import BY_MESSAGE
from evok_twisted.api.messages import Alive, Changed, Error, Gone, Reply, Subscribed
from evok_twisted.api.openapi import Made, referred_to, without_defaults
from evok_twisted.api.schemas import components, schemas
from evok_twisted.api.session import SECONDS, Session
from evok_twisted.core.desk import Desk, Desks
from evok_twisted.core.filters import MOST_NAMES
from evok_twisted.core.wills import MOST_SETS
from evok_twisted.errors import BadValue
from evok_twisted.model.kinds import DIALECTS

_STATES = {"type": "array", "items": schema_of("State")}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_ID = {"type": ["string", "number"]}
#: Of the answer to the first message of who is to show a token: it may have had none, and is answered all the same.
_ID_OR_NONE = {"type": ["string", "number", "null"]}
_CIRCUIT = {"type": ["string", "integer"], "description": "A circuit, or an alias"}
_TARGET = {"dev": schema_of("Dev"), "circuit": _CIRCUIT}
_NOTHING = {"type": "object", "maxProperties": 0}


def _object(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required), **more}


class Command(NamedTuple):
    """What a client may say: what for, what stands in it beside ``cmd`` and ``id``, and what comes of it."""

    summary: str
    required: Mapping[str, Any]
    optional: Mapping[str, Any]
    result: Mapping[str, Any]


_DEVICES = {"anyOf": [{**_TEXTS, "maxItems": MOST_NAMES}, {"type": "string"}], "description": "Kinds, or with patterns"}
_SINCE = _object({"epoch": {"type": "string"}, "number": {"type": "integer"}})
_WILLED = {"type": "array", "minItems": 1, "maxItems": MOST_SETS, "items": _object(_TARGET)}

#: Every command, by its name.
COMMANDS: Mapping[str, Command] = {
    "all": Command("List the state of every circuit", {}, {}, _STATES),
    "filter": Command(
        "Choose what to hear of", {"devices": _DEVICES}, {}, _object({"devices": _DEVICES, "unknown": _TEXTS})
    ),
    "set": Command(
        "Set a circuit; parameters may stand in value, or beside it",
        _TARGET,
        {"value": {}},
        schema_of("State"),
    ),
    "subscribe": Command(
        "Take a snapshot, and hear of every change after it",
        {},
        {
            "devices": _DEVICES,
            "every": {**SECONDS["every"].schema, "description": "Seconds between messages"},
            "since": _SINCE,
        },
        schema_of("Subscribed"),
    ),
    "unsubscribe": Command("Hear lists of states again", {}, {}, _NOTHING),
    "will": Command(
        "Say what is to be set when this connection has ended",
        {"sets": _WILLED},
        {"within": {**SECONDS["within"].schema, "description": "Seconds until that is noticed"}},
        _object({"sets": {"type": "integer"}, "within": {"type": "number"}}),
    ),
    "unwill": Command("Withdraw that", {}, {}, _NOTHING),
    "full": Command("Ask for the state of a circuit", _TARGET, {}, schema_of("State")),
    "health": Command("Ask how the service is", {}, {}, schema_of("Report")),
}
#: The first message of a connection with ``auth=message`` in its address.
AUTH = Command(
    f"Show a token, on /ws?auth={BY_MESSAGE}",
    {"token": {"type": "string"}},
    {},
    _object({"name": {"type": "string"}, "role": {"type": "string"}}),
)

#: What can be asked where a front answers it.
QUESTIONS: Mapping[str, Command] = {
    "history": Command(
        "What a circuit was over time",
        _TARGET,
        {
            **{name: {"type": ["string", "number"]} for name in ("from", "to")},
            "points": {"type": "integer", "minimum": 1},
            "field": {"type": "string"},
        },
        schema_of("History"),
    )
}

#: What comes without having been asked for, or as the answer to a command without an id.
EVENTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "states": ("Circuits that have changed, or that were asked for", _STATES),
    "change": ("What subscribers hear of a change", schema_of("Changed")),
    "gone": ("What subscribers hear of circuits that are no more", schema_of("Gone")),
    "alive": ("What subscribers hear while there is nothing to tell", schema_of("Alive")),
    "subscribed": ("The snapshot of who has subscribed without an id", schema_of("Subscribed")),
    "healths": ("How the service is, asked for without an id", {"type": "array", "items": schema_of("Report")}),
}


class AsyncApi(DeskResource):
    """Describes the WebSocket."""

    paths = {
        "": {b"GET": Operation("get", "The description of the WebSocket", {"type": "object"}, errors=(BadValue,))},
    }
    via = "rest"

    def __init__(self, desks: Desks) -> None:
        super().__init__(desks)
        self._made = Made(lambda desk: document(desk, ""))

    def show(self, request: Request, desk: Desk) -> bytes:
        host = (request.getHeader(b"host") or b"127.0.0.1:8080").decode(errors="replace")
        return json(
            request, msgspec.json.encode({**self._made.of(desk, tuple(desk.questions)), "servers": _servers(host)})
        )


def document(desk: Desk, host: str) -> dict[str, Any]:
    """The AsyncAPI 3.0 description of the WebSocket of a unit.

    :param host: as which the client knows it, with the port.
    """
    commands = {**COMMANDS, **{name: QUESTIONS[name] for name in desk.questions}, "auth": AUTH}
    assert COMMANDS.keys() == Session.commands(), "each command is here, and no other"
    sent = {name: _message(one.summary, _command(name, one)) for name, one in commands.items()}
    replies = {f"{name}_done": _message(f"{one.summary}: done", _reply(one)) for name, one in commands.items()}
    events = {name: _message(summary, payload) for name, (summary, payload) in EVENTS.items()}
    messages = {**sent, **replies, "failed": _message("What went wrong with a command", schema_of("Failed")), **events}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "evok-twisted",
            "version": our_version(),
            "description": "The WebSocket of a unit. What HTTP serves has a document of its own: /openapi.json",
        },
        "servers": _servers(host),
        "channels": {
            "ws": {
                "address": "/ws",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "query": _QUERY}},
            }
        },
        "operations": {
            **{name: _asked(name, one) for name, one in commands.items()},
            "tell": {
                "action": "send",
                "channel": _WS,
                "summary": "What comes without having been asked for",
                "messages": [_of_channel(name) for name in events],
            },
        },
        "components": {"messages": messages, "schemas": _schemas(desk, messages)},
    }


def _servers(host: str) -> dict[str, Any]:
    return {"unit": {"host": host, "protocol": "ws"}}


_WS = {"$ref": "#/channels/ws"}
_QUERY = {
    "type": "object",
    "properties": {
        "dialect": {"type": "string", "enum": list(DIALECTS)},
        "token": {"type": "string"},
        "auth": {"type": "string", "enum": [BY_MESSAGE]},
    },
}


def _of_channel(name: str) -> dict[str, str]:
    return {"$ref": f"#/channels/ws/messages/{name}"}


def _asked(name: str, command: Command) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": _WS,
        "summary": command.summary,
        "messages": [_of_channel(name)],
        "reply": {"channel": _WS, "messages": [_of_channel(f"{name}_done"), _of_channel("failed")]},
    }


def _message(summary: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "contentType": "application/json", "payload": payload}


def _command(name: str, one: Command) -> dict[str, Any]:
    return _object({"cmd": {"const": name}, **one.required}, {**one.optional, "id": _ID})


def _reply(one: Command) -> dict[str, Any]:
    given = _ID_OR_NONE if one is AUTH else _ID
    return _object({"id": given, "success": {"const": True}, "result": one.result}, additionalProperties=False)


def _schemas(desk: Desk, messages: Mapping[str, Any]) -> dict[str, Any]:
    every = {**schemas(desk), **components([Error, Reply, Subscribed, Changed, Gone, Alive])}
    for name in ("Subscribed", "Changed"):
        every[name]["properties"]["states"] = _STATES
    for name, event in (("Changed", "change"), ("Gone", "gone"), ("Alive", "alive"), ("Subscribed", "subscribed")):
        every[name]["properties"]["event"] = {"const": event}
        every[name]["additionalProperties"] = False
    every["State"] = {key: value for key, value in every["State"].items() if key != "discriminator"}
    failed = {"id": _ID_OR_NONE, "success": {"const": False}, "error": schema_of("Error")}
    every["Failed"] = _object(failed, additionalProperties=False)
    found: dict[str, Any] = without_defaults(referred_to(messages, every))
    return found
