"""One connection to a broker: paho's protocol over a transport of Twisted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from paho.mqtt import client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from evok_twisted.api.mqtt.brokerclient import WINDOW, BrokerClient, Hello, Wire
from evok_twisted.api.mqtt.packets import LARGEST_PACKET, Sieve
from evok_twisted.api.mqtt.trouble import UNSUPPORTED_VERSION, BrokerError, in_words
from evok_twisted.conditions import Timer
from evok_twisted.logs import Logger, Repeats

#: Seconds that a broker has for its first answer, and for those to subscriptions.
PATIENCE = 10.0
#: Seconds of what a broker sends that are worked on in one turn; then as much time is others'.
LONGEST_TURN = 0.005
#: Seconds after a farewell until the connection is ended in any case.
FAREWELL = 1.0
#: Bytes of a publication beside topic and payload, at most.
_OVERHEAD = 64


class Message(NamedTuple):
    """What a broker sent.

    :ivar retained: it is old: the broker has kept it.
    :ivar respond: where the answer is to go, and what is to come with it, where MQTT 5 says so.
    """

    topic: str
    payload: bytes
    qos: int
    retained: bool
    respond: tuple[str, bytes | None] | None = None


class Wanted(NamedTuple):
    """What is to be subscribed to.

    :ivar own: hear of what we publish there, too; MQTT 3.1.1 always lets one.
    """

    pattern: str
    qos: int = 1
    own: bool = False


@implementer(IPushProducer)
class Connection(Protocol):
    """A connection from its begin to its end; for another there is another.

    Paho keeps neither what a broker says of itself (how much it takes at one time, how large) nor a bound on what it
    has written; both is kept here. Nothing is done in its callbacks, in which it must not be called.

    :param receive: takes each message.
    :ivar accepted: fires when the broker takes us; fails with ``BrokerError``.
    :ivar lost: fires when the connection is gone, with the reason.
    :ivar on_room: called when there is room again for what is to be published.
    :ivar largest: bytes of the largest packet that the broker takes.
    """

    _log = Logger()

    def __init__(self, hello: Hello, clock: IReactorTime, receive: Callable[[Message], None], repeats: Repeats) -> None:
        self.accepted: Deferred[None] = Deferred()
        self.lost: Deferred[BrokerError] = Deferred()
        self.on_room: Callable[[], None] = lambda: None
        self.largest = 1 << 28
        self._hello = hello
        self.clock = clock
        self._receive = receive
        self._repeats = repeats
        self._v5 = hello.version == "5"
        self._sieve = Sieve()
        self._passed_over = 0
        self._window = WINDOW
        self._highest_qos = 1
        self._retains = True
        self._paused = False
        #: by their numbers, the topics of what was published and not acknowledged, and who waits for that
        self._unacknowledged: dict[int, tuple[str, Deferred[None] | None]] = {}
        self._answers: dict[int, Deferred[list[int]]] = {}
        self._received: list[Message] = []
        self._farewell: BrokerError | None = None
        self._tick = Timer(clock, self._misc)
        self._turn = Timer(clock, self._go_on)
        self._end = Timer(clock, self.abort)

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.registerProducer(self, True)
        client = self._client = BrokerClient(self._hello, Wire(transport))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = client.on_unsubscribe = self._on_answer
        client.greet()
        self._flush()
        self._tick.start(1.0)

    # What is sent

    @property
    def room(self) -> bool:
        """Whether something more may be published."""
        return not self._paused and len(self._unacknowledged) < self._window and not self.lost.called

    @property
    def writable(self) -> bool:
        """Whether what needs no acknowledgement may be published."""
        return not self._paused and not self.lost.called

    def publish(
        self, topic: str, payload: bytes, qos: int, *, retain: bool = False, correlation: bytes | None = None
    ) -> bool:
        """Publish; whether it was not too large for the broker."""
        return self._publish(topic, payload, qos, retain, correlation, None)

    def publish_surely(self, topic: str, payload: bytes) -> Deferred[None]:
        """Publish what is to be retained.

        :returns: fires when it is acknowledged, or never will be.
        """
        done: Deferred[None] = Deferred()
        self._publish(topic, payload, 1, True, None, done)
        if not any(waiting is done for _, waiting in self._unacknowledged.values()):
            done.callback(None)
        return done

    def _publish(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,
        correlation: bytes | None,
        done: Deferred[None] | None,
    ) -> bool:
        if len(topic.encode()) + len(payload) + len(correlation or b"") + _OVERHEAD > self.largest:
            self._repeats.warn(
                "MQTT: {topic}: {size} bytes are more than the broker takes; left out", topic=topic, size=len(payload)
            )
            return False
        properties = None
        if self._v5 and correlation is not None:
            properties = Properties(PacketTypes.PUBLISH)
            properties.CorrelationData = correlation
        qos = min(qos, self._highest_qos)
        published = self._client.publish(topic, payload, qos, retain and self._retains, properties)
        if qos and not published.rc:
            self._unacknowledged[published.mid] = topic, done
        self._flush()
        return True

    def subscribe(self, wanted: Sequence[Wanted]) -> Deferred[list[int]]:
        """Subscribe.

        :returns: the broker's codes, one for each; 128 and more are refusals.
        """
        if self._v5:
            topics: Any = [
                (one.pattern, SubscribeOptions(one.qos, noLocal=not one.own, retainHandling=0)) for one in wanted
            ]
        else:
            topics = [(one.pattern, one.qos) for one in wanted]
        return self._asked(self._client.subscribe(topics)[1])

    def unsubscribe(self, patterns: Iterable[str]) -> Deferred[list[int]]:
        """Hear no more of what was subscribed to."""
        return self._asked(self._client.unsubscribe(list(patterns))[1])

    def _asked(self, number: int | None) -> Deferred[list[int]]:
        answer: Deferred[list[int]] = Deferred()
        if number is None or self.lost.called:
            answer.errback(BrokerError("the connection is lost"))
            return answer
        self._answers[number] = answer
        self._flush()
        answer.addTimeout(PATIENCE, self.clock)
        return answer

    def say_farewell(self) -> None:
        """Part as MQTT has it, so that the broker does not carry out the will."""
        self._client.disconnect()
        self._flush()
        self._end.start(FAREWELL)

    def abort(self) -> None:
        """End the connection at once."""
        transport: Any = self.transport
        transport.abortConnection()

    def _flush(self) -> None:
        while self._client.want_write() and self._client.socket() is not None:
            self._client.loop_write()

    # What comes

    def dataReceived(self, data: bytes) -> None:
        try:
            passed = self._sieve.feed(data)
        except ValueError as error:
            self._fail(f"the broker sent what is no MQTT: {error}")
            return
        if self._sieve.passed_over > self._passed_over:
            self._passed_over = self._sieve.passed_over
            message = "MQTT: a message of more than {size} bytes was passed over"
            self._repeats.warn(message, size=LARGEST_PACKET)
        if passed.answers:
            transport: Any = self.transport
            transport.write(passed.answers)
        self._client.wire.data += passed.data
        if not self._turn.running:
            self._go_on()

    def _go_on(self) -> None:
        """Work on what has come, for a while."""
        begun = self.clock.seconds()
        wire, client = self._client.wire, self._client
        transport: Any = self.transport
        while wire.data and client.socket() is not None:
            try:
                client.loop_read()
            except Exception as error:  # whatever paho stumbles over
                self._fail(f"the broker sent what is no MQTT: {error!r:.200}")
                return
            self._flush()
            received, self._received = self._received, []
            for message in received:
                self._receive(message)
            lasted = self.clock.seconds() - begun
            if lasted > LONGEST_TURN and wire.data:
                transport.pauseProducing()
                self._turn.start(lasted)
                return
        transport.resumeProducing()
        if self.room:
            self.on_room()

    def _fail(self, why: str) -> None:
        self._farewell = self._farewell or BrokerError(why)
        self.abort()

    def _misc(self) -> None:
        self._client.loop_misc()
        self._flush()
        self._tick.start(1.0)

    # Paho's callbacks: they note what is so, and no more

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: ReasonCode, properties: Any) -> None:
        if self.accepted.called:
            raise ValueError("a second answer to one hello")
        if reason.is_failure:
            self._farewell = BrokerError(str(reason), reason.value)
            return
        self._window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        self._highest_qos = min(1, getattr(properties, "MaximumQoS", 1))
        self._retains = bool(getattr(properties, "RetainAvailable", 1))
        self.largest = getattr(properties, "MaximumPacketSize", self.largest)
        self.accepted.callback(None)

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if self._farewell is not None:
            return
        if flags.is_disconnect_packet_from_server:
            self._farewell = BrokerError(f"the broker says {reason}", reason.value)
        elif str(reason) == "Keep alive timeout":
            self._farewell = BrokerError("the broker does not answer")
        elif str(reason) == "Protocol error" and not self.accepted.called:
            # how paho tells of code 1 in a CONNACK of MQTT 3.1.1
            self._farewell = BrokerError("Unsupported protocol version", UNSUPPORTED_VERSION)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        topic = getattr(message.properties, "ResponseTopic", None)
        respond = None if topic is None else (topic, getattr(message.properties, "CorrelationData", None))
        self._received.append(Message(message.topic, bytes(message.payload), message.qos, message.retain, respond))

    def _on_publish(self, _client: Any, _data: Any, number: int, reason: ReasonCode, _properties: Any) -> None:
        topic, done = self._unacknowledged.pop(number, ("", None))
        if topic and reason.is_failure:
            self._repeats.warn("MQTT: the broker does not take {topic}: {why}", topic=topic, why=str(reason))
        if done is not None:
            self.clock.callLater(0, done.callback, None)

    def _on_answer(self, _client: Any, _data: Any, number: int, codes: Any, _properties: Any) -> None:
        answer = self._answers.pop(number, None)
        if answer is not None:
            found = [code.value for code in codes] if isinstance(codes, list) else []
            self.clock.callLater(0, _fire, answer, found)

    # The transport tells whether the broker reads

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self.on_room()

    def stopProducing(self) -> None:
        """The transport is gone; ``connectionLost`` follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        for timer in (self._tick, self._turn, self._end):
            timer.stop()
        why = self._farewell or BrokerError(in_words(reason))
        if not self.accepted.called:
            self.accepted.errback(why)
        for answer in tuple(self._answers.values()):
            _fire(answer, BrokerError("the connection is lost"))
        self._answers.clear()
        unacknowledged, self._unacknowledged = self._unacknowledged, {}
        self.lost.callback(why)
        for _, done in unacknowledged.values():
            if done is not None:
                done.callback(None)


def _fire(answer: Deferred[list[int]], outcome: Any) -> None:
    """Fire, unless it was given up meanwhile."""
    if not answer.called:
        if isinstance(outcome, Exception):
            answer.errback(outcome)
        else:
            answer.callback(outcome)
