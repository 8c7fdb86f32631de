"""Commands that come in from a broker, and their answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from evok_twisted.api.bulk import do_bulk
from evok_twisted.api.limits import Allowance
from evok_twisted.api.messages import Error, Id, encode, is_id
from evok_twisted.api.mqtt.connection import Connection, Message
from evok_twisted.api.mqtt.states import States
from evok_twisted.api.mqtt.topics import BULK, GET, LONGEST_RESPONSE, SET, Topics, name_of
from evok_twisted.core.desk import Desk
from evok_twisted.errors import BadRequest, Busy, Conflict, EvokError, RefusedRetained, TooLarge
from evok_twisted.logs import Logger, Repeats
from evok_twisted.model.device import Device
from evok_twisted.model.parameters import Bit, shown

#: Bytes of a set, and of a bulk request, at most.
LARGEST_SET = 4 << 10
LARGEST_BULK = 64 << 10
#: Commands that may be under way at one time.
MOST_UNDER_WAY = 256
#: Answers that may wait for the broker to take them.
MOST_ANSWERS = 1024
#: What a set may be beside a value: the other one.
TOGGLE = "toggle"


class Answer(msgspec.Struct):
    """The answer to a command; ``id`` is what the command had, and ``topic`` where it came in, below the unit's."""

    id: Id | None
    topic: str
    success: bool
    result: Raw | UnsetType = UNSET
    error: Error | UnsetType = UNSET


class _Asked(NamedTuple):
    """Where an answer is to go, and what it is to."""

    topic: str
    id: Id | None
    qos: int
    respond: tuple[str, bytes | None]


