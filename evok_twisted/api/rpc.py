"""``/rpc``: JSON-RPC 2.0 (https://www.jsonrpc.org/specification), single and in batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw
from twisted.internet.defer import Deferred, DeferredList
from twisted.web.server import Request

from evok_twisted.api.http import DeskResource, Operation, json, schema_of
from evok_twisted.api.messages import Id, RpcAnswer, RpcError, encode, is_id
from evok_twisted.core.desk import Desk
from evok_twisted.core.slices import sliced
from evok_twisted.errors import BadParameter, BadRequest, BadValue, EvokError, UnknownMethod
from evok_twisted.logs import Logger
from evok_twisted.model.device import Device
from evok_twisted.model.parameters import shown
from evok_twisted.model.sensors import TYPES, Sensor
from evok_twisted.problems import nearest

PARSE_ERROR = -32700

#: Calls that a batch may have.
LARGEST_BATCH = 1000


class Method(NamedTuple):
    """What can be called.

    :ivar name: of the kind, as clients name it; the dialect decides where the dialects differ.
    :ivar takes: names of the parameters after ``circuit``.
    :ivar sets: for a set, the parameter of the set that each of ``takes`` is; what is there besides is set as it is.
    :ivar answers: fields of the state object; one is answered bare, several as a list, and for none the whole state. A
        field that the state does not show in the client's dialect is left out; but the value, which some sensors have
        not, keeps its place.
    """

    name: str
    answers: tuple[str, ...]
    takes: tuple[str, ...] = ()
    sets: Mapping[str, str] = {}
    constants: Mapping[str, Any] = {}
    optional: int = 0


def _get(name: str, *answers: str) -> Method:
    return Method(name, answers)


def _set(name: str, *takes: str, optional: int = 0) -> Method:
    return Method(name, takes[:1], takes, dict(zip(takes, takes, strict=True)), optional=optional)


def _methods() -> Mapping[str, Method]:
    methods: dict[str, Method] = {}
    for name in ("di", "input"):
        methods[f"{name}_get"] = _get(name, "value", "debounce")
        methods[f"{name}_get_value"] = _get(name, "value")
        methods[f"{name}_set"] = _set(name, "debounce")
    for name in ("do", "ro", "output", "relay"):
        methods[f"{name}_get"] = _get(name, "value", "pending")
        methods[f"{name}_set"] = _set(name, "value")
        timed = {"value": "value", "timeout": "timeout"}
        methods[f"{name}_set_for_time"] = Method(name, (), tuple(timed), timed)
    methods["ai_get"] = _get("ai")
    methods["ai_set"] = _set("ai", "mode")
    methods["ao_get"] = _get("ao", "value")
    methods["ao_set_value"] = _set("ao", "value")
    methods["ao_set"] = _set("ao", "value", "mode")
    for name in ("led", "register"):
        methods[f"{name}_get"] = _get(name, "value")
        methods[f"{name}_set"] = _set(name, "value")
    methods["wd_get"] = _get("wd", "value", "timeout")
    methods["wd_set"] = _set("wd", "value", "timeout", optional=1)
    methods["sensor_get"] = _get("sensor", "value", "lost", "time", "interval")
    methods["sensor_get_value"] = _get("sensor", "value")
    methods["sensor_set"] = _set("sensor", "interval")
    methods["owbus_get"] = _get("owbus", "scan_interval")
    methods["owbus_set"] = _set("owbus", "scan_interval")
    methods["owbus_scan"] = Method("owbus", ("do_scan",), constants={"do_scan": True})
    return methods


METHODS = _methods()

#: Methods that are not about one circuit's state.
LIST_METHODS = "system.listMethods"
LIST_SENSORS = "owbus_list"

NAMES = (*METHODS, LIST_SENSORS, LIST_METHODS)


class Rpc(DeskResource):
    """The one path ``/rpc``.

    The status is 200 whatever came of the calls; 204 where all of them were notifications, which have no answer.
    """

    _log = Logger()

    paths = {
        "": {
            b"POST": Operation(
                "call",
                "JSON-RPC 2.0, single or in a batch",
                schema_of("RpcAnswer"),
                schema_of("RpcRequest"),
                (BadValue,),
                {204: "All calls were notifications"},
            )
        }
    }

    via = "rpc"

    async def answer(self, request: Request, desk: Desk) -> bytes:
        try:
            message = msgspec.json.decode(self.body(request))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            return json(request, _error(None, PARSE_ERROR, f"this is not JSON: {error}"[:200]))
        if not isinstance(message, list):
            answer = await self._call(message, desk)
        elif 0 < len(message) <= LARGEST_BATCH:
            calls = [Deferred.fromCoroutine(self._call(call, desk)) async for call in sliced(message, desk.clock)]
            done: Any = await DeferredList(calls, fireOnOneErrback=True, consumeErrors=True)
            answers = [answer for _, answer in done if answer is not None]
            answer = encode([Raw(answer) for answer in answers]) if answers else None
        else:
            answer = _error(None, BadRequest.rpc, f"a batch has 1 to {LARGEST_BATCH} calls, got {len(message)}")
        if answer is None:
            request.setResponseCode(204)
            return b""
        return json(request, answer)

    async def _call(self, call: object, desk: Desk) -> bytes | None:
        """The answer to one call; None to a notification."""
        given = call.get("id") if isinstance(call, dict) else None
        if given is not None and not is_id(given):
            return _error(None, BadRequest.rpc, f"id: got {shown(given)}, expected text, a number or null")
        try:
            name, parameters = _checked(call)
        except BadRequest as error:
            return _error(given, error.rpc, str(error))  # told even without an id: it may be that which is wrong
        try:
            answer = encode(RpcAnswer(result=await _do(name, parameters, desk, given), id=given))
        except EvokError as error:
            answer = _error(given, error.rpc, error.message, {"code": error.code, "sent": error.sent})
        except Exception:
            self._log.failure("{name}({parameters})", name=name, parameters=shown(parameters))
            answer = _error(given, EvokError.rpc, "something went wrong in the service; its log says more")
        return answer if "id" in call else None  # type: ignore[operator]  # checked: a dict


async def _do(name: str, parameters: list[Any] | dict[str, Any], desk: Desk, given: Id | None) -> Any:
    if name == LIST_METHODS:
        _bound(name, (), parameters)
        return sorted(NAMES)
    if name == LIST_SENSORS:
        return _sensors_of(desk.find("owbus", _bound(name, ("circuit",), parameters)["circuit"]), desk)
    method = METHODS.get(name)
    if method is None:
        raise UnknownMethod(f"there is no method {name!r:.60}; {nearest(name[:60], NAMES)}")
    values = _bound(name, ("circuit", *method.takes), parameters, method.optional)
    circuit = values.pop("circuit")
    changes = {**method.constants, **{method.sets[key]: value for key, value in values.items()}}
    if changes:
        device = await desk.set(method.name, circuit, changes, given)
    else:
        device = desk.find(method.name, circuit)
    state = desk.state(device)
    if not method.answers:
        return state
    fields = [state.get(field) for field in method.answers if field in (*state, "value")]
    return fields[0] if len(fields) == 1 else fields


def _sensors_of(bus: Device, desk: Desk) -> dict[str, list[str]]:
    """Addresses of the sensors on a bus, by their type; of every type that we know."""
    found: dict[str, list[str]] = {kind: [] for kind in TYPES}
    for sensor in desk.select(("sensor",)):
        if isinstance(sensor, Sensor) and sensor.group == bus.group:
            found.setdefault(sensor.state.type, []).append(sensor.state.address)
    return found


def _checked(call: object) -> tuple[str, list[Any] | dict[str, Any]]:
    """Method and parameters of a call.

    :raises BadRequest: it is none.
    """
    if not isinstance(call, dict):
        raise BadRequest(f"got {shown(call)}, expected an object with jsonrpc, method, params and id")
    if call.get("jsonrpc") != "2.0":
        raise BadRequest(f"jsonrpc: got {shown(call.get('jsonrpc'))}, expected '2.0'")
    name, parameters = call.get("method"), call.get("params")
    if not isinstance(name, str):
        raise BadRequest(f"method: got {shown(name)}, expected the name of a method")
    if parameters is None:
        parameters = []  # not by the standard, but as some libraries have it
    if not isinstance(parameters, list | dict):
        raise BadRequest(f"params: got {shown(parameters)}, expected a list or an object")
    return name, parameters


def _bound(name: str, names: tuple[str, ...], given: list[Any] | dict[str, Any], optional: int = 0) -> dict[str, Any]:
    """Parameters by name, however they were given."""
    signature = f"{name}({', '.join(names)})"
    if isinstance(given, dict):
        strange = given.keys() - set(names)
        if strange:
            raise BadParameter(f"{signature} takes no {', '.join(map(shown, sorted(strange)))}")
        bound = given
    elif len(given) > len(names):
        raise BadParameter(f"{signature}: got {len(given)} parameters")
    else:
        bound = dict(zip(names, given, strict=False))
    missing = [key for key in names[: len(names) - optional] if key not in bound]
    if missing:
        raise BadParameter(f"{signature}: {', '.join(missing)} is missing")
    return dict(bound)


def _error(given: object, code: int, message: str, data: dict[str, Any] | None = None) -> bytes:
    return encode(RpcAnswer(error=RpcError(code, message, UNSET if data is None else data), id=given))
