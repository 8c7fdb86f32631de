"""``twistd evok``: its options, and the one place where everything is wired."""

from __future__ import annotations

import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.python import usage
from twisted.python.logfile import LogFile

from evok_twisted import config as cfg
from evok_twisted.api import webhook
from evok_twisted.api.http import our_version
from evok_twisted.api.limits import Doorkeeper, connections
from evok_twisted.api.origins import Origins
from evok_twisted.api.site import ApiSite, Root, resources
from evok_twisted.api.websocket import ConnectionFactory, UpgradeResource
from evok_twisted.core.desk import Desks
from evok_twisted.core.filters import EVERYTHING
from evok_twisted.core.identity import Identity
from evok_twisted.definitions import Definitions, shipped_definitions
from evok_twisted.errors import EvokError
from evok_twisted.logs import Logger, set_level
from evok_twisted.model.kinds import DIALECTS
from evok_twisted.options import Options as BaseOptions
from evok_twisted.ports import Port, certified, described
from evok_twisted.problems import Problem, Problems
from evok_twisted.simulator import demo
from evok_twisted.systemd import Systemd
from evok_twisted.unit import Unit

DEFAULT_CONFIG = "/etc/evok"

#: Exit status of ``--check`` where there are errors.
CHECK_FAILED = 1

_log = Logger()


class Options(BaseOptions):
    """What ``twistd evok`` takes on the command line."""

    command = "twistd evok"
    synopsis = "[options]"
    longdesc = (
        "Serves the inputs and outputs of Unipi PLCs, extension modules and other Modbus boards to WebSocket clients. "
        "What there is to serve stands in a configuration, by default /etc/evok/config.yaml; --demo serves a "
        "simulated PLC instead. To run in the foreground: twistd --nodaemon evok ..."
    )
    optParameters = [
        ["config", "c", DEFAULT_CONFIG, "The configuration: a file, or a directory with config.yaml in it."],
        ["dialect", None, None, f"Names on the wire, {' or '.join(DIALECTS)}; overrides apis.dialect.", None],
    ]
    optFlags = [
        ["demo", None, "Serve a simulated Neuron L533 and need no configuration."],
        ["check", None, "Load everything, print what would run, and exit: 0, or 1 after printing every error."],
    ]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles(), "dialect": list(DIALECTS)})

    def __init__(self) -> None:
        super().__init__()
        self["ports"] = []

    def opt_port(self, description: str) -> None:
        """Where to listen, as a Twisted endpoint description such as tcp:8080 or tcp:8080:interface=127.0.0.1;
        overrides the configuration, and may be repeated.
        """
        self["ports"].append(description)

    opt_p = opt_port

    def postOptions(self) -> None:
        if self["dialect"] is not None and self["dialect"] not in DIALECTS:
            raise usage.UsageError(f"--dialect: got {self['dialect']!r}, expected {' or '.join(DIALECTS)}")


