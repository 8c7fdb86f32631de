"""Webhooks: when requests are made on a clock, and how on real sockets."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from fakes import BY, Rig
from stack import turn
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.web.client import ResponseFailed
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from evok_twisted.api.front import Context
from evok_twisted.api.gate import Gate
from evok_twisted.api.webhook import (
    LARGEST_ANSWER,
    SLOWEST_RETRY,
    TIMEOUT,
    Webhook,
    Webhooks,
    WebhookSettings,
    agent,
    make,
    sender,
)
from evok_twisted.core.filters import DEFAULT, parse_filter
from evok_twisted.problems import Problems

URL = "http://receiver.example/hook"


class Receiver:
    """Stands for the network: takes requests, which the test answers."""

    def __init__(self):
        self.requests = []
        self.cancelled = 0

    def send(self, method, url, body):
        done = Deferred(self._cancel)
        self.requests.append((method, url, body, done))
        return done

    def _cancel(self, _):
        self.cancelled += 1

    def answer(self, error=None):
        done = self.requests[-1][3]
        done.errback(error) if error else done.callback(None)

    @property
    def told(self):
        """Circuit and value of what each request told of."""
        return [[(one["circuit"], one["value"]) for one in json.loads(body)] for _, _, body, _ in self.requests]


class Hook:
    def __init__(self, wanted=DEFAULT, dialect="classic", complex_events=True):
        self.rig = Rig(Clock()).start()
        self.receiver = Receiver()
        self.hook = Webhook(
            URL, self.rig.desks(BY, dialect), wanted, self.rig.clock, self.receiver.send, complex_events=complex_events
        )
        self.hook.start()

    def led(self, n, value):
        self.rig.set("led", f"1_0{n}", value=value)


@pytest.fixture
def hook():
    return Hook()


def down():
    return ConnectionRefusedError()


def test_a_change_is_posted_as_websocket_clients_get_it(hook):
    hook.led(1, 1)
    ((method, url, body, _),) = hook.receiver.requests
    assert (method, url) == ("POST", URL)
    assert json.loads(body) == [{"dev": "led", "circuit": "1_01", "value": 1, "glob_dev_id": 2}]


def test_without_complex_events_a_get_says_that_something_changed():
    hook = Hook(complex_events=False)
    hook.led(1, 1)
    ((method, url, body, _),) = hook.receiver.requests
    assert (method, url, body) == ("GET", URL, None)


@pytest.mark.parametrize("mask", [["led"], ["led/1_01"], ["input", "unit_register", "data_point", "led"]])
def test_only_the_masked_kinds_are_told_of(mask):
    hook = Hook(parse_filter(mask, "classic")[0])
    hook.rig.set("ao", "1_01", value=1)
    assert hook.receiver.requests == []
    hook.led(1, 1)
    assert len(hook.receiver.requests) == 1


def test_the_dialect_is_that_of_the_configuration():
    hook = Hook(dialect="v3")
    hook.rig.set("do", "1_01", value=1)
    assert json.loads(hook.receiver.requests[0][2])[0]["dev"] == "do"


def test_while_a_request_is_under_way_changes_merge_into_the_latest_state(hook):
    hook.led(1, 1)
    hook.led(2, 1)
    hook.led(1, 0)
    hook.led(2, 0)
    hook.led(2, 1)
    assert len(hook.receiver.requests) == 1
    hook.receiver.answer()
    assert hook.receiver.told == [[("1_01", 1)], [("1_02", 1), ("1_01", 0)]]
    hook.receiver.answer()
    assert len(hook.receiver.requests) == 2


def test_a_receiver_that_is_down_is_tried_less_and_less_often_up_to_once_a_minute(hook, log):
    hook.led(1, 1)
    times = []
    for _ in range(12):
        times.append(hook.rig.clock.seconds())
        count = len(hook.receiver.requests)
        hook.receiver.answer(down())
        while len(hook.receiver.requests) == count:
            hook.rig.clock.advance(0.5)
    waits = [round(later - sooner) for sooner, later in zip(times, times[1:], strict=False)]
    assert waits[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert set(waits[7:]) == {SLOWEST_RETRY}
    assert len([text for text in log.texts() if "webhook" in text]) == 1


def test_a_receiver_that_was_down_for_days_is_still_tried(hook):
    hook.led(1, 1)
    for _ in range(1100):  # 2 ** 1100 is no float
        hook.receiver.answer(down())
        hook.rig.clock.advance(SLOWEST_RETRY)
    hook.receiver.answer()


def test_what_changed_while_it_was_down_is_told_once_with_the_latest_state(hook):
    hook.led(1, 1)
    hook.receiver.answer(down())
    for value in (1, 0, 1):
        hook.led(2, value)
    hook.led(1, 0)
    assert len(hook.receiver.requests) == 1
    hook.rig.clock.advance(1)
    hook.receiver.answer()
    assert hook.receiver.told[1:] == [[("1_01", 0), ("1_02", 1)]]
    hook.rig.clock.advance(100)
    assert len(hook.receiver.requests) == 2


def test_an_outage_is_logged_at_its_begin_and_at_its_end(hook, log):
    hook.led(1, 1)
    hook.receiver.answer(down())
    hook.rig.clock.advance(1)
    hook.receiver.answer(down())
    hook.rig.clock.advance(2)
    hook.receiver.answer()
    assert [text for text in log.texts() if "webhook" in text] == [
        f"webhook {URL} fails: Connection was refused by other side; changes are kept; retrying",
        f"webhook {URL} takes events again, after 3.0 s",
    ]


def test_a_receiver_that_does_not_answer_has_five_seconds(hook, log):
    hook.led(1, 1)
    hook.rig.clock.advance(TIMEOUT)
    assert hook.receiver.cancelled == 1
    assert f"webhook {URL} fails: it is slow, there was no answer within 5 s" in log.texts("warn")[0]
    hook.rig.clock.advance(1)
    assert len(hook.receiver.requests) == 2


def test_nothing_is_sent_after_the_stop(hook):
    hook.led(1, 1)
    hook.hook.stop()
    hook.led(2, 1)
    hook.rig.clock.advance(100)
    assert (len(hook.receiver.requests), hook.receiver.cancelled) == (1, 1)


def test_a_retry_that_waits_is_given_up_at_the_stop(hook):
    hook.led(1, 1)
    hook.receiver.answer(down())
    hook.hook.stop()
    hook.rig.clock.advance(100)
    assert len(hook.receiver.requests) == 1


# On real sockets


class Page(Resource):
    """A receiver whose behaviour a test chooses."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.got = []
        self.status = 200
        self.behave = None

    def render(self, request):
        self.got.append((request.method, request.getHeader("content-type"), request.content.read()))
        request.setResponseCode(self.status)
        return b"thank you" if self.behave is None else self.behave(request)


