"""``twistd evok``: its options, and the one place where everything is wired."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.python import usage
from twisted.python.logfile import LogFile

from evok_twisted import config as cfg
from evok_twisted.api import access, history, logbook, metrics, panel, registers, site, webhook, websocket
from evok_twisted.api.front import Context, Front
from evok_twisted.api.gate import Gate
from evok_twisted.api.http import our_version
from evok_twisted.api.mqtt import front as mqtt
from evok_twisted.api.mqtt.settings import BROKER, BROKER_FORMS
from evok_twisted.api.reload import Reload
from evok_twisted.check import check
from evok_twisted.conditions import stop
from evok_twisted.core.audit import Audit
from evok_twisted.core.keyring import Keyring
from evok_twisted.core.tokens import networks_of
from evok_twisted.definitions import Definitions, shipped_definitions
from evok_twisted.exposure import Exposure
from evok_twisted.fronts import Fronts
from evok_twisted.history.schema import MEMORY
from evok_twisted.listening import Listening, Place, plain_places, secured_places
from evok_twisted.logs import Logger, set_level
from evok_twisted.model.kinds import DIALECTS
from evok_twisted.options import Options as BaseOptions
from evok_twisted.problems import Problems
from evok_twisted.reloading import Reloader, Running, command
from evok_twisted.signals import take_signals
from evok_twisted.simulator import demo
from evok_twisted.systemd import Systemd
from evok_twisted.unit import Unit

DEFAULT_CONFIG = "/etc/evok"

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
        ["mqtt", None, None, "An MQTT broker to publish to, such as tcp:localhost:1883; overrides apis.mqtt.broker."],
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

    @property
    def directory(self) -> Path:
        """Where the configuration is."""
        path = Path(self["config"])
        return path if path.is_dir() else path.parent

    @property
    def again(self) -> list[str]:
        """What was given, but for ``--check``, to give it to another."""
        given = [f"--{name}={self[name]}" for name in ("config", "mqtt", "dialect") if self[name] is not None]
        return [*given, *(f"--port={port}" for port in self["ports"]), *(["--demo"] if self["demo"] else [])]

    def postOptions(self) -> None:
        if self["dialect"] is not None and self["dialect"] not in DIALECTS:
            raise usage.UsageError(f"--dialect: got {self['dialect']!r}, expected {' or '.join(DIALECTS)}")
        if self["mqtt"] is not None and not re.match(BROKER, self["mqtt"]):
            raise usage.UsageError(f"--mqtt: got {self['mqtt']!r}, expected {BROKER_FORMS}")


#: The ways for clients to reach the service.
FRONTS: tuple[Front, ...] = (
    site.FRONT,
    access.FRONT,
    logbook.FRONT,
    registers.FRONT,
    panel.FRONT,
    websocket.FRONT,
    history.FRONT,
    webhook.FRONT,
    mqtt.FRONT,
    metrics.FRONT,
)
#: What settings fronts have, by their keys.
FRONT_SETTINGS = {front.key: front.settings for front in FRONTS if front.key is not None}


def makeService(options: Options, reactor: Any = None) -> IService:
    """Everything that ``twistd evok`` runs.

    :raises SystemExit: after ``--check``, and when the configuration cannot be used; what is wrong is printed.
    """
    if reactor is None:
        from twisted.internet import reactor  # noqa: PLC0415 -- importing it installs it

        _keep_time(reactor)
    problems = Problems()
    config, simulation = _configured(options, reactor, problems)
    unit, audit, plain, secured, exposure, context, fronts = wire(options, config, reactor, problems)
    if options["check"]:
        check((*unit.summary(), *exposure.verdicts(problems)), problems)
    if problems.fatal:
        print(*problems.found, sep="\n", file=sys.stderr)
        raise SystemExit(cfg.BAD_CONFIG)
    _begin_log(config, options, problems)
    unit.aliases.load()
    unit.pulses.load()
    sockets = config.fronts.get("websocket")
    unit.wills.load(sockets.will_grace if isinstance(sockets, websocket.WebSocketSettings) else 0.0)
    watchdog = Systemd(lambda: unit.health.status, lambda: not unit.stuck, reactor)
    service = EvokService()
    listening = Listening(config.apis, context, (*plain, *secured))
    for child in (simulation, audit, unit, context.gate.keyring, listening, fronts, watchdog, Ending(unit.drain)):
        if child is not None:
            child.setServiceParent(service)
    running = Running(
        unit,
        fronts,
        listening,
        wanted=lambda config: dict(_enabled(config, options)),
        places=lambda apis, problems: (*_plain(options, apis, reactor, problems), *secured),
    )
    reloader = Reloader(config, running, command(options.again), reactor)
    context.tree[b"reload"] = Reload(reloader.reload)
    reactor.callWhenRunning(take_signals, reactor, reloader.reload_on_signal)
    return service


class Wired(NamedTuple):
    """What a configuration comes down to, before any of it runs."""

    unit: Unit
    audit: Audit | None
    plain: tuple[Place, ...]
    secured: tuple[Place, ...]
    exposure: Exposure
    context: Context
    fronts: Fronts


def wire(options: Options, config: cfg.Config, reactor: Any, problems: Problems) -> Wired:
    """Put together what ``config`` asks for, and note what is wrong with it that nobody sees who only reads it."""
    unit = Unit(config, reactor, problems)
    desks = unit.core.desks(options["dialect"] or config.apis.dialect)
    audit = unit.commands.audit = _audit(config.apis, reactor)
    gate = _gate(config.apis, reactor, problems)
    base, tls = options.directory, config.apis.tls
    plain = _plain(options, config.apis, reactor, problems)
    secured = () if options["ports"] else tuple(secured_places(tls, base, unit.core, reactor, problems))
    exposure = Exposure(config.apis, [(place.scheme, place.endpoint) for place in (*plain, *secured)])
    exposure.notice(problems)
    context = Context(desks, reactor, problems, {}, gate, exposure.url)
    return Wired(unit, audit, plain, secured, exposure, context, Fronts(context, dict(_enabled(config, options))))


def _plain(options: Options, apis: cfg.Apis, reactor: Any, problems: Problems) -> tuple[Place, ...]:
    """Where to listen without TLS."""
    return tuple(plain_places(apis, options["ports"], options.directory, reactor, problems))


def _audit(apis: cfg.Apis, reactor: Any) -> Audit | None:
    """What notes who has set what, where that is wanted."""
    return Audit(reactor) if apis.access is not None and apis.access.audit == "writes" else None


def _gate(apis: cfg.Apis, reactor: Any, problems: Problems) -> Gate:
    """What says who clients are; where that is of any matter, with the tokens that there are."""
    try:
        proxies = networks_of(apis.trusted_proxies)
    except ValueError as error:
        path, proxies = "apis.trusted_proxies", ()
        problems.error(problems.file_of(path), path, str(error).removeprefix("from: "))
    access = apis.access
    if access is None:
        return Gate()
    return Gate(access, Keyring(Path(access.tokens), reactor, time.time), proxies)


def _enabled(config: cfg.Config, options: Options) -> Iterator[tuple[Front, cfg.FrontSettings]]:
    """The fronts that there are to be, with their settings."""
    for front in FRONTS:
        settings = config.fronts.get(front.key or "", front.settings())
        if front is mqtt.FRONT and options["mqtt"] is not None:
            settings = msgspec.structs.replace(settings, enabled=True, broker=options["mqtt"])
        if settings.enabled:
            yield front, settings


def _configured(options: Options, reactor: Any, problems: Problems) -> tuple[cfg.Config, IService | None]:
    """What is to run, and, for ``--demo``, what simulates it."""
    if options["demo"]:
        _log.info("demo: a simulated Neuron L533 with one main board and two extensions; Ctrl-C ends it")
        if options["mqtt"] is None:
            _log.info("with a broker at hand, --mqtt tcp:localhost:1883 (make run MQTT=...) shows it in Home Assistant")
        else:
            _log.info("Home Assistant finds it where its MQTT integration has the broker {b}", b=options["mqtt"])
        demonstrated, simulation = demo.make(Definitions(shipped_definitions(), problems), reactor)
        kept = history.HistorySettings(enabled=True, file=MEMORY, write_every="5s")
        return msgspec.structs.replace(demonstrated, fronts={"history": kept}), simulation
    config = load(options, problems)
    if config is None and not Path(options["config"]).exists():
        print("twistd evok --demo serves a simulated unit, and needs no configuration", file=sys.stderr)
    return config or cfg.Config(), None


def load(options: Options, problems: Problems) -> cfg.Config | None:
    """What is configured."""
    if options["demo"]:
        problems.error("--demo", "", "a simulated unit has no configuration")
        return None
    return cfg.load(Path(options["config"]), shipped_definitions(), problems, FRONT_SETTINGS)


def _begin_log(config: cfg.Config, options: Options, problems: Problems) -> None:
    """Begin the log, where it is to go."""
    if config.logging.file:
        _log_to(Path(config.logging.file), problems)
    _log.info(
        "evok-twisted {version}, with {configuration}",
        version=our_version(),
        configuration="a simulated unit" if options["demo"] else cfg.find(Path(options["config"])),
    )
    set_level(config.logging.level)
    for problem in problems.found:
        (_log.error if problem.level == "error" else _log.warn)("{problem}", problem=problem)


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


class EvokService(MultiService):
    """The running service. What came later stops before what it stands on: each child when all after it have."""

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for child in reversed(list(self)):
            await stop(child, _log)
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