def makeService(options: Options, reactor: Any = None) -> IService:
    """Everything that ``twistd evok`` runs.

    :raises SystemExit: after ``--check``, and when the configuration cannot be used; what is wrong is printed.
    """
    if reactor is None:
        from twisted.internet import reactor  # noqa: PLC0415 -- importing it installs it

        _keep_time(reactor)
    problems = Problems()
    simulation: IService | None = None
    config: cfg.Config | None
    if options["demo"]:
        _log.info("demo: a simulated Neuron L533 with one main board and two extensions; Ctrl-C ends it")
        config, simulation = demo.make(Definitions(shipped_definitions(), problems), reactor)
    else:
        config = cfg.load(Path(options["config"]), shipped_definitions(), problems)
        if config is None and not Path(options["config"]).exists():
            print("twistd evok --demo serves a simulated unit, and needs no configuration", file=sys.stderr)
    unit = Unit(config or cfg.Config(), reactor, problems)
    apis = unit.config.apis
    desks = unit.core.desks(options["dialect"] or apis.dialect)
    endpoints = list(_endpoints(apis, options, reactor, problems))
    webhooks = _webhooks(apis, desks, reactor, problems)
    if options["check"]:
        _check(unit, problems)
    if problems.fatal:
        _print(problems.found)
        raise SystemExit(cfg.BAD_CONFIG)
    if unit.config.logging.file:
        _log_to(Path(unit.config.logging.file), problems)
    _log.info(
        "evok-twisted {version}, with {configuration}",
        version=our_version(),
        configuration="a simulated unit" if options["demo"] else cfg.find(Path(options["config"])),
    )
    set_level(unit.config.logging.level)
    for problem in problems.found:
        (_log.error if problem.level == "error" else _log.warn)("{problem}", problem=problem)
    unit.aliases.load()
    clients = _clients(apis, desks, reactor) if apis.websocket.enabled else None
    service = EvokService()
    if simulation is not None:
        simulation.setServiceParent(service)
    unit.setServiceParent(service)
    hosts = [socket.gethostname(), *(name for _, endpoint in endpoints for name in certified(endpoint))]
    site = _site(apis, desks, clients, hosts, reactor)
    for scheme, endpoint in endpoints:
        url = f"{scheme}://{{where}}/ws" if clients is not None else f"{scheme.replace('ws', 'http')}://{{where}}/"
        Port(endpoint, site, url).setServiceParent(service)
    if webhooks is not None:
        webhooks.setServiceParent(service)
    Systemd(lambda: unit.health.status, lambda: not unit.stuck, reactor).setServiceParent(service)
    if clients is not None:
        Ending(clients.stop).setServiceParent(service)
    Ending(unit.drain).setServiceParent(service)
    reactor.callWhenRunning(_take_signals, reactor)
    return service


#: Bytes of the log file until it is put aside, and how many such are kept.
LOG_SIZE, LOGS_KEPT = 1_000_000, 7


def _log_to(file: Path, problems: Problems) -> None:
    """Write the log to a file, too; it is put aside when it is large."""
    try:
        rotating = LogFile(file.name, str(file.parent), rotateLength=LOG_SIZE, maxRotatedFiles=LOGS_KEPT)
    except OSError as error:
        message = f"got {str(file)!r}, which cannot be written: {error.strerror}; the log goes where it went before"
        problems.warning(problems.file_of("logging.file"), "logging.file", message)
    else:
        globalLogPublisher.addObserver(textFileLogObserver(rotating))  # type: ignore[arg-type]  # it writes text


def _endpoints(
    apis: cfg.Apis, options: Options, reactor: Any, problems: Problems
) -> Iterator[tuple[str, IStreamServerEndpoint]]:
    """Where to listen, each with the scheme of its URLs."""
    address = quoteStringArgument(apis.address)
    default = f"tcp:{apis.port}" + (f":interface={address}" if address else "")
    ports, key, place = options["ports"], "apis.listen", Path(options["config"])
    base = place if place.is_dir() else place.parent
    for description in ports or apis.listen or (default,):
        if ports:
            endpoint = described(description, reactor, problems, "--port", "")
        else:
            endpoint = described(description, reactor, problems, problems.file_of(key), key, base)
        if endpoint is not None:
            yield "wss" if description.startswith("ssl:") else "ws", endpoint


def _clients(apis: cfg.Apis, desks: Desks, reactor: Any) -> ConnectionFactory:
    return ConnectionFactory(
        desks,
        reactor,
        all_filtered=apis.websocket.all_filtered,
        max_clients=apis.websocket.max_clients,
        max_message_size=apis.websocket.max_message_size,
        max_message_rate=apis.websocket.max_message_rate,
    )


def _site(
    apis: cfg.Apis, desks: Desks, clients: ConnectionFactory | None, hosts: Sequence[str], reactor: Any
) -> ApiSite:
    children = resources(desks)
    if clients is not None:
        children[b"ws"] = UpgradeResource(clients)
    origins = Origins(apis.allowed_origins, (*apis.allowed_hosts, *hosts))
    if origins.everybody:
        _log.warn("apis.allowed_origins is '*': every web page that anybody here visits can switch outputs")
    return ApiSite(
        Root(children),
        reactor,
        origins,
        access_log=apis.access_log,
        max_body=apis.max_body_size,
        max_header=apis.max_header_size,
        idle=apis.idle_timeout,
        door=Doorkeeper(connections(apis.max_connections), apis.max_connections_per_address),
    )


