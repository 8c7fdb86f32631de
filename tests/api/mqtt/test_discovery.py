"""What Home Assistant is told: every key is one that it knows, and what changes is told as it can take it."""

from __future__ import annotations

import json

import pytest
from brokers import House
from discoveries import ALLOWED, MODELS, REQUIRED, UNITS_OF, messages_of
from fakes import Rig

from evok_twisted.model import sensors

ON = {"enabled": True}


def house(model="00", home_assistant=None, **settings):
    return House(model, home_assistant={**ON, **(home_assistant or {})}, **settings)


def of(house, name):
    return json.loads(house.broker.retained[f"homeassistant/device/evok_plc1/{name}/config"])


def sent(house, name):
    return [
        json.loads(one.payload) if one.payload else None
        for one in house.broker.on(f"homeassistant/device/evok_plc1/{name}/config")
    ]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("role", ["admin", "operator", "viewer"])
def test_every_key_is_one_that_home_assistant_takes(model, role):
    unique = []
    for message in messages_of(model, role).values():
        assert message.keys() <= ALLOWED[""]
        assert message["dev"].keys() <= ALLOWED["dev"] and message["dev"]["ids"]
        assert message["o"].keys() <= ALLOWED["o"] and message["o"]["name"]
        assert message["cmps"]
        for one in message["cmps"].values():
            platform = one["p"]
            assert one.keys() <= ALLOWED["entity"] | ALLOWED[platform], platform
            assert REQUIRED[platform] <= one.keys(), platform
            assert one.get("unit_of_meas") in UNITS_OF.get(one.get("dev_cla"), {one.get("unit_of_meas")})
            assert one.get("ent_cat") != "config" or platform not in ("sensor", "binary_sensor")
            assert one["def_ent_id"].startswith(f"{platform}.plc1_")
            unique.append(one["unique_id"])
    assert len(set(unique)) == len(unique)


def test_a_device_is_available_while_its_unit_and_its_board_are():
    made = of(house().start(), "board_1")
    assert made["dev"] == {
        "mf": "Unipi",
        "ids": ["evok_plc1_board_1"],
        "name": "plc1 board 1",
        "via_device": "evok_plc1",
        "cu": "http://plc1:8080/",
        "sw": made["o"]["sw"],
    }
    assert made["avty"] == [{"t": "evok/plc1/status"}, {"t": "evok/plc1/boards/1/status"}]
    assert (made["avty_mode"], made["qos"]) == ("all", 1)


@pytest.mark.parametrize(
    ("model", "key", "component"),
    [
        (
            "13",
            "ro_1_01",
            {
                "p": "switch",
                "unique_id": "evok_plc1_ro_1_01",
                "def_ent_id": "switch.plc1_ro_1_01",
                "name": "RO 1.01",
                "stat_t": "evok/plc1/ro/1_01",
                "val_tpl": "{{ value_json.value }}",
                "stat_on": "1",
                "stat_off": "0",
                "cmd_t": "evok/plc1/ro/1_01/set",
                "msg_exp_int": 5,
            },
        ),
        (
            "13",
            "di_1_01",
            {
                "p": "binary_sensor",
                "unique_id": "evok_plc1_di_1_01",
                "def_ent_id": "binary_sensor.plc1_di_1_01",
                "name": "DI 1.01",
                "stat_t": "evok/plc1/di/1_01",
                "val_tpl": "{{ value_json.value }}",
                "pl_on": "1",
                "pl_off": "0",
            },
        ),
        (
            "13",
            "di_1_01_press",
            {
                "p": "event",
                "unique_id": "evok_plc1_di_1_01_press",
                "def_ent_id": "event.plc1_di_1_01_press",
                "name": "DI 1.01 button",
                "stat_t": "evok/plc1/events/di/1_01",
                "evt_typ": ["press", "release"],
                "dev_cla": "button",
                "en": False,
            },
        ),
        (
            "00",
            "ai_1_01",
            {
                "p": "sensor",
                "unique_id": "evok_plc1_ai_1_01",
                "def_ent_id": "sensor.plc1_ai_1_01",
                "name": "AI 1.01",
                "stat_t": "evok/plc1/ai/1_01",
                "val_tpl": "{{ value_json.value }}",
                "dev_cla": "voltage",
                "unit_of_meas": "V",
                "stat_cla": "measurement",
                "sug_dsp_prc": 2,
            },
        ),
        (
            "13",
            "ao_1_03",
            {
                "p": "number",
                "unique_id": "evok_plc1_ao_1_03",
                "def_ent_id": "number.plc1_ao_1_03",
                "name": "AO 1.03",
                "stat_t": "evok/plc1/ao/1_03",
                "val_tpl": "{{ value_json.value }}",
                "cmd_t": "evok/plc1/ao/1_03/set",
                "msg_exp_int": 5,
                "min": 0,
                "max": 10,
                "step": 0.01,
                "mode": "slider",
                "unit_of_meas": "V",
                "dev_cla": "voltage",
            },
        ),
    ],
)
def test_a_circuit_is_an_entity_of_its_kind(model, key, component):
    assert of(house(model).start(), "board_1")["cmps"][key] == component


