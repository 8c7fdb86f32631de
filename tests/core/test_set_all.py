"""Several sets at once."""

from __future__ import annotations

import pytest
from fakes import BY, TwoBoards
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from evok_twisted.errors import BadParameter, BadValue, Conflict, Offline, Refused, Superseded, Timeout
from evok_twisted.model.aliases import Target
from evok_twisted.model.registers import WriteCoil, WriteCoils, WriteRegister


@pytest.fixture
def boards():
    return TwoBoards(Clock())


def start(boards, *sets):
    found = [(boards.registry.find(name, circuit, "classic"), parameters) for name, circuit, parameters in sets]
    return Deferred.fromCoroutine(boards.commands.set_all(found, BY))


def outcomes(done):
    """What became of each, by the class of its error."""
    return [outcome and type(outcome) for outcome in done.result]


def mistake(done):
    failure = done.result
    done.addErrback(lambda _: None)
    return failure.value


def switched(rig):
    """The coils of each write, with their values."""
    return [
        [(coil.address, coil.value) for coil in getattr(write, "coils", (write,))]
        for write in rig.bus.written
        if isinstance(write, WriteCoil | WriteCoils)
    ]


def relay(n, value=1, **more):
    return ("relay", f"2_0{n}", {"value": value, **more})


def test_coils_next_to_each_other_are_switched_with_one_write(boards):
    done = start(boards, relay(1), relay(2, 0), relay(3))
    assert switched(boards.extension) == [[(0, 1), (1, 0), (2, 1)]]
    assert outcomes(done) == [None, None, None]
    assert [boards.registry.find("relay", f"2_0{n}", "classic").state.value for n in (1, 2, 3)] == [1, 0, 1]


def test_the_order_in_which_neighbours_are_asked_for_does_not_part_them(boards):
    start(boards, relay(3), relay(1), relay(2))
    assert switched(boards.extension) == [[(0, 1), (1, 1), (2, 1)]]


def test_a_gap_parts_writes(boards):
    start(boards, relay(1), relay(2), relay(4))
    assert switched(boards.extension) == [[(0, 1), (1, 1)], [(3, 1)]]


def test_the_same_coil_twice_is_written_in_order(boards):
    boards.extension.bus.answering = False
    done = start(boards, relay(1, 1, alias="a"), relay(1, 0, alias="a"), relay(2))
    while boards.extension.bus.asked:
        boards.extension.bus.answer_all()
    assert switched(boards.extension) == [[(0, 1)], [(0, 0), (1, 1)]]
    assert outcomes(done) == [None, None, None]


def test_of_two_sets_of_one_output_in_one_request_both_are_done_in_order(boards):
    assert outcomes(start(boards, relay(1, 1), relay(1, 0))) == [None, None]
    assert switched(boards.extension) == [[(0, 1)], [(0, 0)]]


def test_a_newer_request_replaces_what_waits_of_an_older(boards):
    boards.extension.bus.answering = False
    start(boards, relay(5))
    older, newer = start(boards, relay(1, 1), relay(2, 1)), start(boards, relay(1, 0))
    while boards.extension.bus.asked:
        boards.extension.bus.answer_all()
    assert (outcomes(older), outcomes(newer)) == ([Superseded, None], [None])


def test_sets_of_different_requests_are_not_joined(boards):
    boards.extension.bus.answering = False
    start(boards, relay(5))
    start(boards, relay(1))
    start(boards, relay(2))
    while boards.extension.bus.asked:
        boards.extension.bus.answer_all()
    assert switched(boards.extension) == [[(4, 1)], [(0, 1)], [(1, 1)]]


def test_what_writes_more_than_its_coil_goes_by_itself(boards):
    words = boards.main.bus.words
    words[1018], words[16] = 49999, 100  # output 1 is in PWM: switching it ends that, with a second write
    boards.main.scanner.read_soon(boards.main.slave.blocks)
    start(boards, ("relay", "1_01", {"value": 1}), ("relay", "1_02", {"value": 1}))
    assert [type(write) for write in boards.main.bus.written] == [WriteCoil, WriteRegister, WriteCoil]


