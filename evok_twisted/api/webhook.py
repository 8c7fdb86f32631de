"""Webhooks: HTTP requests that tell others of changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    FileBodyProducer,
    HTTPConnectionPool,
    ResponseDone,
    _HTTP11ClientFactory,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from evok_twisted.api.front import Context, Front, chosen
from evok_twisted.api.latest import Latest
from evok_twisted.conditions import Condition, Subscription, Timer, backoff
from evok_twisted.config import FrontSettings
from evok_twisted.core.desk import Desk
from evok_twisted.core.events import ChangeSet
from evok_twisted.core.filters import EVERYTHING, Filter
from evok_twisted.core.health import WebhookHealth
from evok_twisted.core.identity import VIEWER, Identity
from evok_twisted.hosts import HostEndpoint
from evok_twisted.logs import Logger, Repeats
from evok_twisted.problems import Problems
from evok_twisted.settingtypes import Url

#: Seconds that a receiver has for its whole answer.
TIMEOUT = 5.0

#: Bytes of an answer, after which its connection is closed.
LARGEST_ANSWER = 1 << 20

#: Longest wait, in seconds, before a receiver that is down is tried again; the first is one second.
SLOWEST_RETRY = 60.0

#: Does a request (method, URL, body), and fires when it was answered well.
Send = Callable[[str, str, bytes | None], Deferred[None]]


class Webhook:
    """One receiver.

    It has one request at a time. What changes meanwhile, or while it is down, is remembered by circuit, and told of
    with its latest state: that bounds what waits.

    :param complex_events: POST the states that changed, as WebSocket clients get them; otherwise a GET says that
        something did.
    :ivar outcomes: requests, by what became of them: ``taken`` or ``failed``.
    """

    _log = Logger()

    def __init__(
        self, url: str, desk: Desk, wanted: Filter, clock: IReactorTime, send: Send, *, complex_events: bool
    ) -> None:
        self._url = url
        self._desk = desk
        self._wanted = wanted
        self._clock = clock
        self._send = send
        self._complex = complex_events
        self._waiting = Latest()
        self._sending: list[ChangeSet] = []
        self._request: Deferred[None] | None = None
        self._retry = Timer(clock, self._next)
        self._failures = 0
        self._stopped = False
        self._subscription: Subscription | None = None
        self._down = Condition(Repeats(self._log, clock, burst=4), clock)
        self._why: str | None = None
        self.outcomes = Counter(taken=0, failed=0)

    def start(self) -> None:
        """Send changes from now on."""
        self._subscription = self._desk.subscribe(self._changed, self._wanted)

    def _changed(self, changes: ChangeSet) -> None:
        if changes.changes:  # receivers have no word for what is gone
            self._waiting.add(changes._replace(gone=()))
        if not self._retry.running:
            self._next()

    def _next(self) -> None:
        if not self._waiting or self._request is not None or self._stopped:
            return
        self._sending = self._waiting.take()
        changed = [change for changes in self._sending for change in changes.changes]
        body = self._desk.render(changed) if self._complex else None
        self._request = request = self._send("POST" if self._complex else "GET", self._url, body)
        request.addTimeout(TIMEOUT, self._clock)
        request.addCallbacks(self._sent, self._failed)
        request.addErrback(lambda failure: self._log.failure("webhook {url}", failure, url=self._url))

    def _sent(self, _: None) -> None:
        self._request = None
        self.outcomes["taken"] += 1
        self._failures = 0
        self._down.end("webhook {url} takes events again, after {lasted:.1f} s", url=self._url)
        self._next()

    def _failed(self, failure: Failure) -> None:
        self._request = None
        if self._stopped:
            return
        self.outcomes["failed"] += 1
        self._waiting.give_back(self._sending)
        message = "webhook {url} fails: {why}; changes are kept; retrying"
        self._why = _reason(failure)
        self._down.begin(message, url=self._url, why=self._why)
        self._retry.start(backoff(self._failures, 1.0, SLOWEST_RETRY))
        self._failures += 1

    @property
    def health(self) -> WebhookHealth:
        """How it is."""
        working, since = not self._down.lasts, round(self._clock.seconds() - self._down.since, 3)
        return WebhookHealth(self._url, working, since, None if working else self._why)

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped = True
        if self._subscription is not None:
            self._subscription.stop()
        self._retry.stop()
        if self._request is not None:
            self._request.cancel()


class Webhooks(Service):
    """All receivers, each on its own."""

    def __init__(self, hooks: Iterable[Webhook]) -> None:
        self.hooks = tuple(hooks)

    def startService(self) -> None:
        super().startService()
        for hook in self.hooks:
            hook.start()

    def stopService(self) -> None:
        super().stopService()
        for hook in self.hooks:
            hook.stop()


class _Quiet(_HTTP11ClientFactory):
    """Does not tell of every connection."""

    noisy = False


class ReceiverError(Exception):
    """A receiver's answer is no success."""


