"""A serial line on which everything goes wrong by chance: what must hold all the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from evok_twisted.bus.line import character_time, silent_interval
from evok_twisted.bus.rtu import RtuBus
from evok_twisted.definitions import Block
from evok_twisted.errors import EvokError
from evok_twisted.model.registers import WriteCoil, WriteRegister
from evok_twisted.simulator.server import crc

BAUDRATE = 19200
TIMEOUT = 0.5


def word(unit, address):
    """What stands in every register: its place, so that a value from another is known for that."""
    return unit << 12 | address


class Line(StringTransport):
    """Slaves 1, 2 and 3, on a line that does with each frame what ``fates`` say.

    :ivar done: writes that a slave has done, and when.
    :ivar quiet: when the last byte was on the line.
    """

    def __init__(self, clock, echo, fates):
        super().__init__()
        self.clock = clock
        self.echo = echo
        self.fates = list(fates)
        self.done = []
        self.sent = []
        self.quiet = 0.0
        self.protocol = None

    def discard_output(self):
        pass

    def write(self, frame):
        now = self.clock.seconds()
        assert now - self.quiet >= silent_interval(BAUDRATE) - 1e-9, "the line was not silent"
        assert crc(frame[:-2]) == frame[-2:]
        self.sent.append((now, frame))
        end = len(frame) * character_time(BAUDRATE)
        self.quiet = now + end
        if self.echo:
            self.clock.callLater(end, self.hear, frame)
        fate, delay, noise = self.fates.pop(0) if self.fates else ("answer", 0.01, b"")
        if fate == "lost":
            return
        answer = self.answer(frame)
        if fate == "garbled":
            answer = answer[:-3] + bytes((answer[-3] ^ 0x10,)) + answer[-2:]
        elif fate == "cut":
            answer = answer[: len(answer) // 2]
        for n, piece in enumerate((noise, answer[:3], answer[3:], noise if fate == "noisy" else b"")):
            if piece:
                self.clock.callLater(end + delay + n * 0.0005, self.hear, piece)

    def hear(self, data):
        self.quiet = self.clock.seconds()
        if self.protocol.connected:
            self.protocol.dataReceived(data)

    def answer(self, frame):
        unit, function = frame[:2]
        address = int.from_bytes(frame[2:4], "big")
        if function == 3:
            words = [word(unit, address + n) for n in range(int.from_bytes(frame[4:6], "big"))]
            answer = bytes((unit, 3, 2 * len(words))) + b"".join(one.to_bytes(2, "big") for one in words)
            return answer + crc(answer)
        self.done.append(frame)
        return frame

    # as an endpoint

    def connect(self, factory):
        attempt = Deferred()
        self.clock.callLater(0, self.connected_to, factory, attempt)
        return attempt

    def connected_to(self, factory, attempt):
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self)
        attempt.callback(self.protocol)


fates = st.tuples(
    st.sampled_from(["answer", "answer", "answer", "late", "lost", "garbled", "cut", "noisy"]),
    st.floats(0, 0.1),
    st.one_of(st.just(b""), st.binary(max_size=3), st.binary(max_size=20)),
).map(lambda fate: (fate[0], fate[1] + (0.55 if fate[0] == "late" else 0), fate[2]))

requests = st.tuples(
    st.sampled_from(["read", "read", "coil", "register"]),
    st.integers(1, 3),
    st.integers(0, 5),
    st.integers(1, 3),
    st.floats(0, 0.3),
)


@given(st.booleans(), st.lists(fates, max_size=15), st.lists(requests, min_size=1, max_size=15))
@settings(derandomize=True, deadline=None, max_examples=250)
def test_values_are_of_their_place_and_what_is_acknowledged_is_done(echo, what_happens, asked):
    clock = Clock()
    line = Line(clock, echo, what_happens)
    bus = RtuBus("TEST", line, clock, baudrate=BAUDRATE, timeout=TIMEOUT, write_timeout=1.0)
    bus.service.startService()
    clock.advance(0.01)
    asking = []
    for n, (kind, unit, address, size, pause) in enumerate(asked):
        deadline = clock.seconds() + 1.0
        if kind == "read":
            answer = bus.read(unit, Block(address, size))
        elif kind == "coil":
            answer = bus.write(unit, WriteCoil(100 + n, 1), deadline)
        else:
            answer = bus.write(unit, WriteRegister(100 + n, n), deadline)
        outcome = []
        answer.addBoth(outcome.append)
        asking.append((kind, unit, address, size, deadline, outcome))
        for _ in range(int(pause / 0.001)):
            clock.advance(0.001)
    for _ in range(200):
        if all(outcome for *_, outcome in asking):
            break
        for _ in range(200):
            clock.advance(0.001)
    for n, (kind, unit, address, size, deadline, outcome) in enumerate(asking):
        (result,) = outcome  # each ends, and once
        frames = [when for when, frame in line.sent if frame[0] == unit and frame[2:4] == (100 + n).to_bytes(2, "big")]
        if kind != "read":
            assert len(frames) <= 1
            assert all(when <= deadline for when in frames)
        if isinstance(result, Failure):
            assert isinstance(result.value, EvokError)
            assert kind == "read" or result.value.sent or not frames
        elif kind == "read":
            assert result == tuple(word(unit, address + n) for n in range(size))
        else:
            assert [frame for frame in line.done if frame[2:4] == (100 + n).to_bytes(2, "big")] != []
    bus.service.stopService()
