"""Simulated boards behind RTU frames, and the serial device that does not exist."""

from __future__ import annotations

import os
import select

import pytest
from fakes import DEFINITIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.pdu import bit_message as bits
from pymodbus.pdu import register_message as registers
from twisted.internet.testing import MemoryReactorClock, StringTransport

from evok_twisted.bus.framing import check
from evok_twisted.bus.rtuframing import RtuFraming
from evok_twisted.definitions import load_definition
from evok_twisted.problems import Problems
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.rtu import RtuSimulatorFactory, Terminal
from evok_twisted.simulator.server import crc

DEFINITION = load_definition(DEFINITIONS / "00.yaml", Problems())


class Client:
    """A master on the line."""

    def __init__(self):
        self.factory = RtuSimulatorFactory({unit: SimulatedBoard(DEFINITION) for unit in (1, 2)})
        self.transport = StringTransport()
        self.protocol = self.factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def send(self, *parts):
        """Send bytes and take what comes back."""
        for part in parts:
            self.protocol.dataReceived(part)
        received = self.transport.value()
        self.transport.clear()
        return received

    def ask(self, request, unit=1):
        """Send a pymodbus request and take the answer, checked as a client checks it."""
        request.dev_id, request.transaction_id = unit, 7
        framing = RtuFraming()
        framing._doubt = 0  # there are no echoes here
        (answer,) = framing.feed(self.send(framing.encode(request)))
        check(request, answer.pdu)
        return answer.pdu


def frame(text, unit=1):
    data = bytes((unit,)) + bytes.fromhex(text)
    return data + crc(data)


READ = frame("03 0000 0001")
ANSWER = frame("03 02 0000")


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def board(client):
    return client.factory.units[1]


def test_the_crc_is_that_of_the_specification():
    assert crc(b"\x02\x07") == b"\x41\x12"


def test_every_function_is_served(client, board):
    board.holding.write(2, [5, 6])
    assert list(client.ask(registers.ReadHoldingRegistersRequest(address=2, count=2)).registers) == [5, 6]
    assert client.ask(bits.ReadCoilsRequest(address=0, count=3)).bits[:3] == [False] * 3
    client.ask(bits.WriteSingleCoilRequest(address=1, bits=[True]))
    assert board.coils[1] == 1
    client.ask(registers.WriteSingleRegisterRequest(address=1010, registers=[77]))
    assert board.holding[1010] == 77
    client.ask(bits.WriteMultipleCoilsRequest(address=2, bits=[True, True]))
    assert (board.coils[2], board.coils[3]) == (1, 1)
    client.ask(registers.WriteMultipleRegistersRequest(address=8, registers=[4464, 1]))
    assert board.holding.read(8, 2) == [4464, 1]
    client.ask(registers.MaskWriteRegisterRequest(address=1010, and_mask=0xF2, or_mask=0x25))
    client.ask(
        registers.ReadWriteMultipleRegistersRequest(read_address=8, read_count=1, write_address=8, write_registers=[9])
    )
    assert board.holding[8] == 9


def test_each_slave_answers_for_itself(client):
    client.factory.units[2].holding[0] = 0x0102
    assert client.send(frame("03 0000 0001", unit=2)) == frame("03 02 0102", unit=2)


def test_for_a_slave_that_is_not_there_nobody_answers(client):
    assert client.send(frame("03 0000 0001", unit=9)) == b""


def test_a_mute_slave_does_not_answer(client):
    client.factory.mute.add(1)
    assert client.send(READ) == b""


def test_what_cannot_be_done_is_an_exception(client):
    assert client.send(frame("03 1388 0001")) == frame("83 02")


def test_a_request_with_a_wrong_crc_is_neither_done_nor_answered(client, board):
    write = frame("05 0001 ff00")
    assert client.send(write[:-1] + bytes((write[-1] ^ 1,))) == b""
    assert board.coils[1] == 0


def test_an_adapter_that_hears_itself_can_be_simulated(client):
    client.factory.echo = True
    assert client.send(READ) == READ + ANSWER


@given(st.binary(max_size=700), st.data())
@settings(derandomize=True, deadline=None)
def test_a_request_behind_noise_is_answered_however_it_is_cut(noise, data):
    client = Client()
    stream = noise + READ
    received = b""
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        received += client.send(stream[:cut])
        stream = stream[cut:]
    assert received == ANSWER
    assert len(client.protocol._buffer) <= 512


@given(st.binary(min_size=1, max_size=300))
@settings(derandomize=True, deadline=None)
def test_no_pdu_makes_it_fail(pdu):
    client = Client()
    data = b"\x01" + pdu
    received = client.send(data + crc(data))
    assert received == b"" or crc(received[:-2]) == received[-2:]
    assert client.send(READ)[-len(ANSWER) :] == ANSWER


# the device that does not exist


@pytest.fixture
def terminal(tmp_path):
    terminal = Terminal(tmp_path / "tty", RtuSimulatorFactory({1: SimulatedBoard(DEFINITION)}), MemoryReactorClock())
    yield terminal
    if terminal.running:
        terminal.stopService()


def test_it_is_linked_at_its_path_while_it_runs(terminal, tmp_path):
    path = tmp_path / "tty"
    path.symlink_to(tmp_path / "gone")  # what a run before that was killed has left
    terminal.startService()
    assert path.is_char_device()
    terminal.stopService()
    assert not path.is_symlink()


def test_it_answers_what_is_written_to_its_path(terminal, tmp_path):
    terminal.startService()
    port = os.open(tmp_path / "tty", os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(port, READ)
        assert select.select([terminal._end], [], [], 2)[0]
        terminal._end.doRead()
        terminal._end.doWrite()
        assert select.select([port], [], [], 2)[0]
        assert os.read(port, 100) == ANSWER
    finally:
        os.close(port)


def test_whoever_has_it_open_sees_it_go(terminal, tmp_path):
    terminal.startService()
    port = os.open(tmp_path / "tty", os.O_RDWR | os.O_NOCTTY)
    terminal.stopService()
    try:
        assert os.read(port, 1) == b""
    except OSError:
        pass  # or so
    finally:
        os.close(port)


def test_a_link_that_somebody_else_has_put_there_is_left(terminal, tmp_path):
    terminal.startService()
    (tmp_path / "tty").unlink()
    (tmp_path / "tty").symlink_to("/dev/null")
    terminal.stopService()
    assert os.readlink(tmp_path / "tty") == "/dev/null"


def test_where_it_cannot_be_made_the_service_does_not_start(tmp_path, log):
    terminal = Terminal(tmp_path / "none" / "tty", RtuSimulatorFactory({}), MemoryReactorClock())
    with pytest.raises(SystemExit):
        terminal.startService()
    terminal.stopService()
    assert "none" in log.texts("critical")[0]
