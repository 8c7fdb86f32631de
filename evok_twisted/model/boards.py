"""Devices from definitions: one board's features become the circuits of one configured device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evok_twisted import definitions as d
from evok_twisted.model import analog, digital, system
from evok_twisted.model.device import Device
from evok_twisted.model.registers import INPUT, keys_of
from evok_twisted.settings import Problems

_MAKERS: Mapping[type[d.Feature], Callable[[str, int, Any, int], Device]] = {
    d.DigitalInputs: digital.DigitalInput,
    d.DigitalOutputs: digital.DigitalOutput,
    d.Relays: digital.Relay,
    d.Leds: digital.Led,
    d.AnalogInputs: analog.AnalogInput,
    d.AnalogOutputs: analog.AnalogOutput,
    d.BrainAnalogOutput: analog.MainAnalogOutput,
    d.Watchdog: system.BoardWatchdog,
    d.RawRegisters: system.RawRegister,
    d.DataPoints: system.DataPoint,
    d.UnitRegisters: system.DataPoint,
    d.OneWirePower: system.OneWireBusPower,
    d.NvSave: system.NonVolatileSave,
}


def build(definition: d.Definition, name: str, number: int, problems: Problems) -> list[Device]:
    """The circuits of a board.

    A feature that needs a register which no block reads could never show anything: it is left out, and noted.

    :param name: the configured device's name, which the circuits begin with.
    :param number: its ``glob_dev_id``.
    """
    read = {key for block in definition.blocks for key in keys_of(block)}
    devices: list[Device] = []
    for path, feature in definition.features:
        if isinstance(feature, d.NvSave) and feature.val_coil is None:
            continue
        circuits = [_MAKERS[type(feature)](name, number, feature, n) for n in range(feature.count)]
        missing = sorted(set().union(*(device.needs for device in circuits)) - read)
        coil = getattr(feature, "val_coil", None)
        if coil is not None and coil + feature.count > 0x10000:
            problems.error(
                definition.file, path, f"val_coil {coil} and {feature.count} circuits go beyond coil 65535", fatal=False
            )
        elif missing:
            registers = ", ".join(_spelt(key) for key in missing[:8]) + (", ..." if len(missing) > 8 else "")
            problems.error(
                definition.file, path, f"no register block reads {registers}; the feature is left out", fatal=False
            )
        else:
            devices += circuits
    return devices


def _spelt(key: int) -> str:
    return f"input register {key - INPUT}" if key >= INPUT else f"register {key}"