@pytest_twisted.async_yield_fixture
async def page():
    page = Page()
    page.connections = []
    site = Site(page)
    build = site.buildProtocol

    def counted(address):
        protocol = build(address)
        page.connections.append(protocol)
        return protocol

    site.buildProtocol = counted
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    page.url = f"http://127.0.0.1:{port.getHost().port}/hook"
    page.send = sender(agent(reactor))
    yield page
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_post_reaches_the_receiver(page):
    await page.send("POST", page.url, b"[1]")
    await page.send("GET", page.url, None)
    assert page.got == [(b"POST", "application/json", b"[1]"), (b"GET", None, b"")]


@pytest_twisted.ensureDeferred
async def test_a_receiver_that_closes_after_each_answer_loses_nothing(page):
    """As Python's own http.server does; on a connection that is used again an event would be lost now and then."""
    for n in range(50):
        await page.send("POST", page.url, b"%d" % n)
    assert [int(body) for _, _, body in page.got] == list(range(50))
    assert len(page.connections) == 50


@pytest.mark.parametrize("status", [301, 404, 500, 503])
@pytest_twisted.ensureDeferred
async def test_a_status_that_is_no_success_is_a_failure(page, status):
    page.status = status
    with pytest.raises(Exception, match=f"the answer has status {status}"):
        await page.send("POST", page.url, b"[]")


