"""The kinds of devices, and every name that clients have for them.

Two dialects of the protocol are in the field; they differ in names. What a name means is here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from evok_twisted.errors import UnknownDevice
from evok_twisted.model import aliases, analog, digitalinput, digitaloutput, onewirebus, sensors, system
from evok_twisted.model.device import Device
from evok_twisted.model.parameters import shown
from evok_twisted.problems import nearest

Dialect = Literal["classic", "v3"]
DIALECTS: tuple[Dialect, ...] = ("classic", "v3")


class Kind(NamedTuple):
    """One kind of device.

    :ivar name: ``dev`` in v3, and our own name for it everywhere.
    :ivar classic: ``dev`` in classic.
    :ivar devices: the classes of its devices.
    :ivar also: other names that clients have for it.
    :ivar on_request: its changes go only to clients that filter for it by name.
    :ivar listed: it is in the list of all circuits.
    """

    name: str
    classic: str
    devices: tuple[type[Device], ...]
    also: tuple[str, ...] = ()
    on_request: bool = False
    listed: bool = True

    def dev(self, dialect: Dialect) -> str:
        """What ``dev`` is on the wire."""
        return self.classic if dialect == "classic" else self.name


#: In the order in which ``all`` lists them.
KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("di", "input", (digitalinput.DigitalInput,), ("digitalinput",)),
        Kind("ro", "relay", (digitaloutput.Relay,)),
        Kind("do", "relay", (digitaloutput.DigitalOutput,), ("digitaloutput",)),
        Kind("ai", "ai", (analog.AnalogInput,), ("analoginput",)),
        Kind("ao", "ao", (analog.AnalogOutput, analog.MainAnalogOutput), ("analogoutput",)),
        Kind("temp", "temp", (sensors.Thermometer,), ("sensor",)),
        Kind(
            "1wdevice",
            "1wdevice",
            (sensors.BatteryMonitor, sensors.EightPins, sensors.TwoPins, sensors.Tag, sensors.Sensor),
            ("sensor",),
        ),
        Kind("led", "led", (digitaloutput.Led,)),
        Kind("wd", "wd", (system.BoardWatchdog,), ("watchdog",)),
        Kind("modbus_slave", "modbus_slave", (system.ModbusSlave,), ("neuron",)),
        Kind("owpower", "owpower", (system.OneWireBusPower,)),
        # in an unfiltered stream they would double every message
        Kind("register", "register", (system.RawRegister,), on_request=True),
        Kind("data_point", "unit_register", (system.DataPoint,)),
        Kind("nv_save", "nv_save", (system.NonVolatileSave,), ("nvsave",)),
        Kind("owbus", "owbus", (onewirebus.OneWireBus,)),
        Kind("device_info", "device_info", (system.DeviceInfo,)),
        # the service itself
        Kind("run", "run", (aliases.AliasTable,), on_request=True, listed=False),
    )
}

#: Every class of devices, in the order of their kinds.
DEVICES: tuple[type[Device], ...] = tuple(device for kind in KINDS.values() for device in kind.devices)


def _named() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for kind in KINDS.values():
        for name in dict.fromkeys((kind.name, kind.classic, *kind.also)):
            found.setdefault(name, []).append(kind.name)
    # a sensor is looked for in both kinds, whichever of them a client calls it
    for name, other in (("temp", "1wdevice"), ("1wdevice", "temp")):
        found[name].append(other)
    return {name: tuple(kinds) for name, kinds in found.items()}


_NAMES = _named()

# The only names that mean something else in each dialect.
_OUTPUTS: Mapping[Dialect, Mapping[str, tuple[str, ...]]] = {
    "classic": {"relay": ("do", "ro"), "output": ("do", "ro")},
    "v3": {"relay": ("ro",), "output": ("do",)},
}


def names() -> list[str]:
    """Every name that a client may use for a kind."""
    return sorted({*_NAMES, *(name for outputs in _OUTPUTS.values() for name in outputs)})


def named(name: object, dialect: Dialect) -> tuple[str, ...]:
    """The kinds that a client means by ``name``, the one to look in first at the front.

    :raises UnknownDevice: we do not know the name.
    """
    kinds = (_OUTPUTS[dialect].get(name) or _NAMES.get(name)) if isinstance(name, str) else None
    if kinds is None:
        hint = nearest(name, [*_NAMES, *_OUTPUTS[dialect]]) if isinstance(name, str) else "expected text"
        raise UnknownDevice(f"there is no kind of device {shown(name)}; {hint}")
    return kinds
