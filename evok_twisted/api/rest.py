"""``/rest`` and ``/json``: states by path, and sets by POST."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET, Request

from evok_twisted.api.dialects import fragment, listing, state_object
from evok_twisted.api.http import JsonResource, dialect_of, failed, json, refused
from evok_twisted.core.commands import Commands
from evok_twisted.core.registry import Registry
from evok_twisted.errors import BadRequest, EvokError, UnknownDevice, UnknownProperty
from evok_twisted.logs import Logger
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import Dialect, named

_encode = msgspec.json.encode

#: In place of a circuit: every one of the kind.
EVERY = "all"


class Rest(JsonResource):
    """The tree of states: ``all``, ``{dev}/{circuit}``, ``{dev}/{circuit}/{property}``.

    A set is POSTed to ``{dev}/{circuit}``, as a form or as JSON, whatever its content type says: clients post JSON as
    text/plain.
    """

    _log = Logger()

    def __init__(self, registry: Registry, commands: Commands, dialect: Dialect) -> None:
        super().__init__()
        self._registry = registry
        self._commands = commands
        self._dialect = dialect

    def allowed(self, request: Request) -> tuple[bytes, ...]:
        path = _path(request)
        if path == [EVERY] or len(path) == 3:
            return self.methods
        if len(path) == 2:
            return (*self.methods, b"POST") if path[1] != EVERY else self.methods
        raise UnknownDevice("there is no such path; there are all, {dev}/{circuit} and {dev}/{circuit}/{property}")

    def get(self, request: Request) -> bytes:
        dialect = dialect_of(request, self._dialect)
        path = _path(request)
        if path == [EVERY]:
            return json(request, listing(self._registry, dialect))
        name, circuit = path[:2]
        if circuit == EVERY:
            devices = [device for kind in named(name, dialect) for device in self._registry.of_kind(kind)]
            if len(path) == 2:
                return json(request, listing(devices, dialect))
            return json(request, _encode([_property(device, dialect, path[2], every=True) for device in devices]))
        device = self._registry.find(name, circuit, dialect)
        if len(path) == 2:
            return json(request, fragment(device, dialect))
        return json(request, _encode(_property(device, dialect, path[2], every=False)))

    def post(self, request: Request) -> int:
        dialect = dialect_of(request, self._dialect)
        name, circuit = _path(request)
        assert request.content is not None
        done = self._commands.set(name, circuit, _parameters(request.content.read()), dialect)
        gone = request.notifyFinish()
        gone.addErrback(lambda _: None)  # the client went away; the write goes on

        def was_set(device: Device) -> bytes:
            return json(request, b'{"success":true,"result":%b}' % fragment(device, dialect))

        def answer(body: bytes) -> None:
            if not gone.called:
                request.write(body)
                request.finish()

        answered = done.addCallbacks(was_set, self._failed, (), {}, (request,)).addCallback(answer)
        answered.addErrback(lambda failure: self._log.failure("answer to {uri}", failure, uri=request.uri))
        return NOT_DONE_YET

    def _failed(self, failure: Failure, request: Request) -> bytes:
        if isinstance(failure.value, EvokError):
            return refused(request, failure.value)
        self._log.failure("{uri}", failure, uri=request.uri)
        return failed(request, "EvokError", "something went wrong in the service; its log says more", 500)


def _path(request: Request) -> list[str]:
    path = [part.decode(errors="replace") for part in request.postpath or ()]
    return path[:-1] if path and path[-1] == "" else path


def _property(device: Device, dialect: Dialect, name: str, *, every: bool) -> dict[str, Any]:
    shown = state_object(device, dialect)
    if name not in shown:
        raise UnknownProperty(f"{device!r} has no property {name!r:.60}; there are {', '.join(shown)}")
    return {"circuit": shown["circuit"], name: shown[name]} if every else {name: shown[name]}


def _parameters(body: bytes) -> dict[str, Any]:
    """What a POST sets, from JSON or a form."""
    if body.lstrip()[:1] in (b"{", b"["):
        try:
            parameters = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise BadRequest(f"the body is not JSON: {error}"[:200]) from None
        if not isinstance(parameters, dict):
            raise BadRequest("the body is a list, expected an object of parameters")
        return parameters
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=100)
    except (ValueError, UnicodeDecodeError):
        raise BadRequest("the body is neither JSON nor a form (value=1&...)") from None
    return dict(pairs)
