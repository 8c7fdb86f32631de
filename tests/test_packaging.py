"""What is packaged agrees with what is written here: the lock file, the unit, the man page, the configuration."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from evok_twisted import config as cfg
from evok_twisted import tap
from evok_twisted.settings import Problems

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
UNIT = (ROOT / "debian" / "evok-twisted.evok.service").read_text()
MAN = (ROOT / "debian" / "twistd-evok.8").read_text().replace("\\-", "-")

PINS = {name: version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", LOCK, re.MULTILINE)}


@pytest.mark.parametrize("dependency", PROJECT["dependencies"])
def test_every_dependency_is_locked_at_a_version_that_is_allowed(dependency):
    wanted = Requirement(dependency)
    assert wanted.specifier.contains(PINS[wanted.name.lower()]), "make lock"


def test_every_locked_library_has_hashes():
    entries = re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n", "", LOCK))
    assert len(entries) > 10
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_lock_has_no_tools_of_packaging():
    assert PINS.keys() & {"pip", "setuptools", "wheel"} == set()


def test_the_unit_gives_up_on_a_configuration_that_cannot_be_used():
    assert f"RestartPreventExitStatus={cfg.BAD_CONFIG}\n" in UNIT


def test_the_unit_runs_the_options_that_there_are():
    command = re.search(r"^ExecStart=(.*)", UNIT, re.MULTILINE)[1]
    options = tap.Options()
    options.parseOptions(command.partition(" evok ")[2].split())
    assert options["config"] == tap.DEFAULT_CONFIG


def test_the_man_page_has_every_option_and_no_other():
    takes = {f"--{name.rstrip('=')}" for name in tap.Options().longOpt} - {"--version"}
    of_twistd = {"--nodaemon", "--pidfile", "--alive"}  # and of the simulator
    assert set(re.findall(r"--[a-z]+", MAN)) - of_twistd == takes


def test_the_configuration_that_is_installed_has_no_hardware_and_is_for_this_machine_only():
    problems = Problems()
    config = cfg.load(ROOT / "conf" / "config.yaml", (), problems)
    assert not problems.errors
    assert config == cfg.Config()
    assert (config.apis.address, config.apis.port) == ("127.0.0.1", 8080)
    assert "\nautogen: true\n" in (ROOT / "conf" / "config.yaml").read_text()
