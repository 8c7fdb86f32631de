"""What boards are: ``hw_definitions/*.yaml`` as register blocks and features.

The format is Evok's. A block is a run of registers that is read at once; a feature says what some registers and
coils mean. Addresses are Modbus addresses from 0; a feature's ``count`` circuits lie one after the other.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from evok_twisted.errors import ConfigError
from evok_twisted.problems import Problems, nearest
from evok_twisted.typedyaml import Reader, Settings, load_yaml

#: Where definitions are, beside a configuration or wherever the package put its own.
DIRECTORY = "hw_definitions"

Address = Annotated[int, Meta(ge=0, le=65535, description="an address from 0 to 65535")]
Count = Annotated[int, Meta(ge=1, le=1024, description="a whole number from 1 to 1024")]
RegisterType = Literal["holding", "input"]
DataType = Literal["unsigned16", "signed16", "float32", "int32", "uint32", "float64", "int64", "uint64"]


class Block(msgspec.Struct, frozen=True, cache_hash=True):
    """A run of registers that one request reads, every ``frequency``-th scan.

    :ivar join: whether that request may read others, too.
    """

    start: int
    count: int
    frequency: int = 1
    input: bool = False
    join: bool = True

    def __str__(self) -> str:
        kind = "input" if self.input else "holding"
        return f"{kind} registers {self.start} to {self.start + self.count - 1}"


class _BlockSettings(Settings, frozen=True, kw_only=True):
    also = {"reg_type": "type"}
    ignored = frozenset({"board_index", "description"})

    start_reg: Address
    count: Annotated[int, Meta(ge=1, le=125, description="a number of registers from 1 to 125")]
    frequency: Annotated[int, Meta(ge=1, description="a whole number of scans, 1 or more")] = 1
    type: RegisterType = "holding"
    join: bool = True


class Feature(Settings, frozen=True, kw_only=True):
    """What every feature has: how many circuits, and the number before the first one's."""

    ignored = frozenset(
        {"type", "major_group", "board_index", "description", "min_v", "max_v", "tolerances", "cal_reg", "modes"}
    )

    count: Count = 1
    start_index: Annotated[int, Meta(ge=0, le=1024, description="a whole number from 0")] = 0


class Transformation(Settings, frozen=True, kw_only=True):
    """How an analog input's two registers become its value in one mode."""

    datatype: Literal["float32", "int32", "uint32"] = "float32"
    byteorder: Literal["big", "little"] = "big"
    wordorder: Literal["big", "little"] = "little"
    decimals: Annotated[int, Meta(ge=0, le=12, description="a number of decimals from 0 to 12")] = 3
    ratio: float = 1.0


class Mode(Settings, frozen=True, kw_only=True):
    """One mode of an analog circuit: the value of its mode register, and what is measured or put out in it."""

    value: Annotated[int, Meta(ge=0, le=65535, description="a register value from 0 to 65535")] | None = None
    unit: str | None = None
    range: tuple[int | float, ...] | None = None
    transformation: Transformation = Transformation()


class DigitalInputs(Feature, frozen=True, kw_only=True):
    """``DI``: inputs with counters and debounce, and perhaps DirectSwitch."""

    val_reg: Address
    counter_reg: Address
    deboun_reg: Address
    direct_reg: Address | None = None
    polar_reg: Address | None = None
    toggle_reg: Address | None = None
    modes: tuple[str, ...] | None = None
    ds_modes: tuple[str, ...] = ()


class DigitalOutputs(Feature, frozen=True, kw_only=True):
    """``DO``: transistor outputs, perhaps with PWM: by a timer (prescaler and cycle), or by software (a preset)."""

    val_reg: Address
    val_coil: Address
    pwm_reg: Address | None = None
    pwm_ps_reg: Address | None = None
    pwm_c_reg: Address | None = None
    pwm_preset_reg: Address | None = None
    pwm_cpres_reg: Address | None = None
    modes: tuple[str, ...] | None = None


class Relays(Feature, frozen=True, kw_only=True):
    """``RO``: relay outputs."""

    val_reg: Address
    val_coil: Address


class Leds(Feature, frozen=True, kw_only=True):
    """``LED``: user LEDs."""

    val_reg: Address
    val_coil: Address


class AnalogInputs(Feature, frozen=True, kw_only=True):
    """``AI``: two registers a circuit; with ``mode_reg`` the mode can be chosen."""

    val_reg: Address
    mode_reg: Address | None = None
    modes: dict[str, Mode] = {}


class AnalogOutputs(Feature, frozen=True, kw_only=True):
    """``AO``: one register a circuit, 0.0025 a step."""

    val_reg: Address
    mode_reg: Address | None = None
    modes: dict[str, Mode] = {}


class BrainAnalogOutput(Feature, frozen=True, kw_only=True):
    """``BAO``: the main board's analog output, which can also measure a resistance."""

    val_reg: Address
    mode_reg: Address
    res_val_reg: Address
    modes: dict[str, Mode] = {}


class Watchdog(Feature, frozen=True, kw_only=True):
    """``WD``: the board's watchdog."""

    also = {"nv_save_coil": "nv_sav_coil"}

    val_reg: Address
    timeout_reg: Address
    nv_sav_coil: Address | None = None
    reset_coil: Address | None = None


class RawRegisters(Feature, frozen=True, kw_only=True):
    """``REGISTER``: registers shown as they are."""

    also = {"val_reg": "start_reg"}

    start_reg: Address
    reg_type: RegisterType = "holding"