@pytest_twisted.ensureDeferred
async def test_an_answer_without_an_end_costs_a_bounded_amount_and_its_connection(page):
    gone = Deferred()

    def endless(request):
        request.notifyFinish().addErrback(lambda _: gone.callback(None))
        request.write(b"x" * (LARGEST_ANSWER + 1))
        return NOT_DONE_YET

    page.behave = endless
    with pytest.raises(ResponseFailed):
        await page.send("POST", page.url, b"[]")
    gone.addTimeout(2, reactor)
    await gone


@pytest_twisted.ensureDeferred
async def test_a_request_that_is_given_up_leaves_no_connection(page):
    gone = Deferred()

    def stall(request):
        request.notifyFinish().addErrback(lambda _: gone.callback(None))
        request.write(b"begun")
        return NOT_DONE_YET

    page.behave = stall
    request = page.send("POST", page.url, b"[]")
    while not page.got:
        await turn(0.002)
    await turn(0.02)
    request.cancel()
    with pytest.raises(CancelledError):
        await request
    gone.addTimeout(2, reactor)
    await gone


@pytest_twisted.ensureDeferred
async def test_a_receiver_that_takes_its_time_is_told_to_be_slow(page, log):
    page.behave = lambda request: NOT_DONE_YET
    rig = Rig(Clock()).start()
    hook = Webhook(page.url, rig.desk, DEFAULT, rig.clock, page.send, complex_events=True)
    hook.start()
    rig.set("led", "1_01", value=1)
    while not page.got:
        await turn(0.002)
    rig.clock.advance(TIMEOUT)
    assert f"webhook {page.url} fails: it is slow, there was no answer within 5 s" in log.texts("warn")[0]
    hook.stop()


def test_a_receiver_that_fails_every_other_time_is_told_of_by_the_minute(hook, log):
    for n in range(40):
        hook.led(1, 1 - n % 2)
        hook.receiver.answer(ConnectionError("refused"))
        hook.rig.clock.advance(1)
        hook.receiver.answer()
    assert len(log.texts("warn")) + len(log.texts("info")) <= 5


@pytest_twisted.ensureDeferred
async def test_the_service_tells_of_changes_between_its_start_and_its_stop(page):
    rig = Rig(Clock()).start()
    hook = Webhook(page.url, rig.desk, DEFAULT, rig.clock, page.send, complex_events=True)
    hooks = Webhooks([hook])
    rig.set("led", "1_01", value=1)
    hooks.startService()
    rig.set("led", "1_02", value=1)
    deadline = reactor.seconds() + 5
    while not page.got:
        assert reactor.seconds() < deadline
        await turn(0.002)
    hooks.stopService()
    rig.set("led", "1_03", value=1)
    assert [one["circuit"] for one in json.loads(page.got[0][2])] == ["1_02"]
    assert len(page.got) == 1


@pytest_twisted.ensureDeferred
async def test_cookies_are_not_kept(page):
    sent = []

    def baking(request):
        sent.append(request.getHeader("cookie"))
        request.addCookie(f"c{len(sent)}", "x")
        return b""

    page.behave = baking
    for _ in range(3):
        await page.send("POST", page.url, b"[]")
    assert sent == [None, None, None]


# Settings


@pytest.mark.parametrize(
    ("address", "path", "told"),
    [
        ((), "apis.webhook.address", "got nothing, expected the URL to call, or a list of URLs"),
        (("https://my_host/x",), "apis.webhook.address", "no certificate can be of the name 'my_host'"),
    ],
)
def test_without_an_address_that_can_be_called_there_are_none(address, path, told):
    rig, problems = Rig(Clock()), Problems()
    assert (
        make(Context(rig.desks, rig.clock, problems, {}, Gate()), WebhookSettings(enabled=True, address=address))
        is None
    )
    (problem,) = problems.errors
    assert (problem.path, problem.fatal) == (path, False)
    assert told in problem.message


def test_one_address_that_cannot_be_called_costs_itself():
    rig, problems = Rig(Clock()), Problems()
    settings = WebhookSettings(enabled=True, address=("https://my_host/x", URL, URL))
    assert len(make(Context(rig.desks, rig.clock, problems, {}, Gate()), settings).hooks) == 1
    assert len(problems.errors) == 1
