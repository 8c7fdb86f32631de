"""Analog inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from evok_twisted.definitions import AnalogInputs, AnalogOutputs, BrainAnalogOutput, Mode, Transformation
from evok_twisted.errors import Conflict
from evok_twisted.model.codec import decode, encode
from evok_twisted.model.device import TIMEOUT, BoardDevice, Plan, State, numbered, pulse_of
from evok_twisted.model.meaning import means
from evok_twisted.model.parameters import Choice, Parameter, Real
from evok_twisted.model.registers import Registers, Write, WriteRegister, WriteRegisters

#: One step of an ``AO`` register, in the unit of its mode.
AO_STEP = 0.0025
AO_MAX = 4095

#: What ``mode_reg`` of the main board's output means; every other value is Resistance.
_BAO_MODES = {0: "Voltage", 1: "Current"}
_BAO_VALUES = {"Voltage": 0, "Current": 1, "Resistance": 3}

#: Of an output whose definition has none: what Evok gives it.
_AO_MODES = {"Voltage": Mode(unit="V", range=(0, 10))}
_BAO_DEFAULT = {
    "Voltage": Mode(value=0, unit="V", range=(0, 10)),
    "Current": Mode(value=1, unit="mA", range=(0, 20)),
    "Resistance": Mode(value=2, unit="Ohm", range=(0, 2000)),
}

#: Outputs take any number and go as far as they can; this only keeps floats representable.
_ANY = Real(-1e9, 1e9)

#: What analog outputs take beside their mode.
_OUTPUT: Mapping[str, Parameter] = {"value": _ANY, "timeout": TIMEOUT, "then": _ANY.marked(qualifies=True)}

Range = tuple[int | float, ...]


class ShownMode(State, frozen=True):
    """A mode as clients see it."""

    value: int | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    range: Range | UnsetType = UNSET


def _shown(mode: Mode) -> ShownMode:
    return ShownMode(
        UNSET if mode.value is None else mode.value,
        UNSET if mode.unit is None else mode.unit,
        UNSET if mode.range is None else mode.range,
    )


class AnalogState(State, frozen=True):
    """``unit`` and ``range`` are those of the mode; ``value`` is null where the registers hold no number."""

    modes: Annotated[dict[str, ShownMode], means("Modes that it can be in, each with its unit and range")]
    value: Annotated[
        float | None,
        means("What is measured or put out, in unit; null where the board has no number for it", writable=True),
    ] = None
    mode: Annotated[str | None, means("What is measured or put out", writable=True)] = None
    unit: Annotated[str | None, means("Of value, in this mode")] = None
    range: Annotated[Range | UnsetType | None, means("From which to which value it goes, in this mode")] = None


class Analog(BoardDevice):
    """What analog circuits have in common: modes, the mode register, and the mode that the board is in."""

    def __init__(
        self,
        circuit: str,
        name: str,
        number: int,
        modes: Mapping[str, Mode],
        mode_reg: int | None,
        needs: set[int],
        *,
        parameters: Mapping[str, Parameter] | None = None,
    ) -> None:
        self._modes = modes
        self._mode_reg = mode_reg
        self._shown = {mode: _shown(of) for mode, of in modes.items()}
        self._by_value = {of.value: mode for mode, of in modes.items() if of.value is not None}
        # where the mode cannot change, it may still be named: clients post all fields of a state at once
        choices = list(self._by_value.values()) if mode_reg is not None else list(modes)[: len(modes) == 1]
        settable = {"mode": Choice(choices)} if choices else {}
        super().__init__(
            circuit,
            name,
            number,
            AnalogState(self._shown),
            needs=frozenset(needs if mode_reg is None else needs | {mode_reg}),
            parameters={**settable, **(parameters or {})},
        )

    def _mode(self, registers: Registers) -> str | None:
        if self._mode_reg is not None:
            return self._by_value.get(registers[self._mode_reg])
        return next(iter(self._modes)) if len(self._modes) == 1 else None

    def _state(self, mode: str | None, value: float | None) -> AnalogState:
        of = self._modes[mode] if mode is not None else Mode()
        return AnalogState(self._shown, value, mode, of.unit, of.range)

    def _choose(self, wanted: Mapping[str, Any]) -> list[Write]:
        if "mode" not in wanted or self._mode_reg is None:
            return []
        value = self._modes[wanted["mode"]].value
        return [] if value is None else [WriteRegister(self._mode_reg, value)]


class AnalogInput(Analog):
    """An analog input; each mode may have its own transformation from registers to value."""

    kind = "ai"
    shows = AnalogState
    features = (AnalogInputs,)
    fields = "circuit value unit glob_dev_id mode modes range"

    def __init__(self, name: str, number: int, feature: AnalogInputs, n: int) -> None:
        self._value = feature.val_reg + 2 * n
        mode_reg = None if feature.mode_reg is None else feature.mode_reg + n
        super().__init__(
            numbered(name, n + 1 + feature.start_index),
            name,
            number,
            feature.modes,
            mode_reg,
            {self._value, self._value + 1},
        )

    def decode(self, registers: Registers) -> AnalogState:
        mode = self._mode(registers)
        how = self._modes[mode].transformation if mode is not None else Transformation()
        raw = decode((registers[self._value], registers[self._value + 1]), how.datatype, how.byteorder, how.wordorder)
        return self._state(mode, finite(raw * how.ratio, how.decimals))

    def plan(self, wanted: Mapping[str, Any], registers: Registers) -> Plan:
        return Plan(tuple(self._choose(wanted)))


class AnalogOutput(Analog):
    """An analog output of 4096 steps."""

    kind = "ao"
    pulsed = True
    shows = AnalogState
    features = (AnalogOutputs,)
    fields = "circuit mode modes glob_dev_id value unit range"

    def __init__(self, name: str, number: int, feature: AnalogOutputs, n: int) -> None:
        self._value = feature.val_reg + n
        mode_reg = None if feature.mode_reg is None else feature.mode_reg + n
        super().__init__(
            numbered(name, n + 1 + feature.start_index),
            name,
            number,
            feature.modes or _AO_MODES,
            mode_reg,
            {self._value},
            parameters=_OUTPUT,
        )

    def decode(self, registers: Registers) -> AnalogState:
        return self._state(self._mode(registers), _of_steps(registers[self._value]))

    def plan(self, wanted: Mapping[str, Any], registers: Registers) -> Plan:
        writes, steps = self._choose(wanted), registers[self._value]
        before = self.local.get("back", _of_steps(steps))
        if "value" in wanted:
            steps = _steps(wanted["value"])
            writes.append(WriteRegister(self._value, steps))
        pulse = pulse_of(self, wanted, _of_steps(steps), before)
        if pulse is not None:
            pulse = msgspec.structs.replace(pulse, value=_of_steps(_steps(pulse.value)))
        return Plan(tuple(writes), pulse=pulse)


class MainAnalogOutput(Analog):
    """The main board's analog output (feature ``BAO``); in mode Resistance it measures, and cannot be set."""

    kind = "ao"
    pulsed = True
    shows = AnalogState
    features = (BrainAnalogOutput,)
    fields = "circuit mode modes glob_dev_id unit value"

    def __init__(self, name: str, number: int, feature: BrainAnalogOutput, n: int) -> None:
        self._value = feature.val_reg + 2 * n
        self._resistance = feature.res_val_reg + 2 * n
        super().__init__(
            numbered(name, n + 1 + feature.start_index),
            name,
            number,
            feature.modes or _BAO_DEFAULT,
            feature.mode_reg + n,
            {self._value, self._value + 1, self._resistance, self._resistance + 1},
            parameters=_OUTPUT,
        )
        self.parameters = {**self.parameters, "mode": Choice(mode for mode in _BAO_VALUES if mode in self._modes)}
        self.state = msgspec.structs.replace(self._state(None, None), range=UNSET)

    def _mode(self, registers: Registers) -> str | None:
        mode = _BAO_MODES.get(registers[self._mode_reg or 0], "Resistance")
        return mode if mode in self._modes else None

    def _float(self, registers: Registers, register: int) -> float | None:
        return finite(decode((registers[register], registers[register + 1]), "float32", wordorder="little"), 3)

    def decode(self, registers: Registers) -> AnalogState:
        mode = self._mode(registers)
        value = self._float(registers, self._resistance if mode == "Resistance" else self._value)
        return msgspec.structs.replace(self._state(mode, value), range=UNSET)

    def plan(self, wanted: Mapping[str, Any], registers: Registers) -> Plan:
        mode = wanted.get("mode", self._mode(registers))
        writes: list[Write] = []
        pulse = None
        if "mode" in wanted:
            writes.append(WriteRegister(self._mode_reg or 0, _BAO_VALUES[wanted["mode"]]))
        if mode == "Resistance":
            if wanted.keys() & _OUTPUT.keys():
                raise Conflict(f"{self}: value cannot be set in mode Resistance, where it is measured")
        elif wanted:
            before = self._float(registers, self._value) or 0.0
            value = self._within(mode, wanted.get("value", before))
            pulse = pulse_of(self, wanted, round(value, 3), self.local.get("back", before))
            if pulse is not None:
                pulse = msgspec.structs.replace(pulse, value=round(self._within(mode, pulse.value), 3))
            writes.append(WriteRegisters(self._value, encode(value, "float32", wordorder="little")))
        return Plan(tuple(writes), pulse=pulse)

    def _within(self, mode: str | None, value: float) -> float:
        reach = self._modes[mode].range if mode is not None else None
        return min(max(value, reach[0]), reach[-1]) if reach else value


def _steps(value: float) -> int:
    return min(max(round(value / AO_STEP), 0), AO_MAX)


def _of_steps(steps: int) -> float:
    return round(steps * AO_STEP, 3)


def finite(value: float, decimals: int) -> float | None:
    """``value`` as it is shown: rounded, None where it is no number, and without a negative zero."""
    return round(value, decimals) + 0.0 if math.isfinite(value) else None
