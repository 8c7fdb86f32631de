"""``twistd evok-simulator``: the boards of a configuration, simulated on one Modbus TCP port."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.python import usage

from evok_twisted import config as cfg
from evok_twisted.definitions import shipped_definitions
from evok_twisted.logs import Logger, set_level
from evok_twisted.ports import Port, described
from evok_twisted.settings import Problems
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.life import Life
from evok_twisted.simulator.server import SimulatorFactory

_log = Logger()


class Options(usage.Options):
    """What ``twistd evok-simulator`` takes on the command line."""

    synopsis = "[options]"
    longdesc = (
        "Serves boards that do not exist: every board of every MODBUSTCP bus in the configuration, on one port, each "
        "under its slave-id. They keep what is written to them and count their inputs. To develop without a PLC, let "
        "the configuration say hostname 127.0.0.1 and port 5020, and run both services on it: "
        "twistd --nodaemon evok-simulator --config PATH --alive, and twistd --nodaemon evok --config PATH. "
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
    ]
    optFlags = [["alive", "a", "Let inputs switch and analog inputs wander, a few each second."]]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles()})


def makeService(options: Options, reactor: Any = None) -> IService:
    """Everything that ``twistd evok-simulator`` runs.

    :raises SystemExit: the configuration cannot be used; what is wrong is printed.
    """
    if reactor is None:
        from twisted.internet import reactor  # noqa: PLC0415 -- importing it installs it
    problems = Problems()
    config = cfg.load(Path(options["config"]), shipped_definitions(), problems) or cfg.Config()
    boards = _boards(config, problems)
    if not boards and not problems.fatal:
        problems.error(options["config"], "comm_channels", "no bus of type MODBUSTCP has a device to simulate")
    endpoint = described(options["port"], reactor, "--port", problems)
    if problems.fatal or endpoint is None:
        for problem in problems.found:
            print(problem, file=sys.stderr)
        raise SystemExit(cfg.BAD_CONFIG)
    set_level(config.logging.level)
    for problem in problems.found:
        (_log.error if problem.level == "error" else _log.warn)("{problem}", problem=problem)
    factory = SimulatorFactory(boards)
    service = MultiService()
    Port(endpoint, factory, "Modbus TCP at {where}").setServiceParent(service)
    for unit, board in sorted(boards.items()):
        _log.info("simulating unit {unit}: model {model}", unit=unit, model=board.definition.model)
    if options["alive"]:
        Life(boards.values(), reactor).setServiceParent(service)
    return service


def _boards(config: cfg.Config, problems: Problems) -> dict[int, SimulatedBoard]:
    """The boards by slave-id; one port can serve each once."""
    boards: dict[int, SimulatedBoard] = {}
    places: dict[int, str] = {}
    for bus in config.buses:
        if not isinstance(bus.settings, cfg.ModbusTcpSettings):
            continue
        for board in bus.boards:
            unit, place = board.settings.slave_id, f"comm_channels.{bus.name}.devices.{board.name}"
            if unit in boards:
                message = f"the slave-id {unit} is that of {places[unit]} too; the simulator serves all on one port"
                problems.error("evok-simulator", f"{place}.slave-id", message)
            else:
                boards[unit], places[unit] = SimulatedBoard(board.definition), place
    return boards
