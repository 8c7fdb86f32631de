"""config.yaml: Evok's files load unchanged, and whatever is wrong is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from evok_twisted import busconfig
from evok_twisted import config as cfg
from evok_twisted.problems import Problems
from evok_twisted.tap import FRONT_SETTINGS

SHIPPED = (Path(__file__).parent.parent / "conf" / "hw_definitions",)

#: In the form of the files that come with Evok 3.
EVOK = """
---
autogen: true
logging:
  level: INFO
apis:
  address: 0.0.0.0
  port: 8080
  websocket:
    enabled: true
    all_filtered: no
  webhook:
    enabled: false
    address: http://127.0.0.1:80/index.html
    device_mask: ["input","wd"]
    complex_events: False
comm_channels:
  LOCAL_TCP:
    type: MODBUSTCP
    hostname: 127.0.0.1
    port: 502
    device_info:
      family: Neuron
      model: L533
      sn: 123
      board_count: 3
    devices:
      1:
        slave-id: 1
        model: 00
        scan_frequency: 50
        scan_enabled: true
      2:
        slave-id: 2
        model: "13"
      3:
        slave_id: 0x03
        model_id: 13
  SERIAL:
    type: MODBUSRTU
    port: /dev/ttyNS0
    boudrate: 19200
    parity: n
    devices:
      xS51:
        slave-id: 15
        model: xS51
        scan_frequency: 10
        device_info: {family: Extension, model: xS51, sn: 9, board_count: 1}
      xS11:
        slave-id: 16
        model: xS11
  OWFS:
    type: OWBUS
    interval: 10
    scan_interval: 60
    owpower: 1
    devices:
      temp_1: {type: DS18B20, address: 28.95DCD5090000}
