"""Registers and coils of real slaves, through a running service."""

from __future__ import annotations

import json

import pytest
import requests
from witness import Boards, Unit

from evok_twisted.rawregisters import decoded


class Read(Unit):
    def __init__(self, directory, twistd):
        super().__init__(directory, twistd)
        self.boards = Boards(self.modbus)

    def evok(self, *arguments, answer=""):
        return super().evok("registers", *arguments, answer=answer)

    def http_of(self, method, path, **more):
        return requests.request(method, f"{self.url}/modbus/{path}", timeout=10, **more)


@pytest.fixture(scope="module")
def unit(tmp_path_factory, twistd_of_module):
    unit = Read(tmp_path_factory.mktemp("unit"), twistd_of_module)
    yield unit
    unit.boards.close()


def test_registers_are_read_as_the_board_has_them(unit):
    words = [unit.boards.read(2, n) for n in (1000, 1001, 1002)]
    assert json.loads(unit.evok("read", "LOCAL", 2, 1000, 3, "--json").stdout) == words
    lines = unit.evok("read", "LOCAL", 2, "0x3E8", 3).stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [[str(1000 + n), str(word)] for n, word in enumerate(words)]


def test_a_register_is_written_after_a_yes_and_not_after_anything_else(unit):
    before = unit.boards.read(2, 1)
    done = unit.evok("write", "LOCAL", 2, 1, 0b11, answer="\n")
    assert (done.returncode, done.stdout) == (1, "") and "write 3 to holding 1 of unit 2 on LOCAL? [y/N]" in done.stderr
    assert unit.boards.read(2, 1) == before
    done = unit.evok("write", "LOCAL", 2, 1, 0b11, answer="y\n")
    assert (done.returncode, unit.boards.read(2, 1)) == (0, 0b11)
    unit.service.wait_for("anonymous writes 3 to holding 1 of unit 2 on LOCAL")
    assert unit.evok("write", "LOCAL", 2, 1, 0, "--yes").returncode == 0
    assert unit.boards.read(2, 1) == 0


def test_coils_are_written_and_read(unit):
    assert unit.evok("write", "LOCAL", 2, 0, 1, 0, 1, "--coils", "--yes").returncode == 0
    assert unit.boards.read(2, 1) == 0b101
    lines = unit.evok("read", "LOCAL", 2, 0, 3, "--coils").stdout.splitlines()
    assert [line.split() for line in lines] == [["0", "1"], ["1", "0"], ["2", "1"]]
    assert unit.evok("write", "LOCAL", 2, 0, 0, "--coils", "--yes").returncode == 0
    assert unit.boards.read(2, 1) == 0b100
    unit.evok("write", "LOCAL", 2, 2, 0, "--coils", "--yes")


def test_scans_go_on_and_show_what_was_written(unit):
    unit.evok("write", "LOCAL", 2, 1, 1, "--yes")
    answer = requests.get(f"{unit.url}/rest/ro/2_01?dialect=v3", timeout=5)
    assert answer.json()["value"] in (0, 1)
    bus = requests.get(f"{unit.url}/health", timeout=5).json()["buses"][0]
    assert all(slave["online"] for slave in bus["slaves"])


@pytest.mark.parametrize(
    ("path", "status", "why"),
    [
        ("NOWHERE/1/holding/0", 404, "there is no Modbus bus 'NOWHERE'; there is LOCAL"),
        ("LOCAL/0/holding/0", 400, "unit: got 0, expected a number from 1 to 255"),
        ("LOCAL/one/holding/0", 400, "unit: got 'one', expected a whole number"),
        ("LOCAL/1/tables/0", 400, "table: got 'tables', expected one of holding, input, coils, discrete"),
        ("LOCAL/1/holding/0?count=126", 400, "count: got 126, expected a number from 1 to 125"),
        ("LOCAL/1/holding/65535?count=2", 400, "start: got 65535, expected 2 addresses"),
        ("LOCAL/1/holding/-1", 400, "start: got -1"),
        ("LOCAL/1/holding/60000", 502, "illegal data address (2)"),
        ("LOCAL/9/holding/0", 504, "gateway target device failed to respond"),
    ],
)
def test_what_cannot_be_read_is_said(unit, path, status, why):
    answer = unit.http_of("GET", path)
    assert answer.status_code == status and why in answer.text


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"values": [70000]}, "values.0: got 70000, expected a whole number from 0 to 65535"),
        ({"values": []}, "count: got 0"),
        ({"values": ["on"]}, "Expected `int`"),
        ({}, "the body is as"),
    ],
)
def test_what_cannot_be_written_is_said_and_not_written(unit, body, why):
    before = unit.boards.read(1, 1)
    answer = unit.http_of("POST", "LOCAL/1/holding/1", json=body)
    assert answer.status_code == 400 and why in answer.text
    assert unit.boards.read(1, 1) == before
    assert unit.http_of("POST", "LOCAL/1/input/1", json={"values": [1]}).status_code == 400


def test_head_has_no_body(unit):
    assert unit.http_of("HEAD", "LOCAL/1/holding/0").content == b""


def test_values_are_shown_as_what_they_may_stand_for():
    head, first, second = decoded(10, [0x0000, 0x4148])
    assert head.split()[:4] == ["u16", "s16", "hex", "bits"]
    assert first.split() == [
        *("10", "0", "0", "0x0000", "0000", "0000", "0000", "0000"),
        *(str(0x41480000), str(0x4148), "12.5", "2.34185e-41"),
    ]
    assert second.split() == ["11", "16712", "16712", "0x4148", "0100", "0001", "0100", "1000"]
    assert next(iter(list(decoded(0, [0xFFFF]))[1:])).split()[1:3] == ["65535", "-1"]
