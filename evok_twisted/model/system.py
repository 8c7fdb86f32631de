"""What is not an input or output: watchdogs, raw registers, data points, power and save coils, slaves, units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from msgspec import UNSET, UnsetType

from evok_twisted.definitions import CoilSwitch, DataPoints, NvSave, OneWirePower, RawRegisters, UnitRegisters, Watchdog
from evok_twisted.model.codec import decode, words_of
from evok_twisted.model.device import BoardDevice, Device, Plan, State, numbered
from evok_twisted.model.meaning import means
from evok_twisted.model.parameters import Bit, Parameter, Whole
from evok_twisted.model.registers import COIL, INPUT, Registers, Write, WriteCoil, WriteRegister

#: What ``last_comm`` is before the first answer, in seconds.
NEVER = 2147483647


class WatchdogState(State, frozen=True):
    """``timeout`` is in ms."""

    value: Annotated[
        int | None,
        means(
            "1 lets the board reset itself when nobody talks to it; 3 that it has done so", low=0, high=3, writable=True
        ),
    ] = None
    timeout: Annotated[
        int | None,
        means("After how long without a word it does", "ms", measures="duration", low=0, high=65535, writable=True),
    ] = None
    was_wd_reset: Annotated[int | None, means("1 when it has reset the board", low=0, high=1)] = None
    nv_save: Annotated[
        int | None, means("1 when the outputs of now are to be those of a start", low=0, high=1, writable=True)
    ] = None


class BoardWatchdog(BoardDevice):
    """The board's own watchdog, which resets it when nobody talks to it for ``timeout``."""

    kind = "wd"
    shows = WatchdogState
    features = (Watchdog,)
    fields = "circuit value timeout was_wd_reset nv_save glob_dev_id"

    def __init__(self, name: str, number: int, feature: Watchdog, n: int) -> None:
        self._value = feature.val_reg + n
        self._timeout = feature.timeout_reg + n
        self._save = feature.nv_sav_coil
        self._reset = feature.reset_coil
        parameters: dict[str, Parameter] = {"value": Bit(), "timeout": Whole(0, 65535, "ms")}
        if self._save is not None:
            parameters["nv_save"] = Bit()
        if self._reset is not None:
            parameters["reset"] = Bit().marked(once=True)
        super().__init__(
            numbered(name, n + 1 + feature.start_index),
            name,
            number,
            WatchdogState(),
            needs=frozenset({self._value, self._timeout}),
            watches=frozenset() if self._save is None else frozenset({self._save | COIL}),
            parameters=parameters,
        )

    def decode(self, registers: Registers) -> WatchdogState:
        word = registers[self._value]
        saved = 0 if self._save is None else registers.last_written(self._save)
        return WatchdogState(word & 3, registers[self._timeout], word >> 1 & 1, saved)

    def plan(self, wanted: Mapping[str, Any], registers: Registers) -> Plan:
        writes: list[Write] = []
        if "value" in wanted:
            writes.append(WriteRegister(self._value, wanted["value"]))
        if "timeout" in wanted:
            writes.append(WriteRegister(self._timeout, wanted["timeout"]))
        if "nv_save" in wanted and self._save is not None:
            writes.append(WriteCoil(self._save, wanted["nv_save"]))
        if wanted.get("reset") and self._reset is not None:
            writes.append(WriteCoil(self._reset, 1))
        return Plan(tuple(writes))


class ValueState(State, frozen=True):
    """A state that has a value and nothing else."""

    value: Annotated[
        int | None, means("What it is set to, or the register holds", low=0, high=65535, writable=True)
    ] = None


class RawRegister(BoardDevice):
    """A register as it is; an input register cannot be written."""

    kind = "register"
    shows = ValueState
    features = (RawRegisters,)
    fields = "circuit value glob_dev_id"

    def __init__(self, name: str, number: int, feature: RawRegisters, n: int) -> None:
        is_input = feature.reg_type == "input"
        self._address = feature.start_reg + n
        self._key = self._address | INPUT if is_input else self._address
        super().__init__(
            f"{name}_{self._address}{'_inp' if is_input else ''}",
            name,
            number,
            ValueState(),
            needs=frozenset({self._key}),
            parameters={} if is_input else {"value": Whole(0, 65535)},
        )

    def decode(self, registers: Registers) -> ValueState:
        return ValueState(registers[self._key])

    def plan(self, wanted: Mapping[str, Any], registers: Registers) -> Plan:
        return Plan((WriteRegister(self._address, wanted["value"]),) if "value" in wanted else ())


class DataPointState(State, frozen=True):
    """``valid`` is there where the board has a mask that tells."""

    value: Annotated[float | None, means("What the board measures, in unit; null where it has no number for it")] = None
    name: Annotated[str | None, means("What is measured, as the definition of the board calls it")] = None
    valid: Annotated[
        bool | UnsetType | None, means("Whether the board says that the value is one; there where it can")
    ] = UNSET
    unit: Annotated[str | None, means("Of value")] = None


