"""Digital inputs, with their counters, debounce and DirectSwitch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import UNSET, UnsetType

from evok_twisted.definitions import DigitalInputs
from evok_twisted.errors import Conflict
from evok_twisted.model.device import BoardDevice, Plan, State, numbered
from evok_twisted.model.meaning import means
from evok_twisted.model.parameters import Choice, Whole
from evok_twisted.model.registers import Registers, Write, WriteRegister, WriteRegisters

COUNTER_MODES = ("Enabled", "Disabled")
DS_MODES = ("Simple", "Inverted", "Toggle")


class DigitalInputState(State, frozen=True):
    """``counter`` is 0 while it is disabled; the two ds fields are there in mode DirectSwitch only."""

    modes: Annotated[tuple[str, ...], means("Modes that it can be in")]
    value: Annotated[int | None, means("1 while there is a signal", low=0, high=1)] = None
    debounce: Annotated[
        int | None,
        means(
            "For how long a level has to last, to count", "ms", measures="duration", low=0, high=65535, writable=True
        ),
    ] = None
    counter_modes: Annotated[tuple[str, ...], means("What counter_mode can be")] = COUNTER_MODES
    counter_mode: Annotated[str, means("Whether edges are counted", writable=True)] = "Enabled"
    counter: Annotated[
        int | None,
        means("Rising edges since it was set; 0 while they are not counted", low=0, high=4294967295, writable=True),
    ] = None
    mode: Annotated[
        str | None, means("DirectSwitch lets it switch the output of its number on the board itself", writable=True)
    ] = None
    ds_mode: Annotated[str | UnsetType, means("How it switches that output, in mode DirectSwitch", writable=True)] = (
        UNSET
    )
    ds_modes: Annotated[tuple[str, ...] | UnsetType, means("What ds_mode can be")] = UNSET


class DigitalInput(BoardDevice):
    """An input that counts its edges and, with DirectSwitch, drives the output of its number on the board itself."""

    kind = "di"
    shows = DigitalInputState
    features = (DigitalInputs,)
    fields = "circuit value debounce counter_modes counter_mode counter mode modes glob_dev_id ds_mode ds_modes"

    def __init__(self, name: str, number: int, feature: DigitalInputs, n: int) -> None:
        self._value = feature.val_reg
        self._mask = 1 << n % 16
        self._counter = feature.counter_reg + 2 * n
        self._debounce = feature.deboun_reg + n
        self._switch: tuple[int, int, int] | None = None
        self._ds_modes: tuple[str, ...] = ()
        needs = {self._value, self._counter, self._counter + 1, self._debounce}
        parameters = {
            "debounce": Whole(0, 65535, "ms"),
            "counter": Whole(0, 2**32 - 1),
            "counter_mode": Choice(COUNTER_MODES),
        }
        modes: tuple[str, ...] = ("Simple",)
        direct, polar, toggle = feature.direct_reg, feature.polar_reg, feature.toggle_reg
        has_switch = feature.modes is None or "DirectSwitch" in feature.modes
        if has_switch and direct is not None and polar is not None and toggle is not None:
            self._switch = (direct, polar, toggle)
            needs |= {direct, polar, toggle}
            modes = ("Simple", "DirectSwitch")
            self._ds_modes = feature.ds_modes or DS_MODES
            parameters["ds_mode"] = Choice(self._ds_modes)
        parameters["mode"] = Choice(modes)
        super().__init__(
            numbered(name, n + 1 + feature.start_index),
            name,
            number,
            DigitalInputState(modes),
            needs=frozenset(needs),
            parameters=parameters,
        )
        self._modes = modes
        self.local["counter_mode"] = "Enabled"

    def decode(self, registers: Registers) -> DigitalInputState:
        counting = self.local["counter_mode"] == "Enabled"
        mode = "Simple"
        ds_mode: str | UnsetType = UNSET
        ds_modes: tuple[str, ...] | UnsetType = UNSET
        if self._switch and registers[self._switch[0]] & self._mask:
            mode, ds_modes = "DirectSwitch", self._ds_modes
            _, polar, toggle = self._switch
            if registers[polar] & self._mask:
                ds_mode = "Inverted"
            else:
                ds_mode = "Toggle" if registers[toggle] & self._mask else "Simple"
        return DigitalInputState(
            self._modes,
            1 if registers[self._value] & self._mask else 0,
            registers[self._debounce],
            COUNTER_MODES,
            self.local["counter_mode"],
            registers[self._counter] | registers[self._counter + 1] << 16 if counting else 0,
            mode,
            ds_mode,
            ds_modes,
        )

    def plan(self, wanted: Mapping[str, Any], registers: Registers) -> Plan:
        writes: list[Write] = []
        if "debounce" in wanted:
            writes.append(WriteRegister(self._debounce, wanted["debounce"]))
        if "counter" in wanted:
            low, high = wanted["counter"] & 0xFFFF, wanted["counter"] >> 16
            writes.append(WriteRegisters(self._counter, (low, high)))
        if self._switch:
            writes += self._plan_switch(wanted, registers, *self._switch)
        local = {"counter_mode": wanted["counter_mode"]} if "counter_mode" in wanted else {}
        return Plan(tuple(writes), local)

    def _plan_switch(
        self, wanted: Mapping[str, Any], registers: Registers, direct: int, polar: int, toggle: int
    ) -> list[Write]:
        switches = bool(registers[direct] & self._mask)
        switch = wanted["mode"] == "DirectSwitch" if "mode" in wanted else switches
        ds_mode = wanted.get("ds_mode")
        if ds_mode and not switch:
            raise Conflict(f"{self}: ds_mode goes with mode DirectSwitch, and the mode is Simple")
        writes: list[Write] = []
        if switch != switches:
            writes.append(self._with_bit(registers, direct, switch))
        if ds_mode:
            writes.append(self._with_bit(registers, polar, ds_mode == "Inverted"))
            writes.append(self._with_bit(registers, toggle, ds_mode == "Toggle"))
        return writes

    def _with_bit(self, registers: Registers, register: int, on: bool) -> WriteRegister:
        word = registers[register]
        return WriteRegister(register, word | self._mask if on else word & ~self._mask)
