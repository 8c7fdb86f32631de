"""What is packaged agrees with what is written here: the lock file, the unit, the man page, the configuration."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from evok_twisted import config as cfg
from evok_twisted import tap
from evok_twisted.api.limits import RESERVE
from evok_twisted.problems import Problems

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
UNIT = (ROOT / "debian" / "evok-twisted.evok.service").read_text()
MAN = (ROOT / "debian" / "twistd-evok.8").read_text().replace("\\-", "-")

RUN, TEST, BUILD = (ROOT / f"requirements{of}.lock" for of in ("", "-test", "-build"))
PROJECT_FILE = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = [
    *((RUN, one) for one in PROJECT["dependencies"]),
    *((TEST, one) for one in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]),
    *((BUILD, one) for one in PROJECT_FILE["dependency-groups"]["build"]),
]


def pins(lock):
    """The version of each library in a lock file."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize(("lock", "dependency"), WANTED, ids=lambda value: getattr(value, "name", value))
def test_every_dependency_is_locked_at_a_version_that_is_allowed(lock, dependency):
    wanted = Requirement(dependency)
    assert wanted.specifier.contains(pins(lock).get(wanted.name.lower(), "nothing")), "make lock"


@pytest.mark.parametrize("lock", [RUN, TEST, BUILD], ids=lambda lock: lock.name)
def test_every_locked_library_has_hashes_and_no_place_that_it_comes_from(lock):
    text = re.sub(r"(?m)^#.*\n", "", lock.read_text())
    assert [entry for entry in re.split(r"\n(?=\S)", text) if "--hash=sha256:" not in entry] == []
    assert re.findall(r"//|^-", text, re.MULTILINE) == []


def test_the_tests_run_on_the_libraries_that_users_have():
    tested = pins(TEST)
    assert {name: tested.get(name) for name in pins(RUN)} == pins(RUN), "make lock"


def test_what_users_have_has_no_tools_of_packaging():
    assert pins(RUN).keys() & {"pip", "setuptools", "wheel"} == set()


def test_the_unit_gives_up_on_a_configuration_that_cannot_be_used():
    assert f"RestartPreventExitStatus={cfg.BAD_CONFIG}\n" in UNIT


def test_the_unit_runs_the_options_that_there_are():
    command = re.search(r"^ExecStart=(.*)", UNIT, re.MULTILINE)[1]
    options = tap.Options()
    options.parseOptions(command.partition(" evok ")[2].split())
    assert options["config"] == tap.DEFAULT_CONFIG


def test_the_unit_lets_the_service_have_as_many_files_as_it_allows_connections():
    assert int(re.search(r"^LimitNOFILE=(\d+)", UNIT, re.MULTILINE)[1]) >= cfg.Apis().max_connections + RESERVE


def test_the_man_page_has_every_option_and_no_other():
    takes = {f"--{name.rstrip('=')}" for name in tap.Options().longOpt} - {"--version"}
    of_twistd = {"--nodaemon", "--pidfile", "--alive"}  # and of the simulator
    assert set(re.findall(r"--[a-z]+", MAN)) - of_twistd == takes


def test_the_configuration_that_is_installed_has_no_hardware_is_for_this_machine_and_asks_the_network_for_tokens():
    problems = Problems()
    config = cfg.load(ROOT / "conf" / "config.yaml", (), problems, tap.FRONT_SETTINGS)
    assert not problems.errors
    assert config.apis == cfg.Apis(access=cfg.AccessSettings())
    assert (config.logging, config.buses) == (cfg.Logging(), ())
    assert config.fronts == {key: settings() for key, settings in tap.FRONT_SETTINGS.items()}
    assert (config.apis.access.anonymous.local, config.apis.access.anonymous.network) == ("admin", "none")
    assert (config.apis.address, config.apis.port) == ("127.0.0.1", 8080)
    assert "\nautogen: true\n" in (ROOT / "conf" / "config.yaml").read_text()


BUILDING = "import setuptools.build_meta as m, sys; print(getattr(m, f'build_{sys.argv[1]}')(sys.argv[2]))"


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_the_panel_is_in_what_is_built(kind, tmp_path):
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "tests", "docs", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    (source / ".ci").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILDING, kind, tmp_path],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    built = tmp_path / done.stdout.splitlines()[-1]
    names = zipfile.ZipFile(built).namelist() if kind == "wheel" else tarfile.open(built).getnames()
    static = {path.name for path in (ROOT / "evok_twisted" / "panel" / "static").iterdir()}
    assert {name.rpartition("/")[2] for name in names if "panel/static/" in name} == static
