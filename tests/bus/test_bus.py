"""What every Modbus bus does, on real sockets and pseudo-terminals: over TCP, over a serial line, and RTU over TCP."""

from __future__ import annotations

from abc import ABC, abstractmethod

import pytest
import pytest_twisted
from stack import DEFINITIONS, turn
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.python.failure import Failure

from evok_twisted.bus.rtu import RtuBus
from evok_twisted.bus.tcp import TcpBus
from evok_twisted.definitions import Block, load_definition
from evok_twisted.errors import Offline, Refused, Timeout
from evok_twisted.hosts import HostEndpoint
from evok_twisted.model.registers import WriteCoil, WriteRegister, WriteRegisters
from evok_twisted.problems import Problems
from evok_twisted.serialport import SerialEndpoint, SerialSettings
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.rtu import RtuSimulatorFactory, Terminal
from evok_twisted.simulator.server import SimulatorFactory

TIMEOUT = 0.15
DEFINITION = load_definition(DEFINITIONS / "00.yaml", Problems())
#: a block, and where in it something can be written
BLOCK = Block(1008, 5)
DEBOUNCE = 1010


class Far(ABC):
    """Three slaves, 1, 2 and 3, that can be unplugged and plugged in; and the bus under test.

    :ivar asked: the unit and function of every request that came through, in order.
    """

    factory_class = RtuSimulatorFactory

    def __init__(self, directory):
        self.path = directory / "tty"
        self.factory = self.factory_class({unit: SimulatedBoard(DEFINITION) for unit in (1, 2, 3)})
        self.asked = []
        answer = self.factory.answer

        def noting(frame):
            self.asked.append((frame[6], frame[7]))
            return answer(frame)

        self.factory.answer = noting
        self.plug()
        self.bus = self.make()
        self.turns = []
        self.bus.watch(self.turns.append)

    @abstractmethod
    def make(self):
        """The bus."""

    @abstractmethod
    def plug(self):
        """Make it reachable, at the place where it was."""

    @abstractmethod
    def unplug(self):
        """Take it away, in the middle of whatever goes on."""

    async def until(self, condition, what, seconds=5.0):
        deadline = reactor.seconds() + seconds
        while not condition():
            assert reactor.seconds() < deadline, f"not within {seconds} s: {what}"
            await turn(0.002)

    async def start(self):
        self.bus.service.startService()
        await self.until(lambda: self.bus.online, "the bus is online")

    async def stop(self):
        await self.bus.service.stopService()
        await maybeDeferred(self.unplug)


class OverTcp(Far):
    factory_class = SimulatorFactory
    framer = "socket"
    port_number = 0

    def make(self):
        endpoint = HostEndpoint(reactor, "127.0.0.1", self.port_number, 3)
        return TcpBus("TEST", endpoint, reactor, timeout=TIMEOUT, write_timeout=1.0, pipeline=1, framer=self.framer)

    def plug(self):
        self.port = reactor.listenTCP(self.port_number, self.factory, interface="127.0.0.1")
        self.port_number = self.port.getHost().port

    def unplug(self):
        self.factory.drop_connections()
        return self.port.stopListening()


class RtuOverTcp(OverTcp):
    factory_class = RtuSimulatorFactory
    framer = "rtu"


class Serial(Far):
    def make(self):
        endpoint = SerialEndpoint(SerialSettings(str(self.path), 115200, "E", 1), reactor)
        return RtuBus("TEST", endpoint, reactor, baudrate=115200, timeout=TIMEOUT, write_timeout=1.0)

    def plug(self):
        self.terminal = Terminal(self.path, self.factory, reactor)
        self.terminal.startService()

    def unplug(self):
        return self.terminal.stopService()


@pytest.fixture
def start(tmp_path):
    """Starts a far end with its bus; what was started is stopped."""
    started = []

    def start(kind):
        started.append(kind(tmp_path))
        pytest_twisted.blockon(Deferred.fromCoroutine(started[-1].start()))
        return started[-1]

    yield start
    for far in started:
        pytest_twisted.blockon(Deferred.fromCoroutine(far.stop()))


@pytest.fixture(params=[OverTcp, Serial, RtuOverTcp], ids=["tcp", "serial", "rtu over tcp"])
def far(request, start):
    return start(request.param)


@pytest.fixture(params=[Serial, RtuOverTcp], ids=["serial", "rtu over tcp"])
def line(request, start):
    return start(request.param)


def soon(seconds=1.0):
    return reactor.seconds() + seconds


async def outcome(deferred):
    """The result of a request, or its error."""
    ((_, result),) = await DeferredList([deferred], consumeErrors=True)
    return result.value if isinstance(result, Failure) else result


@pytest_twisted.ensureDeferred
async def test_words_are_read(far):
    far.factory.units[1].holding.write(BLOCK.start, [1, 2, 3, 0xFFFF, 5])
    assert await far.bus.read(1, BLOCK) == (1, 2, 3, 0xFFFF, 5)