def _webhooks(apis: cfg.Apis, desks: Desks, reactor: Any, problems: Problems) -> IService | None:
    if not apis.webhook.enabled:
        return None
    desk, key = desks(Identity("webhook", "webhook"), None), "apis.webhook.device_mask"
    try:
        wanted, unknown = desk.wanted(apis.webhook.device_mask or EVERYTHING)
    except EvokError as error:
        problems.error(problems.file_of(key), key, str(error), fatal=False)
        return None
    if unknown:
        problems.warning(problems.file_of(key), key, f"unknown kinds, ignored: {', '.join(unknown)}")
    return webhook.make(apis.webhook, desk, wanted, reactor)


class EvokService(MultiService):
    """The running service. What came later stops before what it stands on: each child when all after it have."""

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for child in reversed(list(self)):
            try:
                await maybeDeferred(child.stopService)
            except Exception:  # nobody else would tell, and the others are to be stopped all the same
                _log.failure("at the stop of {child!r}", child=child)
        _log.info("evok stopped")


class Ending(Service):
    """Stands for the end of what clients have under way: it comes first, while they still hear of it."""

    def __init__(self, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._end = end

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._end())


def _keep_time(reactor: Any) -> None:
    """Let the reactor's timers run on a clock that only goes forward.

    Its own is the time of day. That jumps when a unit without a battery learns the date from the network: back, and
    every scan, timeout and pulse would stand still until it has caught up; ahead, and all of them would end at once.
    """
    reactor.seconds = time.monotonic


#: Signals that ask for the end of the service, and such as say that something is wrong with it.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
_ABORTS = (signal.SIGABRT, signal.SIGXCPU)
#: Signals that would kill it, and say nothing that it understands.
_PASSED_OVER = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def _take_signals(reactor: Any) -> None:
    """Make signals an orderly end, in which outputs in the middle of a pulse are put back, or no end at all.

    Asked to end, the exit status is 0; with Twisted's own handlers the process, when everything is stopped, kills
    itself once more by the signal, and whoever started it sees a crash. Of an abort that is what is to be seen.
    """

    def stop(number: int, _frame: object) -> None:
        reactor.callFromThread(_log.info, "stopping, on {name}", name=signal.Signals(number).name)
        if number in _ABORTS:
            reactor._exitSignal = number
        reactor.callFromThread(reactor.stop)
        signal.signal(number, signal.SIG_DFL)  # a second one ends it at once

    def pass_over(number: int, _frame: object) -> None:
        message = "{name} is passed over; to have a new configuration taken, restart the service"
        reactor.callFromThread(_log.info, message, name=signal.Signals(number).name)

    for number in (*_ENDS, *_ABORTS):
        signal.signal(number, stop)
    for number in _PASSED_OVER:
        if signal.getsignal(number) is signal.SIG_DFL:  # twistd's log file is rotated on one of them
            signal.signal(number, pass_over)


def _print(problems: Iterable[Problem]) -> None:
    for problem in problems:
        print(problem, file=sys.stderr)


def _check(unit: Unit, problems: Problems) -> NoReturn:
    """Print what would run, and everything that is wrong."""
    for line in unit.summary():
        print(line)
    for problem in problems.found:
        costs = "" if problem.level == "warning" else "; the rest would run"
        print(problem, "; the service would not start" if problem.fatal else costs, sep="", file=sys.stderr)
    if problems.errors:
        count = len(problems.errors)
        print(f"{count} error{'' if count == 1 else 's'}", file=sys.stderr)
        raise SystemExit(CHECK_FAILED)
    print("no errors")
    raise SystemExit(0)
