"""Last wills: carried out when a client is gone, whatever has become of it, of the board and of the service."""

from __future__ import annotations

import pytest
from fakes import Rig
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from evok_twisted.core.audit import Audit
from evok_twisted.core.identity import EVERYTHING, VIEWER, Identity, Scopes
from evok_twisted.core.wills import PATIENCE, Wills
from evok_twisted.errors import BadValue, Forbidden, Offline, Timeout, Unavailable

NODERED = Identity("nodered", "websocket", Scopes("operator"), "192.168.1.20", token="ab12cd34")
PANEL = Identity("anonymous", "websocket", EVERYTHING, "192.168.1.21")


class House:
    def __init__(self, tmp_path):
        self.file, self.clock, self.full = tmp_path / "run" / "wills.json", Clock(), False
        self.rig = Rig(self.clock).start()
        self.rig.commands.audit = Audit(self.clock)
        self.start()

    def start(self, grace=10):
        """As after a crash of a service that had wills: all that is left is the file."""
        self.wills = Wills(self.rig.registry, self.rig.commands, self.clock, self.file, self.in_thread)
        self.wills.load(grace)

    def in_thread(self, blocking):
        return fail(OSError(28, "No space left on device")) if self.full else succeed(blocking())

    def register(self, by=NODERED, circuit="1_01", **parameters):
        sets = [(self.rig.device("led", circuit), parameters or {"value": 1})]
        found = []
        Deferred.fromCoroutine(self.wills.register(sets, by)).addBoth(found.append)
        outcome = found[0]
        if hasattr(outcome, "value") and isinstance(outcome.value, Exception):
            raise outcome.value
        return outcome

    def value(self, circuit="1_01"):
        return self.rig.device("led", circuit).state.value

    def wait(self, seconds):
        for _ in range(int(seconds / 0.1)):
            self.clock.advance(0.1)


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def test_a_will_is_carried_out_when_its_client_is_gone_and_once(house, log):
    will = house.register()
    assert (house.value(), house.wills.count) == (0, 1)
    house.wills.carry_out(will)
    house.wills.carry_out(will)
    assert (house.value(), house.wills.count, house.file.read_text()) == (1, 0, "[]")
    (line,) = [text for text in log.texts("info") if text.startswith("set led")]
    assert line.startswith("set led 1_01 value=1 by nodered(ab12cd34) from 192.168.1.20 over will: done")


def test_a_will_that_is_withdrawn_does_nothing(house):
    will = house.register()
    house.wills.withdraw(will)
    house.wills.carry_out(will)
    assert (house.value(), house.wills.count, house.rig.bus.written) == (0, 0, [])


@pytest.mark.parametrize(
    ("by", "parameters", "error"),
    [
        (NODERED, {"value": 5}, BadValue),
        (NODERED, {"alias": "x"}, Forbidden),
        (PANEL._replace(scopes=VIEWER), {}, Forbidden),
    ],
)
def test_a_will_is_checked_like_any_set_when_it_is_made(house, by, parameters, error):
    with pytest.raises(error):
        house.register(by, **parameters)
    assert house.wills.count == 0


def test_a_will_may_be_made_while_its_board_is_not_there(house):
    house.rig.bus.turn(False)
    assert house.register()


def test_a_board_that_is_not_there_is_waited_for(house):
    will = house.register()
    house.rig.bus.turn(False)
    house.wills.carry_out(will)
    house.wait(30)
    assert house.wills.count == 1
    house.rig.bus.turn(True)
    house.wait(2)
    assert (house.value(), house.wills.count) == (1, 0)


def test_a_board_that_does_not_come_back_in_a_minute_is_given_up_with_a_line(house, log):
    will = house.register()
    house.rig.bus.turn(False)
    house.wills.carry_out(will)
    house.wait(PATIENCE + 1)
    assert house.wills.count == 0
    assert any("over will: offline, after 60" in text for text in log.texts("info"))
    house.rig.bus.turn(True)
    house.wait(2)
    assert house.value() == 0


def test_what_fails_is_told_and_the_rest_is_done(house, log):
    wills = [house.register(), house.register(circuit="1_02")]
    house.rig.bus.refusing = Timeout("no answer")
    house.wills.carry_out(wills[0])
    house.rig.bus.refusing = None
    house.wait(5)
    house.wills.carry_out(wills[1])
    house.wait(5)
    assert (house.value("1_02"), house.wills.count) == (1, 0)
    assert any(text.startswith("will of nodered(ab12cd34)") for text in log.texts("error"))


def test_a_will_that_cannot_be_kept_is_refused(house):
    house.full = True
    with pytest.raises(Unavailable):
        house.register()
    assert house.wills.count == 0


def test_after_a_crash_a_will_is_carried_out_if_its_client_does_not_come_back(house, log):
    house.register()
    house.start()
    assert "wills of nodered are carried out if they are not back in 10 s" in log.texts("warn")
    house.wait(9)
    assert (house.value(), house.wills.count) == (0, 1)
    house.wait(2)
    assert (house.value(), house.file.read_text()) == (1, "[]")


def test_after_a_crash_a_client_that_comes_back_has_its_will_and_no_other(house):
    house.register()
    house.register(PANEL, circuit="1_02")
    house.start()
    house.wait(1)
    will = house.register()
    house.wait(20)
    assert (house.value("1_01"), house.value("1_02"), house.wills.count) == (0, 1, 1)
    house.wills.carry_out(will)
    assert house.value("1_01") == 1


def test_of_two_wills_of_one_token_the_one_that_is_the_same_is_taken_for_the_one_before(house):
    house.register()
    house.register(circuit="1_02")
    house.start()
    house.register(circuit="1_02")
    house.wait(20)
    assert (house.value("1_01"), house.value("1_02")) == (1, 0)


def test_at_the_stop_all_are_carried_out_at_once_and_what_cannot_be_is_given_up(house, log):
    house.register()
    done = []
    Deferred.fromCoroutine(house.wills.end()).addCallback(done.append)
    assert (house.value(), len(done), house.file.read_text()) == (1, 1, "[]")
    with pytest.raises(Offline, match="stopping"):
        house.register()
    house.start()
    will = house.register(circuit="1_02")
    house.rig.bus.turn(False)
    Deferred.fromCoroutine(house.wills.end()).addCallback(done.append)
    house.wills.carry_out(will)
    assert len(done) == 2
    assert any("given up" in text for text in log.texts("error"))


@pytest.mark.parametrize("content", ["{", "[5]", '[{"owner":"x"}]'])
def test_a_file_that_cannot_be_used_is_put_aside(house, log, content):
    house.register()
    house.file.write_text(content)
    house.start()
    assert house.wills.count == 0
    assert house.file.with_suffix(".bad").read_text() == content
    assert any("cannot be used" in text for text in log.texts("error"))
