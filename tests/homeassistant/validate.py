"""Has Home Assistant's own schemas look at discovery messages; run by a Python that has the homeassistant package.

    python validate.py MESSAGES.json    by topic, the messages

Prints what is wrong, and exits with 1 then. Versions before 2024.12 know entities only, not whole devices: each entity
is shown to them with what it shares with its device, as those since do it themselves.
"""

from __future__ import annotations

import importlib
import json
import sys

from homeassistant.components.mqtt import abbreviations
from homeassistant.const import __version__

#: Keys that are newer than the oldest version that this runs with, which drops them.
NEWER = {"def_ent_id", "msg_exp_int"}


def expanded(message, words):
    return {words.get(key, key): value for key, value in message.items()}


def entities(message):
    """Each entity of a device, as a message of its own."""
    device = expanded(message["dev"], abbreviations.DEVICE_ABBREVIATIONS)
    origin = expanded(message["o"], abbreviations.ORIGIN_ABBREVIATIONS)
    shared = {key: value for key, value in message.items() if key not in ("dev", "o", "cmps")}
    for key, one in message["cmps"].items():
        whole = expanded(
            {**shared, **{key: value for key, value in one.items() if key not in NEWER}}, abbreviations.ABBREVIATIONS
        )
        platform = whole.pop("p", None) or whole.pop("platform")
        if "availability" in whole:
            whole["availability"] = [
                expanded(source, {"t": "topic", "val_tpl": "value_template"}) for source in whole["availability"]
            ]
        yield key, platform, {**whole, "device": device, "origin": origin}


def main():
    messages = json.load(open(sys.argv[1], encoding="utf-8"))
    count, wrong = 0, 0
    for topic, message in messages.items():
        for key, platform, whole in entities(message):
            count += 1
            schema = importlib.import_module(f"homeassistant.components.mqtt.{platform}").DISCOVERY_SCHEMA
            try:
                taken = schema(whole)
            except Exception as error:
                wrong += 1
                print(f"{topic} {key} ({platform}): {error}")
                continue
            dropped = whole.keys() - taken.keys()
            if dropped:
                wrong += 1
                print(f"{topic} {key} ({platform}): not known: {', '.join(sorted(dropped))}")
    print(f"homeassistant {__version__}: {count} entities of {len(messages)} devices, {wrong} wrong")
    return bool(wrong or not count)


if __name__ == "__main__":
    sys.exit(main())