"""


class Loaded:
    def __init__(self, directory, text, **files):
        (directory / "config.yaml").write_text(text)
        for name, content in files.items():
            (directory / f"{name}.yaml").write_text(content)
        self.problems = Problems()
        self.config = cfg.load(directory, SHIPPED, self.problems, FRONT_SETTINGS)
        self.directory = directory

    @property
    def errors(self):
        """Each error as ``path: message``."""
        return [f"{problem.path}: {problem.message}" for problem in self.problems.errors]

    @property
    def warnings(self):
        return [f"{problem.path}: {problem.message}" for problem in self.problems.found if problem.level == "warning"]

    def bus(self, name):
        return next(bus for bus in self.config.buses if bus.name == name)


@pytest.fixture
def load(tmp_path):
    return lambda text, **files: Loaded(tmp_path, text, **files)


def bus(**devices):
    lines = ["comm_channels:", "  A:", "    type: MODBUSTCP", "    devices:"]
    return "\n".join([*lines, *(f"      {name}: {device}" for name, device in devices.items())])


def test_a_file_of_evok_loads_unchanged(load):
    loaded = load(EVOK, autogen="{}")
    assert loaded.errors == []
    assert loaded.config.apis.address == "0.0.0.0"
    assert loaded.config.logging.level == "info"
    assert loaded.config.fronts["websocket"].all_filtered is False
    local = loaded.bus("LOCAL_TCP")
    assert [(b.name, b.settings.slave_id, b.settings.model) for b in local.boards] == [
        ("1", 1, "00"),
        ("2", 2, "13"),
        ("3", 3, "13"),
    ]
    assert local.settings.device_info.sn == 123


def test_devices_are_numbered_as_evok_numbers_them(load):
    loaded = load(EVOK, autogen="{}")
    assert [board.number for bus in loaded.config.buses for board in bus.boards] == [2, 3, 4, 6, 8]


def test_buses_and_devices_that_are_not_enabled_are_not_there(load):
    loaded = load(EVOK.replace("slave-id: 2", "slave-id: 2\n        enabled: false").replace(
        "type: MODBUSRTU", "type: MODBUSRTU\n    enabled: off"), autogen="{}")  # fmt: skip
    assert [bus.name for bus in loaded.config.buses] == ["LOCAL_TCP", "OWFS"]
    assert [(board.name, board.number) for board in loaded.bus("LOCAL_TCP").boards] == [("1", 2), ("3", 3)]


def test_what_evoks_documentation_misspells_is_taken_with_a_warning(load):
    loaded = load(EVOK, autogen="{}")
    assert loaded.bus("SERIAL").settings.baudrate == 19200
    assert "comm_channels.SERIAL.boudrate: this key is spelt 'baudrate'; taken as that" in loaded.warnings


def test_two_buses_on_one_serial_port_are_warned_of(load):
    text = "comm_channels: {A: {type: MODBUSRTU, port: /dev/x}, B: {type: MODBUSRTU, port: /dev/%s}}"
    (warning,) = load(text % "x").warnings
    assert "comm_channels.B.port" in warning
    assert load(text % "y").warnings == []


def test_a_bus_over_tcp_may_tunnel_rtu_frames(load):
    loaded = load("comm_channels: {A: {type: MODBUSTCP, framer: rtu, pipeline: 4}, B: {type: MODBUSTCP}}")
    assert (loaded.bus("A").settings.framer, loaded.bus("B").settings.framer) == ("rtu", "socket")
    assert any("comm_channels.A.pipeline" in warning for warning in loaded.warnings)


def test_the_sensors_of_a_1_wire_bus_are_typed(load):
    bus = load(EVOK, autogen="{}").bus("OWFS")
    settings = bus.settings
    assert (settings.hostname, settings.port, settings.owpower) == ("127.0.0.1", 4304, "1")
    assert bus.sensors == {"temp_1": busconfig.SensorSettings(type="DS18B20", address="28.95DCD5090000")}


def onewire(device="{address: 28.95DCD5090000}", name="OW", more=""):
    return f"comm_channels:\n  {name}: {{type: OWFS, {more} devices: {{a: {device}}}}}"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (onewire("{address: 28.95}"), "devices.a.address: got '28.95', expected an address such as 28.95DCD5090000"),
        (onewire("{type: DS18B20}"), "devices.a: the key 'address' is missing; expected an address such as"),
        (
            onewire("{address: 28.95DCD5090000, interval: 0}"),
            "devices.a.interval: got '0', expected a number of seconds",
        ),
        (onewire("5"), "devices.a: got '5', expected a mapping"),
        (onewire(more="scan_interval: -1,"), "scan_interval: got '-1', expected a number of seconds"),
        (onewire(name="1-Wire?"), "got the name '1-Wire?', expected one without spaces"),
    ],
)
def test_an_error_of_a_1_wire_bus_says_what_was_found_and_what_was_expected(load, text, error):
    assert [found for found in load(text).errors if error in found] != []


def test_a_scan_interval_may_be_0(load):
    assert load(onewire(more="scan_interval: 0,")).bus("OW").settings.scan_interval == 0


def test_an_autogen_file_that_is_no_mapping_is_an_error_and_costs_no_more_than_itself(load):
    loaded = load("autogen: true\n" + bus(a="{slave-id: 1, model: 00}"), autogen="- a\n")
    assert [board.name for board in loaded.config.buses[0].boards] == ["a"]
    assert [(Path(one.file).name, one.fatal) for one in loaded.problems.errors] == [("autogen.yaml", False)]


def test_an_autogen_file_that_is_not_there_is_told(load):
    loaded = load("autogen: true\n")
    assert loaded.errors == []
    assert "autogen.yaml, which this asks for" in loaded.warnings[0]


def test_autogen_is_laid_under_the_configuration(load):
    generated = """
apis: {port: 9999, dialect: v3}
comm_channels:
  LOCAL_TCP: {hostname: 10.0.0.1, timeout: 3}
  MORE:
    type: MODBUSTCP
    devices: {7: {slave-id: 7, model: xS10}}
"""
    loaded = load(EVOK, autogen=generated)
    assert loaded.errors == []
    assert (loaded.config.apis.port, loaded.config.apis.dialect) == (8080, "v3")
    assert loaded.bus("LOCAL_TCP").settings.hostname == "127.0.0.1"
    assert loaded.bus("LOCAL_TCP").settings.timeout == 3
    assert [board.name for board in loaded.bus("MORE").boards] == ["7"]


def test_an_error_names_the_file_that_it_is_in(load):
    loaded = load("autogen: true\napis: {port: x}\n", autogen="apis: {dialect: latin}")
    assert {(Path(problem.file).name, problem.path) for problem in loaded.problems.errors} == {
        ("config.yaml", "apis.port"),
        ("autogen.yaml", "apis.dialect"),
    }


def test_without_autogen_the_other_file_is_not_read(load):
    assert load("apis: {port: 81}", autogen="apis: {dialect: v3}").config.apis.dialect == "classic"


def test_an_autogen_that_is_no_yaml_is_an_error_of_that_file(load):
    loaded = load("autogen: true", autogen="a: [")
    assert [Path(problem.file).name for problem in loaded.problems.fatal] == ["autogen.yaml"]


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "apis:\n", "comm_channels:\n"])
def test_an_empty_file_is_a_configuration(load, text):
    loaded = load(text)
    assert loaded.problems.found == []
    assert loaded.config == cfg.Config(fronts={key: settings() for key, settings in FRONT_SETTINGS.items()})


def test_all_errors_are_found_at_once(load):
    loaded = load(
        """
