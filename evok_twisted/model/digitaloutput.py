"""Relay and transistor outputs, with their pulses and PWM, and LEDs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import UNSET, UnsetType

from evok_twisted.definitions import DigitalOutputs, Leds, Relays
from evok_twisted.errors import Conflict
from evok_twisted.model.device import TIMEOUT, BoardDevice, Plan, Pulse, State, numbered, pulse_of
from evok_twisted.model.meaning import means
from evok_twisted.model.parameters import Bit, Choice, Parameter, Real
from evok_twisted.model.registers import Registers, Write, WriteCoil, WriteRegister

PWM_CLOCK = 48_000_000
_PWM_CYCLES = (50000, 10000, 5000, 1000)


class OutputState(State, frozen=True):
    """``pending`` is true while a pulse (``timeout``) runs; the two pwm fields are there where the board has PWM."""

    modes: Annotated[tuple[str, ...], means("Modes that it can be in")] = ("Simple",)
    value: Annotated[int | None, means("1 while it is switched on", low=0, high=1, writable=True)] = None
    pending: Annotated[bool, means("Whether it goes back by itself, for a timeout runs")] = False
    mode: Annotated[str, means("PWM while it runs with a duty between 0 and 100 %", writable=True)] = "Simple"
    pwm_freq: Annotated[
        float | UnsetType | None, means("The frequency of its PWM", "Hz", measures="frequency", low=0, writable=True)
    ] = UNSET
    pwm_duty: Annotated[
        float | UnsetType | None,
        means("For which part of the time it is on in mode PWM", "%", low=0, high=100, writable=True),
    ] = UNSET


class Switched(BoardDevice):
    """What is switched by a coil, and shown by a bit of a register; with a ``timeout`` it goes back by itself."""

    pulsed = True

    def __init__(
        self,
        name: str,
        number: int,
        feature: DigitalOutputs | Relays | Leds,
        n: int,
        blank: State,
        needs: frozenset[int] = frozenset(),
        parameters: Mapping[str, Parameter] | None = None,
    ) -> None:
        self._value = feature.val_reg
        self._bit = n % 16
        self._coil = feature.val_coil + n
        super().__init__(
            numbered(name, n + 1 + feature.start_index),
            name,
            number,
            blank,
            needs=needs | {self._value},
            parameters={
                "value": Bit(),
                "timeout": TIMEOUT,
                "then": Bit().marked(qualifies=True),
                **(parameters or {}),
            },
        )

    def _shown(self, registers: Registers) -> int:
        return registers[self._value] >> self._bit & 1

    def _switch(self, value: int) -> WriteCoil:
        return WriteCoil(self._coil, value, (self._value, self._bit))

    def plan(self, wanted: Mapping[str, Any], registers: Registers) -> Plan:
        return Plan((self._switch(wanted["value"]),) if "value" in wanted else (), pulse=self._pulse(wanted))

    def _pulse(self, wanted: Mapping[str, Any]) -> Pulse | None:
        value = wanted.get("value", 0)
        return pulse_of(self, wanted, value, 1 - value)


class LedState(State, frozen=True):
    """State of an output that is on or off: ``value`` is 1 or 0."""

    value: Annotated[int | None, means("1 while it is lit", low=0, high=1, writable=True)] = None


class Led(Switched):
    """A user LED."""

    kind = "led"
    shows = LedState
    features = (Leds,)
    fields = "circuit value glob_dev_id"

    def __init__(self, name: str, number: int, feature: Leds, n: int) -> None:
        super().__init__(name, number, feature, n, LedState())

    def decode(self, registers: Registers) -> LedState:
        return LedState(self._shown(registers))


class Output(Switched):
    """What transistor and relay outputs have in common: ``local["pending"]`` says that a pulse runs."""

    def __init__(
        self,
        name: str,
        number: int,
        feature: DigitalOutputs | Relays,
        n: int,
        blank: OutputState,
        needs: frozenset[int] = frozenset(),
        parameters: Mapping[str, Parameter] | None = None,
    ) -> None:
        own = {"mode": Choice(blank.modes, any_case=True), **(parameters or {})}
        super().__init__(name, number, feature, n, blank, needs, own)
        self.local["pending"] = False


class Relay(Output):
    """A relay output."""

    kind = "ro"
    shows = OutputState
    features = (Relays,)
    fields = "relay_type circuit value pending mode modes glob_dev_id"
    v3_fields = "circuit value"

    def __init__(self, name: str, number: int, feature: Relays, n: int) -> None:
        super().__init__(name, number, feature, n, OutputState())

    def decode(self, registers: Registers) -> OutputState:
        return OutputState(("Simple",), self._shown(registers), self.local["pending"])


class TimerPwm:
    """PWM of a timer: a prescaler and a cycle, in which duties count.

    :ivar registers: what it needs to know.
    :ivar frequencies: what it takes.
    """

    frequencies = Real(0.012, 1_000_000, "Hz")

    def __init__(self, prescale: int, cycle: int) -> None:
        self.registers = (prescale, cycle)

    def frequency(self, registers: Registers) -> float:
        """In Hz."""
        prescale, cycle = (registers[key] for key in self.registers)
        return PWM_CLOCK / ((cycle + 1) * (prescale + 1))

    def steps(self, registers: Registers) -> int:
        """The duty that is all of the time."""
        return registers[self.registers[1]] + 1

    def choose(self, frequency: float) -> tuple[list[Write], int]:
        """The writes for a frequency, and the steps then."""
        prescale, cycle = self.registers
        divider, steps = pwm_timing(frequency)
        return [WriteRegister(cycle, steps - 1), WriteRegister(prescale, divider - 1)], steps


class SoftwarePwm:
    """PWM of a board's firmware: duties in percent, and a frequency by its number.

    0 is 1000 Hz, 1 is 100 Hz, 2 is 1000 / (1 + custom) Hz. Attributes are those of ``TimerPwm``.
    """

    frequencies = Real(0.016, 1000, "Hz")

    def __init__(self, preset: int, custom: int) -> None:
        self.registers = (preset, custom)

    def frequency(self, registers: Registers) -> float:
        """In Hz."""
        preset, custom = (registers[key] for key in self.registers)
        return {0: 1000.0, 1: 100.0}.get(preset, 1000 / (1 + custom))

    def steps(self, registers: Registers) -> int:
        """The duty that is all of the time."""
        return 100

    def choose(self, frequency: float) -> tuple[list[Write], int]:
        """The writes for a frequency, and the steps then."""
        preset, custom = self.registers
        divider = round(1000 / frequency)
        if divider in (1, 10):
            return [WriteRegister(preset, 0 if divider == 1 else 1)], 100
        return [WriteRegister(custom, divider - 1), WriteRegister(preset, 2)], 100


def _pwm_of(feature: DigitalOutputs) -> TimerPwm | SoftwarePwm | None:
    if feature.pwm_reg is None or (feature.modes is not None and "PWM" not in feature.modes):
        return None
    if feature.pwm_ps_reg is not None and feature.pwm_c_reg is not None:
        return TimerPwm(feature.pwm_ps_reg, feature.pwm_c_reg)
    if feature.pwm_preset_reg is not None and feature.pwm_cpres_reg is not None:
        return SoftwarePwm(feature.pwm_preset_reg, feature.pwm_cpres_reg)
    return None


class DigitalOutput(Output):
    """A transistor output, with PWM where the board has the registers for it.

    The frequency is the board's: a new one holds for all its outputs.
    """

    kind = "do"
    shows = OutputState
    features = (DigitalOutputs,)
    fields = "relay_type circuit value pending mode modes glob_dev_id pwm_freq pwm_duty"

    def __init__(self, name: str, number: int, feature: DigitalOutputs, n: int) -> None:
        self._pwm = _pwm_of(feature)
        self._duty = 0
        self._others: tuple[int, ...] = ()
        if self._pwm is None or feature.pwm_reg is None:
            super().__init__(name, number, feature, n, OutputState())
            return
        first = feature.pwm_reg
        self._duty = first + n
        self._others = tuple(first + other for other in range(feature.count) if other != n)
        super().__init__(
            name,
            number,
            feature,
            n,
            OutputState(("Simple", "PWM"), pwm_freq=None, pwm_duty=None),
            frozenset({self._duty, *self._pwm.registers, *self._others}),
            {"pwm_freq": self._pwm.frequencies, "pwm_duty": Real(0, 100, "%")},
        )

    def decode(self, registers: Registers) -> OutputState:
        if self._pwm is None:
            return OutputState(("Simple",), self._shown(registers), self.local["pending"])
        duty = registers[self._duty]
        return OutputState(
            ("Simple", "PWM"),
            self._shown(registers),
            self.local["pending"],
            "PWM" if duty else "Simple",
            self._pwm.frequency(registers),
            round(duty / self._pwm.steps(registers) * 100, 1) if duty else 0,
        )

    def plan(self, wanted: Mapping[str, Any], registers: Registers) -> Plan:
        if self._pwm is None:
            return super().plan(wanted, registers)
        pulse = self._pulse(wanted)
        value = wanted.get("value")
        percent = wanted.get("pwm_duty")
        self._check_mode(wanted, registers)
        if percent and (value or pulse):
            what = "timeout" if pulse else "value 1"
            raise Conflict(f"{self}: {what} contradicts pwm_duty {percent:g}: an output is switched or in PWM")
        steps = before = self._pwm.steps(registers)
        writes: list[Write] = []
        if "pwm_freq" in wanted:
            chosen, steps = self._pwm.choose(wanted["pwm_freq"])
            writes += chosen
            keeps_its_duty = value is None and percent is None
            for other in (*self._others, self._duty) if keeps_its_duty else self._others:
                if registers[other] and steps != before:
                    scaled = round(steps * registers[other] / before)
                    writes.append(WriteRegister(other, min(max(scaled, 1), 0xFFFF)))
        if percent or (percent is not None and value is None):
            if self._shown(registers):
                writes.append(self._switch(0))
            writes.append(WriteRegister(self._duty, min(round(steps * percent / 100), 0xFFFF)))
        elif value is not None:
            writes.append(self._switch(value))
            if registers[self._duty]:
                writes.append(WriteRegister(self._duty, 0))
        return Plan(tuple(writes), pulse=pulse)

    def _check_mode(self, wanted: Mapping[str, Any], registers: Registers) -> None:
        """A mode is not chosen, but follows from the duty; it may be named where it is what it is, or will be."""
        if "pwm_duty" in wanted:
            coming = "PWM" if wanted["pwm_duty"] else "Simple"
        elif "value" in wanted:
            coming = "Simple"
        else:
            coming = "PWM" if registers[self._duty] else "Simple"
        mode = wanted.get("mode", coming)
        if mode != coming:
            how = "pwm_duty, from 0 to 100, begins it" if mode == "PWM" else "value, or pwm_duty 0, ends PWM"
            raise Conflict(f"{self}: the mode would be {coming}, not {mode}; {how}")


def pwm_timing(frequency: float) -> tuple[int, int]:
    """Prescaler and cycle (1..65536 each) for a PWM frequency in Hz.

    The first of the round cycles that divides the 48 MHz clock's ticks a period gives exact duties; where none does,
    prescaler and cycle share the ticks evenly, and the frequency is the nearest that this makes.
    """
    ticks = PWM_CLOCK / frequency
    for cycle in _PWM_CYCLES:
        if int(ticks) % cycle == 0 and 0 < int(ticks) // cycle < 65535:
            return round(ticks / cycle), cycle
    root = round(math.sqrt(ticks))
    return root, root
