"""``twistd evok-simulator``: what it serves of a configuration, and what it says when it cannot."""

from __future__ import annotations

import os

import pytest
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock

from evok_twisted.simulator.rtu import RtuSimulatorFactory
from evok_twisted.simulator.tap import Options, makeService

TWO_BUSES = """
comm_channels:
  A:
    type: MODBUSTCP
    hostname: 127.0.0.1
    devices:
      1: {slave-id: 1, model: 00}
      2: {slave-id: 2, model: 13}
      3: {slave-id: 3, model: 13, enabled: false}
  B:
    type: MODBUSTCP
    hostname: 192.0.2.1
    devices:
      IAQ: {slave-id: 7, model: IAQ}
"""
SERIAL = """
comm_channels:
  A:
    type: MODBUSRTU
    port: /dev/ttyUSB0
    devices:
      1: {slave-id: 1, model: 00}
  B:
    type: MODBUSTCP
    framer: rtu
    hostname: 192.0.2.1
    devices:
      IAQ: {slave-id: 1, model: IAQ}
"""
SAME_SLAVE_ID = TWO_BUSES.replace("slave-id: 7", "slave-id: 2")


class Reactor(MemoryReactorClock):
    """Tells what came to its one port."""

    @property
    def factory(self):
        ((_, factory, _, _),) = self.tcpServers
        return factory

    @property
    def listening_on(self):
        return [(interface, port) for port, _, _, interface in self.tcpServers]


@pytest.fixture
def reactor():
    return Reactor()


@pytest.fixture
def make(tmp_path, reactor):
    def make(text, *arguments):
        (tmp_path / "config.yaml").write_text(text)
        options = Options()
        options.parseOptions(["--config", str(tmp_path), *arguments])
        return makeService(options, reactor)

    return make


@pytest.fixture
def start(make):
    started = []

    def start(text, *arguments):
        service = make(text, *arguments)
        service.privilegedStartService()
        service.startService()
        started.append(service)
        return service

    yield start
    for service in started:
        service.stopService()


def refusal(make, capsys, *arguments):
    """What is printed when it exits for its configuration."""
    with pytest.raises(SystemExit) as stopped:
        make(*arguments)
    assert stopped.value.code == 78
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_every_enabled_board_of_every_tcp_bus_is_served_under_its_slave_id(start, reactor):
    start(TWO_BUSES)
    models = {unit: board.definition.model for unit, board in reactor.factory.units.items()}
    assert models == {1: "00", 2: "13", 7: "IAQ"}


def test_it_listens_on_this_machine_only_unless_told_otherwise(start, reactor):
    start(TWO_BUSES)
    assert reactor.listening_on == [("127.0.0.1", 5020)]


@pytest.mark.parametrize(
    ("port", "listening"), [("5021", ("127.0.0.1", 5021)), ("tcp:502:interface=192.0.2.7", ("192.0.2.7", 502))]
)
def test_the_port_is_an_endpoint_description_or_a_number(start, reactor, port, listening):
    start(TWO_BUSES, "--port", port)
    assert reactor.listening_on == [listening]


def test_it_listens_before_root_is_given_up(make, reactor):
    make(TWO_BUSES).privilegedStartService()
    assert reactor.listening_on == [("127.0.0.1", 5020)]


def test_boards_stand_still(start, reactor):
    start(TWO_BUSES)
    before = [dict(board.holding) for board in reactor.factory.units.values()]
    reactor.pump([0.2] * 50)
    assert [dict(board.holding) for board in reactor.factory.units.values()] == before


def test_boards_live_when_alive(start, reactor):
    start(TWO_BUSES, "--alive")
    before = dict(reactor.factory.units[1].holding)
    reactor.pump([0.2] * 50)
    assert dict(reactor.factory.units[1].holding) != before


def test_life_ends_with_the_service(start, reactor):
    service = start(TWO_BUSES, "--alive")
    service.stopService()
    assert reactor.getDelayedCalls() == []


def test_a_slave_id_that_stands_twice_is_refused_with_both_places(make, capsys):
    printed = refusal(make, capsys, SAME_SLAVE_ID)
    assert "comm_channels.B.devices.IAQ.slave-id" in printed
    assert "comm_channels.A.devices.2" in printed


def test_a_configuration_with_nothing_to_simulate_is_refused(make, capsys):
    assert "MODBUSTCP" in refusal(make, capsys, "comm_channels: {}")


