"""The lines that say who has set what."""

from __future__ import annotations

import pytest
from fakes import Rig
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from evok_twisted.core.audit import Audit
from evok_twisted.core.identity import EVERYTHING, VIEWER, Identity

NODERED = Identity("nodered", "rest", EVERYTHING, "192.168.1.20", token="ab12cd34")


@pytest.fixture
def rig():
    rig = Rig(Clock()).start()
    rig.commands.audit = Audit(rig.clock)
    return rig


def set_(rig, *, by=NODERED, circuit="1_01", **parameters):
    done = Deferred.fromCoroutine(rig.commands.set(rig.device("led", circuit), parameters, by))
    done.addErrback(lambda _: None)


def test_a_write_is_a_line_with_who_from_where_and_how_long(rig, log):
    rig.bus.answering = False
    set_(rig, value=1)
    rig.clock.advance(0.004)
    rig.bus.answer_all()
    assert log.texts("info")[-1] == (
        "set led 1_01 value=1 by nodered(ab12cd34) from 192.168.1.20 over rest: done in 4 ms"
    )


def test_the_id_of_a_command_is_in_its_line_and_what_is_the_same_but_for_that_is_counted(rig, log):
    for n in range(3):
        set_(rig, by=NODERED._replace(command=f"a{n}"), value=1)
    rig.clock.advance(1.0)
    lines = [line for line in log.texts("info") if line.startswith("set led")]
    assert len(lines) == 2
    assert lines[0].endswith("over rest: done in 0 ms (id 'a0')")
    assert "2 more times" in lines[1]


def test_what_fails_and_what_is_forbidden_are_lines_too(rig, log):
    set_(rig, by=Identity("panel", "websocket", VIEWER), value=1)
    rig.bus.turn(False)
    set_(rig, value=1)
    forbidden, offline = (line for line in log.texts("info") if line.startswith("set led"))
    assert forbidden.startswith("set led 1_01 value=1 by panel over websocket: forbidden, after 0 ms: ")
    assert ": offline, after 0 ms: " in offline


def test_the_same_again_within_a_second_is_one_line_with_a_count(rig, log):
    for _ in range(50):
        set_(rig, value=1)
        set_(rig, circuit="1_02", value=1)
    rig.clock.advance(1.0)
    lines = [line for line in log.texts("info") if line.startswith("set led")]
    assert len(lines) == 4
    assert lines[-1].endswith("over rest: done, 49 more times in 1 s")
    set_(rig, value=1)
    assert log.texts("info")[-1].endswith("done in 0 ms")


def test_beyond_the_first_of_a_second_lines_come_at_its_end_and_none_is_lost(rig, log, monkeypatch):
    monkeypatch.setattr(Audit, "at_once", 2)
    for circuit in ("1_01", "1_02", "1_03", "1_04"):
        set_(rig, circuit=circuit, value=1)
    written = [line for line in log.texts("info") if line.startswith("set led")]
    assert len(written) == 2
    rig.clock.advance(1.0)
    written = [line.split()[2] for line in log.texts("info") if line.startswith("set led")]
    assert written == ["1_01", "1_02", "1_03", "1_04"]


def test_the_stop_writes_what_is_to_be_written_yet(rig, log, monkeypatch):
    monkeypatch.setattr(Audit, "at_once", 1)
    for circuit in ("1_01", "1_01", "1_02"):
        set_(rig, circuit=circuit, value=1)
    rig.commands.audit.stopService()
    written = [line for line in log.texts("info") if line.startswith("set led")]
    assert [line.split()[2] for line in written] == ["1_01", "1_02", "1_01"]
    assert "1 more times" in written[-1]


def test_what_is_counted_is_bounded(rig, log, monkeypatch):
    monkeypatch.setattr(Audit, "most", 2)
    for circuit in ("1_01", "1_02", "1_03", "1_04", "1_01"):
        set_(rig, circuit=circuit, value=1)
    assert len([line for line in log.texts("info") if line.startswith("set led")]) == 5
