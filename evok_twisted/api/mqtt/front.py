"""The front: a unit on its broker, what it says there first, and what it does with what comes from there."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from evok_twisted.api.front import Context, Front, chosen
from evok_twisted.api.mqtt.about import About
from evok_twisted.api.mqtt.commands import Commands
from evok_twisted.api.mqtt.components import Choices, Components
from evok_twisted.api.mqtt.connection import Connection, Message, Wanted
from evok_twisted.api.mqtt.discovery import Describer, Discovery
from evok_twisted.api.mqtt.link import Link
from evok_twisted.api.mqtt.outbox import Outbox
from evok_twisted.api.mqtt.retained import REFUSED, ReadBack
from evok_twisted.api.mqtt.settings import MqttSettings, read_files
from evok_twisted.api.mqtt.states import States
from evok_twisted.api.mqtt.topics import Topics, level
from evok_twisted.conditions import Subscription, Timer
from evok_twisted.core.desk import Desk
from evok_twisted.core.events import ChangeSet
from evok_twisted.core.filters import Filter
from evok_twisted.core.health import BrokerHealth
from evok_twisted.core.identity import Identity, Scopes
from evok_twisted.core.slices import sliced
from evok_twisted.errors import ConfigError
from evok_twisted.logs import Logger
from evok_twisted.meters import Meters, Sample

#: Seconds after which a unit is told to be online, whatever waits.
LATEST_ONLINE = 5.0
#: Seconds between two answers to an ``offline`` of ours that is wrong.
CONTRADICTION = 10.0
#: Seconds after the start of Home Assistant for which it is left alone, at least and at most.
AFTER_BIRTH = (1.0, 5.0)
#: Seconds between two starts of it that are minded.
BIRTHS = 30.0


class Mqtt(Service):
    """A unit on its broker.

    :param wanted: what is told of.
    """

    _log = Logger()

    def __init__(self, settings: MqttSettings, desk: Desk, wanted: Filter, choices: Choices, context: Context) -> None:
        assistant = settings.home_assistant
        self._settings = settings
        self._desk = desk
        self._wanted = wanted
        self._topics = topics = Topics(settings.base, settings.name)
        self._birth_topic = f"{assistant.prefix}/status"
        self._about = About(desk, topics, context.url)
        self._states = States(desk, wanted, settings, topics, self._tell)
        self._commands = Commands(desk, topics, self._states, discovery=assistant.prefix, rate=settings.max_rate)
        components = Components(desk, topics, choices)
        describer = Describer(desk, topics, components, self._about.info, assistant.prefix, assistant.area)
        self._discovery = Discovery(desk, describer, self._states.devices, enabled=assistant.enabled)
        self._read_back = ReadBack(desk, topics, describer.pattern)
        self._link = Link(settings, context.reactor, topics.status, self._receive, self._use, self._let_go)
        self._outbox: Outbox | None = None
        self._published = 0
        self._online = False
        self._subscription: Subscription | None = None
        self._online_by = Timer(desk.clock, self._hurry)
        self._birth = Timer(desk.clock, self._after_birth)
        self._contradict = Timer(desk.clock, self._say_online)
        self._contradicted = -CONTRADICTION
        self._born = -BIRTHS
        self._synchronising = False

    def health(self) -> BrokerHealth:
        """How the connection to the broker is."""
        outbox = self._outbox
        waiting, sent = (len(outbox), outbox.sent) if outbox is not None else (0, 0)
        return self._link.health(waiting, self._published + sent, self._commands.count)

    @property
    def warnings(self) -> list[str]:
        """What is to be seen to."""
        return self._link.warnings()

    # Begin and end

    def startService(self) -> None:
        super().startService()
        self._subscription = self._desk.subscribe(self._hear, self._wanted)
        self._link.start()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._subscription is not None:
            self._subscription.stop()
        return Deferred.fromCoroutine(self._link.stop(self._farewell))

    def _farewell(self, connection: Connection) -> Deferred[None]:
        """The last word, which nothing comes after."""
        self._forget()
        return connection.publish_surely(self._topics.status, b"offline")

    async def _use(self, connection: Connection) -> None:
        """Say what is to be said at first: that the unit is online last, so that nobody takes what is old for good."""
        self._outbox = outbox = Outbox(connection)
        connection.on_room = self._on_room
        self._commands.begin(connection)
        self._online_by.start(LATEST_ONLINE)
        await self._subscribe(connection)
        await self._synchronise(connection, outbox)
        if self._outbox is outbox and not self._online:
            self._say_online()

    async def _subscribe(self, connection: Connection) -> None:
        topics = self._topics
        wanted = [Wanted(topics.status, own=True), Wanted(topics.info), Wanted(self._birth_topic)]
        if self._settings.commands:
            wanted += [Wanted(pattern) for pattern in topics.commands()]
        codes = await connection.subscribe(wanted)
        for one, code in zip(wanted, codes, strict=False):
            if code >= REFUSED:
                self._log.warn("MQTT: the broker does not let us subscribe to {pattern}", pattern=one.pattern)

    async def _synchronise(self, connection: Connection, outbox: Outbox) -> None:
        """Let the broker retain what is so, and nothing else: what it retains already is not sent again."""
        if self._synchronising:
            return
        self._synchronising = True
        try:
            outbox.known.clear()
            await self._read_back.read(connection)
            if self._outbox is not outbox:
                return
            await self._discovery.begin(outbox, connection.largest)
            if self._outbox is not outbox:
                return
            self._states.begin(outbox)
            self._about.begin(outbox)
            await self._clean(outbox)
        finally:
            self._synchronising = False

    async def _clean(self, outbox: Outbox) -> None:
        """Let the broker forget what is no more."""
        wanted = {topic for topic, _ in self._about.answering()}
        async for device in sliced(self._states.devices(), self._desk.clock):
            wanted.update(one.topic for one in self._states.messages(device))
        for topic in tuple(self._read_back.stale(outbox, wanted)):
            outbox.put_one(topic, b"")

    def _on_room(self) -> None:
        self._commands.send_answers()
        if self._outbox is not None:
            self._outbox.drain()

    def _let_go(self) -> None:
        """The connection is gone."""
        self._forget()
        self._commands.end()

    def _forget(self) -> None:
        if self._outbox is not None:
            self._published += self._outbox.sent
            self._outbox.clear()
        self._outbox = None
        self._online = False
        for part in (self._states, self._discovery, self._about):
            part.end()
        for timer in (self._online_by, self._birth, self._contradict):
            timer.stop()

    # What is said

    def _say_online(self) -> None:
        if self._outbox is not None:
            self._online_by.stop()
            self._online = True
            self._outbox.put_one(self._topics.status, b"online", again=True)

    def _hurry(self) -> None:
        self._say_online()
        if self._outbox is not None:
            self._outbox.hurry(self._topics.status)

    def _hear(self, changes: ChangeSet) -> None:
        self._states.hear(changes)
        for device, _ in changes.changes:
            self._discovery.notice(device)
        for device in changes.gone:
            self._discovery.forget(device)
        if any(device.kind == "modbus_slave" for device, _ in changes.changes):
            self._about.look()

    def _tell(self, topic: str, payload: bytes) -> None:
        """Tell what is told once: whoever does not hear it now does not need to."""
        connection = self._link.connection
        if connection is not None and self._online and connection.writable:
            connection.publish(topic, payload, 0)

    # What comes

    def _receive(self, message: Message) -> None:
        if message.topic == self._topics.status:
            if message.payload == b"offline" and self._online:
                self._contradict_offline()
        elif message.topic == self._topics.info:
            self._about.compare(message.payload)
        elif message.topic == self._birth_topic:
            if message.payload == b"online" and not message.retained and not self._birth.running:
                wait = random.uniform(*AFTER_BIRTH)  # noqa: S311 -- so that not all units do it at once
                self._birth.start(max(wait, self._born + BIRTHS - self._desk.clock.seconds()))
        elif self._commands.is_command(message.topic):
            if self._settings.commands:
                self._commands.take(message)
        elif message.retained and self._outbox is not None:
            self._read_back.take(message, self._outbox)

    def _contradict_offline(self) -> None:
        """Somebody says that we are offline: an old connection of ours, perhaps, whose end the broker notices now."""
        if not self._contradict.running:
            now = self._desk.clock.seconds()
            self._contradicted = max(now, self._contradicted + CONTRADICTION)
            self._contradict.start(self._contradicted - now)

    def _after_birth(self) -> None:
        """Home Assistant has begun: what the broker has lost of what it is to know is sent again."""
        connection, outbox = self._link.connection, self._outbox
        self._born = self._desk.clock.seconds()
        if connection is not None and outbox is not None:
            done = Deferred.fromCoroutine(self._synchronise(connection, outbox))
            done.addErrback(lambda failure: self._log.warn("MQTT: {why}", why=failure.getErrorMessage()))


def make(context: Context, settings: MqttSettings) -> Mqtt | None:
    """The unit on its broker, if it can be."""
    problems, key = context.problems, "apis.mqtt"
    desk = context.desks(Identity("mqtt", "mqtt", Scopes(settings.role)), settings.dialect)
    sound = True

    def error(path: str, message: str) -> None:
        nonlocal sound
        sound = False
        problems.error(problems.file_of(path), path, message, fatal=False)

    assistant = settings.home_assistant
    places = {f"{key}.home_assistant.{of}": getattr(assistant, of) for of in ("lights", "fans", "events")}
    given = {f"{key}.devices": settings.devices, **places}
    filters = [chosen(names, desk, problems, path, fatal=False) for path, names in given.items()]
    if assistant.prefix == settings.base:
        error(f"{key}.base", f"got {settings.base!r}, which is that of home_assistant.prefix, too")
    try:
        read_files(settings)
    except ConfigError as problem:
        error(key, str(problem))
    if settings.home_assistant.enabled and settings.values == "plain":
        message = "Home Assistant needs the JSON objects: they are published, too"
        problems.warning(problems.file_of(f"{key}.values"), f"{key}.values", message)
    _tell_of_names(desk, context)
    usable = [one for one in filters if one is not None]
    if not sound or len(usable) < len(filters):
        return None
    wanted, lights, fans, events = usable
    made = Mqtt(settings, desk, wanted, Choices(lights, fans, events, settings.commands), context)
    context.desks.report("mqtt", made.health, lambda: made.warnings)
    _measure(context.desks.meters, made.health)
    return made


def _measure(meters: Meters, of: Callable[[], BrokerHealth]) -> None:
    def messages() -> Iterator[Sample]:
        health = of()
        yield ("received",), health.commands
        yield ("sent",), health.published

    text = "Commands from the MQTT broker, and messages to it"
    meters.ask("mqtt_messages_total", "counter", text, ("direction",), messages)
    meters.one("mqtt_connected", "gauge", "1 while there is a connection to the broker", lambda: of().connected)


def _tell_of_names(desk: Desk, context: Context) -> None:
    """Say how boards are called in topics, whose names cannot stand there as they are."""
    problems = context.problems
    for group in dict.fromkeys(device.group for device in desk):
        if level(group) != group:
            message = f"the name {group!r} is {level(group)!r} in MQTT topics"
            problems.warning(problems.file_of("comm_channels"), "comm_channels", message)


FRONT = Front("mqtt", MqttSettings, make)
