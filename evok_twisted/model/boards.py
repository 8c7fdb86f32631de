"""Devices from definitions: one board's features become the circuits of one configured device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from evok_twisted import definitions as d
from evok_twisted.definitions import Block
from evok_twisted.model.device import BoardDevice
from evok_twisted.model.kinds import DEVICES
from evok_twisted.model.registers import INPUT, keys_of
from evok_twisted.problems import Problems

#: Bits of a register.
BITS = 16

#: What makes a circuit of a feature: of the name and number of its board, the feature, and its own number from 0.
_MAKERS: Mapping[type[d.Feature], Callable[[str, int, Any, int], BoardDevice]] = {
    feature: cast("Any", device) for device in DEVICES if issubclass(device, BoardDevice) for feature in device.features
}


def build(definition: d.Definition, name: str, number: int, problems: Problems) -> list[BoardDevice]:
    """The circuits of a board.

    A feature that needs a register which no block reads could never show anything: it is left out, and noted.

    :param name: the configured device's name, which the circuits begin with.
    :param number: its ``glob_dev_id``.
    """
    read = {key for block in definition.blocks for key in keys_of(block)}
    devices: list[BoardDevice] = []
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
            for doubt in _doubts(feature, definition.blocks):
                problems.warning(definition.file, path, doubt)
    return devices


def _doubts(feature: d.Feature, blocks: Iterable[Block]) -> Iterator[str]:
    """Warnings of features that can hardly be meant as they are defined."""
    if isinstance(feature, d.DigitalInputs | d.DigitalOutputs | d.Relays | d.Leds) and feature.count > BITS:
        message = f"{feature.count} circuits of one val_reg, which has {BITS} bits: from the {BITS + 1}th on they show"
        yield f"{message} what those from the 1st on show; a second feature, with a start_index, may be meant"
    if isinstance(feature, d.DigitalInputs):
        for low in range(feature.counter_reg, feature.counter_reg + 2 * feature.count, 2):
            often = [{block.frequency for block in blocks if key in keys_of(block)} for key in (low, low + 1)]
            if often[0].isdisjoint(often[1]):
                registers = f"registers {low} and {low + 1}"
                yield f"the counter in {registers} is read in blocks of different frequency: it may jump"
                return


def _spelt(key: int) -> str:
    return f"input register {key - INPUT}" if key >= INPUT else f"register {key}"