def test_a_board_that_refuses_to_switch_several_at_once_is_asked_one_by_one(boards):
    bus = boards.extension.bus
    bus.answering = False
    done = start(boards, relay(1), relay(2))
    bus.answer(error=Refused("refused: illegal function (1)", 1))
    while bus.asked:
        bus.answer_all()
    assert switched(boards.extension) == [[(0, 1)], [(1, 1)]]
    assert outcomes(done) == [None, None]


def test_of_coils_asked_for_one_by_one_each_fails_alone(boards):
    bus = boards.extension.bus
    bus.answering = False
    done = start(boards, relay(1), relay(2), relay(3))
    refusal = Refused("refused: illegal data address (2)", 2)
    for error in (refusal, None, refusal, None):
        writes = [n for n, (what, _) in enumerate(bus.asked) if not hasattr(what, "count")]
        bus.answer(writes[0], error)
    bus.answer_all()
    assert outcomes(done) == [None, Refused, None]


def test_a_joined_write_that_is_not_answered_fails_for_all_and_is_not_repeated(boards):
    bus = boards.extension.bus
    bus.answering = False
    done = start(boards, relay(1), relay(2))
    bus.answer(error=Timeout("no answer within 1 s"))
    bus.answer_all()
    assert outcomes(done) == [Timeout, Timeout]
    assert switched(boards.extension) == []


def test_pulses_that_begin_together_end_each_by_itself(boards):
    start(boards, relay(1, timeout=1), relay(2, timeout=2))
    outputs = [boards.registry.find("relay", f"2_0{n}", "classic") for n in (1, 2)]
    assert [output.state.pending for output in outputs] == [True, True]
    boards.clock.advance(1)
    assert [output.state.value for output in outputs] == [0, 1]
    boards.clock.advance(1)
    assert [output.state.value for output in outputs] == [0, 0]


def test_slaves_are_written_to_at_the_same_time(boards):
    boards.main.bus.answering = boards.extension.bus.answering = False
    done = start(boards, ("relay", "1_01", {"value": 1}), relay(1))
    assert [len(rig.bus.asked) for rig in (boards.main, boards.extension)] == [1, 1]
    boards.extension.bus.answer_all()
    assert not done.called
    boards.main.bus.answer_all()
    assert outcomes(done) == [None, None]


def test_what_is_offline_fails_alone(boards):
    boards.main.bus.turn(False)
    assert outcomes(start(boards, ("relay", "1_01", {"value": 1}), relay(1))) == [Offline, None]
    assert switched(boards.extension) == [[(0, 1)]]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (("relay", "1_01", {"value": 2}), BadValue),
        (("relay", "1_01", {"colour": 1}), BadParameter),
        (("relay", "1_01", {}), BadParameter),
        (("relay", "1_01", {"value": 1, "pwm_duty": 50}), Conflict),
        (("relay", "1_01", {"alias": "a b"}), BadValue),
        (("relay", "1_01", {"alias": "lamp"}), Conflict),
        (("modbus_slave", "1", {"value": 1}), BadParameter),
    ],
)
def test_a_mistake_in_one_keeps_all_from_being_done(boards, wrong, error):
    raised = mistake(start(boards, relay(1, alias="lamp"), wrong, relay(2)))
    assert (type(raised), raised.index) == (error, 1)
    assert boards.extension.bus.written == []
    assert boards.registry.find("relay", "2_01", "classic").alias == ""


def test_an_alias_stays_where_its_set_succeeds_and_goes_where_it_fails(boards):
    bus = boards.extension.bus
    bus.answering = False
    done = start(boards, relay(1, alias="one"), relay(3, alias="three"))
    bus.answer(error=Refused("refused: illegal data address (2)", 2))
    while bus.asked:
        bus.answer_all()
    assert outcomes(done) == [Refused, None]
    assert [boards.registry.find("relay", f"2_0{n}", "classic").alias for n in (1, 3)] == ["", "three"]


def test_nothing_to_do_is_done(boards):
    assert start(boards).result == []


