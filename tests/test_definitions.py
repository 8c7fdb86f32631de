"""What boards are: the definitions that come with the package, and what becomes of one that has errors."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from evok_twisted import definitions as d
from evok_twisted.definitions import Block, Definitions, load_definition, shipped_definitions
from evok_twisted.errors import ConfigError
from evok_twisted.model.boards import build
from evok_twisted.model.device import numbered
from evok_twisted.problems import Problems

SHIPPED = Path(__file__).parents[1] / "conf" / "hw_definitions"

# Every board's register map as its maker documents it, apart from our files. The first line has the blocks as
# start+count/frequency, with i for input registers; each other line is a feature.
BOARDS = {
    "00": """
        0+2/1, 2+3/10, 5+16/1, 1000+32/5, 3000+6/10
        BAO val=3000 mode=1019 res=3004
        AI val=3002 mode=1024 modes Voltage/Current
        DO×4 val=1 coil=0 pwm=16 ps=1017 c=1018 modes Simple/PWM
        DI×4 val=0 counter=8 debounce=1010 direct=1014 polar=1015 toggle=1016 modes Simple/DirectSwitch
        LED×4 val=20 coil=8
        OWPOWER coil=1001
        WD val=6 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×21 start=0
        """,
    "01": """
        0+19/1, 1000+21/5
        DI×8 val=0 counter=3 debounce=1010 direct=1018 polar=1019 toggle=1020 modes Simple/DirectSwitch
        RO×8 val=1 coil=0
        WD val=2 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×19 start=0
        REGISTER×21 start=1000
        """,
    "07": """
        0+3/1, 1000+10/5
        RO×16 val=0 coil=0
        RO×12 val=1 coil=16 start_index=16
        WD val=2 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×3 start=0
        REGISTER×10 start=1000
        """,
    "08": """
        0+35/1, 1000+29/5
        DI×16 val=0 counter=3 debounce=1010 direct=1026 polar=1027 toggle=1028 modes Simple/DirectSwitch
        RO×14 val=1 coil=0
        WD val=2 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×35 start=0
        REGISTER×29 start=1000
        """,
    "09": """
        0+31/1, 1000+27/5
        DI×14 val=0 counter=3 debounce=1010 direct=1024 polar=1025 toggle=1026 modes Simple/DirectSwitch
        RO×14 val=1 coil=0
        WD val=2 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×31 start=0
        REGISTER×27 start=1000
        """,
    "0A": """
        0+63/1, 1000+40/5
        DI×16 val=0 counter=3 debounce=1010
        DI×14 val=1 counter=35 debounce=1026 start_index=16
        WD val=2 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×63 start=0
        REGISTER×40 start=1000
        """,
    "0F": """
        0+2/1, 2+12/10, 14+14/1, 1000+24/5
        DI×6 val=0 counter=16 debounce=1010 direct=1016 polar=1017 toggle=1018 modes Simple/DirectSwitch
        RO×5 val=1 coil=0
        AO×4 val=2 modes Voltage
        AI×4 val=6 mode=1019 modes 500series
        WD val=14 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×28 start=0
        REGISTER×24 start=1000
        """,
    "13": """
        0+2/1, 2+12/10, 14+14/1, 1000+24/5
        DI×4 val=0 counter=16 debounce=1010 direct=1016 polar=1017 toggle=1018 modes Simple/DirectSwitch
        RO×5 val=1 coil=0
        AO×4 val=2 modes Voltage
        AI×4 val=6 mode=1019 modes 500series
        WD val=14 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×28 start=0
        REGISTER×24 start=1000
        """,
    "EMO-R8": """
        1+1/1
        RO×8 val=1 coil=0
        """,
    "CUSTOM_MODBUS_DEVICE": """
        0+10/1, 0+4/10i
        REGISTER×10 start=0 reg_type=holding
        DATA_POINT value=0 unit=°C name=temperature datatype=float32 reg_type=input
        DATA_POINT value=2 unit=% name=humidity datatype=signed16 reg_type=input factor=0.1 offset=0
        """,
    "IAQ": """
        0+86/10i
        UNIT_REGISTER value=0 unit=°C name=temperature datatype=float32
        UNIT_REGISTER value=6 unit=% name=rel_humid datatype=float32
        UNIT_REGISTER value=8 unit=°C name=dew_point datatype=float32
        UNIT_REGISTER value=10 unit=% name=abs_humid datatype=float32
        UNIT_REGISTER value=18 unit=ppm name=CO2 datatype=float32
        UNIT_REGISTER value=26 unit=N/A name=VOC_index datatype=float32
        UNIT_REGISTER value=28 unit=N/A name=VOC_precision datatype=float32
        UNIT_REGISTER value=34 unit=ppm name=VOC_CO2_eq datatype=float32
        UNIT_REGISTER value=42 unit=lux name=ambient_light datatype=float32
        UNIT_REGISTER value=76 unit=hPa name=atm_pressure datatype=float32
        UNIT_REGISTER value=84 unit=sec name=uptime datatype=float32
        """,
    "IAQ-TH": """
        0+86/10i
        UNIT_REGISTER value=0 unit=°C name=temperature datatype=float32
        UNIT_REGISTER value=6 unit=% name=rel_humid datatype=float32
        UNIT_REGISTER value=8 unit=°C name=dew_point datatype=float32
        UNIT_REGISTER value=10 unit=% name=abs_humid datatype=float32
        UNIT_REGISTER value=26 unit=N/A name=VOC_index datatype=float32
        UNIT_REGISTER value=28 unit=N/A name=VOC_precision datatype=float32
        UNIT_REGISTER value=34 unit=ppm name=VOC_CO2_eq datatype=float32
        UNIT_REGISTER value=42 unit=lux name=ambient_light datatype=float32
        UNIT_REGISTER value=76 unit=hPa name=atm_pressure datatype=float32
        UNIT_REGISTER value=84 unit=sec name=uptime datatype=float32
        """,
    "IAQ-THC": """
        0+86/10i
        UNIT_REGISTER value=0 unit=°C name=temperature datatype=float32
        UNIT_REGISTER value=6 unit=% name=rel_humid datatype=float32
        UNIT_REGISTER value=8 unit=°C name=dew_point datatype=float32
        UNIT_REGISTER value=10 unit=% name=abs_humid datatype=float32
        UNIT_REGISTER value=18 unit=ppm name=CO2 datatype=float32
        UNIT_REGISTER value=26 unit=N/A name=VOC_index datatype=float32
        UNIT_REGISTER value=28 unit=N/A name=VOC_precision datatype=float32
        UNIT_REGISTER value=34 unit=ppm name=VOC_CO2_eq datatype=float32
        UNIT_REGISTER value=42 unit=lux name=ambient_light datatype=float32
        UNIT_REGISTER value=76 unit=hPa name=atm_pressure datatype=float32
        UNIT_REGISTER value=84 unit=sec name=uptime datatype=float32
        """,
    "IC-AiUC8-2": """
        0+17/1, 1000+18/10
        AI×8 val=0 mode=1010 modes Voltage/Current
        WD val=16 timeout=1008 nv_sav=1003 reset=1002
        """,
    "IC-DiS2Do2-1": """
        0+7/1, 1000+12/10
        RO×2 val=1 coil=0
        DI×2 val=0 counter=3 debounce=1010
        WD val=2 timeout=1008 nv_sav=1003 reset=1002
        """,
    "IC-Light1P-1": """
        0+7/1, 1000+25/10
        WD val=2 timeout=1008 nv_sav=1003 reset=1002
        """,
    "ID-AiUC8-1": """
        0+17/1, 1000+18/10
        AI×8 val=0 mode=1010 modes Voltage/Current
        WD val=16 timeout=1008 nv_sav=1003 reset=1002
        """,
    "UNIPI11": """
        0+31/1, 1010+15/10
        AO val=2 modes Voltage
        AI×2 val=3 modes Voltage
        RO×8 val=1 coil=0
        DI×12 val=0 counter=7 debounce=1010
        """,
    "UNIPI11LITE": """
        0+14/1, 1010+6/10
        RO×6 val=1 coil=0
        DI×6 val=0 counter=2 debounce=1010
        """,
    "xG18": """
        1+9/10i, 1000+20/100
        UNIT_REGISTER×8 value=1 valid_mask_reg=9 offset=0 factor=0.01 unit=°C name=temperature
        """,
    "xS10": """
        0+40/1, 1000+33/10
        RO×8 val=1 coil=0
        DI×16 val=0 counter=3 debounce=1010 direct=1026 polar=1027 toggle=1028 modes Simple/DirectSwitch
        LED×4 val=39 coil=24
        WD val=2 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×40 start=0
        """,
    "xS11": """
        0+34/1, 1000+29/10
        RO×13 val=1 coil=0
        DI×12 val=0 counter=3 debounce=1010 direct=1022 polar=1023 toggle=1024 modes Simple/DirectSwitch
        LED×3 val=31 coil=25
        WD val=2 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×34 start=0
        """,
    "xS30": """
        0+52/1, 1000+36/10
        DI×8 val=1 counter=35 debounce=1026 start_index=16
        DI×16 val=0 counter=3 debounce=1010 start_index=0
        LED×4 val=51 coil=24
        WD val=2 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×52 start=0
        REGISTER×36 start=1000
        """,
    "xS40": """
        0+24/1, 1000+23/10
        RO×14 val=1 coil=0
        DI×8 val=0 counter=3 debounce=1010 direct=1018 polar=1019 toggle=1020 modes Simple/DirectSwitch
        LED×4 val=19 coil=22
        WD val=2 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×20 val=0
        REGISTER×23 val=1000
        """,
    "xS50": """
        0+27/1, 1000+25/10
        RO×5 val=1 coil=0
        DI×6 val=0 counter=15 debounce=1010 direct=1016 polar=1017 toggle=1018 modes Simple/DirectSwitch
        AO×4 val=2 modes Voltage
        AI×4 val=6 mode=1019 modes 500series
        WD val=14 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×27 start=0
        REGISTER×25 start=1000
        """,
    "xS51": """
        0+27/1, 1000+25/10
        RO×5 val=1 coil=0
        DI×4 val=0 counter=15 debounce=1010 direct=1014 polar=1015 toggle=1016 modes Simple/DirectSwitch
        AO×4 val=2 modes Voltage
        AI×4 val=6 mode=1019 modes 500series
        WD val=14 timeout=1008 nv_sav=1003 reset=1002
        REGISTER×27 start=0
        REGISTER×25 start=1000
        """,
}

COUNTS = {
    "00": {"di": 4, "do": 4, "ai": 1, "ao": 1, "led": 4, "wd": 1, "owpower": 1, "register": 21},
    "01": {"di": 8, "ro": 8, "wd": 1, "register": 40},
    "07": {"ro": 28, "wd": 1, "register": 13},
    "08": {"di": 16, "ro": 14, "wd": 1, "register": 64},
    "09": {"di": 14, "ro": 14, "wd": 1, "register": 58},
    "0A": {"di": 30, "wd": 1, "register": 103},
    "0F": {"di": 6, "ro": 5, "ai": 4, "ao": 4, "wd": 1, "register": 52},
    "13": {"di": 4, "ro": 5, "ai": 4, "ao": 4, "wd": 1, "register": 52},
    "EMO-R8": {"ro": 8},
    "CUSTOM_MODBUS_DEVICE": {"register": 10, "data_point": 2},
    "IAQ": {"data_point": 11},
    "IAQ-TH": {"data_point": 10},
    "IAQ-THC": {"data_point": 11},
    "ID-AiUC8-1": {"ai": 8, "wd": 1},
    "IC-AiUC8-2": {"ai": 8, "wd": 1},
    "IC-DiS2Do2-1": {"di": 2, "ro": 2, "wd": 1},
    "IC-Light1P-1": {"wd": 1},
    "UNIPI11": {"di": 12, "ro": 8, "ai": 2, "ao": 1},
    "UNIPI11LITE": {"di": 6, "ro": 6},
    "xG18": {"data_point": 8},
    "xS10": {"di": 16, "ro": 8, "led": 4, "wd": 1, "register": 40},
    "xS11": {"di": 12, "ro": 13, "led": 3, "wd": 1, "register": 34},
    "xS30": {"di": 24, "led": 4, "wd": 1, "register": 88},
    "xS40": {"di": 8, "ro": 14, "led": 4, "wd": 1, "register": 43},
    "xS50": {"di": 6, "ro": 5, "ai": 4, "ao": 4, "wd": 1, "register": 52},
    "xS51": {"di": 4, "ro": 5, "ai": 4, "ao": 4, "wd": 1, "register": 52},
}

KEYS = {
    "val": "val_reg",
    "coil": "val_coil",
    "counter": "counter_reg",
    "debounce": "deboun_reg",
    "direct": "direct_reg",
    "polar": "polar_reg",
    "toggle": "toggle_reg",
    "pwm": "pwm_reg",
    "ps": "pwm_ps_reg",
    "c": "pwm_c_reg",
    "mode": "mode_reg",
    "res": "res_val_reg",
    "timeout": "timeout_reg",
    "nv_sav": "nv_sav_coil",
    "reset": "reset_coil",
    "start": "start_reg",
    "value": "value_reg",
}

VOLTAGE = d.Mode(value=0, unit="V", range=(0, 10))
CURRENT = d.Mode(value=1, unit="mA", range=(0, 20))
MODES = {
    "Simple/PWM": ("Simple", "PWM"),
    "Simple/DirectSwitch": ("Simple", "DirectSwitch"),
    "Voltage": {"Voltage": d.Mode(unit="V", range=(0, 10))},
    "Voltage/Current": {"Voltage": VOLTAGE, "Current": CURRENT},
    "500series": {
        "Disabled": d.Mode(value=0),
        "Voltage10": d.Mode(value=1, unit="V", range=(0, 10)),
        "Voltage2V5": d.Mode(value=2, unit="V", range=(0, 2.5)),
        "Current20m": d.Mode(value=3, unit="mA", range=(0, 20)),
        "Resistance3W": d.Mode(value=4, unit="Ohm", range=(0, 1960)),
        "Resistance2W": d.Mode(value=5, unit="Ohm", range=(0, 100000)),
    },
}


def documented_block(text):
    start, _, rest = text.strip().removesuffix("i").partition("+")
    count, _, frequency = rest.partition("/")
    return Block(int(start), int(count), int(frequency), text.endswith("i"))


def documented_feature(line):
    """A feature as the table says it, such as ``RO×8 val=1 coil=0``."""
    words = line.replace(" modes ", " modes=").split()
    name, _, count = words[0].partition("×")
    given = dict(word.split("=") for word in words[1:])
    modes = given.pop("modes", None)
    fields = {KEYS.get(key, key): value for key, value in given.items()}
    for key, value in fields.items():
        if key in ("factor", "offset"):
            fields[key] = float(value)
        elif key not in ("unit", "name", "datatype", "reg_type"):
            fields[key] = int(value)
    if count:
        fields["count"] = int(count)
    if name == "REGISTER" and "val_reg" in fields:
        fields["start_reg"] = fields.pop("val_reg")
    if modes:
        fields["modes"] = MODES[modes]
    if modes == "Simple/DirectSwitch":
        fields["ds_modes"] = ("Simple", "Inverted", "Toggle")
    if name == "DI" and not modes:
        fields["modes"] = ("Simple",)
    if name == "BAO":
        fields["modes"] = {**MODES["Voltage/Current"], "Resistance": d.Mode(value=2, unit="Ohm", range=(0, 2000))}
    return d.FEATURES[name](**fields)


def documented(model):
    blocks, *features = (line.strip() for line in BOARDS[model].strip().splitlines())
    return [documented_block(block) for block in blocks.split(",")], [documented_feature(line) for line in features]


@pytest.fixture
def problems():
    return Problems()


def board(model, problems):
    return build(load_definition(SHIPPED / f"{model}.yaml", problems), "1", 2, problems)


def test_every_shipped_definition_is_documented_and_the_other_way_round():
    assert sorted(file.stem for file in SHIPPED.glob("*.yaml")) == sorted(BOARDS) == sorted(COUNTS)


def test_the_shipped_definitions_are_found():
    assert SHIPPED in shipped_definitions()


@pytest.mark.parametrize("model", BOARDS)
def test_a_shipped_definition_has_no_problem(model, problems):
    board(model, problems)
    assert [str(problem) for problem in problems.found] == []


@pytest.mark.parametrize("model", BOARDS)
def test_a_shipped_definition_reads_the_documented_registers(model, problems):
    assert list(load_definition(SHIPPED / f"{model}.yaml", problems).blocks) == documented(model)[0]


@pytest.mark.parametrize("model", BOARDS)
def test_a_shipped_definition_has_the_documented_features(model, problems):
    loaded = load_definition(SHIPPED / f"{model}.yaml", problems)
    assert [feature for _, feature in loaded.features] == documented(model)[1]


@pytest.mark.parametrize("model", COUNTS)
def test_a_shipped_board_has_all_its_circuits(model, problems):
    assert Counter(device.kind for device in board(model, problems)) == COUNTS[model]


@pytest.mark.parametrize("kind", ["di", "ro", "do", "ai", "ao", "led", "wd"])
@pytest.mark.parametrize("model", COUNTS)
def test_circuits_are_numbered_from_1_without_a_gap(model, kind, problems):
    circuits = sorted(device.circuit for device in board(model, problems) if device.kind == kind)
    assert circuits == [numbered("1", n + 1) for n in range(COUNTS[model].get(kind, 0))]


@pytest.mark.parametrize("model", COUNTS)
def test_no_two_circuits_of_a_kind_have_one_name(model, problems):
    devices = Counter((device.kind, device.circuit) for device in board(model, problems))
    assert [name for name, count in devices.items() if count > 1] == []


@pytest.mark.parametrize(
    ("model", "kind", "circuit", "register"),
    [("07", "ro", "1_17", 1), ("07", "ro", "1_28", 1), ("0A", "di", "1_17", 1), ("xS30", "di", "1_24", 1)],
)
def test_a_second_half_is_numbered_on_and_has_the_second_register(model, kind, circuit, register, problems):
    (device,) = (device for device in board(model, problems) if (device.kind, device.circuit) == (kind, circuit))
    assert register in device.needs
    assert 0 not in device.needs


@pytest.mark.parametrize(
    ("model", "circuits"),
    [("IAQ", [0, 6, 8, 10, 18, 26, 28, 34, 42, 76, 84]), ("xG18", [1, 2, 3, 4, 5, 6, 7, 8])],
)
def test_data_points_are_called_by_their_registers(model, circuits, problems):
    assert [device.circuit for device in board(model, problems)] == [f"1_{register}" for register in circuits]


# Definitions with errors

SOUND = """
modbus_register_blocks:
  - {start_reg: 0, count: 20, frequency: 1}
  - {start_reg: 0, count: 10, frequency: 10, type: input}
