"""The bus over a serial line: on a clock, with a far end whose every byte the test decides."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from evok_twisted.bus.line import character_time, silent_interval
from evok_twisted.bus.rtu import RtuBus
from evok_twisted.bus.tcp import TcpBus
from evok_twisted.definitions import Block
from evok_twisted.errors import Offline, Timeout
from evok_twisted.model.registers import WriteCoil, WriteRegister
from evok_twisted.simulator.server import crc

BAUDRATE = 9600
SILENCE = silent_interval(BAUDRATE)


class Port(StringTransport):
    """A serial transport that remembers what was to be dropped."""

    discarded = 0

    def discard_output(self):
        self.discarded += 1


class Rig:
    """A bus on a clock; the port is opened when the test says so."""

    def __init__(self, make):
        self.clock = Clock()
        self.attempts = []
        self.bus = make(self, self.clock)
        self.turns = []
        self.bus.watch(self.turns.append)
        self.bus.service.startService()

    def connect(self, factory):
        attempt = Deferred()
        self.attempts.append((factory, attempt))
        return attempt

    def open(self):
        factory, attempt = self.attempts.pop(0)
        self.protocol = factory.buildProtocol(None)
        self.port = Port()
        self.protocol.makeConnection(self.port)
        attempt.callback(self.protocol)
        return self

    def fail(self, why="no such file"):
        self.attempts.pop(0)[1].errback(ConnectError(string=why))

    def lose(self):
        self.protocol.connectionLost(Failure(ConnectionError("the device is gone")))

    def wait(self, seconds):
        """Let time pass in steps that are shorter than any silence."""
        for _ in range(int(seconds / 0.001)):
            self.clock.advance(0.001)

    def sent(self):
        """The frames since the last call, without their CRC; one write is one frame."""
        data = self.port.value()
        self.port.clear()
        assert not data or crc(data[:-2]) == data[-2:], "one frame at a time"
        return data[:-2]

    def receive(self, frame, cut=None):
        self.protocol.dataReceived(frame + crc(frame))

    def answer(self, *words, to=None):
        """Answer a read of registers."""
        unit, function = (to or self.sent())[:2]
        self.receive(bytes((unit, function, 2 * len(words))) + b"".join(word.to_bytes(2, "big") for word in words))

    def prove(self):
        """Show by a read that there are no echoes."""
        done = self.bus.read(1, Block(0, 1))
        self.wait(SILENCE + 0.002)
        self.answer(0)
        assert done.called
        self.wait(SILENCE + 0.002)
        return self


def serial(endpoint, clock, baudrate=BAUDRATE):
    return RtuBus("TEST", endpoint, clock, baudrate=baudrate, timeout=0.5, write_timeout=2.0)


def tunnel(endpoint, clock):
    return TcpBus("TEST", endpoint, clock, timeout=0.5, write_timeout=2.0, pipeline=8, framer="rtu")


@pytest.fixture
def rig():
    rig = Rig(serial)
    yield rig.open().prove()
    rig.bus.service.stopService()


def held(deferred):
    """What a Deferred holds: a result, the type of an error, or "waits"."""
    if not deferred.called:
        return "waits"
    found = []
    deferred.addBoth(found.append)
    return found[0].type if isinstance(found[0], Failure) else found[0]


# the silence between frames


@pytest.mark.parametrize(
    ("baudrate", "seconds"),
    [(1200, 3.5 * 11 / 1200), (9600, 0.00401), (19200, 0.002005), (19201, 0.00175), (115200, 0.00175)],
)
def test_the_silent_interval_is_three_and_a_half_characters_and_fixed_above_19200(baudrate, seconds):
    assert silent_interval(baudrate) == pytest.approx(seconds, abs=1e-5)


@pytest.mark.parametrize("baudrate", [1200, 9600, 115200])
def test_the_first_request_waits_for_the_silence_that_a_frame_begins_with(baudrate):
    rig = Rig(lambda endpoint, clock: serial(endpoint, clock, baudrate)).open()
    done = rig.bus.read(1, Block(0, 1))
    rig.clock.advance(silent_interval(baudrate) - 0.0001)
    assert rig.sent() == b""
    rig.clock.advance(0.0002)
    assert rig.sent() == bytes.fromhex("01 03 0000 0001")
    rig.lose()
    assert held(done) is Offline


def test_every_byte_that_comes_begins_the_silence_anew(rig):
    done = rig.bus.read(1, Block(0, 1))
    rig.sent()
    for _ in range(5):
        rig.protocol.dataReceived(b"\x00")
        rig.clock.advance(SILENCE - 0.001)
    rig.lose()
    assert held(done) is Offline
    rig.clock.advance(1)
    rig.open()
    done = rig.bus.read(1, Block(0, 1))
    for _ in range(5):
        rig.clock.advance(SILENCE - 0.001)
        rig.protocol.dataReceived(b"\x00")
    assert rig.sent() == b""
    rig.clock.advance(SILENCE + 0.0001)
    assert rig.sent() != b""
    rig.lose()
    assert held(done) is Offline


def test_the_next_request_is_sent_when_the_line_was_silent_after_the_answer(rig):
    first, second = rig.bus.read(1, Block(0, 1)), rig.bus.read(2, Block(0, 1))
    rig.answer(5)
    assert (held(first), rig.sent()) == ((5,), b"")
    rig.clock.advance(SILENCE - 0.0001)
    assert rig.sent() == b""
    rig.clock.advance(0.0002)
    rig.answer(6)
    assert held(second) == (6,)


def test_a_tunnel_over_tcp_has_one_request_in_flight_and_no_silence():
    rig = Rig(tunnel).open()
    first, second = rig.bus.read(1, Block(0, 1)), rig.bus.read(2, Block(0, 1))
    rig.answer(5)
    rig.answer(6)
    assert (held(first), held(second)) == ((5,), (6,))


# the time for an answer


def test_no_answer_is_a_timeout_that_counts_from_when_both_frames_could_have_passed(rig):
    done = rig.bus.read(1, Block(0, 100))
    line = (8 + 205) * character_time(BAUDRATE)
    rig.clock.advance(0.5 + line - 0.001)
    assert held(done) == "waits"
    rig.clock.advance(0.002)
    assert held(done) is Timeout


def test_an_answer_after_its_timeout_is_not_taken_for_that_to_the_next_request(rig):
    late = rig.bus.read(1, Block(0, 1))
    asked = rig.sent()
    rig.wait(0.55)
    next_ = rig.bus.read(1, Block(9, 1))
    assert (held(late), rig.sent()) == (Timeout, b"")
    rig.answer(111, to=asked)
    rig.wait(0.55)
    assert held(next_) == "waits"
    rig.answer(222)
    assert held(next_) == (222,)


def test_a_late_answer_that_comes_while_another_unit_is_asked_is_passed_over(rig):
    late, other = rig.bus.read(1, Block(0, 1)), rig.bus.read(2, Block(9, 1))
    asked = rig.sent()
    rig.wait(0.55)
    assert held(late) is Timeout
    other_asked = rig.sent()
    assert other_asked[0] == 2
    rig.answer(111, to=asked)
    rig.answer(222, to=other_asked)
    assert held(other) == (222,)


def test_half_an_answer_before_the_timeout_and_half_after_it_are_none(rig):
    late, other = rig.bus.read(1, Block(0, 1)), rig.bus.read(2, Block(9, 1))
    answer = bytes.fromhex("01 03 02 006f")
    answer += crc(answer)
    rig.sent()
    rig.protocol.dataReceived(answer[:4])
    rig.wait(0.55)
    rig.protocol.dataReceived(answer[4:])
    assert held(late) is Timeout
    rig.answer(222)
    assert held(other) == (222,)


def test_a_silent_unit_costs_the_others_one_timeout_and_then_rests(rig):
    silent = [rig.bus.read(1, Block(n, 1)) for n in range(3)]
    others = [rig.bus.read(2, Block(n, 1)) for n in range(3)]
    rig.sent()
    rig.wait(0.53)
    errors = []
    for read in silent:
        read.addErrback(errors.append)
    assert [(error.type, error.value.sent) for error in errors] == [(Timeout, True), (Timeout, False), (Timeout, False)]
    again = rig.bus.read(1, Block(0, 1))
    for n, other in enumerate(others):
        rig.answer(n)
        assert held(other) == (n,)
        rig.wait(0.01)
    assert (held(again), rig.sent()) == ("waits", b"")
    rig.wait(0.5)
    rig.answer(7)
    assert held(again) == (7,)


def test_a_unit_that_rests_does_not_hold_up_one_that_is_asked_later(rig):
    lost = rig.bus.read(1, Block(0, 1))
    rig.sent()
    rig.wait(0.53)
    assert held(lost) is Timeout
    resting = rig.bus.read(1, Block(0, 1))
    rig.protocol.dataReceived(b"\x00")
    other = rig.bus.read(2, Block(0, 1))
    rig.wait(SILENCE + 0.002)
    rig.answer(5)
    assert held(other) == (5,)
    rig.lose()
    assert held(resting) is Offline


def test_writes_to_one_unit_keep_their_order_though_it_rests(rig):
    lost = rig.bus.read(1, Block(0, 1))
    rig.sent()
    writes = [rig.bus.write(1, write, rig.clock.seconds() + 9) for write in (WriteCoil(1, 1), WriteRegister(2, 3))]
    other = rig.bus.write(2, WriteCoil(9, 1), rig.clock.seconds() + 9)
    sent = []
    for _ in range(120):
        rig.wait(0.01)
        if frame := rig.sent():
            sent.append(frame)
            rig.receive(frame)
    assert [(frame[0], frame[1]) for frame in sent] == [(2, 5), (1, 5), (1, 6)]
    assert held(lost) is Timeout
    assert [held(write) for write in (*writes, other)] == [None, None, None]


def test_a_write_that_nothing_answered_leaves_the_port_open_and_drops_what_is_not_on_the_line_yet(rig):
    done = rig.bus.write(1, WriteCoil(0, 1), 10.0)
    assert rig.sent() == bytes.fromhex("01 05 0000 ff00")
    errors = []
    done.addErrback(errors.append)
    rig.wait(0.55)
    (failure,) = errors
    assert (failure.type, failure.value.sent) == (Timeout, True)
    assert (rig.port.discarded, rig.port.disconnecting, rig.bus.online) == (1, False, True)


def test_the_output_is_dropped_before_the_next_request_goes_out(rig):
    first, second = rig.bus.read(1, Block(0, 1)), rig.bus.read(2, Block(0, 1))
    rig.sent()
    rig.port.discard_output = lambda: discarded.append(rig.sent())
    discarded = []
    rig.wait(0.55)
    assert discarded == [b""]
    assert rig.sent()[0] == 2
    rig.lose()
    assert (held(first), held(second)) == (Timeout, Offline)


def test_slaves_that_are_all_silent_are_no_reason_to_reopen_the_port(rig):
    for _ in range(10):
        rig.bus.read(1, Block(0, 1)).addErrback(lambda _: None)
        rig.wait(1.1)
    assert (rig.port.disconnecting, rig.bus.online) == (False, True)


def test_a_serial_server_from_which_nothing_comes_is_connected_anew():
    rig = Rig(tunnel).open()
    for _ in range(3):
        rig.bus.read(1, Block(0, 1)).addErrback(lambda _: None)
        rig.wait(1.1)
    assert rig.port.disconnecting


def test_an_answer_that_comes_through_the_next_connection_is_not_taken_for_that_to_the_next_request():
    rig = Rig(tunnel).open().prove()
    write = rig.bus.write(1, WriteCoil(0, 1), rig.clock.seconds() + 1)
    asked = rig.sent()
    rig.wait(0.51)
    assert held(write) is Timeout
    assert rig.port.disconnecting
    rig.lose()
    rig.wait(0.15)
    rig.open()
    read, again = rig.bus.read(2, Block(0, 1)), rig.bus.write(1, WriteCoil(0, 1), rig.clock.seconds() + 1)
    rig.answer(5)
    assert held(read) == (5,)
    rig.receive(asked)
    assert (held(again), rig.sent()) == ("waits", b"")
    rig.wait(0.51)
    rig.receive(rig.sent())
    assert held(again) is None


def test_a_unit_whose_answer_was_lost_with_the_connection_rests_too():
    rig = Rig(tunnel).open()
    lost = rig.bus.read(1, Block(0, 1))
    rig.lose()
    assert held(lost) is Offline
    rig.wait(0.15)
    rig.open()
    read = rig.bus.read(1, Block(9, 1))
    assert rig.sent() == b""
    rig.wait(0.5)
    rig.answer(5)
    assert held(read) == (5,)


# writes


def test_a_write_waits_for_the_silence_and_then_goes_before_the_reads(rig):
    reads = [rig.bus.read(n, Block(0, 1)) for n in (1, 2, 3)]
    write = rig.bus.write(4, WriteCoil(0, 1), 10.0)
    rig.answer(0)
    rig.wait(SILENCE + 0.002)
    frame = rig.sent()
    assert frame[:2] == b"\x04\x05"
    rig.receive(frame)
    assert [held(done) for done in (*reads, write)] == [(0,), "waits", "waits", None]
    rig.lose()
    assert held(reads[1]) is Offline
    assert held(reads[2]) is Offline


def test_a_write_that_cannot_be_sent_by_its_deadline_is_never_sent(rig):
    read = rig.bus.read(1, Block(0, 1))
    rig.sent()
    write = rig.bus.write(2, WriteCoil(0, 1), rig.clock.seconds() + 0.3)
    rig.wait(0.31)
    assert held(write) is Timeout
    rig.wait(3)
    assert (held(read), rig.sent()) == (Timeout, b"")


def test_a_write_whose_deadline_falls_into_the_silence_is_never_sent(rig):
    rig.protocol.dataReceived(b"\x00")
    write = rig.bus.write(2, WriteCoil(0, 1), rig.clock.seconds() + SILENCE / 2)
    rig.clock.advance(SILENCE / 2)
    assert held(write) is Timeout
    rig.wait(1)
    assert rig.sent() == b""


@pytest.mark.parametrize("make", [serial, tunnel])
def test_the_echo_of_a_write_does_not_confirm_it(make):
    rig = Rig(make).open()
    read = rig.bus.read(1, Block(0, 1))
    rig.wait(0.01)
    asked = rig.sent()
    rig.receive(asked)
    rig.answer(0, to=asked)
    assert held(read) == (0,)
    rig.wait(0.01)
    write = rig.bus.write(1, WriteCoil(0, 1), rig.clock.seconds() + 1)
    frame = rig.sent()
    rig.receive(frame)
    assert held(write) == "waits"
    rig.receive(frame)
    assert held(write) is None
    rig.wait(0.01)
    lost = rig.bus.write(1, WriteCoil(0, 1), rig.clock.seconds() + 1)
    rig.receive(rig.sent())
    errors = []
    lost.addErrback(errors.append)
    rig.wait(0.6)
    assert errors[0].type is Timeout
    assert "echo" in errors[0].getErrorMessage()


def test_what_was_learned_of_echoes_ends_with_the_port(rig):
    rig.lose()
    rig.clock.advance(1)
    rig.open()
    rig.wait(0.01)
    write = rig.bus.write(1, WriteCoil(0, 1), rig.clock.seconds() + 1)
    frame = rig.sent()
    rig.receive(frame)
    assert held(write) == "waits"
    rig.receive(frame)
    assert held(write) is None


# noise


def test_a_line_that_is_never_silent_fails_what_waits_in_bounded_time():
    rig = Rig(serial).open()
    read = rig.bus.read(1, Block(0, 1))
    write = rig.bus.write(1, WriteCoil(0, 1), rig.clock.seconds() + 1)
    for _ in range(1500):
        rig.protocol.dataReceived(b"\x55")
        rig.clock.advance(0.001)
    assert (held(read), held(write), rig.sent()) == (Timeout, Timeout, b"")
    rig.wait(0.01)
    again = rig.bus.read(1, Block(0, 1))
    rig.answer(5)
    assert held(again) == (5,)


# the port goes and comes


def test_a_port_that_cannot_be_opened_is_said_once_and_tried_on_at_least_every_three_seconds(log):
    rig = Rig(serial)
    for _ in range(20):
        rig.fail()
        rig.clock.advance(3)
        assert len(rig.attempts) == 1
    assert len(log.texts("warn")) == 1
    assert "no such file" in log.texts("warn")[0]
    assert held(rig.bus.read(1, Block(0, 1))) is Offline
    assert held(rig.bus.write(1, WriteCoil(0, 1), 99.0)) is Offline
    rig.open()
    assert rig.bus.online


def test_when_the_port_goes_everything_fails_at_once(rig):
    done = [rig.bus.read(n, Block(0, 1)) for n in (1, 2)] + [rig.bus.write(1, WriteCoil(0, 1), 99.0)]
    rig.lose()
    assert [held(one) for one in done] == [Offline] * 3
    assert rig.turns == [True, False]


def test_begin_and_end_of_an_outage_are_logged_once_each_with_its_duration(rig, log):
    rig.clock.advance(60)
    rig.lose()
    for _ in range(10):
        rig.clock.advance(3)
        rig.fail()
    rig.clock.advance(3)
    rig.open()
    rig.clock.advance(1)
    (gone,) = log.texts("warn")
    assert "the device is gone" in gone
    assert "after 60" in gone
    assert [text for text in log.texts("info") if "after 34.0 s" in text] != []


def test_a_port_that_opens_and_fails_at_once_is_logged_once_and_not_tried_all_the_time(rig, log):
    rig.clock.advance(2)
    opened = 0
    for _ in range(600):
        if rig.bus.online:
            rig.lose()
        rig.clock.advance(0.1)
        if rig.attempts:
            rig.open()
            opened += 1
    assert 10 < opened < 160
    assert len(log.texts("warn")) == 1
    rig.clock.advance(2)
    assert "after" in log.texts("info")[-1]


def test_a_port_that_is_open_counts_as_back_though_no_slave_answers(rig, log):
    rig.clock.advance(2)
    rig.lose()
    rig.clock.advance(3)
    rig.open()
    before = len(log.texts("info"))
    rig.clock.advance(1.01)
    assert len(log.texts("info")) == before + 1
