"""What is told in numbers of buses, boards, commands and events, whoever asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from evok_twisted.core.commands import Commands
from evok_twisted.core.events import ChangeSet, Events
from evok_twisted.core.health import Health
from evok_twisted.core.slave import Slave
from evok_twisted.meters import BusMeter, Meters, Sample

BUS, BOARD = ("bus",), ("bus", "board")


def measure_buses(meters: Meters, health: Health) -> None:
    """Tell of buses, and of what is asked through them."""

    def counted() -> Iterator[tuple[str, tuple[Slave, ...], BusMeter]]:
        for part in health.parts:
            if part.meter is not None:
                yield part.bus.name, part.slaves, part.meter

    def requests() -> Iterable[Sample]:
        for bus, slaves, meter in counted():
            names = {slave.unit: slave.name for slave in reversed(slaves)}
            of: Counter[tuple[str, ...]] = Counter()
            for (unit, kind, outcome), count in meter.requests.items():
                of[bus, names.get(unit, ""), kind, outcome] += count
            yield from of.items()

    def of_buses(number: Callable[[BusMeter], float]) -> Callable[[], Iterable[Sample]]:
        return lambda: (((bus,), number(meter)) for bus, _, meter in counted())

    meters.one("healthy", "gauge", "1 while everything works that is configured", lambda: health.healthy)
    text = "1 while the bus can be reached"
    meters.ask("bus_up", "gauge", text, BUS, lambda: (((part.bus.name,), part.bus.online) for part in health.parts))
    reconnects, busy = of_buses(lambda meter: max(0, meter.connections - 1)), of_buses(lambda meter: meter.busy)
    meters.ask("bus_reconnects_total", "counter", "Connections that were made after the first", BUS, reconnects)
    text = "Time in which an answer was awaited; its rate is the load of the bus"
    meters.ask("bus_busy_seconds_total", "counter", text, BUS, busy)
    text = "Requests, by what was asked and what became of it"
    meters.ask("modbus_requests_total", "counter", text, (*BOARD, "kind", "outcome"), requests)
    text = "From the sending of a request to its answer"
    meters.histograms(
        "modbus_request_seconds", text, BUS, lambda: (((bus,), meter.seconds) for bus, _, meter in counted())
    )


def measure_boards(meters: Meters, health: Health) -> None:
    """Tell of boards."""

    def of_slaves(number: Callable[[Slave], float | None]) -> Callable[[], Iterable[Sample]]:
        """What ``number`` is of each; None is nothing to tell."""

        def found() -> Iterator[Sample]:
            for part in health.parts:
                for slave in part.slaves:
                    value = number(slave)
                    if value is not None:
                        yield (part.bus.name, slave.name), value

        return found

    def last_answer(slave: Slave) -> float | None:
        return None if slave.info.answered is None else slave.info.state.last_comm

    text = "1 while the board answers"
    meters.ask("board_up", "gauge", text, BOARD, of_slaves(lambda slave: slave.online))
    text = "Time since the last answer of the board"
    meters.ask("board_last_answer_seconds", "gauge", text, BOARD, of_slaves(last_answer))
    text = "Scans that were begun"
    meters.ask("scans_total", "counter", text, BOARD, of_slaves(lambda slave: slave.scans))
    text = "Scans for which there was no time"
    meters.ask("scans_missed_total", "counter", text, BOARD, of_slaves(lambda slave: slave.scans_missed))


def measure_commands(meters: Meters, commands: Commands) -> None:
    """Tell of what is set."""
    meters.ask(
        "commands_total",
        "counter",
        "Sets, by what they came through and what became of them",
        ("via", "outcome"),
        commands.counts.items,
    )
    meters.histograms(
        "command_seconds",
        "From a command to the acknowledgement of the hardware",
        (),
        lambda: [((), commands.seconds)],
    )
    meters.one("commands_waiting", "gauge", "Sets that are under way", lambda: commands.waiting)


def measure_events(meters: Meters, events: Events) -> None:
    """Tell of what changes."""
    counts = meters.counter("events_total", "Changes of circuits that were told of", ("kind",))

    def count(changes: ChangeSet) -> None:
        for device, _ in changes.changes:
            counts[device.kind,] += 1

    events.subscribe(count)