@pytest_twisted.ensureDeferred
async def test_a_write_is_done_when_the_board_has_it(far):
    await far.bus.read(1, BLOCK)
    board = far.factory.units[2]
    for write in (WriteCoil(1, 1), WriteRegister(DEBOUNCE, 77), WriteRegisters(8, (4464, 1))):
        assert await far.bus.write(2, write, soon()) is None
    assert (board.coils[1], board.holding[DEBOUNCE], board.holding.read(8, 2)) == (1, 77, [4464, 1])


@pytest_twisted.ensureDeferred
async def test_a_refusal_has_its_name(far):
    error = await outcome(far.bus.read(1, Block(5000, 1)))
    assert (type(error), error.exception) == (Refused, 2)
    assert "illegal data address" in str(error)
    far.factory.exceptions[1] = 6
    error = await outcome(far.bus.write(1, WriteCoil(0, 1), soon()))
    assert (type(error), error.exception) == (Refused, 6)


@pytest_twisted.ensureDeferred
async def test_slaves_on_one_line_answer_for_themselves_and_a_dead_one_holds_up_nobody_for_long(far):
    for unit, board in far.factory.units.items():
        board.holding[DEBOUNCE] = unit
    dead = [far.bus.read(9, BLOCK) for _ in range(3)]
    begin = reactor.seconds()
    for _ in range(10):
        reads = [far.bus.read(unit, BLOCK) for unit in (1, 2, 3)]
        assert [(await read)[DEBOUNCE - BLOCK.start] for read in reads] == [1, 2, 3]
    # what a dead one costs: its own timeout now and then, not one for each of the others' requests
    assert reactor.seconds() - begin < 4 * TIMEOUT
    assert [type(await outcome(one)) for one in dead] == [Timeout] * 3


@pytest_twisted.ensureDeferred
async def test_when_it_goes_everything_fails_soon_and_within_three_seconds_of_its_return_it_works(far):
    assert await far.bus.read(1, BLOCK)
    far.factory.mute.add(1)
    pending = [far.bus.read(1, BLOCK), far.bus.read(2, BLOCK), far.bus.write(2, WriteCoil(0, 1), soon())]
    await maybeDeferred(far.unplug)
    await far.until(lambda: not far.bus.online, "it is gone", 1.0)
    assert [type(await outcome(one)) for one in pending] == [Offline] * 3
    for late in (far.bus.read(2, BLOCK), far.bus.write(2, WriteCoil(0, 1), soon())):
        assert late.called
        assert type(await outcome(late)) is Offline
    await turn(0.5)  # it stays away for longer than the first tries
    far.factory.mute.clear()
    far.plug()
    await far.until(lambda: far.bus.online, "it is back", 3.2)
    assert await far.bus.read(2, BLOCK)
    assert far.turns == [True, False, True]
    assert list(far.factory.writes) == []


@pytest_twisted.ensureDeferred
async def test_a_write_that_cannot_be_sent_by_its_deadline_is_never_sent(far):
    assert await far.bus.read(2, BLOCK)
    far.factory.mute.add(1)
    stuck = far.bus.read(1, BLOCK)
    await far.until(lambda: far.asked[-1] == (1, 3), "the read is in flight")
    error = await outcome(far.bus.write(2, WriteCoil(0, 1), soon(TIMEOUT / 3)))
    assert (type(error), error.sent) == (Timeout, False)
    assert type(await outcome(stuck)) is Timeout
    assert await far.bus.read(2, BLOCK)
    assert list(far.factory.writes) == []


@pytest_twisted.ensureDeferred
async def test_writes_go_before_reads_that_wait(far):
    await far.bus.read(1, BLOCK)
    far.asked.clear()
    requests = [far.bus.read(1, BLOCK), far.bus.read(2, BLOCK), far.bus.write(3, WriteCoil(0, 1), soon())]
    assert all(success for success, _ in await DeferredList(requests))
    functions = [function for _, function in far.asked]
    assert functions.index(5) < 2
    assert sorted(functions) == [3, 3, 5]


@pytest_twisted.ensureDeferred
async def test_before_anything_is_connected_requests_fail_at_once(far):
    bus = far.make()
    for request in (bus.read(1, BLOCK), bus.write(1, WriteCoil(0, 1), soon())):
        assert request.called
        assert type(await outcome(request)) is Offline


@pytest_twisted.ensureDeferred
async def test_on_a_line_that_echoes_values_are_right_and_writes_wait_for_their_answer(line):
    line.factory.echo = True
    line.factory.units[1].holding[DEBOUNCE] = 42
    assert (await line.bus.read(1, BLOCK))[DEBOUNCE - BLOCK.start] == 42
    assert await line.bus.write(1, WriteCoil(1, 1), soon()) is None
    assert line.factory.units[1].coils[1] == 1
    line.factory.mute.add(1)
    error = await outcome(line.bus.write(1, WriteCoil(1, 0), soon()))
    assert (type(error), error.sent) == (Timeout, True)
    assert line.factory.units[1].coils[1] == 1