apis: {port: 70000, dialect: latin, websocket: {enabled: maybe, max_clients: 0}}
logging: {level: loud}
comm_channels:
  A:
    type: MODBUSTCP
    port: none
    timeout: -1
    pipeline: 100
    devices:
      1: {slave-id: 300, model: 00}
      2: {slave-id: 248, model: 13}
      3: {slave-id: 3}
      4: {slave-id: 4, model: xs11}
      5: {slave-id: 5, model: 00, scan_frequency: -1}
  B: {type: MODBUSRTU, parity: X, stopbits: 3, devices: {1: {slave-id: 0, model: 00}}}
  C: {type: FOO}
  D: {hostname: here}
"""
    )
    assert sorted(error.partition(": ")[0] for error in loaded.errors) == sorted(
        [
            "apis.port", "apis.dialect", "apis.websocket.enabled", "apis.websocket.max_clients", "logging.level",
            "comm_channels.A.port", "comm_channels.A.timeout", "comm_channels.A.pipeline",
            "comm_channels.A.devices.1.slave-id", "comm_channels.A.devices.2.slave-id", "comm_channels.A.devices.3",
            "comm_channels.A.devices.4.model", "comm_channels.A.devices.5.scan_frequency",
            "comm_channels.B", "comm_channels.B.parity", "comm_channels.B.stopbits",
            "comm_channels.B.devices.1", "comm_channels.B.devices.1.slave-id",
            "comm_channels.C.type", "comm_channels.D.type",
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (bus(a="{slave-id: 300, model: 00}"), "a.slave-id: got '300', expected a Modbus unit id from 1 to 247"),
        (bus(a="{slave-id: 5, model: xs11}"), "got 'xs11': no definition of this model in "),
        (bus(a="{slave-id: 5, model: xs11}"), "did you mean 'xS11'?"),
        (bus(a="{slave-id: 5}"), "the key 'model' or 'model_id' is missing; expected a model such as 00 or xS51"),
        (bus(a="{slave-id: 5, slave_id: 6, model: 00}"), "the key stands twice, also as another spelling of"),
        ("comm_channels: {A: {type: MODBUS}}", "got 'MODBUS', expected one of MODBUSTCP, MODBUSRTU, OWBUS, OWFS"),
        ("comm_channels: {A: {}}", "got no type"),
        ("comm_channels: [1]", "got a list, expected a mapping"),
        ("comm_channels: {A: 5}", "got no type"),
        (bus(a="5"), "got '5', expected a mapping"),
        ("apis: {port: eighty}", "got 'eighty', expected a port number from 1 to 65535"),
        ("- a\n- b\n", "got a list, expected a mapping"),
    ],
)
def test_an_error_says_what_was_found_and_what_was_expected(load, text, error):
    assert [found for found in load(text).errors if error in found] != []


@pytest.mark.parametrize(
    ("band", "told"),
    [
        ("{led: 1}", "comm_channels.A.devices.1.deadband.led: expected ai, ao, data_point, or one circuit of these"),
        ("{ai: -1}", "comm_channels.A.devices.1.deadband.ai: got '-1', expected a number in the unit of the value"),
        ("0.1", "comm_channels.A.devices.1.deadband: got '0.1', expected a mapping"),
    ],
)
def test_a_dead_band_is_of_values_that_jitter(load, band, told):
    loaded = load(bus(**{"1": f"{{model: xS51, deadband: {band}}}"}))
    assert any(error.startswith(told) for error in loaded.errors), loaded.errors


@pytest.mark.parametrize("slave_id", [0, 1, 247, 255])
def test_slave_ids_of_tcp(load, slave_id):
    assert load(bus(a=f"{{slave-id: {slave_id}, model: 00}}")).errors == []


@pytest.mark.parametrize("slave_id", [-1, 248, 254, 256])
def test_slave_ids_that_are_none(load, slave_id):
    assert len(load(bus(a=f"{{slave-id: {slave_id}, model: 00}}")).errors) == 1


def test_two_devices_of_one_name_on_two_buses_are_an_error(load):
    text = """
comm_channels:
  A: {type: MODBUSTCP, devices: {x: {slave-id: 1, model: 00}}}
  B: {type: MODBUSTCP, devices: {x: {slave-id: 1, model: 00}}}
