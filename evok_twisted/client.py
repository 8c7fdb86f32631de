"""A client for programs: it knows the latest state of every circuit that it wants, and comes back after a break.

    from twisted.internet.task import react
    from evok_twisted.client import connect

    async def main(reactor):
        client = await connect("ws://127.0.0.1:8080/ws", ["di", "ro"])
        async for state in client.changes():
            if state["dev"] == "di" and state["circuit"] == "1_01":
                await client.set("ro", "2_01", state["value"])

    react(main)

It is the client that docs/protocol.md draws under *Subscribing*, in the dialect v3 unless the address says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.python.failure import Failure

from evok_twisted.conditions import Signal, Subscription, Timer, backoff
from evok_twisted.hosts import HostEndpoint
from evok_twisted.logs import Logger, MutedLogger, QuietLogger

#: Seconds without any message after which a line is given up: two heartbeats, and a little.
SILENCE = 45.0
#: Seconds that a command waits for its answer, and a connection for its begin.
PATIENCE = 15.0

State = dict[str, Any]


class CommandFailed(Exception):
    """What went wrong with a command.

    :ivar code: for programs, as in docs/protocol.md; ``lost`` where the connection ended before the answer.
    :ivar sent: whether it may have been done all the same.
    """

    def __init__(self, code: str, message: str, *, sent: bool) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.sent = sent


class Client:
    """A subscriber; it connects while it is started, and again after every break.

    :param url: of the WebSocket, such as ``ws://127.0.0.1:8080/ws``.
    :param devices: what it wants to hear of, as for ``filter``.
    :param every: seconds in which it wants one message at most.
    :param token: by which the service knows it.
    :ivar states: by kind and circuit, as in the states; old while it is not ``live``.
    """

    _log = Logger()

    def __init__(
        self,
        url: str,
        devices: Sequence[str] = ("default",),
        *,
        every: float | None = None,
        token: str = "",
        reactor: Any = None,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415 -- importing it installs it
        url = url if "dialect=" in url else f"{url}{'&' if '?' in url else '?'}dialect=v3"
        self.states: dict[tuple[str, str], State] = {}
        self.live = False
        self._reactor = reactor
        self._wanted = {"devices": list(devices), **({} if every is None else {"every": every})}
        self._since: dict[str, Any] | None = None
        self._line: _Line | None = None
        self._asked: dict[int, Deferred[Any]] = {}
        self._number = self._attempts = 0
        self._silence = Timer(reactor, self._give_up)
        self._heard: Signal[[list[State]]] = Signal(self._log)
        self._turned: Signal[[bool]] = Signal(self._log)
        self._told: Signal[[dict[str, Any]]] = Signal(self._log)
        endpoint = _endpoint(url, reactor)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        factory = _Factory(url, headers=headers, reactor=reactor)
        factory.client = self
        factory.setProtocolOptions(openHandshakeTimeout=PATIENCE)
        self._service = _Service(endpoint, factory, retryPolicy=self._delay, clock=reactor)

    def _delay(self, _: int) -> float:
        self._attempts += 1
        return backoff(self._attempts - 1, 0.5, 30.0)

    def start(self) -> None:
        """Connect, and stay connected."""
        self._service.startService()

    def stop(self) -> Deferred[None]:
        """Close the connection; fires when it is closed."""
        stopped: Deferred[None] = self._service.stopService()
        return stopped

    def watch(self, watcher: Callable[[list[State]], object]) -> Subscription:
        """Call ``watcher`` with the states of all that has changed, whenever something has."""
        return self._heard.watch(watcher)

    def watch_messages(self, watcher: Callable[[dict[str, Any]], object]) -> Subscription:
        """Call ``watcher`` with every message that tells of something: with its time, and its cause if it has one."""
        return self._told.watch(watcher)

    def watch_live(self, watcher: Callable[[bool], object]) -> Subscription:
        """Call ``watcher`` with ``live`` whenever that changes."""
        return self._turned.watch(watcher)

    async def changes(self) -> AsyncIterator[State]:
        """What there is, then each change, for as long as there is somebody who takes them.

        Whoever is slower than the changes gets each circuit once, with its latest state.
        """
        waiting: dict[tuple[str, str], State] = dict(self.states)
        ready: Deferred[None] = Deferred()

        def hear(states: list[State]) -> None:
            waiting.update({_key(state): state for state in states})
            if waiting and not ready.called:
                ready.callback(None)

        subscription = self.watch(hear)
        try:
            while True:
                while waiting:
                    yield waiting.pop(next(iter(waiting)))
                ready = Deferred()
                await ready
        finally:
            subscription.stop()

    def set(self, dev: str, circuit: str, value: object = None, **parameters: object) -> Deferred[State]:
        """Set a circuit; fires with its new state when its board has acknowledged that.

        :raises CommandFailed: (in the Deferred) it was not, or nobody knows.
        """
        given = parameters if value is None else {"value": value, **parameters}
        return self.command(cmd="set", dev=dev, circuit=circuit, **given)

    def command(self, **message: object) -> Deferred[Any]:
        """Give any command of docs/protocol.md; fires with its result.

        :raises CommandFailed: (in the Deferred) as for ``set``.
        """
        if self._line is None:
            return fail(CommandFailed("lost", "there is no connection", sent=False))
        self._number += 1
        number, answer = self._number, Deferred[Any]()
        self._asked[number] = answer
        answer.addTimeout(PATIENCE, self._reactor, onTimeoutCancel=_too_late)
        answer.addBoth(self._answered, number)
        self._line.say({**message, "id": number})
        return answer

    def _answered(self, outcome: object, number: int) -> object:
        self._asked.pop(number, None)
        return outcome

    # What the line tells

    def opened(self, line: _Line) -> None:
        """There is a connection."""
        self._line = line
        self._silence.start(SILENCE)
        more = {} if self._since is None else {"since": self._since}
        subscribed = self.command(cmd="subscribe", **self._wanted, **more)
        subscribed.addCallbacks(self._subscribed, self._refused)

    def _refused(self, failure: Failure) -> None:
        self._log.error("the service does not let this client subscribe: {why}", why=failure.getErrorMessage())
        self._give_up()

    def _subscribed(self, result: dict[str, Any]) -> None:
        self._attempts = 0
        if result["complete"]:
            self.states.clear()
        self.live = True
        self._take({**result, "devices": result.get("gone", [])})
        self._turned.emit(True)

    def heard(self, message: Any) -> None:
        """A message came."""
        self._silence.start(SILENCE)
        if not isinstance(message, dict):
            return
        answer = self._asked.get(message.get("id", 0))
        if answer is None:
            if "event" in message and self.live:
                self._take(message)
        elif message["success"]:
            answer.callback(message.get("result"))
        else:
            error = message["error"]
            answer.errback(CommandFailed(error["code"], error["message"], sent=error["sent"]))

    def _take(self, message: dict[str, Any]) -> None:
        for gone in message.get("devices", ()):
            self.states.pop(_key(gone), None)
        states = message.get("states", [])
        self.states.update({_key(state): state for state in states})
        self._since = {"epoch": message["epoch"], "number": message["number"]}
        self._told.emit(message)
        if states:
            self._heard.emit(states)

    def lost(self, line: _Line) -> None:
        """The connection is gone."""
        if self._line is not line:
            return
        self._line = None
        self._silence.stop()
        for answer in tuple(self._asked.values()):
            answer.errback(CommandFailed("lost", "the connection ended before the answer", sent=True))
        if self.live:
            self.live = False
            self._turned.emit(False)

    def _give_up(self) -> None:
        if self._line is not None:
            self._line.dropConnection(abort=True)


def connect(
    url: str, devices: Sequence[str] = ("default",), *, every: float | None = None, token: str = "", reactor: Any = None
) -> Deferred[Client]:
    """A client that knows what there is; as ``Client``, and started.

    :raises TimeoutError: (in the Deferred, Twisted's) the service was not there within ``PATIENCE`` seconds.
    """
    client = Client(url, devices, every=every, token=token, reactor=reactor)

    def cancelled(_: Deferred[Client]) -> None:
        client.stop()

    there: Deferred[Client] = Deferred(cancelled)

    def live(_: bool) -> None:
        first.stop()
        there.callback(client)

    first = client.watch_live(live)
    client.start()
    return there.addTimeout(PATIENCE, client._reactor)


class _Line(WebSocketClientProtocol):
    """One connection; Autobahn has hundreds of attributes, ours are few."""

    log = MutedLogger()

    def say(self, message: dict[str, object]) -> None:
        self.sendMessage(json.dumps(message).encode())

    def onOpen(self) -> None:
        self.factory.client.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.client.heard(json.loads(payload))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.client.lost(self)


class _Factory(WebSocketClientFactory):
    noisy = False
    protocol = _Line
    client: Client


class _Service(ClientService):
    _log = QuietLogger()  # it tells of every single retry


def _endpoint(url: str, reactor: Any) -> IStreamClientEndpoint:
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError(f"got {url!r}, expected an address such as ws://127.0.0.1:8080/ws")
    secure = parts.scheme == "wss"
    port = parts.port or (443 if secure else 80)
    endpoint: IStreamClientEndpoint = HostEndpoint(reactor, parts.hostname, port, PATIENCE)
    return wrapClientTLS(optionsForClientTLS(parts.hostname), endpoint) if secure else endpoint


def _too_late(_outcome: object, seconds: float) -> object:
    raise CommandFailed("lost", f"there was no answer within {seconds:g} s", sent=True)


def _key(state: dict[str, Any]) -> tuple[str, str]:
    return state["dev"], state["circuit"]
