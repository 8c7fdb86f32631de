"""Serial ports, on pseudo-terminals: opened with their settings, written to at once, and lost."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import termios
import tty

import pytest
import pytest_twisted
from stack import turn
from twisted.internet import reactor
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol

from evok_twisted.serialport import SerialEndpoint, SerialSettings


class Client(Protocol):
    """Remembers what came."""

    def __init__(self):
        self.received = b""
        self.lost = None

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.lost = reason


class Pair:
    """A pseudo-terminal whose far end is in the test's hands."""

    def __init__(self):
        self.far, self.near = os.openpty()
        tty.setraw(self.near)
        self.path = os.ttyname(self.near)

    def close(self):
        for end in (self.far, self.near):
            if end is not None:
                os.close(end)
        self.far = self.near = None

    def read(self, seconds=2.0):
        """What comes out at the far end within ``seconds``, at the first time; nothing when that is nothing."""
        ready, _, _ = select.select([self.far], [], [], seconds)
        return os.read(self.far, 8192) if ready else b""


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.close()


@pytest.fixture
def connect():
    """Opens a port; those that are open are closed."""
    opened = []

    async def connect(path, **settings):
        endpoint = SerialEndpoint(SerialSettings(path, **settings), reactor)
        client = await endpoint.connect(Factory.forProtocol(Client))
        opened.append(client)
        return client

    yield connect
    for client in opened:
        if client.lost is None:
            client.transport.loseConnection()
            pytest_twisted.blockon(turn(0.01))


async def until(condition, what, seconds=3.0):
    deadline = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < deadline, f"not within {seconds} s: {what}"
        await turn(0.002)


@pytest.mark.parametrize(
    ("baudrate", "speed"), [(9600, termios.B9600), (19200, termios.B19200), (115200, termios.B115200)]
)
@pytest.mark.parametrize("stopbits", [1, 2])
@pytest_twisted.ensureDeferred
async def test_a_port_has_the_settings_that_were_asked_for(pair, connect, baudrate, speed, stopbits):
    await connect(pair.path, baudrate=baudrate, stopbits=stopbits)
    _, _, control, local, input_speed, output_speed, _ = termios.tcgetattr(pair.near)
    assert (input_speed, output_speed) == (speed, speed)
    assert bool(control & termios.CSTOPB) is (stopbits == 2)
    assert control & termios.CSIZE == termios.CS8
    assert not local & (termios.ECHO | termios.ICANON | termios.ISIG)


@pytest.mark.parametrize("parity", ["N", "E", "O"])
@pytest_twisted.ensureDeferred
async def test_parity_is_asked_for(pair, connect, monkeypatch, parity):
    # a pseudo-terminal has no parity, and drops it without a word: what is seen is what is asked
    asked = []
    set_attributes = termios.tcsetattr
    monkeypatch.setattr(
        termios, "tcsetattr", lambda fd, when, new: (asked.append(new[2]), set_attributes(fd, when, new))
    )
    await connect(pair.path, parity=parity)
    assert {(bool(flags & termios.PARENB), bool(flags & termios.PARODD)) for flags in asked} == {
        (parity != "N", parity == "O")
    }


@pytest_twisted.ensureDeferred
async def test_bytes_go_both_ways(pair, connect):
    client = await connect(pair.path)
    client.transport.write(b"\x01\x03\x0d\x0a\x11\x13\xff")
    assert pair.read() == b"\x01\x03\x0d\x0a\x11\x13\xff"
    os.write(pair.far, b"\x00\x0d\x0a\x04\x1a\xff")
    await until(lambda: client.received == b"\x00\x0d\x0a\x04\x1a\xff", "all of it came")


@pytest_twisted.ensureDeferred
async def test_a_port_that_is_not_there_is_a_connect_error(connect, tmp_path):
    with pytest.raises(ConnectError, match="No such file"):
        await connect(str(tmp_path / "none"))