class _Outgoing(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    correlation: bytes | None


class Commands:
    """Carries out what comes in, and answers once to each.

    :param discovery: what the topics begin with by which Home Assistant is told of devices.
    :param rate: commands a second.
    :ivar count: how many came in.
    """

    _log = Logger()

    def __init__(self, desk: Desk, topics: Topics, states: States, *, discovery: str, rate: float) -> None:
        self.count = 0
        self._desk = desk
        self._topics = topics
        self._states = states
        self._discovery = discovery
        self._allowance = Allowance(rate, desk.clock.seconds())
        self._repeats = Repeats(self._log, desk.clock)
        self._connection: Connection | None = None
        self._under_way = 0
        #: what outputs will be when the sets under way are done, so that two toggles are two
        self._coming: dict[Device, int] = {}
        self._answers: deque[_Outgoing] = deque()
        #: topics of old commands that were told of
        self._old: set[str] = set()

    def begin(self, connection: Connection) -> None:
        """Answer on this connection."""
        self._connection = connection

    def end(self) -> None:
        """It is gone, and with it who waits for answers."""
        self._connection = None
        self._answers.clear()

    def is_command(self, topic: str) -> bool:
        """Whether what is published on ``topic`` is for this."""
        return topic.startswith(self._topics.root) and topic.endswith((f"/{SET}", f"/{GET}", f"/{BULK}"))

    def take(self, message: Message) -> None:
        """Carry out a command, in its time."""
        place = message.topic.removeprefix(self._topics.root)
        if not message.payload and not place.endswith(f"/{GET}"):
            return  # what clears a retained command is none
        self.count += 1
        asked = _Asked(place, None, message.qos, (self._topics.reply, None))
        try:
            asked = self._addressed(asked, message)
            self._check(message)
            given, payload = _parsed(place, message.payload)
            asked = asked._replace(id=given)
            self._admit()
            self._under_way += 1
            done = Deferred.fromCoroutine(self._do(asked, payload))
            done.addErrback(self._went_wrong, asked)
            done.addBoth(self._is_done)
        except EvokError as error:
            self._refuse(asked, error)

    def _addressed(self, asked: _Asked, message: Message) -> _Asked:
        if message.respond is None:
            return asked
        why = self._topics.may_respond_on(message.respond[0], self._discovery)
        if not why and len(message.respond[1] or b"") > LONGEST_RESPONSE:
            why = f"expected at most {LONGEST_RESPONSE} bytes of correlation data"
        if why:
            raise BadRequest(f"no answer may go to {shown(message.respond[0])}: {why}")
        return asked._replace(respond=message.respond)

    def _check(self, message: Message) -> None:
        """Whether a command may be looked at.

        :raises EvokError: it may not.
        """
        if message.retained:
            self._clear(message.topic)
            raise RefusedRetained("it is old: the broker had kept it; what is to be set must not be retained")
        largest = LARGEST_BULK if message.topic == self._topics.root + BULK else LARGEST_SET
        if len(message.payload) > largest:
            raise TooLarge(f"{len(message.payload)} bytes, expected at most {largest}")

    def _admit(self) -> None:
        """Whether there is room for one more command.

        :raises Busy: there is not.
        """
        if self._under_way >= MOST_UNDER_WAY or self._allowance.take(self._desk.clock.seconds()):
            raise Busy("too many commands at one time; this one was not taken")

    def _clear(self, topic: str) -> None:
        """Let the broker forget an old command."""
        if topic not in self._old and len(self._old) < MOST_ANSWERS:
            self._old.add(topic)
            message = "MQTT: {topic}: a command that the broker had kept was not carried out, and is cleared"
            self._log.warn(message, topic=topic)
        if self._connection is not None:
            self._send(_Outgoing(topic, b"", 1, None))

    async def _do(self, asked: _Asked, payload: Any) -> None:
        try:
            if asked.topic == BULK:
                done = await do_bulk(self._desk, payload)
                self._answer(asked, result=done.body, error=done.failed)
            else:
                self._answer(asked, result=await self._result(asked, payload))
        except EvokError as error:
            self._refuse(asked, error)

    async def _result(self, asked: _Asked, payload: Any) -> bytes:
        match asked.topic.split("/"):
            case ["all", "get"]:
                return encode({"circuits": self._states.put_all(again=True)})
            case [dev, circuit, "get"]:
                device = self._desk.find(name_of(dev), name_of(circuit))
                self._states.put(device, again=True)
                return self._desk.fragment(device)
            case [dev, circuit, "set"]:
                parameters = payload if isinstance(payload, dict) else {"value": payload}
                return await self._set(asked, name_of(dev), name_of(circuit), parameters)
            case [dev, circuit, field, "set"]:
                if isinstance(payload, dict):
                    if payload.keys() != {"value"}:
                        raise BadRequest(f"expected the value of {shown(field)}, or a JSON object with it as value")
                    payload = payload["value"]
                return await self._set(asked, name_of(dev), name_of(circuit), {name_of(field): payload})
        raise BadRequest("no command goes to this topic")

    async def _set(self, asked: _Asked, dev: str, circuit: str, parameters: Mapping[str, Any]) -> bytes:
        device = self._desk.find(dev, circuit)
        value = parameters.get("value")
        is_bit = isinstance(device.parameters.get("value"), Bit)
        if is_bit and isinstance(value, str) and value.strip().lower() == TOGGLE:
            value = self._other(device)
            parameters = {**parameters, "value": value}
        coming = _as_bit(value) if is_bit and "timeout" not in parameters else None
        if coming is not None:
            self._coming[device] = coming
        try:
            return self._desk.fragment(await self._desk.set(dev, circuit, parameters, asked.id))
        finally:
            if coming is not None and self._coming.get(device) == coming:
                del self._coming[device]

    def _other(self, device: Device) -> int:
        """What an output is not, and will not be.

        :raises Conflict: nobody knows what it is.
        """
        value = self._coming.get(device, getattr(device.state, "value", None))
        if value not in (0, 1):
            raise Conflict(f"{device!r}: it cannot be toggled, for nobody knows yet what it is")
        return 1 - int(value)

    # Answers

    def _refuse(self, asked: _Asked, error: EvokError) -> None:
        self._answer(asked, error=error)
        self._repeats.info("MQTT: {topic}: {why}", topic=asked.topic, why=error.message)

    def _went_wrong(self, failure: Failure, asked: _Asked) -> None:
        self._log.failure("MQTT: {topic}", failure, topic=asked.topic)
        self._refuse(asked, EvokError("something went wrong in the service; its log says more"))

    def _is_done(self, result: object) -> object:
        self._under_way -= 1
        return result

    def _answer(self, asked: _Asked, result: bytes | None = None, error: EvokError | None = None) -> None:
        answer = Answer(
            asked.id,
            asked.topic,
            error is None,
            UNSET if result is None else Raw(result),
            UNSET if error is None else Error(error.code, error.message, error.sent),
        )
        topic, correlation = asked.respond
        self._send(_Outgoing(topic, encode(answer), asked.qos, correlation))

    def _send(self, one: _Outgoing) -> None:
        if self._connection is None:
            return
        if len(self._answers) >= MOST_ANSWERS:
            self._repeats.warn("MQTT: the broker is slow; answers are left out")
            return
        self._answers.append(one)
        self.send_answers()

    def send_answers(self) -> None:
        """Send what the broker takes."""
        while self._connection is not None and self._answers and self._connection.room:
            topic, payload, qos, correlation = self._answers.popleft()
            self._connection.publish(topic, payload, qos, retain=not payload, correlation=correlation)


def _parsed(place: str, payload: bytes) -> tuple[Id | None, Any]:
    """The id of a command, and what it says: a text, a JSON object, or, of ``bulk``, JSON as it is.

    :raises BadRequest: it cannot be understood.
    """
    text = payload.strip()
    if not text.startswith(b"{"):
        if place == BULK:
            raise BadRequest("expected a JSON object")
        try:
            return None, text.decode()
        except UnicodeDecodeError:
            raise BadRequest("expected a value as text, or a JSON object") from None
    try:
        given = msgspec.json.decode(text, type=dict[str, Raw] if place == BULK else dict[str, Any])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadRequest(f"this is not JSON: {error}"[:200]) from None
    id: Any = given.pop("id", None)
    if isinstance(id, Raw):
        id = msgspec.json.decode(id)
    if id is not None and not is_id(id):
        raise BadRequest(f"an id is text or a number, got {shown(id)}")
    return id, encode(given) if place == BULK else given


def _as_bit(value: object) -> int | None:
    try:
        return Bit().parse(value)
    except (ValueError, KeyError, TypeError):
        return None