class DataPoint(BoardDevice):
    """A quantity that a board measures, read only."""

    kind = "data_point"
    shows = DataPointState
    features = (
        DataPoints,
        UnitRegisters,
    )
    fields = "circuit value glob_dev_id name valid unit"

    def __init__(self, name: str, number: int, feature: DataPoints, n: int) -> None:
        address = feature.value_reg + n
        reg_type = feature.reg_type or ("input" if isinstance(feature, UnitRegisters) else "holding")
        space = INPUT if reg_type == "input" else 0
        self._feature = feature
        self._keys = tuple(address + word | space for word in range(words_of(feature.datatype)))
        self._valid: tuple[int, int] | None = None
        if feature.valid_mask_reg is not None:
            mask = 1 << address if feature.valid_mask is None else feature.valid_mask
            self._valid = (feature.valid_mask_reg | space, mask)
        needs = {*self._keys} if self._valid is None else {*self._keys, self._valid[0]}
        valid = UNSET if self._valid is None else None
        super().__init__(
            f"{name}_{address}",
            name,
            number,
            DataPointState(None, feature.name, valid, feature.unit),
            needs=frozenset(needs),
        )

    def decode(self, registers: Registers) -> DataPointState:
        of = self._feature
        value: float | None = decode((registers[key] for key in self._keys), of.datatype)
        if value is not None and (of.factor != 1 or of.offset):
            # to ten digits: 57 x 0.01 is 0.57 to everybody but a float
            value = float(f"{value * of.factor + of.offset:.10g}")
        if value is not None and not abs(value) < float("inf"):
            value = None  # NaN and infinity are no numbers to a client, and NaN would be a change on every scan
        valid = UNSET if self._valid is None else bool(registers[self._valid[0]] & self._valid[1])
        return DataPointState(value, of.name, valid, of.unit)


class CoilDevice(BoardDevice):
    """A coil that nothing shows; its value is what the board acknowledged last, 0 at first."""

    def __init__(self, name: str, number: int, feature: CoilSwitch, n: int) -> None:
        self._coil = feature.val_coil + n
        circuit = name if feature.count == 1 else numbered(name, n + 1 + feature.start_index)
        super().__init__(
            circuit,
            name,
            number,
            ValueState(0),
            watches=frozenset({self._coil | COIL}),
            parameters={"value": Bit()},
        )

    def decode(self, registers: Registers) -> ValueState:
        return ValueState(registers.last_written(self._coil))

    def plan(self, wanted: Mapping[str, Any], registers: Registers) -> Plan:
        return Plan((WriteCoil(self._coil, wanted["value"]),) if "value" in wanted else ())


class OneWireBusPower(CoilDevice):
    """Power of the unit's 1-Wire bus: 1 switches it off."""

    kind = "owpower"
    shows = ValueState
    features = (OneWirePower,)
    fields = "circuit value glob_dev_id"


class NonVolatileSave(CoilDevice):
    """Makes the board keep its settings over a loss of power."""

    kind = "nv_save"
    shows = ValueState
    features = (NvSave,)
    fields = "circuit value glob_dev_id"


class ModbusSlaveState(State, frozen=True):
    """``last_comm`` and ``scan_interval`` are in seconds.

    ``errors`` counts answers that said no or could not be understood, ``timeouts`` those that did not come.
    """

    last_comm: Annotated[
        float, means("How long ago it last answered; 2147483647 before it ever did", "s", measures="duration", low=0)
    ]
    slave_id: Annotated[int, means("The Modbus unit id", low=0, high=255)]
    modbus_type: Annotated[str, means("TCP or RTU")]
    modbus_spec: Annotated[str, means("The host, or the serial device, that it is reached by")]
    scan_interval: Annotated[
        float, means("How often it is read; 0 where it is not scanned", "s", measures="duration", low=0)
    ]
    online: Annotated[bool, means("Whether it answers")] = False
    errors: Annotated[int, means("Answers that said no, or could not be understood", low=0)] = 0
    timeouts: Annotated[int, means("Answers that did not come", low=0)] = 0


class ModbusSlave(Device):
    """A slave as such: where it is and when it last answered.

    :param seconds: the time now, of the clock that ``answered`` is told times of.
    :ivar model: of the board, as the configuration has it; no client of Evok sees it.
    """

    kind = "modbus_slave"
    shows = ModbusSlaveState
    fields = "circuit glob_dev_id last_comm slave_id modbus_type online errors timeouts"
    v3_fields = "circuit last_comm slave_id modbus_type modbus_spec scan_interval online errors timeouts"

    def __init__(
        self,
        name: str,
        number: int,
        seconds: Callable[[], float],
        slave_id: int,
        modbus_type: str,
        modbus_spec: str,
        scan_interval: float,
        model: str = "",
    ) -> None:
        self.model = model
        self._seconds = seconds
        self._fixed = (slave_id, modbus_type, modbus_spec, scan_interval)
        #: when it last answered, None before the first time
        self.answered: float | None = None
        self.online = False
        self.errors = 0
        self.timeouts = 0
        super().__init__(name, name, number, None)

    @property  # its last_comm grows all the time
    def state(self) -> ModbusSlaveState:  # type: ignore[override]
        ago = NEVER if self.answered is None else round(self._seconds() - self.answered, 6)
        return ModbusSlaveState(ago, *self._fixed, self.online, self.errors, self.timeouts)


class DeviceInfoState(State, frozen=True):
    """What is printed on the box; ``sn`` is the serial number."""

    family: Annotated[str, means("Such as Neuron, Patron or Extension")]
    model: Annotated[str, means("What is printed on the box")]
    sn: Annotated[int, means("The serial number", low=0)]
    board_count: Annotated[int, means("Boards inside", low=0)]


class DeviceInfo(Device):
    """What a unit or an extension is."""

    kind = "device_info"
    shows = DeviceInfoState
    fields = "family model sn board_count circuit"

    def __init__(self, group: str, state: DeviceInfoState) -> None:
        super().__init__(state.model or group, group, None, state)
        self._classic = f"{state.family}_{state.model}_{state.sn}"

    def circuit_in(self, dialect: str) -> str:
        return self._classic if dialect == "classic" else self.circuit
