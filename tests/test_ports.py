"""Ports that take their time, or cannot be had."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory

from evok_twisted.ports import Port


class Endpoint:
    """One whose port is there when the test says so."""

    def __init__(self, listening):
        self.listening = listening

    def listen(self, factory):
        return self.listening


def test_a_port_that_cannot_be_had_ends_the_start(log):
    port = Port(Endpoint(fail(CannotListenError("here", 80, OSError("taken")))), Factory(), "ws://{where}")
    with pytest.raises(SystemExit):
        port.privilegedStartService()
    assert "taken" in log.texts("critical")[0]


def test_a_port_that_fails_later_is_told(log):
    endpoint = Endpoint(Deferred())
    port = Port(endpoint, Factory(), "ws://{where}")
    port.privilegedStartService()
    port.startService()
    endpoint.listening.errback(CannotListenError("here", 80, OSError("taken")))
    (told,) = log.texts("critical")
    assert "cannot be listened on" in told
    assert "taken" in told


def test_a_port_that_is_not_there_yet_is_given_up_at_the_stop(log):
    cancelled = []
    port = Port(Endpoint(Deferred(cancelled.append)), Factory(), "ws://{where}")
    port.privilegedStartService()
    port.startService()
    port.stopService()
    assert len(cancelled) == 1
    assert log.texts("critical") == []