class DataPoints(Feature, frozen=True, kw_only=True):
    """``UNIT_REGISTER`` and ``DATA_POINT``: registers that hold a quantity with a name and a unit."""

    value_reg: Address
    reg_type: RegisterType | None = None
    datatype: DataType = "unsigned16"
    factor: float = 1.0
    offset: float = 0.0
    unit: str | None = None
    name: str | None = None
    valid_mask_reg: Address | None = None
    valid_mask: Annotated[int, Meta(ge=0, le=65535, description="a mask from 0 to 65535")] | None = None


class UnitRegisters(DataPoints, frozen=True, kw_only=True):
    """``UNIT_REGISTER``: as ``DATA_POINT``, in input registers unless it says otherwise."""


class CoilSwitch(Feature, frozen=True, kw_only=True):
    """A coil that stands for itself: it can be written and is not read back."""

    val_coil: Address


class OneWirePower(CoilSwitch, frozen=True, kw_only=True):
    """``OWPOWER``: power of the 1-Wire bus."""


class NvSave(Feature, frozen=True, kw_only=True):
    """``NV_SAVE``: makes the board save its settings; with the coil under another name Evok shows none, nor do we."""

    ignored = Feature.ignored | {"nv_sav_coil", "nv_save_coil"}

    val_coil: Address | None = None


FEATURES: Mapping[str, type[Feature]] = {
    "DI": DigitalInputs,
    "DO": DigitalOutputs,
    "RO": Relays,
    "LED": Leds,
    "AI": AnalogInputs,
    "AO": AnalogOutputs,
    "BAO": BrainAnalogOutput,
    "WD": Watchdog,
    "REGISTER": RawRegisters,
    "UNIT_REGISTER": UnitRegisters,
    "DATA_POINT": DataPoints,
    "OWPOWER": OneWirePower,
    "NV_SAVE": NvSave,
}


class Definition(msgspec.Struct, frozen=True):
    """One board model.

    :ivar features: each with its place in the file, for messages.
    """

    model: str
    file: str
    blocks: tuple[Block, ...]
    features: tuple[tuple[str, Feature], ...]


def shipped_definitions() -> tuple[Path, ...]:
    """Where definitions have come with the package: in a source tree, an environment, or the system."""
    places = (
        Path(__file__).resolve().parent.parent / "conf",
        Path(sys.prefix) / "share" / "evok-twisted",
        Path("/usr/share/evok-twisted"),
    )
    return tuple(place / DIRECTORY for place in places if (place / DIRECTORY).is_dir())


class Definitions:
    """Finds definitions by model in some directories, the first that has it wins; each file is read once."""

    suffix: ClassVar[str] = ".yaml"

    def __init__(self, directories: tuple[Path, ...], problems: Problems) -> None:
        self._directories = directories
        self._problems = problems
        self._loaded: dict[str, Definition | None] = {}

    def known(self) -> set[str]:
        """Every model that there is a file for."""
        files = (file for directory in self._directories for file in directory.glob(f"*{self.suffix}"))
        return {file.stem for file in files if file.is_file()}

    def get(self, model: str) -> Definition | None:
        """The board ``model``.

        :returns: None when its file cannot be used; that is noted among the problems.
        :raises ConfigError: there is no such file; the message says where it looked.
        """
        if model not in self._loaded:
            if model not in self.known():
                looked = ", ".join(map(str, self._directories)) or "nowhere"
                raise ConfigError(f"no definition of this model in {looked}; {nearest(model, self.known())}")
            file = next(path for path in (d / f"{model}{self.suffix}" for d in self._directories) if path.is_file())
            self._loaded[model] = load_definition(file, self._problems)
        return self._loaded[model]


def load_definition(file: Path, problems: Problems) -> Definition | None:
    """Read one definition; a block or feature that has an error is left out and the error noted.

    :returns: None when nothing of it can be used.
    """
    try:
        document = load_yaml(file, problems)
    except ConfigError as error:
        problems.unreadable(file, error, fatal=False)
        return None
    if not isinstance(document, dict) or not isinstance(document.get("modbus_register_blocks"), list):
        problems.error(file, "modbus_register_blocks", "expected a list of register blocks", fatal=False)
        return None
    features = document.get("modbus_features") or []
    if not isinstance(features, list):
        problems.error(file, "modbus_features", "expected a list of features", fatal=False)
        return None
    reader = Reader(file, problems, fatal=False)
    blocks = []
    for n, node in enumerate(document["modbus_register_blocks"]):
        path = f"modbus_register_blocks.{n}"
        block = reader.struct(_BlockSettings, node, path)
        if block is not None and block.start_reg + block.count > 65536:
            reader.error(path, f"got {block.count} registers from {block.start_reg} on, expected none after 65535")
        elif block is not None:
            blocks.append(Block(block.start_reg, block.count, block.frequency, block.type == "input", block.join))
    if not blocks:
        message = "expected at least one block of registers: what a board answers to them is how it is found"
        reader.error("modbus_register_blocks", message)
        return None
    read = [
        (f"modbus_features.{n}", _read_feature(reader, node, f"modbus_features.{n}")) for n, node in enumerate(features)
    ]
    return Definition(
        file.stem, str(file), tuple(blocks), tuple((path, feature) for path, feature in read if feature is not None)
    )


def _read_feature(reader: Reader, node: Any, path: str) -> Feature | None:
    kind = node.get("type") if isinstance(node, dict) else None
    cls = FEATURES.get(str(kind))
    if cls is None:
        reader.error(f"{path}.type", f"got {kind!r}, expected one of {', '.join(FEATURES)}")
        return None
    return reader.struct(cls, node, path)
