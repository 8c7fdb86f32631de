"""Names of hosts: whatever the system can resolve is taken."""

from __future__ import annotations

import pytest
import pytest_twisted
from fakes import Rig
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from evok_twisted import config as cfg
from evok_twisted.api.webhook import Webhook, agent, sender
from evok_twisted.core.filters import DEFAULT
from evok_twisted.hosts import HostEndpoint
from evok_twisted.problems import Problems
from evok_twisted.tap import FRONT_SETTINGS

NAMES = {"my_host": ["127.0.0.1"], "several": ["::1", "127.0.0.1"], "nobody": []}


@implementer(IHostnameResolver)
class Resolver:
    """A system that knows ``NAMES``."""

    def resolveHostName(self, receiver, name, port=0, *_):
        receiver.resolutionBegan(None)
        for address in NAMES[name]:
            kind = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(kind("TCP", address, port))
        receiver.resolutionComplete()


@pytest.fixture
def resolver():
    before = reactor.installNameResolver(Resolver())
    yield
    reactor.installNameResolver(before)


class Greeting(Protocol):
    def connectionMade(self):
        self.transport.loseConnection()


@pytest_twisted.async_yield_fixture
async def port(request):
    listening = reactor.listenTCP(0, Factory.forProtocol(Greeting), interface="127.0.0.1")
    yield listening.getHost().port
    await listening.stopListening()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("host", ["my_host", "several", "127.0.0.1"])
async def test_a_host_is_reached_by_any_name_and_at_any_of_its_addresses(resolver, port, host):
    protocol = await HostEndpoint(reactor, host, port, 3).connect(Factory.forProtocol(Protocol))
    assert protocol.transport.getPeer().host == "127.0.0.1"
    protocol.transport.abortConnection()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_an_address_of_ipv6_may_have_brackets(host):
    listening = reactor.listenTCP(0, Factory.forProtocol(Greeting), interface="::1")
    protocol = await HostEndpoint(reactor, host, listening.getHost().port, 3).connect(Factory.forProtocol(Protocol))
    assert protocol.transport.getPeer().host == "::1"
    protocol.transport.abortConnection()
    await listening.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_host_that_has_no_address_or_refuses_says_so(resolver):
    with pytest.raises(DNSLookupError, match="there is no address of nobody"):
        await HostEndpoint(reactor, "nobody", 1, 3).connect(Factory.forProtocol(Protocol))
    with pytest.raises(ConnectionRefusedError):
        await HostEndpoint(reactor, "several", 1, 3).connect(Factory.forProtocol(Protocol))


class Page(Resource):
    isLeaf = True

    def __init__(self):
        super().__init__()
        self.told = Deferred()

    def render_POST(self, request):
        self.told.callback(request.getHeader("host"))
        return b""


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("url", "interface"),
    [("http://my_host:{}/hook", "127.0.0.1"), ("HTTP://127.0.0.1:{}", "127.0.0.1"), ("http://[::1]:{}/hook", "::1")],
)
async def test_a_webhook_reaches_its_receiver_by_any_name(resolver, url, interface):
    page = Page()
    listening = reactor.listenTCP(0, Site(page), interface=interface)
    url = url.format(listening.getHost().port)
    rig = Rig(Clock()).start()
    hook = Webhook(url, rig.desk, DEFAULT, rig.clock, sender(agent(reactor)), complex_events=True)
    hook.start()
    rig.set("led", "1_01", value=1)
    assert await page.told.addTimeout(5, reactor) == url.partition("//")[2].partition("/")[0]
    hook.stop()
    await listening.stopListening()


HOSTS = "comm_channels: {{TCP: {{type: MODBUSTCP, hostname: {!r}}}}}\n"


def errors_of(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    problems = Problems()
    cfg.load(tmp_path, (), problems, FRONT_SETTINGS)
    return [str(problem) for problem in problems.errors]


@pytest.mark.parametrize(
    "host", ["my_host", "plc", "plc.example.", "192.168.1.5", "::1", "[::1]", "fe80::1%eth0", "büro.example", "a-b"]
)
def test_a_name_that_can_be_resolved_is_a_good_hostname(tmp_path, host):
    assert errors_of(tmp_path, HOSTS.format(host)) == []


@pytest.mark.parametrize(
    "host", ["", "http://192.168.1.5", "192.168.1.5:502", "my host", "a..b", "x" * 64, "a/b", "me@plc", "x." * 130]
)
def test_what_can_be_no_host_is_told(tmp_path, host):
    (error,) = errors_of(tmp_path, HOSTS.format(host))
    assert "config.yaml:1: comm_channels.TCP.hostname" in error
    assert "expected the name or the address of a host, without a port" in error


URLS = "apis: {{webhook: {{enabled: true, address: [{!r}]}}}}\n"


@pytest.mark.parametrize(
    "url", ["http://my_host:1880/x", "HTTP://plc", "https://plc.example/a?b=c", "http://[::1]:80/x", "http://plc?a=b"]
)
def test_a_url_of_a_webhook_may_have_any_such_host(tmp_path, url):
    assert errors_of(tmp_path, URLS.format(url)) == []


@pytest.mark.parametrize(
    "url", ["http://", "ftp://plc", "http://me:secret@plc/", "http://a b/", "http://plc:port/", "http://::1/", "plc"]
)
def test_what_can_be_no_url_is_told(tmp_path, url):
    (error,) = errors_of(tmp_path, URLS.format(url))
    assert "expected an http:// or https:// URL" in error