def test_every_error_of_the_configuration_is_printed_a_line_each(make, capsys):
    text = TWO_BUSES.replace("model: IAQ", "model: IAX")
    printed = refusal(make, capsys, text, "--port", "tcp:many").splitlines()
    assert len(printed) == 2
    assert all(line.startswith("error: ") for line in printed)


def test_a_configuration_that_is_not_there_is_refused(reactor, tmp_path, capsys):
    options = Options()
    options.parseOptions(["--config", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as stopped:
        makeService(options, reactor)
    assert stopped.value.code == 78
    assert str(tmp_path / "none") in capsys.readouterr().err


@pytest.mark.parametrize("port", ["tcp:many", "nonsense:1", "tcp:5020:colour=red", ""])
def test_a_port_that_is_no_endpoint_description_is_refused(make, capsys, port):
    assert "--port" in refusal(make, capsys, TWO_BUSES, "--port", port)


def test_a_warning_is_logged_and_does_not_stop_it(start, reactor, log):
    start(TWO_BUSES.replace("hostname: 127.0.0.1", "hostnane: 127.0.0.1"))
    assert any("hostnane" in text for text in log.texts("warn"))
    assert reactor.listening_on


def test_a_port_that_is_taken_is_said_without_a_traceback(make, reactor, log):
    def taken(port, factory, backlog=50, interface=""):
        raise CannotListenError(interface, port, OSError(98, "Address already in use"))

    reactor.listenTCP = taken
    with pytest.raises(SystemExit, match="1"):
        make(TWO_BUSES).privilegedStartService()
    assert "already in use" in log.texts("critical")[0]


def test_the_help_names_every_option_and_what_it_is_by_default():
    usage = str(Options())
    for text in (
        "--config",
        "/etc/evok",
        "--port",
        "tcp:5020:interface=127.0.0.1",
        "--alive",
        "--serial",
        "--rtu-port",
    ):
        assert text in usage


# RTU


def units(factory):
    return {unit: board.definition.model for unit, board in factory.units.items()}


def test_serial_buses_are_served_on_a_device_that_is_made_for_them(start, reactor, tmp_path, log):
    service = start(SERIAL, "--pty", str(tmp_path / "tty"))
    assert (tmp_path / "tty").is_char_device()
    (end,) = reactor.getReaders()
    assert units(end._protocol._factory) == {1: "00"}
    assert reactor.listening_on == []
    assert any("comm_channels.B" in text and "--rtu-port" in text for text in log.texts("warn"))
    service.stopService()
    assert not (tmp_path / "tty").exists()


def test_buses_with_rtu_frames_over_tcp_are_served_on_a_port_of_their_own(start, reactor, log):
    start(SERIAL, "--rtu-port", "5021")
    assert reactor.listening_on == [("127.0.0.1", 5021)]
    assert isinstance(reactor.factory, RtuSimulatorFactory)
    assert units(reactor.factory) == {1: "IAQ"}
    assert any("comm_channels.A" in text and "--pty" in text for text in log.texts("warn"))


def test_serial_buses_are_served_on_a_device_that_is_there(start, reactor, tmp_path):
    far, near = os.openpty()
    try:
        service = start(SERIAL, "--serial", os.ttyname(near))
        reactor.advance(0)
        (port,) = reactor.getReaders()
        assert port._serial.port == os.ttyname(near)
        service.stopService()
        reactor.advance(0)
        assert reactor.getReaders() == []
    finally:
        os.close(far)
        os.close(near)


def test_a_device_that_cannot_be_opened_is_said_once(start, reactor, log):
    service = start(SERIAL, "--serial", "/dev/null")
    reactor.pump([1] * 60)
    assert len([text for text in log.texts("warn") if "/dev/null cannot be opened" in text]) == 1
    assert [text for text in log.texts("info") if "retry" in text] == []
    service.stopService()


@pytest.mark.parametrize("path", ["config.yaml", "none/tty", "."])
def test_where_no_serial_device_can_be_made_is_refused(make, capsys, tmp_path, path):
    assert "--pty" in refusal(make, capsys, SERIAL, "--pty", str(tmp_path / path))


def test_a_device_is_either_there_or_made(capsys):
    with pytest.raises(SystemExit) as ended:
        Options().parseOptions(["--serial", "/dev/ttyUSB0", "--pty", "/tmp/tty"])
    assert ended.value.code == 2
    assert "--pty" in capsys.readouterr().err


def test_a_configuration_whose_buses_have_no_option_each_is_refused(make, capsys):
    printed = refusal(make, capsys, SERIAL)
    assert "--pty" in printed
    assert "--rtu-port" in printed
