"""Keeps a connection to the broker: makes one, and another when it is gone, for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from evok_twisted.api.mqtt.brokerclient import Hello
from evok_twisted.api.mqtt.connection import FAREWELL, PATIENCE, Connection, Message
from evok_twisted.api.mqtt.settings import MqttSettings, endpoint, read_files
from evok_twisted.api.mqtt.trouble import (
    BAD_USER,
    NOT_AUTHORIZED,
    TAKEN_OVER,
    UNSUPPORTED_VERSION,
    BrokerError,
    in_words,
)
from evok_twisted.conditions import Condition, backoff
from evok_twisted.core.health import BrokerHealth
from evok_twisted.errors import ConfigError
from evok_twisted.logs import Logger, Repeats

#: Seconds before a broker is tried again: the first time, and at most.
FIRST_RETRY, SLOWEST_RETRY = 1.0, 30.0
#: Seconds before it is, where another client has taken our place: two that do so in turns help nobody.
TAKEN_OVER_RETRY = 60.0
#: A connection that is lost so soon, in seconds, so often in a row, is being taken over.
SOON, OFTEN = 5.0, 3


class Link:
    """The connection to the broker, whichever it is at the time.

    :param will: the topic on which the broker says that we are gone.
    :param receive: takes each message.
    :param use: called with a connection that the broker has accepted; done when all that is to be said at first is.
    :param let_go: called when it is gone.
    :ivar connection: the one that there is, if there is one.
    """

    _log = Logger()

    def __init__(
        self,
        settings: MqttSettings,
        reactor: Any,
        will: str,
        receive: Callable[[Message], None],
        use: Callable[[Connection], Awaitable[None]],
        let_go: Callable[[], None],
    ) -> None:
        self.connection: Connection | None = None
        self._settings = settings
        self._reactor = reactor
        self._will = will
        self._receive = receive
        self._use = use
        self._let_go = let_go
        self._version: str = settings.version
        self._failures = 0
        self._soon_lost = 0
        self._repeats = Repeats(self._log, reactor)
        # three connections that are lost at once are told of, and why that is
        self._down = Condition(Repeats(self._log, reactor, burst=2 * OFTEN), reactor, lasts=None)
        self._why = "not yet"
        self._running: Deferred[None] | None = None
        self._stopping = False

    def start(self) -> None:
        """Connect, from now on."""
        self._stopping = False
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._ended)

    async def stop(self, farewell: Callable[[Connection], Deferred[None]]) -> None:
        """Part from the broker, in bounded time.

        :param farewell: says the last that is to be said; waited for as long as a farewell may take.
        """
        self._stopping = True
        running, self._running = self._running, None
        if running is None:
            return
        connection = self.connection
        if connection is None:
            running.cancel()
            return
        said = farewell(connection).addTimeout(FAREWELL, self._reactor)
        said.addErrback(lambda failure: failure.trap(TimeoutError))
        await said
        if not connection.lost.called:
            connection.say_farewell()  # which ends it soon, whatever the broker does
        await running

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("MQTT: nothing is published any more", failure)

    async def _run(self) -> None:
        while not self._stopping:
            wait = await self._connect_once()
            if not self._stopping:
                await deferLater(self._reactor, wait)

    async def _connect_once(self) -> float:
        """Connect, and be connected as long as that lasts; the seconds to wait then."""
        try:
            connection = await self._connect()
        except CancelledError:
            raise
        except Exception as error:  # of the network, of TLS, of files, of the broker
            return self._failed(error)
        begun = self._reactor.seconds()
        self.connection = connection
        self._failures = 0
        self._down.end(
            "MQTT: connected to {broker} as {client}, after {lasted:.1f} s",
            broker=self._settings.broker,
            client=self._settings.client,
        )
        try:
            await self._use(connection)
        except (BrokerError, TimeoutError) as error:
            self._repeats.warn("MQTT: {broker}: {why}", broker=self._settings.broker, why=in_words(Failure(error)))
            connection.abort()
        except Exception:
            self._log.failure("MQTT: {broker}", broker=self._settings.broker)
            connection.abort()
        why = await connection.lost
        self.connection = None
        self._let_go()
        return self._lost(why, self._reactor.seconds() - begun)

    async def _connect(self) -> Connection:
        files = read_files(self._settings)
        factory = Factory.forProtocol(lambda: Connection(hello, self._reactor, self._receive, self._repeats))
        factory.noisy = False
        hello = Hello(
            self._settings.client,
            self._version,
            self._settings.keepalive,
            self._settings.username,
            files.password,
            self._will,
        )
        connection: Any = await endpoint(self._settings, files, self._reactor).connect(factory)
        connection = getattr(connection, "wrappedProtocol", connection)
        connection.accepted.addTimeout(PATIENCE, self._reactor)
        try:
            await connection.accepted
        except BaseException:
            connection.abort()
            raise
        return connection  # type: ignore[no-any-return]

    def _failed(self, error: Exception) -> float:
        """There is no connection; the seconds to wait for the next."""
        code = error.code if isinstance(error, BrokerError) else 0
        if code == UNSUPPORTED_VERSION and self._version == "5":
            self._log.warn("MQTT: {broker} does not speak MQTT 5; 3.1.1 it is", broker=self._settings.broker)
            self._version = "3.1.1"
            return 0.0
        why = str(error) if isinstance(error, ConfigError | BrokerError) else in_words(Failure(error))
        self._tell(f"{self._settings.broker}: {why}")
        wait = backoff(self._failures, FIRST_RETRY, SLOWEST_RETRY)
        self._failures += 1
        return SLOWEST_RETRY if code in (BAD_USER, NOT_AUTHORIZED) else wait

    def _lost(self, why: BrokerError, lasted: float) -> float:
        """The connection is gone; the seconds to wait for the next."""
        self._soon_lost = self._soon_lost + 1 if lasted < SOON else 0
        if self._stopping:
            return 0.0
        if why.code == TAKEN_OVER or self._soon_lost >= OFTEN:
            self._soon_lost = 0
            self._why = f"{self._settings.broker}: another client uses the client id {self._settings.client!r} ({why})"
            message = "MQTT: no connection to {why}; trying again in {n:g} s"
            self._down.begin(message, why=self._why, n=TAKEN_OVER_RETRY)
            return TAKEN_OVER_RETRY
        self._tell(f"{self._settings.broker}: {why}")
        return backoff(self._soon_lost, FIRST_RETRY, SLOWEST_RETRY)

    def _tell(self, why: str) -> None:
        if not self._down.begin("MQTT: no connection to {why}; retrying", why=why) and why != self._why:
            self._repeats.warn("MQTT: still no connection to {why}", why=why)
        self._why = why

    # What it is like

    def health(self, waiting: int, published: int, commands: int) -> BrokerHealth:
        """How it is.

        :param waiting: messages that wait to be published; ``published`` those that were, ``commands`` those that came.
        """
        settings = self._settings
        since = round(self._reactor.seconds() - self._down.since, 3)
        connected = self.connection is not None
        why = None if connected else self._why
        return BrokerHealth(settings.broker, connected, since, why, self._version, waiting, published, commands)

    def warnings(self) -> list[str]:
        """What is to be seen to."""
        return [] if self.connection is not None else [f"MQTT: no connection to {self._why}"]