def test_outputs_may_be_lights_and_fans():
    made = house(home_assistant={"lights": ("do/1_02", "led/1_01"), "fans": ("do/1_03",)}).start()
    entities = of(made, "board_1")["cmps"]
    assert entities["do_1_02_light"] == {
        "p": "light",
        "unique_id": "evok_plc1_do_1_02_light",
        "def_ent_id": "light.plc1_do_1_02_light",
        "name": "DO 1.02",
        "stat_t": "evok/plc1/do/1_02",
        "stat_val_tpl": "{{ 'ON' if value_json.value or value_json.pwm_duty else 'OFF' }}",
        "cmd_t": "evok/plc1/do/1_02/set",
        "msg_exp_int": 5,
        "bri_cmd_t": "evok/plc1/do/1_02/pwm_duty/set",
        "bri_stat_t": "evok/plc1/do/1_02",
        "bri_val_tpl": "{{ 100 if value_json.value else value_json.pwm_duty }}",
        "bri_scl": 100,
        "on_cmd_type": "brightness",
    }
    assert "do_1_02" not in entities and entities["do_1_03_fan"]["p"] == "fan"
    assert entities["do_1_01"]["p"] == "switch" and entities["do_1_01_pwm_duty"]["max"] == 100


def test_presses_are_there_from_the_start_where_that_is_asked_for():
    entities = of(house(home_assistant={"events": ("di/1_02",)}).start(), "board_1")["cmps"]
    assert "en" not in entities["di_1_02_press"] and entities["di_1_01_press"]["en"] is False


def test_what_may_not_be_set_is_only_shown():
    entities = of(house("13", role="viewer").start(), "board_1")["cmps"]
    assert {one["p"] for one in entities.values()} == {"binary_sensor", "sensor", "event"}
    assert not any("cmd_t" in one for one in entities.values())
    entities = of(house(role="operator").start(), "board_1")["cmps"]
    assert entities["do_1_01"]["p"] == "switch"
    assert not any(one["p"] == "select" for one in entities.values())  # modes take the role admin
    entities = of(house(commands=False).start(), "board_1")["cmps"]
    assert not any("cmd_t" in one for one in entities.values())


def test_an_alias_is_the_name_and_nothing_else():
    made = house().start()
    before = of(made, "board_1")
    made.say("led/1_01/alias/set", "lamp")
    made.wait(3)
    after = of(made, "board_1")
    assert after["cmps"]["led_1_01"].pop("name") == "lamp"
    assert before["cmps"]["led_1_01"].pop("name") == "LED 1.01"
    assert after == before


def test_several_changes_within_two_seconds_are_one_message():
    made = house().start()
    made.news()
    for n in (1, 2, 3):
        made.say(f"led/1_0{n}/alias/set", f"lamp{n}")
    made.wait(5)
    (message,) = sent(made, "board_1")
    assert [message["cmps"][f"led_1_0{n}"]["name"] for n in (1, 2, 3)] == ["lamp1", "lamp2", "lamp3"]


def test_another_mode_is_another_unit():
    made = house().start()
    assert of(made, "board_1")["cmps"]["ai_1_01"]["unit_of_meas"] == "V"
    made.say("ai/1_01/mode/set", "Current")
    made.wait(3)
    entity = of(made, "board_1")["cmps"]["ai_1_01"]
    assert (entity["unit_of_meas"], entity["dev_cla"]) == ("mA", "current")


def test_an_output_that_measures_is_no_number_any_more_and_goes_in_two_steps():
    made = house().start()
    made.news()
    made.say("ao/1_01/mode/set", "Resistance")
    made.wait(6)
    first, second = sent(made, "board_1")
    assert first["cmps"]["ao_1_01"] == {"p": "number"}
    assert (second["cmps"]["ao_1_01"]["p"], second["cmps"]["ao_1_01"]["unit_of_meas"]) == ("sensor", "Ω")


def test_a_circuit_that_goes_is_nothing_but_its_platform_first_and_then_gone():
    made = house().start()
    made.news()
    led = made.rig.device("led", "1_02")
    made.rig.registry.remove(led)
    made.rig.events.withdraw([led])
    made.wait(10)
    first, second = sent(made, "board_1")
    assert first["cmps"]["led_1_02"] == {"p": "switch"}
    assert first["cmps"]["led_1_01"] == second["cmps"]["led_1_01"]
    assert "led_1_02" not in second["cmps"]


