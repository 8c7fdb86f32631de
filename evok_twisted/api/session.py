"""What a client may say, and what it hears: the messages of docs/protocol.md, whatever carries them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from evok_twisted.api.messages import Id, encode, is_id, refused, subscribed, succeeded
from evok_twisted.core.desk import Desk
from evok_twisted.core.filters import DEFAULT, Filter
from evok_twisted.core.wills import MOST_SETS, Will
from evok_twisted.errors import BadParameter, BadRequest, BadValue, EvokError, UnknownCommand
from evok_twisted.logs import Logger, Repeats
from evok_twisted.model.device import Device
from evok_twisted.model.parameters import Real, parse, shown

#: The id at the begin of an object that is otherwise no JSON.
_LEADING_ID = re.compile(rb'\s*\{\s*"id"\s*:\s*("[^"\\\x00-\x1f\x80-\xff]{0,100}"|-?(?:0|[1-9][0-9]{0,14}))\s*[,}]')

#: What a subscriber hears that does not say what.
DEFAULT_NAMES = ("default",)
#: Seconds within which it is noticed that a client with a will is gone, if it does not ask for less.
LONGEST_SILENCE = 75
#: Times that a client may choose: in which it hears one message at most, and in which its end is noticed.
SECONDS = {"every": Real(0.02, 3600, "seconds"), "within": Real(1, LONGEST_SILENCE, "seconds")}

#: What a ``set`` message has beside parameters.
_ENVELOPE = ("cmd", "dev", "circuit", "id", "value")


class Session:
    """One client's talk with the service.

    A command with an ``id`` gets exactly one reply; without one it gets an answer only where the answer is its
    purpose. What cannot be understood is ignored.

    :param desk: the client's.
    :param send: sends one message to the client; does nothing when the client is gone.
    :param listen: called whenever the client chooses what it hears: with the filter, and, of a subscriber, the pace.
    :param peer: the client's address, for the log.
    :param repeats: logs what its client does not hear of.
    :param watch_closely: called with the seconds within which it is to be noticed that the client is gone.
    """

    _log = Logger()

    def __init__(
        self,
        desk: Desk,
        *,
        all_filtered: bool,
        send: Callable[[bytes], None],
        listen: Callable[[Filter, float | None], None],
        peer: str,
        repeats: Repeats,
        watch_closely: Callable[[float | None], None] = lambda _: None,
    ) -> None:
        self._desk = desk
        self._all_filtered = all_filtered
        self._send = send
        self._listen = listen
        self._peer = peer
        self._repeats = repeats
        self._filter = DEFAULT
        self._every: float | None = None
        self._watch_closely = watch_closely
        self._last_will: Will | None = None
        self._closed = False

    def handle(self, payload: bytes) -> None:
        """Take one message; never raises."""
        try:
            message = msgspec.json.decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            self._fail(_id_of_garbage(payload), BadRequest(f"this is not JSON: {error}"[:200]), {})
            return
        if not isinstance(message, dict):
            return  # clients send lone spaces, numbers and lists; none of them can have an id
        given = message.get("id")
        if "id" in message and not is_id(given):
            self._log.debug("{peer}: an id is text or a number, got {given}", peer=self._peer, given=shown(given))
            return
        command = message.get("cmd")
        handler = self._handlers.get(command) if isinstance(command, str) else None
        try:
            if handler is not None:
                handler(self, message)
            else:
                self._ask(command, message)
        except EvokError as error:
            self._fail(given, error, message)
        except Exception:
            self._went_wrong(Failure(), message)

    def _succeed(self, given: Id, result: bytes) -> None:
        self._send(succeeded(given, result))

    def _fail(self, given: Id | None, error: EvokError, message: Mapping[str, Any]) -> None:
        self._log.debug("{peer}: {error!r}", peer=self._peer, error=error)
        if given is None and message.get("cmd") == "set":
            what = " ".join(str(message.get(key))[:60] for key in ("dev", "circuit"))
            self._repeats.warn(
                "{peer}: set of {what} was refused: {why}", peer=self._peer, what=what, why=error.message
            )
        if given is not None:
            self._send(refused(given, error))

    def _went_wrong(self, failure: Failure, message: Mapping[str, Any]) -> None:
        self._log.failure("{peer}: {message}", failure, peer=self._peer, message=shown(message))
        self._fail(message.get("id"), EvokError("something went wrong in the service; its log says more"), message)

    def _all(self, message: Mapping[str, Any]) -> None:
        desk = self._desk
        listed = desk.listing(filter(self._filter.accepts, desk) if self._all_filtered else desk)
        self._answer(listed, message)

    def _choose(self, message: Mapping[str, Any]) -> None:
        if "devices" not in message:
            raise BadParameter("devices is missing, expected a list of kinds")
        self._filter, unknown = self._desk.wanted(message["devices"])
        self._listen(self._filter, self._every)
        if "id" in message:
            self._succeed(message["id"], encode({"devices": message["devices"], "unknown": unknown}))

    def _subscribe(self, message: Mapping[str, Any]) -> None:
        wanted, unknown = self._desk.wanted(message.get("devices", DEFAULT_NAMES))
        every, since = _seconds(message, "every", 0.0), _since(message)
        found = subscribed(self._desk, wanted, since, unknown)
        if "id" in message:
            self._succeed(message["id"], encode(found))
        else:
            found.event = "subscribed"
            self._send(encode(found))
        self._filter, self._every = wanted, every
        self._listen(wanted, every)

    def _unsubscribe(self, message: Mapping[str, Any]) -> None:
        self._every = None
        self._listen(self._filter, None)
        if "id" in message:
            self._succeed(message["id"], b"{}")

    def _will(self, message: Mapping[str, Any]) -> None:
        sets = _willed(message.get("sets"))
        within = _seconds(message, "within", LONGEST_SILENCE)
        registered = Deferred.fromCoroutine(self._desk.will(sets))
        registered.addCallback(self._has_will, within, message)
        registered.addErrback(self._has_failed, message)

    def _has_will(self, will: Will, within: float, message: Mapping[str, Any]) -> None:
        self._exchange_will(will, within)
        if "id" in message:
            self._succeed(message["id"], encode({"sets": len(will.sets), "within": within}))
        if self._closed:
            self._desk.carry_out(will)

    def _unwill(self, message: Mapping[str, Any]) -> None:
        self._exchange_will(None, None)
        if "id" in message:
            self._succeed(message["id"], b"{}")

    def _exchange_will(self, will: Will | None, within: float | None) -> None:
        before, self._last_will = self._last_will, will
        if before is not None:
            self._desk.unwill(before)
        self._watch_closely(within)

    def close(self) -> None:
        """The client is gone."""
        self._closed = True
        if self._last_will is not None:
            self._desk.carry_out(self._last_will)

    def _full(self, message: Mapping[str, Any]) -> None:
        device = self._desk.find(*_target(message))
        if "id" in message:
            self._succeed(message["id"], self._desk.fragment(device))
        else:
            self._send(self._desk.listing((device,)))

    def _report_health(self, message: Mapping[str, Any]) -> None:
        report = self._desk.health()
        if "id" in message:
            self._succeed(message["id"], encode(report))
        else:
            self._send(encode([report]))

    def _ask(self, command: object, message: Mapping[str, Any]) -> None:
        """Let a front answer."""
        questions = self._desk.questions
        question = questions.get(command) if isinstance(command, str) else None
        if question is None:
            known = ", ".join((*self._handlers, *questions))
            raise UnknownCommand(f"there is no command {shown(command)}; known are {known}")
        answered = question(self._desk, message)
        answered.addCallback(self._answer, message)
        answered.addErrback(self._has_failed, message)

    def _answer(self, answer: bytes, message: Mapping[str, Any]) -> None:
        if "id" in message:
            self._succeed(message["id"], answer)
        else:
            self._send(answer)

    def _set(self, message: Mapping[str, Any]) -> None:
        done = self._desk.set(*_target(message), _parameters(message), message.get("id"))
        done.addCallback(self._was_set, message)
        done.addErrback(self._has_failed, message)

    def _was_set(self, device: Device, message: Mapping[str, Any]) -> None:
        if "id" in message:
            self._succeed(message["id"], self._desk.fragment(device))

    def _has_failed(self, failure: Failure, message: Mapping[str, Any]) -> None:
        if isinstance(failure.value, EvokError):
            self._fail(message.get("id"), failure.value, message)
        else:
            self._went_wrong(failure, message)

    @classmethod
    def commands(cls) -> Collection[str]:
        """The names of all commands."""
        return cls._handlers.keys()

    _handlers: ClassVar[Mapping[str, Callable[[Session, Mapping[str, Any]], None]]] = {
        "all": _all,
        "filter": _choose,
        "subscribe": _subscribe,
        "unsubscribe": _unsubscribe,
        "set": _set,
        "will": _will,
        "unwill": _unwill,
        "full": _full,
        "health": _report_health,
    }


def _seconds(message: Mapping[str, Any], name: str, default: float) -> float:
    """A time that a client may choose."""
    given = message.get(name)
    return default if given is None else float(parse(SECONDS, {name: given})[name])


def _since(message: Mapping[str, Any]) -> tuple[str, int] | None:
    """Up to where a subscriber knows all."""
    since = message.get("since")
    if since is None:
        return None
    epoch, number = (since.get("epoch"), since.get("number")) if isinstance(since, dict) else (None, None)
    if not isinstance(epoch, str) or not isinstance(number, int) or isinstance(number, bool):
        raise BadValue(f'since: got {shown(since)}, expected {{"epoch":"...","number":1}} as they were told')
    return epoch, number


def _id_of_garbage(payload: bytes) -> Id | None:
    """The id in what msgspec does not take for JSON, where it can be made out."""
    try:
        # takes NaN, Infinity and numbers of any length, which msgspec does not
        message = json.loads(payload, parse_int=lambda text: int(text) if len(text) < 20 else float(text))
    except (ValueError, RecursionError):
        found = _LEADING_ID.match(payload)
        message = {"id": msgspec.json.decode(found[1])} if found else None
    given = message.get("id") if isinstance(message, dict) else None
    return given if is_id(given) else None


def _willed(sets: object) -> list[tuple[object, object, dict[str, Any]]]:
    """The sets of a will, each a kind, a circuit and parameters."""
    if not isinstance(sets, list) or not 1 <= len(sets) <= MOST_SETS or not all(isinstance(one, dict) for one in sets):
        raise BadValue(
            f'sets: expected a list of 1 to {MOST_SETS} sets such as {{"dev":"ro","circuit":"2_01","value":0}}'
        )
    return [(*_target(one), _parameters(one)) for one in sets]


def _target(message: Mapping[str, Any]) -> tuple[object, object]:
    for key in ("dev", "circuit"):
        if key not in message:
            raise BadParameter(f"{key} is missing")
    return message["dev"], message["circuit"]


def _parameters(message: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``set`` message sets: ``value``, or the parameters in it, and those beside it."""
    parameters = {key: value for key, value in message.items() if key not in _ENVELOPE}
    if "value" in message:
        value = message["value"]
        inner = value if isinstance(value, dict) else {"value": value}
        twice = parameters.keys() & inner.keys()
        if twice:
            raise BadParameter(f"{', '.join(sorted(twice))} stands both in value and beside it")
        parameters.update(inner)
    return parameters
