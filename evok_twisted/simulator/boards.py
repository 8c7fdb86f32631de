"""One simulated board: its registers and coils, and what they have to do with each other.

Nothing here runs by itself: inputs change when somebody sets them, and outputs drive nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from evok_twisted import definitions as d
from evok_twisted.model.codec import encode
from evok_twisted.simulator.memory import Coils, Words

#: What the registers of a board hold at first.
DEBOUNCE_MS = 50
WATCHDOG_MS = 5000
PWM_CYCLE = 4999
PWM_PRESCALE = 1
RESISTANCE_OHM = 100.0
_BY_UNIT = {"°C": 21.5, "%": 45.0, "ppm": 640.0, "lux": 320.0, "hPa": 1013.25, "sec": 3600.0}


class _AnalogInput(NamedTuple):
    register: int
    mode_register: int | None
    modes: Mapping[str, d.Mode]


class SimulatedBoard:
    """A board of the model that ``definition`` describes.

    Its registers are those of the definition's blocks, its coils those that features name. Inputs are numbered as in
    their circuits: from 1, ``start_index`` added.

    :ivar holding: the holding registers, ``holding[address]``.
    :ivar input: the input registers.
    :ivar coils: the coils, which are the discrete inputs too.
    """

    def __init__(self, definition: d.Definition) -> None:
        self.definition = definition
        self.holding = Words(n for b in definition.blocks if not b.input for n in range(b.start, b.start + b.count))
        self.input = Words(n for b in definition.blocks if b.input for n in range(b.start, b.start + b.count))
        self.coils = Coils(self.holding)
        self._digital: dict[int, tuple[int, int]] = {}
        self._analog: dict[int, _AnalogInput] = {}
        for _, feature in definition.features:
            add = _ADDERS.get(type(feature))
            if add is not None:
                add(self, feature)

    @property
    def digital_inputs(self) -> Sequence[int]:
        """The numbers of the digital inputs."""
        return sorted(self._digital)

    @property
    def analog_inputs(self) -> Sequence[int]:
        """The numbers of the analog inputs."""
        return sorted(self._analog)

    def get_input(self, number: int) -> int:
        """Digital input ``number``, 0 or 1."""
        register, mask = self._digital[number]
        return 1 if self.holding[register] & mask else 0

    def set_input(self, number: int, value: int) -> None:
        """Switch digital input ``number``; from 0 to 1 it counts."""
        register, mask = self._digital[number]
        word = self.holding[register]
        self.holding[register] = word | mask if value else word & ~mask

    def set_analog(self, number: int, value: float) -> None:
        """Let analog input ``number`` measure ``value``, in the unit of the mode that it is in."""
        mode = self._mode(number)
        how = mode.transformation if mode is not None else d.Transformation()
        words = encode(value / (how.ratio or 1.0), how.datatype, how.byteorder, how.wordorder)
        self._put(self.holding, self._analog[number].register, words)

    def analog_range(self, number: int) -> tuple[float, float] | None:
        """What analog input ``number`` can measure in the mode that it is in; None in a mode that has no range."""
        mode = self._mode(number)
        return (mode.range[0], mode.range[-1]) if mode is not None and mode.range else None

    def _mode(self, number: int) -> d.Mode | None:
        _, mode_register, modes = self._analog[number]
        if mode_register is None or mode_register not in self.holding:
            return next(iter(modes.values())) if len(modes) == 1 else None
        value = self.holding[mode_register]
        return next((mode for mode in modes.values() if mode.value == value), None)

    @staticmethod
    def _put(space: Words, address: int | None, words: Iterable[int]) -> None:
        """Set those of the registers that exist: a definition may name some that no block has."""
        if address is None:
            return
        for n, word in enumerate(words, start=address):
            if n in space:
                space[n] = word

    def _add_digital_inputs(self, feature: d.DigitalInputs) -> None:
        self._put(self.holding, feature.deboun_reg, [DEBOUNCE_MS] * feature.count)
        if feature.val_reg not in self.holding:
            return
        for n in range(feature.count):
            mask, counter = 1 << n % 16, feature.counter_reg + 2 * n
            self._digital[feature.start_index + n + 1] = (feature.val_reg, mask)
            if counter in self.holding and counter + 1 in self.holding:
                self.holding.count_edges(feature.val_reg, mask, counter)

    def _add_outputs(self, feature: d.DigitalOutputs | d.Relays | d.Leds) -> None:
        for n in range(feature.count):
            self.coils.add_bit(feature.val_coil + n, feature.val_reg, n % 16)

    def _add_digital_outputs(self, feature: d.DigitalOutputs) -> None:
        self._add_outputs(feature)
        self._put(self.holding, feature.pwm_c_reg, [PWM_CYCLE])
        self._put(self.holding, feature.pwm_ps_reg, [PWM_PRESCALE])

    def _add_modes(self, feature: d.AnalogInputs | d.AnalogOutputs | d.BrainAnalogOutput) -> None:
        first = next(iter(feature.modes.values()), None)
        if first is not None and first.value is not None:
            self._put(self.holding, feature.mode_reg, [first.value] * feature.count)

    def _add_analog_inputs(self, feature: d.AnalogInputs) -> None:
        self._add_modes(feature)
        for n in range(feature.count):
            number = feature.start_index + n + 1
            mode_register = None if feature.mode_reg is None else feature.mode_reg + n
            self._analog[number] = _AnalogInput(feature.val_reg + 2 * n, mode_register, feature.modes)
            low, high = self.analog_range(number) or (0, 0)
            self.set_analog(number, low + (high - low) / 4)

    def _add_main_analog_output(self, feature: d.BrainAnalogOutput) -> None:
        self._add_modes(feature)
        resistance = encode(RESISTANCE_OHM, "float32", wordorder="little")
        self._put(self.holding, feature.res_val_reg, resistance * feature.count)

    def _add_watchdog(self, feature: d.Watchdog) -> None:
        self._put(self.holding, feature.timeout_reg, [WATCHDOG_MS] * feature.count)
        for coil in (feature.nv_sav_coil, feature.reset_coil):
            if coil is not None:
                self.coils.add(coil, momentary=True)

    def _add_coils(self, feature: d.CoilSwitch) -> None:
        for n in range(feature.count):
            self.coils.add(feature.val_coil + n, momentary=isinstance(feature, d.NvSave))

    def _add_data_points(self, feature: d.DataPoints) -> None:
        kind = feature.reg_type or ("input" if isinstance(feature, d.UnitRegisters) else "holding")
        space = self.input if kind == "input" else self.holding
        raw = (_BY_UNIT.get(feature.unit or "", 1.0) - feature.offset) / (feature.factor or 1.0)
        for address in range(feature.value_reg, feature.value_reg + feature.count):
            self._put(space, address, encode(raw, feature.datatype))
            valid = feature.valid_mask_reg
            if valid is not None and valid in space:
                mask = 1 << address if feature.valid_mask is None else feature.valid_mask
                space[valid] |= mask & 0xFFFF


#: What a feature adds to a board; raw registers add nothing to its blocks.
_ADDERS: Mapping[type[d.Feature], Callable[[SimulatedBoard, Any], None]] = {
    d.DigitalInputs: SimulatedBoard._add_digital_inputs,
    d.DigitalOutputs: SimulatedBoard._add_digital_outputs,
    d.Relays: SimulatedBoard._add_outputs,
    d.Leds: SimulatedBoard._add_outputs,
    d.AnalogInputs: SimulatedBoard._add_analog_inputs,
    d.AnalogOutputs: SimulatedBoard._add_modes,
    d.BrainAnalogOutput: SimulatedBoard._add_main_analog_output,
    d.Watchdog: SimulatedBoard._add_watchdog,
    d.DataPoints: SimulatedBoard._add_data_points,
    d.UnitRegisters: SimulatedBoard._add_data_points,
    d.OneWirePower: SimulatedBoard._add_coils,
    d.NvSave: SimulatedBoard._add_coils,
}