class _PassedOver(Protocol):
    """The body of an answer, which nobody reads."""

    def __init__(self) -> None:
        self._length = 0
        #: fires at its end; cancelling it ends the connection
        self.done: Deferred[None] = Deferred(lambda _: self._abort())

    def _abort(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._length += len(data)
        if self._length > LARGEST_ANSWER:
            self._abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            if reason.check(ResponseDone, PotentialDataLoss):
                self.done.callback(None)
            else:
                self.done.errback(reason)


def sender(agent: IAgent) -> Send:
    """How requests are done: an answer of status 200 to 299 is a success. Redirections are not followed."""

    async def do(method: str, url: str, body: bytes | None) -> None:
        headers = Headers({"User-Agent": ["evok-twisted"]})
        if body is not None:
            headers.addRawHeader("Content-Type", "application/json")
        producer = None if body is None else FileBodyProducer(BytesIO(body))
        response = await agent.request(method.encode(), url.encode(), headers, producer)
        rest = _PassedOver()
        response.deliverBody(rest)
        await rest.done
        if not 200 <= response.code < 300:
            raise ReceiverError(f"the answer has status {response.code}")

    def send(method: str, url: str, body: bytes | None) -> Deferred[None]:
        return Deferred.fromCoroutine(do(method, url, body))

    return send


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """How the host of a URL is reached."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._policy = BrowserLikePolicyForHTTPS()

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = HostEndpoint(self._reactor, uri.host.decode(), uri.port, TIMEOUT)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return endpoint


def agent(reactor: Any) -> IAgent:
    """How receivers are reached; https is verified against the system's certificates, the host's name included."""
    # a connection for each request: one that the receiver closes in the moment in which it is used again loses an event
    pool = HTTPConnectionPool(reactor, persistent=False)
    pool._factory = _Quiet
    made: IAgent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor), pool)
    return made


class WebhookSettings(FrontSettings, frozen=True, kw_only=True):
    """``apis.webhook``."""

    address: tuple[Url, ...] = ()
    device_mask: tuple[str, ...] = ()
    complex_events: bool = False


def make(context: Context, settings: WebhookSettings) -> Webhooks | None:
    """Call the URLs of the settings."""
    problems = context.problems
    urls = list(_urls(settings, problems))
    desk, key = context.desks(Identity("webhook", "webhook", VIEWER), None), "apis.webhook.device_mask"
    wanted = chosen(settings.device_mask or EVERYTHING, desk, problems, key, fatal=False)
    if wanted is None or not urls:
        return None
    send = sender(agent(context.reactor))
    made = Webhooks(
        Webhook(url, desk, wanted, context.reactor, send, complex_events=settings.complex_events) for url in urls
    )
    context.desks.report("webhooks", lambda: tuple(hook.health for hook in made.hooks))
    context.desks.meters.ask(
        "webhook_requests_total",
        "counter",
        "Requests to the receivers of webhooks, in the order of the configuration",
        ("receiver", "outcome"),
        lambda: (
            ((str(n), outcome), count)
            for n, hook in enumerate(made.hooks, 1)
            for outcome, count in hook.outcomes.items()
        ),
    )
    return made


def _urls(settings: WebhookSettings, problems: Problems) -> Iterator[str]:
    """What is to be called, each once."""
    key = "apis.webhook.address"
    if not settings.address:
        message = "got nothing, expected the URL to call, or a list of URLs"
        problems.error(problems.file_of(key), key, message, fatal=False)
    for url in dict.fromkeys(settings.address):
        parts = urlsplit(url)
        if parts.scheme == "https" and "_" in (parts.hostname or ""):
            message = f"got {url!r}: no certificate can be of the name {parts.hostname!r}"
            problems.error(problems.file_of(key), key, message, fatal=False)
        else:
            yield url


def _reason(failure: Failure) -> str:
    """Why a request failed, in words: Twisted wraps the reason when it came after the connection was made."""
    reasons = getattr(failure.value, "reasons", None)
    first = reasons[0] if reasons else failure
    if first.check(TimeoutError, CancelledError, ConnectTimeout):
        return f"it is slow, there was no answer within {TIMEOUT:g} s"
    return (first.getErrorMessage() or str(first.type)).rstrip(".")


FRONT = Front("webhook", WebhookSettings, make)
