"""What Home Assistant takes of a discovery message, and the messages of every model that there is."""

from __future__ import annotations

import json

from brokers import House
from fakes import DEFINITIONS

from evok_twisted.model import sensors

MODELS = sorted(path.stem for path in DEFINITIONS.glob("*.yaml"))
#: A sensor of each kind.
SENSORS = ["28.95DCD5090000", "26.A1B2C3000000", "29.A1B2C3000000", "12.A1B2C3000000", "01.A1B2C3000000"]


def messages_of(model, role="admin"):
    """By topic, what is told of a unit with a board of a model, and sensors."""
    outputs = {"lights": ("do", "ro/1_01"), "fans": ("ro/1_02",)} if role == "admin" else {}
    house = House(model, role=role, home_assistant={"enabled": True, **outputs})
    for address in SENSORS:
        house.rig.registry.add(sensors.sensor(address, None, "OWFS", 3.0))
    house.start()
    found = house.broker.retained.items()
    return {topic: json.loads(payload) for topic, payload in found if topic.startswith("homeassistant/")}


#: Keys that may stand at each place since 2024.12; at the first three, one that is not known costs the whole device.
ALLOWED = {
    "": {"dev", "o", "cmps", "avty", "avty_mode", "qos"},
    "dev": set("ids mf mdl name sn sw via_device sa cu".split()),
    "o": {"name", "sw", "url"},
    "entity": set("p unique_id def_ent_id name ent_cat en avty avty_mode msg_exp_int dev_cla stat_t".split()),
    "switch": set("val_tpl stat_on stat_off pl_on pl_off cmd_t".split()),
    "binary_sensor": {"val_tpl", "pl_on", "pl_off"},
    "sensor": {"val_tpl", "unit_of_meas", "stat_cla", "sug_dsp_prc"},
    "number": set("val_tpl cmd_t min max step mode unit_of_meas".split()),
    "event": {"evt_typ"},
    "light": set("cmd_t stat_val_tpl bri_cmd_t bri_stat_t bri_val_tpl bri_scl on_cmd_type pl_on pl_off".split()),
    "fan": {"cmd_t", "stat_val_tpl", "pl_on", "pl_off"},
    "select": {"val_tpl", "cmd_t", "ops"},
    "button": {"cmd_t", "pl_prs"},
}
REQUIRED = {
    "switch": {"cmd_t", "stat_t", "stat_on"},
    "binary_sensor": {"stat_t", "pl_on"},
    "sensor": {"stat_t"},
    "number": {"cmd_t", "stat_t", "min", "max", "step"},
    "event": {"stat_t", "evt_typ"},
    "light": {"cmd_t", "stat_t", "stat_val_tpl"},
    "fan": {"cmd_t", "stat_t"},
    "select": {"cmd_t", "stat_t", "ops"},
    "button": {"cmd_t"},
}
#: Of classes, the units that may be with them.
UNITS_OF = {
    "voltage": {"V", "mV"},
    "current": {"A", "mA"},
    "illuminance": {"lx"},
    "duration": {"s", "ms"},
    "temperature": {"°C"},
    "humidity": {"%"},
    "carbon_dioxide": {"ppm"},
    "volatile_organic_compounds_parts": {"ppm"},
    "atmospheric_pressure": {"hPa"},
    "frequency": {"Hz"},
}
