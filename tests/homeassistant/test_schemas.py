"""Home Assistant's own schemas take what it is told: ``make test-ha`` installs it, in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from discoveries import MODELS, messages_of

PYTHON = os.environ.get("EVOK_HOME_ASSISTANT")


pytestmark = pytest.mark.skipif(
    PYTHON is None, reason="make test-ha installs Home Assistant; EVOK_HOME_ASSISTANT is its Python"
)


def validated(messages, directory):
    file = directory / "messages.json"
    file.write_text(json.dumps(messages))
    script = Path(__file__).with_name("validate.py")
    return subprocess.run([PYTHON, script, file], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("role", ["admin", "operator", "viewer"])
def test_home_assistant_takes_every_entity_of_every_model(role, tmp_path):
    messages = {f"{model} {topic}": one for model in MODELS for topic, one in messages_of(model, role).items()}
    done = validated(messages, tmp_path)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.parametrize(("key", "value"), [("dev_cla", "warmth"), ("stat_cla", "often"), ("colour", "red")])
def test_a_sensor_with_something_else_is_not_taken(key, value, tmp_path):
    ((topic, message),) = [one for one in messages_of("00").items() if "board_1" in one[0]]
    sensor = {**message["cmps"]["ai_1_01"], "dev_cla": "illuminance", "unit_of_meas": "lx", key: value}
    done = validated({topic: {**message, "cmps": {"ai_1_01": sensor}}}, tmp_path)
    assert done.returncode == 1 and "1 wrong" in done.stdout