def test_what_went_while_we_were_away_goes_in_two_steps_as_well():
    made = house().start()
    topic = "homeassistant/device/evok_plc1/board_1/config"
    old = of(made, "board_1")
    old["cmps"]["led_9_09"] = {"p": "switch", "unique_id": "x", "cmd_t": "y"}
    made.broker.retained[topic] = json.dumps(old).encode()
    made.lose()
    made.news()
    made.connect()
    made.wait(5)
    first, second = sent(made, "board_1")
    assert first["cmps"]["led_9_09"] == {"p": "switch"} and "led_9_09" not in second["cmps"]
    made.news()
    made.broker.peer.lose()
    made.connect()
    made.wait(5)
    assert sent(made, "board_1") == []


def test_without_home_assistant_all_of_ours_is_cleared_with_nothing_at_all():
    first = house().start()
    made = House()
    made.broker.retained = dict(first.broker.retained)
    made.broker.retained["homeassistant/device/evok_plc2/board_1/config"] = b"{}"
    made.start()
    left = [topic for topic in made.broker.retained if topic.startswith("homeassistant/")]
    assert left == ["homeassistant/device/evok_plc2/board_1/config"]
    cleared = [one for one in made.broker.published if one.topic.startswith("homeassistant/")]
    assert cleared and all(one.payload == b"" and one.retain for one in cleared)


def test_what_the_broker_has_is_not_told_again():
    first = house().start()
    second = house()
    second.broker.retained = dict(first.broker.retained)
    second.start()
    assert [one.topic for one in second.broker.published if one.topic.startswith("homeassistant/")] == []


def test_a_message_that_would_be_too_large_is_several_of_one_device():
    made = house()
    made.broker.properties = {"MaximumPacketSize": 4000}
    made.front.startService()
    made.connect()
    names = [topic.split("/")[3] for topic in made.broker.retained if topic.startswith("homeassistant/")]
    parts = [of(made, name) for name in names if name.startswith("board_1")]
    assert {"board_1", "board_1_b", "board_1_c"} <= set(names)
    assert len({json.dumps(one["dev"]) for one in parts}) == 1
    assert all(len(payload) < 4000 for payload in made.broker.retained.values())
    keys = [key for one in parts for key in one["cmps"]]
    assert len(keys) == len(set(keys))
    whole = of(house().start(), "board_1")["cmps"]
    assert set(keys) == whole.keys()


def test_a_sensor_is_a_device_that_goes_when_it_is_lost():
    made = house()
    made.rig.registry.add(sensors.sensor("28.95DCD5090000", "DS18B20", "OWFS", 3.0))
    made.start()
    (name,) = (topic.split("/")[3] for topic in made.broker.retained if "/temp_" in topic)
    message = of(made, name)
    assert message["dev"]["via_device"] == "evok_plc1" and message["dev"]["mdl"] == "DS18B20"
    assert message["avty"][2]["val_tpl"] == "{{ 'offline' if value_json.lost else 'online' }}"
    assert [one["t"] for one in message["avty"][:2]] == ["evok/plc1/status", "evok/plc1/buses/OWFS/status"]
    (entity,) = message["cmps"].values()
    assert (entity["dev_cla"], entity["unit_of_meas"], entity["sug_dsp_prc"]) == ("temperature", "°C", 1)


def test_data_points_have_the_class_of_what_they_are_called():
    entities = of(house("IAQ-THC").start(), "board_1")["cmps"]
    classes = {one["name"].split(" ", 3)[-1]: one.get("dev_cla") for one in entities.values() if one["p"] == "sensor"}
    assert classes["temperature"] == "temperature"
    assert classes["rel humid"] == "humidity"
    assert classes["abs humid"] is None
    assert classes["CO2"] == "carbon_dioxide"
    assert classes["atm pressure"] == "atmospheric_pressure"
    units = {one.get("unit_of_meas") for one in entities.values()}
    assert "lux" not in units and "sec" not in units and "N/A" not in units


def test_registers_are_no_entities():
    made = house(devices=("all", "register")).start()
    assert not any("register" in key for key in of(made, "board_1")["cmps"])


def test_all_devices_may_be_in_one_area():
    assert of(house(home_assistant={"area": "Cellar"}).start(), "unit")["dev"]["sa"] == "Cellar"


def test_boards_whose_names_look_the_same_in_ids_are_two():
    made = house(name="a b")
    other = Rig(made.clock, "13", name="a_b", number=3).start()
    for device in other.registry:
        made.rig.registry.add(device)
    made.start()
    first, second = of(made, "board_a_b"), of(made, "board_a_b_")
    assert {first["dev"]["name"], second["dev"]["name"]} == {"plc1 board a b", "plc1 board a_b"}
    assert first["dev"]["ids"] != second["dev"]["ids"]
