"""Many units in one process, each with its own connection to one broker, and outputs that change all the time.

    fleet.py PORT UNITS CHANGES SECONDS

CHANGES is how many there are a second at each unit: an analog output counts up, from 1. Prints ``ready`` when all are
online, MB of memory a second later and at the end, and then how far each has counted.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import msgspec
from common import resident
from twisted.internet import reactor, task

from evok_twisted.api.front import Context
from evok_twisted.api.gate import Gate
from evok_twisted.api.mqtt.front import Mqtt, make
from evok_twisted.api.mqtt.settings import HomeAssistantSettings, MqttSettings
from evok_twisted.core.commands import Commands
from evok_twisted.core.desk import Core
from evok_twisted.core.events import Events
from evok_twisted.core.health import Health
from evok_twisted.core.journal import Journal
from evok_twisted.core.pulserecord import PulseRecord
from evok_twisted.core.registry import Registry
from evok_twisted.core.wills import Wills
from evok_twisted.definitions import Definitions, shipped_definitions
from evok_twisted.model.boards import build
from evok_twisted.problems import Problems

loop: Any = reactor


class Unit:
    """One of them: a board 13 in memory, on a broker."""

    def __init__(self, n: int, port: int, definition: Any) -> None:
        registry = Registry(build(definition, "1", 1, Problems()))
        self.events = Events(loop)
        commands = Commands(registry, self.events, {})
        health, pulses = Health(loop), PulseRecord(None, loop)
        core = Core(
            registry, commands, self.events, Journal(self.events), health, pulses, Wills(registry, commands, loop)
        )
        settings = MqttSettings(
            enabled=True,
            broker=f"tcp:127.0.0.1:{port}",
            unit=f"unit{n:03}",
            home_assistant=HomeAssistantSettings(enabled=False),
        )
        front = make(Context(core.desks("v3"), loop, Problems(), {}, Gate()), settings)
        assert isinstance(front, Mqtt)
        self.front = front
        self.output = registry.find("ao", "1_01", "v3")
        self.count = 0

    def change(self) -> None:
        """Count up."""
        self.count += 1
        self.output.state = msgspec.structs.replace(self.output.state, value=float(self.count))
        self.events.publish([self.output])


def main(port: str, count: str, changes: str, seconds: str) -> None:
    """Run them."""
    definition = Definitions(shipped_definitions(), Problems()).get("13")
    units = [Unit(n, int(port), definition) for n in range(int(count))]
    begun = time.monotonic()

    def go() -> None:
        health = [unit.front.health() for unit in units]
        if not all(one.connected and one.published and not one.waiting for one in health):
            loop.callLater(0.2, go)
            return
        print(f"ready {time.monotonic() - begun:.1f}", flush=True)
        loops = [task.LoopingCall(unit.change) for unit in units]
        for n, one in enumerate(loops):
            loop.callLater(n / len(units) / float(changes), one.start, 1 / float(changes))
        loop.callLater(1.0, lambda: print(f"memory {resident(os.getpid()):.1f}", flush=True))
        loop.callLater(float(seconds), end, loops)

    def end(loops: list[Any]) -> None:
        for one in loops:
            one.stop()
        print(f"memory {resident(os.getpid()):.1f}", flush=True)
        print("counted", *(unit.count for unit in units), flush=True)

    for unit in units:
        unit.front.startService()
    loop.callLater(0.5, go)
    loop.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
