"""Defect 21 of Evok: any web page that a user visits can switch relays."""

from __future__ import annotations

import json

import pytest
from fakes import Rig, Transport
from twisted.internet.task import Clock

from evok_twisted.api.origins import Origins
from evok_twisted.api.rest import Rest
from evok_twisted.api.site import ApiSite, Root
from evok_twisted.api.websocket import ConnectionFactory, UpgradeResource

UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture
def rig():
    return Rig(Clock()).start()


@pytest.fixture
def ask(rig):
    def ask(origin, *allowed, host="plc:8080", method="POST", path="/rest/led/1_01", extra="", body="value=1"):
        factory = ConnectionFactory(rig.registry, rig.commands, rig.health, rig.clock)
        children = {b"rest": Rest(rig.registry, rig.commands, "classic"), b"ws": UpgradeResource(factory)}
        channel = ApiSite(Root(children), rig.clock, Origins(allowed)).buildProtocol(None)
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
    assert "Access-Control-Allow-Headers: Content-Type" in answer
