"""Whatever the running service is asked, its answer is one that its description has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from openapi_schema_validator import OAS31Validator

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")

#: Whether a request that fits the description must succeed depends on the unit, and is not for a schema to say.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


@pytest.fixture
def base(demo):
    return demo.url.replace("ws://", "http://").removesuffix("/ws")


#: Of slaves that are not there, a gateway says that they do not answer: 504, and no crash.
RAW = "^/modbus/"


@pytest.mark.parametrize(
    ("checks", "paths"),
    [(CHECKS, ("--exclude-path-regex", RAW)), (CHECKS[1:], ("--include-path-regex", f"{RAW}.*start"))],
    ids=["all but registers", "registers"],
)
def test_schemathesis_finds_no_crash_and_no_answer_outside_of_the_description(base, tmp_path, checks, paths):
    how = ("--checks", ",".join(checks), "--max-examples=6", "--seed=1", *paths)
    done = subprocess.run(
        [SCHEMATHESIS, "run", f"{base}/openapi.json", *how],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "passed" in done.stdout


@pytest.mark.parametrize("dialect", ["classic", "v3"])
def test_what_every_circuit_shows_is_as_described(base, dialect):
    document = requests.get(f"{base}/openapi.json", timeout=5).json()
    check = OAS31Validator({"$ref": "#/components/schemas/State", "components": document["components"]})
    states = requests.get(f"{base}/rest/all?dialect={dialect}", timeout=5).json()
    assert len(states) > 80
    for state in states:
        assert [error.message for error in check.iter_errors(state)] == []