def test_what_is_asked_for_at_once_is_one_of_those_that_may_wait(boards):
    boards.extension.bus.answering = False
    start(boards, relay(5))
    done = start(boards, *(relay(n % 5 + 1, alias=f"a{n}") for n in range(100)))
    boards.clock.pump([0] * 3)
    more = [start(boards, relay(n % 5 + 1, alias=f"b{n}")) for n in range(64)]
    assert mistakes(more) == [None] * 63 + ["busy"]
    while boards.extension.bus.asked:
        boards.extension.bus.answer_all()
    assert outcomes(done) == [None] * 100


def test_thousands_of_sets_that_fail_at_once_each_have_their_outcome(boards):
    boards.extension.bus.answering = False
    sets = [relay(n % 5 + 1, n % 2, alias=f"a{n % 5}") for n in range(2000)]
    first, second = start(boards, *sets), start(boards, *sets)
    boards.clock.pump([0] * 50)
    boards.extension.bus.turn(False)
    assert {outcome.code for outcome in (*first.result, *second.result)} == {"offline"}


def test_others_have_their_turn_while_thousands_of_sets_are_checked(boards):
    done = start(boards, *(relay(n % 5 + 1, n % 2) for n in range(1000)))
    other = start(boards, ("led", "1_01", {"value": 1}))
    assert (done.called, other.called) == (False, True)
    boards.clock.pump([0] * 30)
    assert done.result == [None] * 1000


def mistakes(many):
    """The code of what went wrong with each, as far as is known now."""
    return [one.result[0].code if one.called else None for one in many]


def test_a_bug_in_one_does_not_hide_what_became_of_the_others(boards, log):
    boards.main.writer.submit_all = lambda sets: [fail(ZeroDivisionError("a bug")) for _ in sets]
    done = start(boards, ("relay", "1_01", {"value": 1}), relay(1))
    log.expected("a bug")
    assert [outcome and outcome.code for outcome in done.result] == ["error", None]


def test_a_joined_write_has_the_deadline_of_the_first_of_its_sets(boards):
    bus, deadlines = boards.extension.bus, []
    write = bus.write
    bus.write = lambda unit, what, deadline: (deadlines.append(deadline), write(unit, what, deadline))[1]
    boards.clock.advance(5)
    start(boards, relay(1), relay(2))
    assert deadlines == [pytest.approx(boards.clock.seconds() + bus.write_timeout)]


# Aliases that are taken back


def kept(boards):
    boards.registry.restore("boiler", Target(("ro",), "9_07"))


def test_an_alias_of_an_absent_device_that_was_taken_over_is_kept_again_when_that_fails(boards):
    kept(boards)
    mistake(start(boards, relay(1, alias="boiler"), relay(2, alias="bad alias!")))
    assert boards.registry.book.all() == {"boiler": Target(("ro",), "9_07")}
    boards.extension.bus.refusing = Refused("refused: illegal data address (2)", 2)
    start(boards, relay(1, alias="boiler"))
    assert boards.registry.book.all() == {"boiler": Target(("ro",), "9_07")}


def test_an_alias_of_an_absent_device_that_was_taken_over_is_the_new_ones(boards):
    kept(boards)
    start(boards, relay(1, alias="al_boiler"))
    assert boards.registry.book.all() == {"al_boiler": Target(("ro",), "2_01")}


def test_aliases_are_taken_back_in_the_order_that_brings_back_the_first(boards):
    start(boards, relay(1, alias="one"))
    mistake(start(boards, relay(1, alias="two"), relay(1, alias="three"), relay(2, alias="bad alias!")))
    assert boards.registry.find("relay", "2_01", "classic").alias == "one"


def test_an_alias_that_somebody_else_gave_meanwhile_is_not_taken_back(boards):
    boards.extension.bus.answering = False
    start(boards, relay(1, alias="one"))
    start(boards, ("relay", "2_01", {"alias": "other"}))
    boards.extension.bus.answer(error=Refused("refused: illegal data address (2)", 2))
    assert boards.registry.find("relay", "2_01", "classic").alias == "other"


def test_an_alias_that_was_shown_and_taken_back_is_told_of(boards):
    boards.extension.bus.answering = False
    start(boards, relay(1, alias="one"))
    boards.main.changes.clear()
    boards.extension.bus.answer(error=Refused("refused: illegal data address (2)", 2))
    assert ["ro 2_01"] in boards.main.changed()
