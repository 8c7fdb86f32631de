"""``/metrics``: what is counted and measured, for Prometheus."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from evok_twisted.api.front import Context, Front, chosen
from evok_twisted.api.http import JsonResource, Operation, identity_of, our_version
from evok_twisted.api.limits import Doorkeeper
from evok_twisted.conditions import Timer
from evok_twisted.config import FrontSettings
from evok_twisted.core.desk import Desk, Desks
from evok_twisted.core.filters import Filter
from evok_twisted.core.identity import VIEWER, Identity
from evok_twisted.errors import Unauthorized
from evok_twisted.meters import Histogram, Meters, Sample
from evok_twisted.problems import Problems

#: Circuits that are told of, at most: each is a series, which is kept for months.
MOST_CIRCUITS = 500
#: Seconds between two looks at how late timers are.
LOOKS = 1.0


class MetricsSettings(FrontSettings, frozen=True, kw_only=True):
    """``apis.metrics``.

    :ivar circuits: whose values are told of, as the command ``filter`` has them.
    """

    enabled: bool = True
    circuits: tuple[str, ...] = ()


class Metrics(JsonResource):
    """``/metrics``, for whoever may read circuits."""

    paths = {
        "": {
            b"GET": Operation(
                "get", "What is counted and measured, as text for Prometheus", None, errors=(Unauthorized,)
            )
        }
    }

    def __init__(self, desks: Desks) -> None:
        super().__init__()
        self._desks = desks

    def get(self, request: Request) -> bytes:
        self._desks(identity_of(request, "metrics"), None)  # or it may not
        body = self._desks.meters.text().encode()
        request.setHeader(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
        request.setHeader(b"content-length", b"%d" % len(body))
        return body


class Punctuality(Service):
    """Measures how late timers are, while it runs: everything that runs too long in one piece makes them late."""

    def __init__(self, clock: IReactorTime) -> None:
        self.delays = Histogram()
        self._clock = clock
        self._timer = Timer(clock, self._look)
        self._due = 0.0

    def startService(self) -> None:
        super().startService()
        self._wait()

    def stopService(self) -> None:
        super().stopService()
        self._timer.stop()

    def _wait(self) -> None:
        self._due = self._clock.seconds() + LOOKS
        self._timer.start(LOOKS)

    def _look(self) -> None:
        self.delays.observe(max(0.0, self._clock.seconds() - self._due))
        self._wait()


def make(context: Context, settings: MetricsSettings) -> Punctuality:
    """Serve ``/metrics``."""
    meters = context.desks.meters
    desk = context.desks(Identity("metrics", "metrics", VIEWER), "v3")
    punctuality = Punctuality(context.reactor)
    _measure_service(meters, context, punctuality.delays)
    _measure_process(meters)
    _measure_sensors(meters, desk)
    wanted = _circuits(settings.circuits, desk, context.problems) if settings.circuits else None
    if wanted is not None:
        _measure_circuits(meters, desk, wanted)
    context.tree[b"metrics"] = Metrics(context.desks)
    return punctuality


FRONT = Front("metrics", MetricsSettings, make)


def _circuits(names: tuple[str, ...], desk: Desk, problems: Problems) -> Filter | None:
    """The circuits that are wanted, unless what is configured says nothing."""
    key = "apis.metrics.circuits"
    wanted = chosen(names, desk, problems, key)
    found = 0 if wanted is None else sum(wanted.accepts(device) for device in desk)
    if found > MOST_CIRCUITS:
        problems.warning(problems.file_of(key), key, f"got {found} circuits; values of {MOST_CIRCUITS} are told of")
    return wanted


def _measure_service(meters: Meters, context: Context, delays: Histogram) -> None:
    begun = time.time()
    labels = (our_version(), platform.python_version())
    meters.ask("build_info", "gauge", "Versions", ("version", "python"), lambda: [(labels, 1)])
    meters.one("start_time_seconds", "gauge", "When the service began, in seconds of the Unix epoch", lambda: begun)
    meters.histograms("reactor_delay_seconds", "How late a timer was that ran every second", (), lambda: [((), delays)])
    if context.gate.keyring is not None:
        meters.ask(
            "auth_total",
            "counter",
            "Who was asked who they are, by what they have shown and what came of it",
            ("way", "outcome"),
            context.gate.counts.items,
        )


def measure_door(desks: Desks, door: Doorkeeper) -> None:
    """Tell of connections to the ports that all share."""
    meters = desks.meters

    def clients() -> Iterator[Sample]:
        sockets: int = desks.reports["clients"][0]() if "clients" in desks.reports else 0
        yield ("websocket",), sockets
        yield ("http",), max(0, door.count - sockets)

    meters.ask("clients", "gauge", "Connections of clients", ("kind",), clients)
    meters.ask(
        "clients_refused_total",
        "counter",
        "Connections that were closed at once, because there were too many",
        ("why",),
        lambda: (((why,), count) for why, count in door.refusals.items()),
    )


def _measure_sensors(meters: Meters, desk: Desk) -> None:
    def sensors() -> Iterable[Sample]:
        states = [getattr(device.state, "lost", None) for device in desk]
        count = Counter(lost for lost in states if lost is not None)
        return [(("present",), count[False]), (("lost",), count[True])] if count else []

    meters.ask("sensors", "gauge", "1-Wire sensors that were found", ("state",), sensors)


def _measure_circuits(meters: Meters, desk: Desk, wanted: Filter) -> None:
    def values() -> Iterator[Sample]:
        left = MOST_CIRCUITS
        for device in desk:
            if left and wanted.accepts(device):
                value = getattr(device.state, "value", None)
                if isinstance(value, int | float):
                    left -= 1
                    yield (device.kind, device.circuit_in("v3")), value

    meters.ask("circuit_value", "gauge", "What circuits show", ("dev", "circuit"), values)


def _measure_process(meters: Meters) -> None:
    page = resource.getpagesize()
    files = Path("/proc/self/fd")

    def memory(field: int) -> int:
        return int(Path("/proc/self/statm").read_bytes().split()[field]) * page

    def cpu() -> float:
        used = os.times()
        return used.user + used.system

    meters.one("process_cpu_seconds_total", "counter", "Processor time of the service", cpu)
    meters.one("process_resident_memory_bytes", "gauge", "Memory of the service", lambda: memory(1))
    meters.one("process_virtual_memory_bytes", "gauge", "Address space of the service", lambda: memory(0))
    meters.one("process_open_fds", "gauge", "Open files", lambda: len(os.listdir(files)))
    limit = resource.getrlimit
    meters.one("process_max_fds", "gauge", "Open files, at most", lambda: limit(resource.RLIMIT_NOFILE)[0])
    meters.one("process_start_time_seconds", "gauge", "When the process began", _began)


def _began() -> float:
    """When this process began, in seconds of the Unix epoch: ``starttime`` of ``proc(5)`` is from the boot on."""
    ticks = int(Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()[19])
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
