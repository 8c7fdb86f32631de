"""Bounds on connections and on requests."""

from __future__ import annotations

import subprocess
import sys

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from evok_twisted.api.limits import Allowance, Doorkeeper
from evok_twisted.api.site import ApiSite, Root, Version

HERE = IPv4Address("TCP", "127.0.0.1", 1)


class Door:
    """A doorkeeper, and who came in."""

    def __init__(self, most=10, most_of_one=3):
        self.keeper = Doorkeeper(most, most_of_one)
        self.come = self.keeper.enter

    @staticmethod
    def go(guest):
        guest.leave()
        guest.leave()


def at(host):
    return IPv4Address("TCP", host, 1)


def test_so_many_connections_are_taken_in_all():
    door = Door(most=4)
    inside = [door.come(at(f"10.0.0.{n}")) for n in range(4)]
    assert None not in inside
    assert door.come(at("10.0.0.9")) is None
    door.go(inside[0])
    assert door.come(at("10.0.0.9")) is not None


def test_so_many_connections_are_taken_from_one_address():
    door = Door()
    inside = [door.come(at("10.0.0.1")) for _ in range(3)]
    assert door.come(at("10.0.0.1")) is None
    assert door.come(at("10.0.0.2")) is not None
    door.go(inside[0])
    assert door.come(at("10.0.0.1")) is not None


def test_addresses_of_ipv6_count_by_64_which_one_host_has():
    door = Door()
    assert None not in [door.come(IPv6Address("TCP", f"2001:db8::{n}", 1)) for n in range(3)]
    assert door.come(IPv6Address("TCP", "2001:db8::ffff:9", 1)) is None
    assert door.come(IPv6Address("TCP", "2001:db8:0:1::1", 1)) is not None
    assert None not in [door.come(at("::ffff:10.0.0.1")), door.come(at("10.0.0.1")), door.come(at("::ffff:10.0.0.1"))]
    assert door.come(at("10.0.0.1")) is None


@pytest.mark.parametrize("here", [HERE, IPv6Address("TCP", "::1", 1), UNIXAddress("/run/evok.sock")])
def test_this_machine_is_no_one_address_for_a_proxys_clients_all_come_from_there(here):
    door = Door(most=8, most_of_one=2)
    assert None not in [door.come(here) for _ in range(8)]
    assert door.come(here) is None


def test_an_address_with_a_zone_is_an_address():
    door = Door()
    assert [door.come(IPv6Address("TCP", "fe80::1%eth0", 1)) is None for _ in range(4)] == [False, False, False, True]


def test_nothing_is_remembered_of_who_is_gone():
    door = Door()
    for n in range(100):
        door.go(door.come(at(f"10.0.1.{n}")))
    assert (door.keeper.count, dict(door.keeper._of)) == (0, {})


def test_a_crowd_is_told_of_once_and_so_is_its_end(log):
    door = Door(most=10, most_of_one=10)
    inside = [door.come(at("10.0.0.1")) for _ in range(10)]
    for _ in range(50):
        door.come(at("10.0.0.2"))
    assert log.texts("warn") == ["there are 10 connections in all; more are closed at once"]
    for protocol in inside:
        door.go(protocol)
    assert log.texts("info") == ["connections in all are taken again; 50 were closed"]


def test_one_more_connection_is_closed_and_makes_room_when_it_is_gone():
    site = ApiSite(Root({}), Clock(), door=Doorkeeper(1))
    for _ in range(3):
        inside, outside = site.buildProtocol(HERE), site.buildProtocol(HERE)
        for protocol in (inside, outside):
            protocol.makeConnection(StringTransport())
        assert [protocol.transport.disconnecting for protocol in (inside, outside)] == [False, True]
        outside.connectionLost(Failure(ConnectionDone()))
        inside.connectionLost(Failure(ConnectionDone()))


# Requests


def ask(data, **limits):
    """What is answered to ``data``, and whether the connection stays."""
    clock = Clock()
    site = ApiSite(Root({b"version": Version()}), clock, **limits)
    transport = StringTransport()
    channel = site.buildProtocol(HERE)
    channel.makeConnection(transport)
    channel.dataReceived(data)
    return transport, clock


def request(headers="", body=""):
    return f"POST /version HTTP/1.1\r\nHost: plc\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def test_headers_have_a_limit():
    transport, _ = ask(request(f"X-Long: {'x' * 3000}\r\n"), max_header=2048)
    assert transport.value().startswith(b"HTTP/1.1 400 ")
    transport, _ = ask(request("X-Short: x\r\n" * 300), max_header=2048)
    assert transport.value().startswith(b"HTTP/1.1 400 ")
    transport, _ = ask(request(f"X-Long: {'x' * 1000}\r\n"), max_header=2048)
    assert transport.value().startswith(b"HTTP/1.1 405 ")


def test_bodies_have_a_limit():
    transport, _ = ask(request(body="x" * 101), max_body=100)
    assert transport.value().startswith(b"HTTP/1.1 413 ")
    transport, _ = ask(request(body="x" * 100), max_body=100)
    assert transport.value().startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize(
    "begun", [b"", b"GET /version HTTP/1.1\r\nHost", b"GET /version HTTP/1.1\r\nHost: plc\r\n\r\n"]
)
def test_a_connection_on_which_nothing_happens_is_closed(begun):
    transport, clock = ask(begun, idle=60)
    clock.advance(59)
    assert not transport.disconnecting
    clock.advance(2)
    assert transport.disconnecting


@pytest.mark.parametrize("wanted", [False, True])
def test_requests_are_logged_where_that_is_wanted(log, wanted):
    ask(b"GET /version?x=1 HTTP/1.1\r\nHost: plc\r\n\r\n", access_log=wanted)
    assert [text for text in log.texts("info") if "/version?x=1" in text] == (
        ["192.168.1.1 GET /version?x=1 200"] if wanted else []
    )


# Rates


def test_an_allowance_is_so_many_at_once_and_so_many_a_second():
    allowance = Allowance(10, 0.0)
    assert [allowance.take(0.0) for _ in range(10)] == [0.0] * 10
    assert allowance.take(0.0) == pytest.approx(0.1)
    assert allowance.take(0.05) == pytest.approx(0.05)
    assert allowance.take(0.11) == 0.0
    assert allowance.take(0.11) > 0


def test_an_allowance_that_is_not_used_grows_to_a_seconds_worth():
    allowance = Allowance(10, 0.0)
    assert [allowance.take(1000.0) for _ in range(11)][-2:] == [0.0, pytest.approx(0.1)]


def connections_of(files, wanted):
    """What a process that may open so many files says, and its limit then."""
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({0}, {1}));"
        "from evok_twisted.api.limits import connections;"
        "print(connections({2}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    command = [sys.executable, "-c", program.format(*files, wanted)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    return tuple(map(int, done.stdout.split()))


@pytest.mark.parametrize(
    ("files", "wanted", "expected"),
    [
        ((1024, 1024), 2048, (896, 1024)),
        ((1024, 4096), 2048, (2048, 2176)),
        ((1024, 1024), 100, (100, 1024)),
        ((64, 64), 2048, (32, 64)),
    ],
)
def test_connections_leave_descriptors_for_buses_and_files(files, wanted, expected):
    assert connections_of(files, wanted) == expected
