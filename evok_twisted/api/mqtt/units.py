"""Units and quantities, as Home Assistant has them: it refuses a class with a unit that is not of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Units as Home Assistant has them, with their class and the digits that are of use.
_UNITS: Mapping[str, tuple[str, str | None, int | None]] = {
    "V": ("V", "voltage", 2),
    "mV": ("mV", "voltage", 0),
    "mA": ("mA", "current", 2),
    "A": ("A", "current", 2),
    "Ohm": ("Ω", None, 0),
    "°C": ("°C", "temperature", 1),
    "lux": ("lx", "illuminance", 0),
    "lx": ("lx", "illuminance", 0),
    "hPa": ("hPa", "atmospheric_pressure", 0),
    "Pa": ("Pa", "pressure", 0),
    "bar": ("bar", "pressure", 2),
    "sec": ("s", "duration", 0),
    "s": ("s", "duration", 0),
    "ms": ("ms", "duration", 0),
    "Hz": ("Hz", "frequency", 2),
    "W": ("W", "power", 0),
    "kW": ("kW", "power", 2),
    "Wh": ("Wh", "energy", 0),
    "kWh": ("kWh", "energy", 2),
}
#: Units that are of several quantities: the name of what is measured tells of which.
_BY_NAME: Mapping[str, tuple[tuple[str, str], ...]] = {
    "%": (("rel_humid|humidity", "humidity"), ("batter", "battery"), ("moist", "moisture")),
    "ppm": (("voc", "volatile_organic_compounds_parts"), ("co2", "carbon_dioxide"), (r"\bco\b", "carbon_monoxide")),
}
#: Classes of what only grows.
_GROWING = ("energy",)


def measured(unit: str | None, name: str = "", measures: str | None = None) -> dict[str, Any]:
    """The keys that say what a number is of.

    :param name: of what is measured, where its unit alone does not tell.
    :param measures: the quantity, where that is known.
    """
    if unit in (None, "", "N/A"):
        return {"stat_cla": "measurement"}
    shown, kind, digits = _UNITS.get(str(unit), (unit, None, None))
    for pattern, of in _BY_NAME.get(str(unit), ()):
        if kind is None and (measures == of or re.search(pattern, name, re.IGNORECASE)):
            kind = of
    keys: dict[str, Any] = {
        "unit_of_meas": shown,
        "stat_cla": "total_increasing" if kind in _GROWING else "measurement",
    }
    if kind is not None:
        keys["dev_cla"] = kind
    if digits is not None:
        keys["sug_dsp_prc"] = digits
    elif kind == "humidity":
        keys["sug_dsp_prc"] = 0
    return keys
