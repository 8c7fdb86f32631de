"""What the fields of states mean."""

import msgspec
import pytest
from fakes import DEFINITIONS

from evok_twisted.definitions import load_definition
from evok_twisted.model.boards import build
from evok_twisted.model.device import BoardDevice, State
from evok_twisted.model.kinds import DEVICES, KINDS
from evok_twisted.model.meaning import Meaning, meanings
from evok_twisted.model.onewirebus import OneWireBus
from evok_twisted.model.sensors import TYPES, Switch, sensor
from evok_twisted.problems import Problems

STATES = list(dict.fromkeys(device.shows for device in DEVICES))

#: Parameters that no field shows: how long a pulse lasts, and what is done once.
NOT_SHOWN = {"reset"}


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_every_field_of_every_state_has_a_meaning(state):
    missing = {field.name for field in msgspec.structs.fields(state)} - meanings(state).keys()
    assert missing == set()


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_meaning_is_a_sentence_for_users(state):
    for name, meaning in meanings(state).items():
        assert not meaning.text[0].islower(), name
        assert not meaning.text.endswith("."), name


def test_a_field_says_all_that_there_is_to_say_of_it():
    from evok_twisted.model.digitalinput import DigitalInputState  # noqa: PLC0415

    assert meanings(DigitalInputState)["debounce"] == Meaning(
        "For how long a level has to last, to count", "ms", "duration", 0, 65535, True
    )


def test_what_a_field_means_is_in_its_json_schema():
    from evok_twisted.model.sensors import ThermometerState  # noqa: PLC0415

    value = msgspec.json.schema(ThermometerState)["$defs"]["ThermometerState"]["properties"]["value"]
    shown = {key: value[key] for key in ("description", "minimum", "maximum", "x-unit", "x-measures", "readOnly")}
    assert shown == {
        "description": "The temperature",
        "minimum": -55,
        "maximum": 125,
        "x-unit": "°C",
        "x-measures": "temperature",
        "readOnly": True,
    }


def test_a_state_without_meanings_has_none():
    assert meanings(State) == {}


def devices():
    """One of each class that a board or a bus can have."""
    found = {}
    for model in ("00", "07", "13", "IAQ", "xS11", "xS51", "UNIPI11"):
        for device in build(load_definition(DEFINITIONS / f"{model}.yaml", Problems()), "1", 1, Problems()):
            found.setdefault((type(device), frozenset(device.parameters)), device)
    sensors = [sensor("28.000000000001" if kind == "DS18B20" else "26.000000000001", kind, "O", 1) for kind in TYPES]
    return [*found.values(), *sensors, OneWireBus("O", 1, 1)]


@pytest.mark.parametrize("device", devices(), ids=repr)
def test_what_can_be_set_is_writable(device):
    writable = {name for name, meaning in meanings(device.shows).items() if meaning.writable}
    pulses = {"timeout", "then"} if getattr(device, "pulsed", False) else set()
    of_a_pin = {"value"} if isinstance(device, Switch) else set()
    assert device.parameters.keys() - NOT_SHOWN - pulses - of_a_pin <= writable


def test_every_class_of_devices_has_its_entry_and_its_fields():
    for kind in KINDS.values():
        for device in kind.devices:
            assert device.kind == kind.name
            assert "circuit" in device.fields.split()


def test_every_device_of_a_board_is_made_of_a_feature():
    assert [device for device in DEVICES if issubclass(device, BoardDevice) and not device.features] == []
