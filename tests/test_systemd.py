"""What systemd is told, over a real socket."""

from __future__ import annotations

import os
import socket

import pytest
from twisted.internet.testing import MemoryReactorClock

from evok_twisted.systemd import Systemd


class Reactor(MemoryReactorClock):
    """Runs at once, and ends when the test says so."""

    def __init__(self):
        super().__init__()
        self.at_shutdown = []

    def callWhenRunning(self, function, *arguments):
        function(*arguments)

    def addSystemEventTrigger(self, phase, event, function, *arguments):
        assert (phase, event) == ("before", "shutdown")
        self.at_shutdown.append(lambda: function(*arguments))


class Manager:
    """systemd's side of it."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)
        self.reactor = Reactor()
        self.status = "1 of 2 boards online"
        self.alive = True
        self.services = []

    def start(self, **environ):
        service = Systemd(lambda: self.status, lambda: self.alive, self.reactor, environ)
        service.startService()
        self.services.append(service)
        return self

    @property
    def told(self):
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(1000).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    path = str(tmp_path / "notify")
    name = f"\0evok-test-{os.getpid()}-{id(request)}"
    manager = Manager(path if request.param == "path" else name)
    manager.environ = {"NOTIFY_SOCKET": path if request.param == "path" else "@" + name[1:]}
    yield manager
    for service in manager.services:
        service.stopService()
    manager.socket.close()


def test_it_says_that_it_is_ready_and_how_it_is(manager):
    manager.start(**manager.environ)
    assert manager.told == ["READY=1\nSTATUS=1 of 2 boards online"]


def test_a_change_of_the_status_is_told_once(manager):
    manager.start(**manager.environ)
    manager.told  # noqa: B018
    manager.status = "2 of 2 boards online"
    manager.reactor.pump([1, 1, 1])
    assert manager.told == ["STATUS=2 of 2 boards online"]


def test_it_says_that_it_stops(manager):
    manager.start(**manager.environ)
    manager.told  # noqa: B018
    for function in manager.reactor.at_shutdown:
        function()
    assert manager.told == ["STOPPING=1\nSTATUS=stopping"]


def test_the_watchdog_hears_twice_in_its_time_while_all_goes_on(manager):
    manager.start(**manager.environ, WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
    manager.told  # noqa: B018
    manager.reactor.pump([15] * 4)
    assert manager.told == ["WATCHDOG=1"] * 4


def test_the_watchdog_does_not_hear_when_something_stands_still(manager, log):
    manager.start(**manager.environ, WATCHDOG_USEC="30000000")
    manager.told  # noqa: B018
    manager.alive = False
    manager.reactor.pump([15] * 4)
    assert manager.told == []
    assert log.texts("error")[0] == "a scan stands still; systemd is not notified"


def test_a_watchdog_of_another_process_is_none_of_ours(manager):
    manager.start(**manager.environ, WATCHDOG_USEC="30000000", WATCHDOG_PID="1")
    manager.told  # noqa: B018
    manager.reactor.pump([15] * 4)
    assert manager.told == []


def test_nothing_is_told_after_the_stop(manager):
    manager.start(**manager.environ, WATCHDOG_USEC="30000000")
    manager.told  # noqa: B018
    manager.services.pop().stopService()
    manager.status = "other"
    manager.reactor.pump([15] * 4)
    assert manager.told == []


def test_without_systemd_nothing_happens():
    reactor = Reactor()
    Systemd(lambda: "", lambda: True, reactor, {}).startService()
    assert (reactor.at_shutdown, reactor.getDelayedCalls()) == ([], [])


def test_a_socket_that_is_gone_costs_a_line_in_the_log(tmp_path, log):
    service = Systemd(lambda: "x", lambda: True, Reactor(), {"NOTIFY_SOCKET": str(tmp_path / "none")})
    service.startService()
    service.stopService()
    assert "systemd cannot be notified of READY=1" in log.texts("warn")[0]
