"""A 1-Wire bus as clients see it: how often its sensors are read, and looked for."""

from __future__ import annotations

from typing import Annotated

import msgspec

from evok_twisted.model.device import Device, State
from evok_twisted.model.meaning import means
from evok_twisted.model.parameters import Bit, Real
from evok_twisted.model.sensors import INTERVAL

#: Of ``scan_interval``, in seconds.
SCAN_INTERVAL = Real(0, 86400, "s")


class OneWireBusState(State, frozen=True):
    """``do_scan`` and ``do_reset`` are what is asked for, and never last."""

    bus: Annotated[str, means("Its name in the configuration")]
    scan_interval: Annotated[
        float,
        means(
            "How often sensors are looked for; 0 is never", "s", measures="duration", low=0, high=86400, writable=True
        ),
    ]
    interval: Annotated[
        float,
        means(
            "How often sensors are read that have no interval of their own",
            "s",
            measures="duration",
            low=0.1,
            high=3600,
            writable=True,
        ),
    ]
    do_scan: Annotated[bool, means("Always false; setting it looks for sensors", writable=True)] = False
    do_reset: Annotated[
        bool, means("Always false; setting it takes the power of the bus away for a moment", writable=True)
    ] = False


class OneWireBus(Device):
    """A 1-Wire bus as such: how often its sensors are read, and looked for."""

    kind = "owbus"
    shows = OneWireBusState
    fields = "circuit bus scan_interval interval do_scan do_reset"

    state: OneWireBusState

    def __init__(self, name: str, interval: float, scan_interval: float) -> None:
        done = Bit().marked(once=True)
        parameters = {"interval": INTERVAL, "scan_interval": SCAN_INTERVAL, "do_scan": done, "do_reset": done}
        super().__init__(name, name, None, OneWireBusState(name, scan_interval, interval), parameters=parameters)

    def set_intervals(self, interval: float, scan_interval: float) -> bool:
        """Show other intervals; whether they are."""
        before = self.state
        self.state = msgspec.structs.replace(before, interval=interval, scan_interval=scan_interval)
        return self.state != before