"""
    assert load(text).errors == [
        "comm_channels.B.devices.x: the name 'x' is taken already, by comm_channels.A.devices.x"
    ]


def test_of_two_devices_of_one_name_on_one_bus_the_last_counts_and_a_warning_tells_where_it_is(load):
    loaded = load(bus(a="{slave-id: 1, model: 00}") + "\n      a: {slave-id: 2, model: 00}\n")
    assert [board.settings.slave_id for board in loaded.config.buses[0].boards] == [2]
    assert loaded.errors == []
    assert loaded.warnings == [
        "comm_channels.A.devices.a: this key stands twice in one mapping; the last, in line 6, counts"
    ]


@pytest.mark.parametrize("name", ["a b", "a/b", "a?", "''"])
def test_names_that_would_not_do_in_a_circuit_are_refused(load, name):
    assert "expected one without spaces" in load(bus(**{name: "{slave-id: 1, model: 00}"})).errors[0]


def test_an_unknown_key_is_a_warning_with_the_nearest_known(load):
    loaded = load("apis: {adress: 127.0.0.1}\ncomm_chanels: {}\n")
    assert sorted(loaded.warnings) == [
        "apis.adress: unknown key, ignored; did you mean 'address'?",
        "comm_chanels: unknown key, ignored; did you mean 'comm_channels'?",
    ]
    assert loaded.errors == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("logging: {level: loud}\n", "logging.level"),
        ("logging: 5\n", "logging"),
        ("apis: {webhook: {enabled: true, address: nowhere}}\n", "apis.webhook.address.0"),
        (bus(bad="{slave-id: 300, model: 00}"), "comm_channels.A.devices.bad.slave-id"),
        (bus(bad="{slave-id: 0x1F5, model: 00}"), "comm_channels.A.devices.bad.slave-id"),
        (bus(bad="{model: unheard-of}"), "comm_channels.A.devices.bad.model"),
        (bus(bad="5"), "comm_channels.A.devices.bad"),
        (bus(**{"a b": "{model: 00}"}), "comm_channels.A.devices.a b"),
        ("comm_channels:\n  C: {type: FOO}\n", "comm_channels.C.type"),
        ("comm_channels:\n  C: {type: MODBUSTCP, port: none}\n", "comm_channels.C.port"),
        ("comm_channels:\n  C: {type: OWBUS, devices: {a: {address: 5}, b: {address: 28.95DCD5090000}}}\n",
         "comm_channels.C.devices.a.address"),
    ],
)  # fmt: skip
def test_one_bad_part_costs_itself_and_the_rest_runs(load, text, path):
    good = "  GOOD: {type: MODBUSTCP, devices: {1: {model: 00}}}\n"
    text = f"{text}\n{good}" if text.startswith("comm_channels") else f"{text}comm_channels:\n{good}"
    loaded = load(text)
    assert [problem.path for problem in loaded.problems.errors] == [path]
    assert loaded.problems.fatal == []
    (board,) = loaded.bus("GOOD").boards
    assert (board.name, board.settings.slave_id) == ("1", 1)


def test_one_bad_sensor_costs_itself(load):
    loaded = load("comm_channels: {C: {type: OWBUS, devices: {a: {address: 5}, b: {address: 28.95DCD5090000}}}}")
    assert list(loaded.bus("C").sensors) == ["b"]


@pytest.mark.parametrize(
    "text", ["apis: {port: eighty}", "apis: 5", "apis: {websocket: {max_clients: 0}}", "[1]", "apis: {dialect: latin}"]
)
def test_what_keeps_the_service_from_being_reached_keeps_it_from_starting(load, text):
    assert len(load(text).problems.fatal) == 1


def test_a_device_info_may_lack_what_it_likes(load):
    text = "comm_channels: {A: {type: MODBUSTCP, device_info: {sn: }, devices: {1: {model: 00, device_info: {}}}}}"
    loaded = load(text)
    assert loaded.errors == []
    assert loaded.bus("A").settings.device_info == busconfig.DeviceInfoSettings()


def test_no_scans_a_second_are_none(load):
    loaded = load(bus(a="{slave-id: 5, model: 00, scan_frequency: 0}"))
    assert (loaded.errors, loaded.bus("A").boards[0].settings.scan_frequency) == ([], 0)


def test_what_serves_no_clients_does_not_read_how_they_are_served(tmp_path):
    (tmp_path / "config.yaml").write_text("apis: {port: eighty, websocket: {max_clients: none}}")
    problems = Problems()
    assert cfg.load(tmp_path, SHIPPED, problems) is not None
    assert problems.found == []


@pytest.mark.parametrize("address", ["ftp://host/", "host/path", "http://", "'http://a b'", "http://u:secret@host/"])
def test_a_webhook_is_an_http_url(load, address):
    (error,) = load(f"apis: {{webhook: {{enabled: true, address: {address}}}}}").errors
    assert "expected an http:// or https:// URL" in error
    assert load(f"apis: {{webhook: {{enabled: false, address: {address}}}}}").errors == []


def test_several_webhooks_are_a_list(load):
    text = "apis: {webhook: {enabled: true, address: [http://a/x, 'https://b:8443/']}}"
    assert load(text).config.fronts["webhook"].address == ("http://a/x", "https://b:8443/")


def test_a_file_or_its_directory_can_be_named(tmp_path):
    (tmp_path / "other.yaml").write_text("apis: {port: 81}")
    assert cfg.load(tmp_path / "other.yaml", (), Problems(), {}).apis.port == 81
    (tmp_path / "config.yaml").write_text("apis: {port: 82}")
    assert cfg.load(tmp_path, (), Problems(), {}).apis.port == 82


@pytest.mark.parametrize("name", ["nowhere", "nowhere.yaml", ""])
def test_a_missing_file_is_told_with_what_to_do(tmp_path, name):
    problems = Problems()
    assert cfg.load(tmp_path / name, (), problems) is None
    (problem,) = problems.fatal
    for hint in (str(tmp_path), "--config", "config.yaml is a commented example"):
        assert hint in str(problem)


def test_a_definition_beside_the_configuration_comes_first(load, tmp_path):
    (tmp_path / "hw_definitions").mkdir()
    (tmp_path / "hw_definitions" / "00.yaml").write_text(
        "modbus_register_blocks: [{start_reg: 0, count: 1}]\n"
        "modbus_features: [{type: REGISTER, count: 1, start_reg: 0}]\n"
    )
    loaded = load(bus(a="{slave-id: 1, model: 00}", b="{slave-id: 2, model: 13}"))
    first, second = loaded.bus("A").boards
    assert first.definition.file == str(tmp_path / "hw_definitions" / "00.yaml")
    assert second.definition.file.startswith(str(SHIPPED[0]))


def test_a_definition_that_cannot_be_read_is_an_error_that_names_its_file(load, tmp_path):
    (tmp_path / "hw_definitions").mkdir()
    (tmp_path / "hw_definitions" / "mine.yaml").write_text("modbus_register_blocks: [")
    loaded = load(bus(a="{slave-id: 1, model: mine}", b="{slave-id: 2, model: 00}"))
    definition, board = loaded.problems.errors
    assert definition.file.endswith("hw_definitions/mine.yaml")
    assert (board.path, board.fatal) == ("comm_channels.A.devices.a.model", False)
    assert [board.name for board in loaded.bus("A").boards] == ["b"]


def test_the_commented_example_has_no_problem_but_that_nothing_was_generated():
    problems = Problems()
    assert cfg.load(SHIPPED[0].parent, SHIPPED, problems, FRONT_SETTINGS) is not None
    assert [(problem.level, problem.path) for problem in problems.found] == [("warning", "autogen")]


def test_the_boards_in_the_commented_example_have_no_problem(load):
    lines = (SHIPPED[0].parent / "config.yaml").read_text().splitlines()
    begin = lines.index("#comm_channels:")
    loaded = load("\n".join(line.removeprefix("#") for line in lines[begin:]))
    assert loaded.problems.found == []
    assert [board.name for bus in loaded.config.buses for board in bus.boards] == ["1", "2", "3", "xS51", "xS11"]


LAUGHS = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{key}: &{key} [{','.join([f'*{last}'] * 10)}]\n" for last, key in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("comm_channels: &x {LOCAL: *x}", "an alias (*name) stands within what it is the name of"),
        (LAUGHS, "more than 100000 values"),
    ],
    ids=["contains itself", "grows"],
)
def test_a_file_that_contains_itself_or_grows_without_end_is_refused(load, text, message):
    loaded = load(text)
    assert loaded.config is None
    assert message in loaded.errors[0]


def test_two_devices_with_one_slave_id_on_one_bus_are_warned_of(load):
    loaded = load(bus(a="{slave-id: 5, model: 00}", b="{slave-id: 5, model: 13}"))
    assert loaded.errors == []
    assert loaded.warnings == ["comm_channels.A.devices.b.slave-id: the slave-id 5 is that of the device a too"]