modbus_features:
  - {type: RO, count: 8, val_reg: 1, val_coil: 0}
"""

RELAYS = {f"ro 1_{n:02}" for n in range(1, 9)}


@pytest.fixture
def built(tmp_path, problems):
    """Builds a definition of some YAML: the names of its circuits, and every problem as text."""

    def build_it(text):
        file = tmp_path / "made.yaml"
        file.write_text(text, "utf-8")
        loaded = load_definition(file, problems)
        devices = [] if loaded is None else build(loaded, "1", 2, problems)
        # that every problem has its line is shown by a test of its own
        told = [str(problem._replace(file="made.yaml", line=None)) for problem in problems.found]
        return {repr(device) for device in devices}, told

    return build_it


def test_a_definition_of_ones_own_makes_circuits(built):
    assert built(SOUND) == (RELAYS, [])


@pytest.mark.parametrize(
    ("feature", "told"),
    [
        (
            "{type: RO, val_reg: 1}",
            "modbus_features.1: the key 'val_coil' is missing; expected an address from 0 to 65535",
        ),
        (
            "{type: RO, val_reg: one, val_coil: 0}",
            "modbus_features.1.val_reg: got 'one', expected an address from 0 to 65535",
        ),
        (
            "{type: RO, val_reg: 1, val_coil: 65536}",
            "modbus_features.1.val_coil: got '65536', expected an address from 0 to 65535",
        ),
        (
            "{type: RO, count: 0, val_reg: 1, val_coil: 0}",
            "modbus_features.1.count: got '0', expected a whole number from 1 to 1024",
        ),
        (
            "{type: RO, count: 1025, val_reg: 1, val_coil: 0}",
            "modbus_features.1.count: got '1025', expected a whole number from 1 to 1024",
        ),
        (
            "{type: RO, start_index: -1, val_reg: 1, val_coil: 0}",
            "modbus_features.1.start_index: got '-1', expected a whole number from 0",
        ),
        (
            "{type: AI, val_reg: 2, modes: {Voltage: {value: high}}}",
            "modbus_features.1.modes.Voltage.value: got 'high', expected a register value from 0 to 65535",
        ),
        (
            "{type: AI, val_reg: 2, modes: {Voltage: {range: [0, ten]}}}",
            "modbus_features.1.modes.Voltage.range.1: got 'ten', expected a whole number or a number",
        ),
        (
            "{type: AI, val_reg: 2, modes: {Voltage: {transformation: {datatype: int16}}}}",
            "modbus_features.1.modes.Voltage.transformation.datatype: got 'int16', "
            "expected one of float32, int32, uint32",
        ),
        (
            "{type: DATA_POINT, value_reg: 2, datatype: float}",
            "modbus_features.1.datatype: got 'float', expected one of unsigned16, signed16, float32, int32, uint32, "
            "float64, int64, uint64",
        ),
        (
            "{type: DATA_POINT, value_reg: 2, factor: nan}",
            "modbus_features.1.factor: got 'nan', expected a number",
        ),
        (
            "{type: XY, val_reg: 1}",
            "modbus_features.1.type: got 'XY', expected one of DI, DO, RO, LED, AI, AO, BAO, WD, REGISTER, "
            "UNIT_REGISTER, DATA_POINT, OWPOWER, NV_SAVE",
        ),
        (
            "{val_reg: 1}",
            "modbus_features.1.type: got None, expected one of DI, DO, RO, LED, AI, AO, BAO, WD, REGISTER, "
            "UNIT_REGISTER, DATA_POINT, OWPOWER, NV_SAVE",
        ),
        (
            "relays",
            "modbus_features.1.type: got None, expected one of DI, DO, RO, LED, AI, AO, BAO, WD, REGISTER, "
            "UNIT_REGISTER, DATA_POINT, OWPOWER, NV_SAVE",
        ),
        (
            "{type: RO, val_reg: 30, val_coil: 0}",
            "modbus_features.1: no register block reads register 30; the feature is left out",
        ),
        (
            "{type: UNIT_REGISTER, value_reg: 10}",
            "modbus_features.1: no register block reads input register 10; the feature is left out",
        ),
        (
            "{type: REGISTER, count: 3, start_reg: 18}",
            "modbus_features.1: no register block reads register 20; the feature is left out",
        ),
        (
            "{type: REGISTER, count: 10, start_reg: 18}",
            "modbus_features.1: no register block reads register 20, register 21, register 22, register 23, "
            "register 24, register 25, register 26, register 27; the feature is left out",
        ),
        (
            "{type: REGISTER, count: 11, start_reg: 18}",
            "modbus_features.1: no register block reads register 20, register 21, register 22, register 23, "
            "register 24, register 25, register 26, register 27, ...; the feature is left out",
        ),
    ],
)
def test_a_bad_feature_is_told_with_its_place_and_costs_itself_alone(built, problems, feature, told):
    circuits, all_told = built(f"{SOUND}  - {feature}\n")
    assert (circuits, all_told) == (RELAYS, [f"error: made.yaml: {told}"])
    assert problems.fatal == []


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (
            "{start_reg: 100, count: 126}",
            "modbus_register_blocks.2.count: got '126', expected a number of registers from 1 to 125",
        ),
        (
            "{start_reg: 100, count: 1, frequency: 0}",
            "modbus_register_blocks.2.frequency: got '0', expected a whole number of scans, 1 or more",
        ),
        (
            "{start_reg: 100, count: 1, type: coil}",
            "modbus_register_blocks.2.type: got 'coil', expected one of holding, input",
        ),
        (
            "{count: 1}",
            "modbus_register_blocks.2: the key 'start_reg' is missing; expected an address from 0 to 65535",
        ),
        (
            "{start_reg: 65535, count: 2}",
            "modbus_register_blocks.2: got 2 registers from 65535 on, expected none after 65535",
        ),
        ("100", "modbus_register_blocks.2: got '100', expected a mapping (key: value)"),
    ],
)
def test_a_bad_block_is_told_with_its_place_and_costs_itself_alone(built, problems, block, told):
    circuits, all_told = built(SOUND.replace("modbus_features:", f"  - {block}\nmodbus_features:"))
    assert (circuits, all_told) == (RELAYS, [f"error: made.yaml: {told}"])
    assert problems.fatal == []


def test_input_register_0_is_told_from_holding_register_0(built):
    text = (
        "{modbus_register_blocks: [{start_reg: 0, count: 1}], modbus_features: [{type: UNIT_REGISTER, value_reg: 0}]}"
    )
    told = "error: made.yaml: modbus_features.0: no register block reads input register 0; the feature is left out"
    assert built(text) == (set(), [told])


def test_a_block_is_of_holding_registers_and_read_every_time_unless_told(tmp_path, problems):
    file = tmp_path / "made.yaml"
    file.write_text("modbus_register_blocks: [{start_reg: 3, count: 2}]", "utf-8")
    assert load_definition(file, problems).blocks == (Block(3, 2, 1, False),)


@pytest.mark.parametrize("cls", [Block, d.Definition, d.Mode, d.Transformation, *d.FEATURES.values()])
def test_a_definition_does_not_change(cls):
    assert cls.__struct_config__.frozen


def test_a_block_may_end_with_the_last_register(built):
    text = (
        "{modbus_register_blocks: [{start_reg: 65535, count: 1}], modbus_features: [{type: REGISTER, val_reg: 65535}]}"
    )
    assert built(text) == ({"register 1_65535"}, [])


def test_every_error_of_a_definition_is_told_with_its_line(built, problems):
    built(f"{SOUND}  - {{type: XY}}\n  -\n    type: RO\n    val_reg: x\n")
    first = SOUND.count("\n") + 1
    assert [problem.line for problem in problems.found] == [first, first + 3, first + 2]


def test_every_error_of_a_definition_is_told_at_once(built):
    _, told = built(f"{SOUND}  - {{type: XY}}\n  - {{type: RO}}\n  - {{type: WD, val_reg: x, timeout_reg: y}}\n")
    assert [text.split(": ")[2] for text in told] == [
        "modbus_features.1.type",
        "modbus_features.2",
        "modbus_features.2",
        "modbus_features.3.val_reg",
        "modbus_features.3.timeout_reg",
    ]


def test_an_unknown_key_of_a_feature_is_warned_of_and_costs_nothing(built):
    assert built(SOUND.replace("val_coil: 0", "val_coil: 0, val_coli: 3")) == (
        RELAYS,
        ["warning: made.yaml: modbus_features.0.val_coli: unknown key, ignored; did you mean 'val_coil'?"],
    )


def test_keys_of_other_versions_are_passed_over(built):
    other = "val_coil: 0, major_group: 1, board_index: 2, description: x, min_v: 0, max_v: 1, tolerances: x, cal_reg: 5"
    text = SOUND.replace("val_coil: 0", other).replace("frequency: 1}", "frequency: 1, board_index: 1, description: x}")
    assert built(text) == (RELAYS, [])


@pytest.mark.parametrize(
    ("feature", "circuit"),
    [
        ("{type: WD, val_reg: 0, timeout_reg: 1, nv_save_coil: 1003}", "wd 1_01"),
        ("{type: REGISTER, val_reg: 5}", "register 1_5"),
        ("{type: OWPOWER, val_coil: 5}", "owpower 1"),
        ("{type: AI, val_reg: 0x2, reg_type: holding}", "ai 1_01"),
        ("{type: DATA_POINT, value_reg: 5, reg_type: INPUT}", "data_point 1_5"),
    ],
)
def test_other_spellings_are_taken(built, feature, circuit):
    circuits, _ = built(f"{SOUND}  - {feature}\n")
    assert circuits == RELAYS | {circuit}


@pytest.mark.parametrize("spelling", ["nv_sav_coil", "nv_save_coil"])
def test_a_coil_to_save_settings_is_shown_where_evok_shows_it_only(built, spelling):
    assert built(f"{SOUND}  - {{type: NV_SAVE, {spelling}: 5}}\n") == (RELAYS, [])
    assert built(f"{SOUND}  - {{type: NV_SAVE, val_coil: 5}}\n") == (RELAYS | {"nv_save 1"}, [])


@pytest.mark.parametrize("count", [16, 17])
@pytest.mark.parametrize("kind", ["RO", "LED", "DO"])
def test_more_circuits_than_a_register_has_bits_are_told(built, kind, count):
    _, told = built(
        "modbus_register_blocks: [{start_reg: 0, count: 1}]\n"
        f"modbus_features: [{{type: {kind}, val_reg: 0, val_coil: 0, count: {count}}}]\n"
    )
    expected = "warning: made.yaml: modbus_features.0: 17 circuits of one val_reg, which has 16 bits"
    assert [one.partition(":")[0] for one in told] == ["warning"] * (count - 16)
    assert all(one.startswith(expected) for one in told)


@pytest.mark.parametrize(("frequency", "count"), [(1, 0), (2, 1)])
def test_a_counter_that_is_read_in_two_blocks_of_different_frequency_is_told(built, frequency, count):
    _, told = built(
        f"modbus_register_blocks: [{{start_reg: 0, count: 2}}, {{start_reg: 2, count: 9, frequency: {frequency}}}]\n"
        "modbus_features: [{type: DI, val_reg: 0, counter_reg: 1, deboun_reg: 3}]\n"
    )
    assert len([one for one in told if "registers 1 and 2 is read in blocks of different frequency" in one]) == count


def test_the_type_of_a_block_may_be_called_reg_type(built):
    circuits, told = built(
        SOUND.replace("type: input", "reg_type: input") + "  - {type: REGISTER, start_reg: 9, reg_type: input}\n"
    )
    assert (circuits, told) == (RELAYS | {"register 1_9_inp"}, [])


@pytest.mark.parametrize("features", ["", "modbus_features:\n", "modbus_features: []\n"])
def test_a_board_may_have_no_features(built, features):
    assert built(f"modbus_register_blocks: [{{start_reg: 0, count: 1}}]\n{features}") == (set(), [])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "made.yaml: modbus_register_blocks: expected a list of register blocks"),
        ("[]", "made.yaml: modbus_register_blocks: expected a list of register blocks"),
        ("board", "made.yaml: modbus_register_blocks: expected a list of register blocks"),
        ("modbus_features: []", "made.yaml: modbus_register_blocks: expected a list of register blocks"),
        ("modbus_register_blocks: {}", "made.yaml: modbus_register_blocks: expected a list of register blocks"),
        (
            "{modbus_register_blocks: [], modbus_features: {RO: 1}}",
            "made.yaml: modbus_features: expected a list of features",
        ),
        (
            "{modbus_register_blocks: [], modbus_features: [{type: RO, val_reg: 0, val_coil: 0}]}",
            "made.yaml: modbus_register_blocks: expected at least one block of registers: "
            "what a board answers to them is how it is found",
        ),
        ("{modbus_register_blocks: [}", "made.yaml: column 27: expected the node content, but found '}'"),
    ],
)
def test_a_definition_of_which_nothing_can_be_used_is_an_error(built, problems, text, told):
    assert built(text) == (set(), [f"error: {told}"])
    assert problems.fatal == []


def test_a_block_says_which_registers_it_reads():
    assert (str(Block(1000, 32, 5)), str(Block(1, 9, 10, True))) == (
        "holding registers 1000 to 1031",
        "input registers 1 to 9",
    )


# Looking definitions up


@pytest.fixture
def directories(tmp_path):
    """One directory beside the configuration, one that came with the package."""
    places = tmp_path / "beside", tmp_path / "shipped"
    for place in places:
        place.mkdir()
    return places


def write(directory, model, count):
    text = f"{{modbus_register_blocks: [{{start_reg: 0, count: {count}}}]}}"
    (directory / f"{model}.yaml").write_text(text, "utf-8")


def test_a_definition_beside_the_configuration_comes_first(directories, problems):
    write(directories[0], "08", 7)
    write(directories[1], "08", 35)
    definition = Definitions(directories, problems).get("08")
    assert (definition.model, definition.file, definition.blocks[0].count) == (
        "08",
        str(directories[0] / "08.yaml"),
        7,
    )


def test_a_definition_that_is_not_beside_the_configuration_is_a_shipped_one(directories, problems):
    write(directories[0], "07", 7)
    write(directories[1], "08", 35)
    assert Definitions(directories, problems).get("08").blocks[0].count == 35


def test_every_model_that_there_is_a_file_for_is_known(directories, problems):
    write(directories[0], "07", 1)
    write(directories[1], "08", 1)
    (directories[1] / "readme.txt").write_text("", "utf-8")
    assert Definitions(directories, problems).known() == {"07", "08"}


def test_a_directory_that_is_not_there_has_no_definitions(tmp_path, problems):
    assert Definitions((tmp_path / "nowhere",), problems).known() == set()


def test_a_definition_is_read_once(directories, problems):
    write(directories[0], "08", 7)
    definitions = Definitions(directories, problems)
    assert definitions.get("08") is definitions.get("08")


def test_the_problems_of_a_definition_are_told_once(directories, problems):
    (directories[0] / "08.yaml").write_text("[]", "utf-8")
    definitions = Definitions(directories, problems)
    assert [definitions.get("08"), definitions.get("08"), len(problems.found)] == [None, None, 1]


def test_an_unknown_model_is_told_with_the_nearest_and_where_it_was_looked_for(directories, problems):
    write(directories[0], "xS50", 1)
    write(directories[1], "IAQ", 1)
    with pytest.raises(ConfigError) as raised:
        Definitions(directories, problems).get("xS05")
    places = ", ".join(map(str, directories))
    assert str(raised.value) == f"no definition of this model in {places}; did you mean 'xS50'?"


def test_without_any_directory_nothing_is_known(problems):
    with pytest.raises(ConfigError, match="no definition of this model in nowhere; none are known"):
        Definitions((), problems).get("08")


@pytest.mark.parametrize("model", ["../08", "", ".", "*"])
def test_a_model_is_no_path(directories, problems, model):
    write(directories[0].parent, "08", 7)
    with pytest.raises(ConfigError):
        Definitions(directories, problems).get(model)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere")], ids=["directory", "dead link"])
def test_what_is_no_file_is_no_definition(directories, problems, make):
    make(directories[0] / "08.yaml")
    with pytest.raises(ConfigError):
        Definitions(directories, problems).get("08")


def test_coils_beyond_the_last_address_cost_their_feature(tmp_path):
    (tmp_path / "x.yaml").write_text(
        "modbus_register_blocks: [{start_reg: 0, count: 1}]\n"
        "modbus_features: [{type: RO, count: 16, val_reg: 0, val_coil: 65530}]\n"
    )
    problems = Problems()
    assert build(load_definition(tmp_path / "x.yaml", problems), "1", 1, problems) == []
    assert "beyond coil 65535" in str(problems.errors[0])
