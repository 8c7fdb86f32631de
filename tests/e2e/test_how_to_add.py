"""The changes that docs/architecture.md shows do what it says, in a real process."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest
import requests
import trustme

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text("utf-8")

#: What a hunk leaves, and what it puts there, by the first character of a line.
OLD, NEW = " -", " +"


def change(name):
    """The diff under a heading, as hunks: file, lines that are there, lines that are to be there."""
    section = DOCUMENT.partition("## How to add\n")[2].partition(f"### {name}\n")[2]
    (diff, *_) = re.findall(r"```diff\n(.*?)```", section, re.DOTALL)
    for part in re.split(r"^--- .*\n\+\+\+ b/", diff, flags=re.MULTILINE)[1:]:
        file, *hunks = re.split(r"\n@@\n", part)
        for hunk in hunks:
            lines = [line or " " for line in hunk.splitlines()]
            yield file, *("".join(f"{line[1:]}\n" for line in lines if line[0] in side) for side in (OLD, NEW))


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """Makes a change in a copy of the package, which is what runs from then on."""

    def make(name):
        shutil.copytree(ROOT / "evok_twisted", tmp_path / "evok_twisted")
        for file, old, new in change(name):
            path = tmp_path / file
            text = path.read_text() if path.exists() else ""
            assert text.count(old) == 1 or not text, f"{file}: {old}"
            path.write_text(text.replace(old, new, 1) if text else new)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return make


def test_a_kind_of_device(changed, run, twistd, tmp_path, port):
    changed("A kind of device")
    (tmp_path / "hw_definitions").mkdir()
    (tmp_path / "hw_definitions" / "M1.yaml").write_text(
        "modbus_register_blocks: [{start_reg: 7, count: 2, frequency: 1}]\n"
        "modbus_features: [{type: METER, count: 2, val_reg: 7}]\n"
    )
    (tmp_path / "config.yaml").write_text(
        "apis: {alias_file: ''}\n"
        f"comm_channels: {{A: {{type: MODBUSTCP, port: {port}, devices: {{1: {{model: M1}}}}}}}}\n"
    )
    assert "2 meter: 1_01, 1_02" in run("evok", "--check", "--config", tmp_path).stdout
    twistd("evok-simulator", "--config", tmp_path, "--port", port).wait_for("listening")
    service = twistd("evok", "--config", tmp_path, "--port", "tcp:0:interface=127.0.0.1")
    url = service.url.replace("ws://", "http://").removesuffix("/ws")
    deadline = time.monotonic() + 10
    while (state := requests.get(f"{url}/rest/meter/1_02", timeout=5).json())["value"] is None:
        assert time.monotonic() < deadline, "the board was not read"
    assert (state["dev"], state["value"]) == ("meter", 0)
    described = requests.get(f"{url}/openapi.json", timeout=5).json()["components"]["schemas"]["MeterState"]
    assert "W" in str(described["properties"]["value"])


def test_a_front(changed, twistd, tmp_path):
    changed("A front")
    (tmp_path / "config.yaml").write_text("apis: {alias_file: '', csv: {enabled: true, separator: ','}}\n")
    service = twistd("evok", "--config", tmp_path, "--port", "tcp:0:interface=127.0.0.1")
    url = service.url.replace("ws://", "http://").removesuffix("/ws")
    answer = requests.get(f"{url}/states.csv", timeout=5)
    assert answer.text.splitlines()[0] == "dev,circuit,value"
    assert requests.get(f"{url}/rest/all", timeout=5).status_code == 200


def test_a_bus(changed, twistd, tmp_path, monkeypatch):
    changed("A bus")
    authority = trustme.CA()
    server = authority.issue_cert("localhost")
    server.private_key_pem.write_to_path(tmp_path / "key.pem")
    server.cert_chain_pems[0].write_to_path(tmp_path / "crt.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    config = (
        "apis: {{alias_file: ''}}\ncomm_channels: {{A: {{{}, hostname: localhost, devices: {{1: {{model: xS11}}}}}}}}\n"
    )
    (tmp_path / "config.yaml").write_text(config.format("type: MODBUSTCP"))
    endpoint = f"ssl:0:privateKey={tmp_path / 'key.pem'}:certKey={tmp_path / 'crt.pem'}:interface=127.0.0.1"
    simulator = twistd("evok-simulator", "--config", tmp_path, "--port", endpoint)
    port = simulator.wait_for(r"listening: Modbus TCP at 127\.0\.0\.1:(\d+)")[1]
    (tmp_path / "config.yaml").write_text(config.format(f"type: MODBUSTLS, port: {port}"))
    service = twistd("evok", "--config", tmp_path, "--port", "tcp:0:interface=127.0.0.1")
    service.wait_for("slave 1 .* answers")
    service.stop()
    monkeypatch.delenv("SSL_CERT_FILE")
    service = twistd("evok", "--config", tmp_path, "--port", "tcp:0:interface=127.0.0.1")
    service.wait_for("bus A .*certificate verify failed")
