"""``twistd evok-simulator``: the boards of a configuration, simulated on a port, and on a serial line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.application.internet import ClientService
from twisted.application.service import IService, MultiService
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError
from twisted.python import usage
from twisted.python.failure import Failure

from evok_twisted import busconfig
from evok_twisted import config as cfg
from evok_twisted.definitions import shipped_definitions
from evok_twisted.logs import Logger, QuietLogger, set_level
from evok_twisted.options import Options as BaseOptions
from evok_twisted.ports import Port, described
from evok_twisted.problems import Problems
from evok_twisted.serialport import SerialEndpoint, SerialSettings
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.life import Life
from evok_twisted.simulator.rtu import RtuSimulatorFactory, Terminal
from evok_twisted.simulator.server import SimulatorFactory

_log = Logger()


class Options(BaseOptions):
    """What ``twistd evok-simulator`` takes on the command line."""

    command = "twistd evok-simulator"
    synopsis = "[options]"
    longdesc = (
        "Serves boards that do not exist: every board of every MODBUSTCP bus in the configuration, on one port, each "
        "under its slave-id. They keep what is written to them and count their inputs. To develop without a PLC, let "
        "the configuration say hostname 127.0.0.1 and port 5020, and run both services on it: "
        "twistd --nodaemon --pidfile= evok-simulator --config PATH --alive, and twistd --nodaemon --pidfile= evok "
        "--config PATH. "
        "For MODBUSRTU buses, let it say port /tmp/evok-serial, and add --pty /tmp/evok-serial. "
        "A configuration that cannot be used is exit status 78, after every error of it is printed."
    )
    optParameters = [
        ["config", "c", "/etc/evok", "The configuration: a file, or a directory with config.yaml in it."],
        [
            "port",
            "p",
            "tcp:5020:interface=127.0.0.1",
            "Where to listen, as a Twisted endpoint description; a bare number is a TCP port on 127.0.0.1. "
            "tcp:5020 lets the whole network in.",
        ],
        [
            "rtu-port",
            None,
            None,
            "Where to serve the MODBUSTCP buses with framer: rtu, as --port: RTU frames over TCP, as a serial server.",
        ],
        [
            "serial",
            "s",
            None,
            "The serial device to serve the MODBUSRTU buses on; it may come and go.",
        ],
        [
            "pty",
            None,
            None,
            "A serial device to make (a pseudo-terminal), to serve the MODBUSRTU buses on: what is their port, then.",
        ],
    ]
    optFlags = [["alive", "a", "Let inputs switch and analog inputs wander, a few each second."]]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles(), "serial": usage.CompleteFiles()})

    def postOptions(self) -> None:
        if self["serial"] is not None and self["pty"] is not None:
            raise usage.UsageError("--serial and --pty: one line is enough")


def makeService(options: Options, reactor: Any = None) -> IService:
    """Everything that ``twistd evok-simulator`` runs.

    :raises SystemExit: the configuration cannot be used; what is wrong is printed.
    """
    if reactor is None:
        from twisted.internet import reactor  # noqa: PLC0415 -- importing it installs it
    problems = Problems()
    config = cfg.load(Path(options["config"]), shipped_definitions(), problems) or cfg.Config()
    service = MultiService()
    factories: list[SimulatorFactory] = []
    for option, buses in _by_option(config, options).items():
        if options[option] is None:
            for bus in buses:
                problems.warning("evok-simulator", f"comm_channels.{bus.name}", f"not simulated without --{option}")
            continue
        made = SimulatorFactory if option == "port" else RtuSimulatorFactory
        factories.append(made(_boards(buses, problems)))
        served = _serving(option, options[option], buses, factories[-1], reactor, problems)
        if served is not None:
            served.setServiceParent(service)
    if not factories and not problems.fatal:
        message = "no bus of type MODBUSTCP or MODBUSRTU has a device to simulate"
        problems.error(options["config"], "comm_channels", message)
    if problems.fatal:
        for problem in problems.found:
            print(problem, file=sys.stderr)
        raise SystemExit(cfg.BAD_CONFIG)
    set_level(config.logging.level)
    for problem in problems.found:
        (_log.error if problem.level == "error" else _log.warn)("{problem}", problem=problem)
    boards = [item for factory in factories for item in sorted(factory.units.items())]
    for unit, board in boards:
        _log.info("simulating unit {unit}: model {model}", unit=unit, model=board.definition.model)
    if options["alive"]:
        Life((board for _, board in boards), reactor).setServiceParent(service)
    return service


def _by_option(config: cfg.Config, options: Options) -> dict[str, list[busconfig.Bus]]:
    """The Modbus buses that have devices, by the option that says where they are simulated."""
    found: dict[str, list[busconfig.Bus]] = {}
    for bus in config.buses:
        settings = bus.settings
        if bus.boards and isinstance(settings, busconfig.ModbusTcpSettings):
            found.setdefault("port" if settings.framer == "socket" else "rtu-port", []).append(bus)
        elif bus.boards and isinstance(settings, busconfig.ModbusRtuSettings):
            found.setdefault("pty" if options["serial"] is None else "serial", []).append(bus)
    return found


def _serving(
    option: str, where: str, buses: list[busconfig.Bus], factory: SimulatorFactory, reactor: Any, problems: Problems
) -> IService | None:
    """What serves ``factory`` where the user said; None when that is no place, which is noted."""
    settings = buses[0].settings
    if not isinstance(settings, busconfig.ModbusRtuSettings):
        endpoint = described(where, reactor, problems, f"--{option}", "")
        what = "Modbus TCP" if option == "port" else "Modbus RTU over TCP"
        return None if endpoint is None else Port(endpoint, factory, what + " at {where}")
    if option == "pty":
        path = Path(where)
        left_over = path.is_symlink() and path.resolve().parent == Path("/dev/pts")
        if path.parent.is_dir() and (left_over or not path.exists()):
            return Terminal(path, factory, reactor)
        problems.error("--pty", "", f"got {where!r}, expected a path in a directory, at which there is nothing")
        return None
    port = SerialSettings(where, settings.baudrate, settings.parity, settings.stopbits)
    service = _Reopening(SerialEndpoint(port, reactor), factory, clock=reactor)
    service.whenConnected(failAfterFailures=1).addErrback(_not_opened, where)
    return service


class _Reopening(ClientService):
    _log = QuietLogger()  # it tells of every single retry


def _not_opened(failure: Failure, where: str) -> None:
    failure.trap(ConnectError, CancelledError)
    if failure.check(ConnectError):
        _log.warn("{path} cannot be opened: {why}; retrying", path=where, why=failure.getErrorMessage())


def _boards(buses: list[busconfig.Bus], problems: Problems) -> dict[int, SimulatedBoard]:
    """The boards by slave-id; one port can serve each once."""
    boards: dict[int, SimulatedBoard] = {}
    places: dict[int, str] = {}
    for bus in buses:
        for board in bus.boards:
            unit, place = board.settings.slave_id, f"comm_channels.{bus.name}.devices.{board.name}"
            if unit in boards:
                message = f"the slave-id {unit} is that of {places[unit]} too; the simulator serves all on one port"
                problems.error("evok-simulator", f"{place}.slave-id", message)
            else:
                boards[unit], places[unit] = SimulatedBoard(board.definition), place
    return boards
