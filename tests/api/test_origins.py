"""Defect 21 of Evok: any web page that a user visits can switch relays."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from fakes import Rig, Transport
from twisted.internet.task import Clock

from evok_twisted.api.origins import Origins
from evok_twisted.api.rest import Rest
from evok_twisted.api.site import ApiSite, Root
from evok_twisted.api.websocket import ConnectionFactory, UpgradeResource, WebSocketSettings

UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture
def rig():
    return Rig(Clock()).start()


@pytest.fixture
def ask(rig):
    def ask(
        origin, *allowed, host="plc:8080", hosts=(), method="POST", path="/rest/led/1_01", extra="", body="value=1"
    ):
        factory = ConnectionFactory(rig.desks, rig.clock, WebSocketSettings())
        children = {b"rest": Rest(rig.desks), b"ws": UpgradeResource(factory)}
        channel = ApiSite(Root(children), rig.clock, Origins(allowed, hosts)).buildProtocol(None)
        transport = Transport()
        transport.protocol = channel
        channel.makeConnection(transport)
        header = "" if origin is None else f"Origin: {origin}\r\n"
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n{header}{extra}\r\n"
        channel.dataReceived((head + body).encode())
        return transport.value().decode()

    return ask


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, ()),
        ("http://plc:8080", ()),
        ("http://plc", ()),
        ("http://plc:1880", ()),
        ("https://PLC", ()),
        ("plc:1880", ()),
        ("https://panel.example", ("https://panel.example",)),
        ("https://panel.example", ("panel.example",)),
        ("https://panel.example:444", ("panel.example",)),
        ("https://anything.example", ("*",)),
        ("null", ("*",)),
    ],
)
def test_our_own_pages_and_those_that_are_allowed_may_switch(ask, rig, origin, allowed):
    answer = ask(origin, *allowed)
    assert answer.startswith("HTTP/1.1 200 ")
    assert rig.device("led", "1_01").state.value == 1
    assert (f"access-control-allow-origin: {origin}" in answer.lower()) == (origin is not None and origin.islower())


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://evil.example", ()),
        ("http://plc.evil.example", ()),
        ("http://evil.example/plc", ()),
        ("null", ()),
        ("", ()),
        ("http://[", ()),
        ("\xff", ()),
        ("http://panel.example", ("https://panel.example",)),
        ("http://evil.example", ("https://panel.example",)),
        ("http://evil.example@plc", ()),
        ("http://plc@evil.example", ()),
        ("http://plc:80:80", ()),
        ("http://plc/evil", ()),
        ("http://plc\r\nOrigin: http://evil.example", ()),
        ("http://plc\r\nOrigin: http://plc", ()),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
def test_any_other_page_gets_403_and_nothing_is_written(ask, rig, origin, allowed, method):
    answer = ask(origin, *allowed, method=method)
    assert answer.startswith("HTTP/1.1 403 ")
    assert "access-control-allow-origin" not in answer.lower()
    assert "Forbidden" in json.loads(answer.partition("\r\n\r\n")[2])["errors"]
    assert rig.bus.written == []


@pytest.mark.parametrize(("origin", "status"), [(None, 101), ("http://plc:8080", 101), ("http://evil.example", 403)])
def test_a_handshake_is_no_exception(ask, origin, status):
    assert ask(origin, method="GET", path="/ws", extra=UPGRADE, body="").startswith(f"HTTP/1.1 {status} ")


def test_an_address_of_ipv6_is_a_host_too(ask):
    assert ask("http://[::1]:8080", host="[::1]:8080").startswith("HTTP/1.1 200 ")


def test_a_browser_that_asks_first_is_told_what_it_may(ask):
    answer = ask("http://plc:1880", method="OPTIONS", body="")
    assert answer.startswith("HTTP/1.1 204 ")
    assert "Access-Control-Allow-Methods: GET, POST, HEAD, OPTIONS" in answer
    assert "Access-Control-Allow-Headers: Authorization, Content-Type" in answer


# What browsers call us: a page of a name that its owner has resolved to us would be of "our own" host

BROWSER = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"


@pytest.mark.parametrize(
    ("host", "hosts"),
    [
        ("127.0.0.1:8080", ()),
        ("192.168.1.5", ()),
        ("[fe80::1]:8080", ()),
        ("[::1]", ()),
        ("localhost:8080", ()),
        ("plc", ()),
        ("PLC.", ()),
        ("unipi.local", ()),
        ("unipi.lan:8080", ()),
        ("unipi.home.arpa", ()),
        ("unipi.internal", ()),
        ("plc.example", ("plc.example",)),
        ("Plc.Example:8443", ("PLC.example.",)),
        ("one.plc.example", ("*.plc.example",)),
        ("two.one.plc.example", ("*.plc.example",)),
        ("attacker.example", ("*",)),
    ],
)
def test_a_browser_may_use_names_that_only_we_can_have_and_those_that_are_allowed(ask, rig, host, hosts):
    assert ask(f"http://{host}", host=host, hosts=hosts, extra=BROWSER).startswith("HTTP/1.1 200 ")
    assert rig.device("led", "1_01").state.value == 1


@pytest.mark.parametrize(
    ("host", "hosts"),
    [
        ("attacker.example", ()),
        ("attacker.example:8080", ()),
        ("127.0.0.1.attacker.example", ()),
        ("local.attacker.example", ()),
        ("plc.example", ("*.plc.example",)),
        ("notplc.example", ("*.plc.example", "plc.example")),
        ("user@plc", ()),
        ("", ()),
    ],
)
@pytest.mark.parametrize("sign", ["origin", BROWSER, "Cookie: a=b\r\n", "Sec-Fetch-Mode: cors\r\n"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_under_any_other_name_a_browser_gets_403(ask, rig, host, hosts, sign, method):
    origin, extra = (f"http://{host}", "") if sign == "origin" else (None, sign)
    answer = ask(origin, host=host, hosts=hosts, extra=extra, method=method)
    assert answer.startswith("HTTP/1.1 403 ")
    assert "apis.allowed_hosts" in answer
    assert rig.bus.written == []


def test_programs_that_are_no_browsers_may_use_any_name(ask):
    assert ask(None, host="anything.example").startswith("HTTP/1.1 200 ")
    assert ask(None, host="anything.example", extra="User-Agent: curl/8.0\r\n").startswith("HTTP/1.1 200 ")


def test_a_handshake_under_a_strangers_name_is_refused(ask):
    host = "attacker.example"
    answer = ask(f"http://{host}", host=host, method="GET", path="/ws", extra=UPGRADE, body="")
    assert answer.startswith("HTTP/1.1 403 ")


def test_a_host_that_is_called_null_makes_null_no_origin_of_ours(ask):
    assert ask("null", host="null").startswith("HTTP/1.1 403 ")
    assert ask("null", "null", host="null").startswith("HTTP/1.1 200 ")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_page_of_another_site_sends_without_an_origin_changes_nothing(ask, rig, site):
    extra = f"Sec-Fetch-Site: {site}\r\n"
    assert ask(None, extra=extra).startswith("HTTP/1.1 403 ")
    assert ask(None, method="GET", path="/ws", extra=extra + UPGRADE, body="").startswith("HTTP/1.1 403 ")
    assert ask(None, method="GET", extra=extra, body="").startswith("HTTP/1.1 200 ")  # a link, perhaps
    assert rig.bus.written == []


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_our_own_pages_and_what_a_user_types_need_no_origin(ask, site):
    assert ask(None, extra=f"Sec-Fetch-Site: {site}\r\n").startswith("HTTP/1.1 200 ")


def test_a_page_gets_no_credentials_and_shows_us_in_no_frame(ask):
    answer = ask("http://plc").lower()
    assert "access-control-allow-credentials" not in answer
    assert "content-security-policy: frame-ancestors 'none'" in answer


# Request targets with a host of their own


@pytest.mark.parametrize("target", ["http://plc:8080/rest/led/1_01", "HTTP://plc/rest/led/1_01?dialect=v3"])
def test_a_target_with_scheme_and_host_is_a_path(ask, rig, target):
    assert ask(None, path=target).startswith("HTTP/1.1 200 ")
    assert rig.device("led", "1_01").state.value == 1


def test_the_host_of_a_target_is_the_one_that_is_asked_for(ask):
    assert ask("http://plc", path="http://attacker.example/rest/led/1_01").startswith("HTTP/1.1 403 ")


def test_a_handshake_may_have_such_a_target(ask):
    answer = ask(None, method="GET", path="ws://plc:8080/ws?dialect=v3", extra=UPGRADE, body="")
    assert answer.startswith("HTTP/1.1 101 ")


@pytest.mark.parametrize("host", ["[::1]:8080", "[::1]"])
def test_a_handshake_may_name_an_address_of_ipv6(ask, host):
    answer = ask(f"http://{host}", host=host, method="GET", path="/ws", extra=UPGRADE, body="")
    assert answer.startswith("HTTP/1.1 101 ")


# FHEM's handshake


@pytest.mark.parametrize("end", ["\n\r\n", "\r\n\n\r\n"])
def test_headers_of_a_handshake_may_end_in_lf_cr_lf(rig, end):
    factory = ConnectionFactory(rig.desks, rig.clock, WebSocketSettings())
    children = {b"rest": Rest(rig.desks), b"ws": UpgradeResource(factory)}

    def answer_to(first):
        channel = ApiSite(Root(children), rig.clock).buildProtocol(None)
        transport = Transport()
        transport.protocol = channel
        channel.makeConnection(transport)
        channel.dataReceived((f"{first} HTTP/1.1\r\nHost: plc\r\n{UPGRADE.rstrip()}{end}").encode())
        return transport.value().decode()

    assert answer_to("GET /ws").startswith("HTTP/1.1 101 ")
    assert answer_to("GET /ws?dialect=v3").startswith("HTTP/1.1 101 ")
    for elsewhere in ("GET /rest/all", "POST /ws", "GET /wsx"):
        assert not answer_to(elsewhere).startswith("HTTP/1.1 2")


@pytest.mark.parametrize(
    "key", ["dGhlIHNhbXBsZSBub25jZQ==", "abc", "not base64 at all, and longer than any", "TWVkaWFEb29yQmVsbA"]
)
def test_a_key_may_have_any_length(ask, key):
    extra = UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", key)
    answer = ask(None, method="GET", path="/ws", extra=extra, body="")
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    assert f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}" in answer


@pytest.mark.parametrize("key", ["", "a\r\nSec-WebSocket-Key: b"])
def test_there_must_be_one_key(ask, key):
    extra = UPGRADE.replace("dGhlIHNhbXBsZSBub25jZQ==", key)
    assert ask(None, method="GET", path="/ws", extra=extra, body="").startswith("HTTP/1.1 400 ")
