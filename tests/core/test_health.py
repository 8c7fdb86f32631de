"""What the service says of itself."""

from __future__ import annotations

import msgspec
import pytest
from fakes import Rig, TwoBoards
from twisted.internet.task import Clock

from evok_twisted.core.health import Health
from evok_twisted.errors import Timeout


@pytest.fixture
def boards():
    boards = TwoBoards(Clock())
    boards.health.add(boards.extension.bus, "MODBUSRTU", [boards.extension.slave])
    return boards


def test_all_is_well_while_every_board_answers(boards):
    boards.clock.advance(5)
    report = boards.health.report()
    assert (report.healthy, report.reasons, report.status) == (True, (), "2 of 2 boards online")
    assert report.uptime == pytest.approx(5, abs=0.1)
    assert report.version


def test_each_bus_and_each_board_is_told_of(boards):
    first, second = msgspec.to_builtins(boards.health.report().buses)
    assert (first["bus"], first["type"], first["online"]) == ("FAKE", "FAKE", True)
    (slave,) = second["slaves"]
    assert 0 <= slave.pop("since") <= 0.02
    assert (slave.pop("scans"), slave.pop("missed")) == (2, 0)
    assert slave == {"circuit": "2", "slave_id": 1, "online": True, "last_comm": 0, "errors": 0, "timeouts": 0}


def test_a_board_that_does_not_answer_is_a_reason(boards):
    boards.extension.bus.refusing = Timeout("no answer")
    boards.clock.pump([0.02] * 30)
    report = boards.health.report()
    assert not report.healthy
    assert report.reasons == ("slave 2 (unit 1 on FAKE) does not answer",)
    assert report.status == "1 of 2 boards online"
    assert report.buses[1].slaves[0].timeouts >= 3


def test_a_bus_that_is_down_is_one_reason_and_not_one_a_board(boards):
    boards.main.bus.turn(False)
    report = boards.health.report()
    assert report.reasons == ("bus FAKE is down",)
    assert report.status == "1 of 2 boards online, bus FAKE is down"


def test_what_is_to_be_looked_after_is_told_and_is_no_illness(boards):
    wrong = ["the certificate ends on 2026-12-01"]
    boards.health.warn_of(lambda: wrong)
    report = boards.health.report()
    assert (report.healthy, report.warnings, report.reasons) == (True, tuple(wrong), ())
    wrong.clear()
    assert boards.health.report().warnings == ()


def test_without_hardware_all_is_well_and_that_is_said():
    report = Health(Clock()).report()
    assert (report.healthy, report.status, report.buses) == (True, "no hardware is configured", ())


def test_a_bus_without_boards_is_a_bus():
    health = Health(Clock())
    rig = Rig(Clock())
    health.add(rig.bus, "OWBUS")
    assert health.report().status == "all buses online"
    rig.bus.turn(False)
    assert (health.report().healthy, health.report().status) == (False, "bus FAKE is down")