@pytest_twisted.ensureDeferred
async def test_what_is_no_serial_device_is_a_connect_error(connect, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConnectError):
        await connect(str(tmp_path / "file"))


@pytest_twisted.ensureDeferred
async def test_a_port_is_opened_by_one_only(pair, connect):
    await connect(pair.path)
    with pytest.raises(ConnectError, match="exclusively"):
        await connect(pair.path)


@pytest_twisted.ensureDeferred
async def test_a_port_that_was_closed_can_be_opened_again(pair, connect):
    client = await connect(pair.path)
    client.transport.loseConnection()
    await until(lambda: client.lost is not None, "it is closed")
    again = await connect(pair.path)
    assert again.lost is None


@pytest_twisted.ensureDeferred
async def test_reading_an_empty_port_is_not_the_end_of_it(pair, connect):
    client = await connect(pair.path)
    assert client.transport.doRead() is None
    assert (client.lost, client.received) == (None, b"")


@pytest_twisted.ensureDeferred
async def test_a_device_that_goes_is_told(pair, connect):
    client = await connect(pair.path)
    pair.close()
    await until(lambda: client.lost is not None, "it is lost")
    assert "the device is gone" in client.lost.getErrorMessage()
    client.transport.write(b"too late")
    client.transport.loseConnection()


@pytest_twisted.ensureDeferred
async def test_a_device_that_goes_while_it_is_written_to_says_why(pair, connect):
    client = await connect(pair.path)
    pair.close()
    client.transport.write(b"into the void")
    await until(lambda: client.lost is not None, "it is lost")
    assert "Input/output error" in client.lost.getErrorMessage()


@pytest_twisted.ensureDeferred
async def test_what_came_before_a_frame_is_sent_and_was_not_read_is_dropped(pair, connect):
    client = await connect(pair.path)
    os.write(pair.far, b"late")
    ready, _, _ = select.select([client.transport], [], [], 2)
    assert ready
    client.transport.write(b"question")
    assert pair.read() == b"question"
    os.write(pair.far, b"answer")
    await until(lambda: client.received, "something came")
    assert client.received == b"answer"


@pytest_twisted.ensureDeferred
async def test_what_is_not_on_the_line_yet_can_be_dropped(pair, connect, monkeypatch):
    # on a pseudo-terminal everything is on the line at once: what is seen is what the system is told to drop
    client = await connect(pair.path)
    dropped = []
    monkeypatch.setattr(termios, "tcflush", lambda fd, queue: dropped.append((fd, queue)))
    client.transport.discard_output()
    assert dropped == [(client.transport.fileno(), termios.TCOFLUSH)]


@pytest_twisted.ensureDeferred
async def test_a_line_that_takes_no_more_is_lost_and_nothing_waits_to_be_sent_later(pair, connect):
    client = await connect(pair.path)
    for _ in range(2000):
        client.transport.write(b"x" * 100)
    assert client.lost is None  # not in the middle of a write
    await until(lambda: client.lost is not None, "it is lost")
    assert "does not take a whole frame" in client.lost.getErrorMessage()
    taken = 0
    while some := pair.read(0.1):
        taken += len(some)
    assert taken < 2000 * 100  # and may be nothing: what the system had taken goes with the line


@pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not installed")
@pytest_twisted.ensureDeferred
async def test_a_pair_of_socats_is_opened_and_its_end_is_told(connect, tmp_path):
    links = [tmp_path / "A", tmp_path / "B"]
    socat = subprocess.Popen(["socat", *(f"pty,raw,echo=0,link={link}" for link in links)])
    try:
        await until(lambda: all(link.exists() for link in links), "socat is up")
        one, other = [await connect(str(link), baudrate=115200, parity="E") for link in links]
        one.transport.write(b"ping")
        await until(lambda: other.received == b"ping", "it went through")
    finally:
        socat.kill()
        socat.wait(5)
    await until(lambda: one.lost is not None and other.lost is not None, "both are lost")
