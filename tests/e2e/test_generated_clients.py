"""Clients that others' generators make of the OpenAPI description do their work: a typed GET, a set, a bulk request."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

GENERATORS = os.environ.get("EVOK_GENERATORS", "")
CLIENTS = Path(__file__).parent / "clients"

pytestmark = pytest.mark.skipif(
    not GENERATORS, reason=".ci/generators DIRECTORY gets the generators; EVOK_GENERATORS says where they are"
)


@pytest.fixture
def base(demo):
    return demo.url.replace("ws://", "http://").removesuffix("/ws")


@pytest.fixture
def description(base, tmp_path):
    file = tmp_path / "openapi.json"
    file.write_bytes(requests.get(f"{base}/openapi.json", timeout=5).content)
    return file


def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_openapi_typescript_makes_types_that_hold(base, description, tmp_path):
    binaries = Path(GENERATORS).absolute() / "node_modules" / ".bin"
    (tmp_path / "node_modules").symlink_to(binaries.parent)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(CLIENTS / "typescript.mts", tmp_path / "use.mts")
    run(binaries / "openapi-typescript", description, "-o", "schema.d.ts", cwd=tmp_path)
    options = ("--strict", "--noEmit", "--skipLibCheck", "--module", "nodenext", "--target", "es2022")
    run(binaries / "tsc", *options, "use.mts", cwd=tmp_path)
    assert run(binaries / "tsx", "use.mts", base, cwd=tmp_path) == "1 false 2 UnknownCircuit\n"


def test_openapi_python_client_makes_a_client_that_works(base, description, tmp_path):
    binaries = Path(GENERATORS).absolute() / "python" / "bin"
    shutil.copy(CLIENTS / "python.py", tmp_path / "use.py")
    where = ("--path", description, "--output-path", tmp_path / "evok_client", "--meta", "none")
    run(binaries / "openapi-python-client", "generate", *where, cwd=tmp_path)
    assert run(binaries / "python", "use.py", base, cwd=tmp_path) == "1 False 2 relay has no circuit\n"
