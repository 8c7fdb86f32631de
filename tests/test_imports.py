"""Imports run one way through the layers, and the libraries that are to stay in one place stay there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "evok_twisted"

#: The layers from the bottom up; a module may import those below its own, and those of its own part.
#: Of the parts of one layer, none imports another.
LAYERS = [
    [""],
    ["errors", "panel"],
    ["yamlnodes"],
    ["problems", "logs", "serialport", "hosts", "settingtypes", "spans", "files", "meters", "pcapng"],
    ["typedyaml"],
    ["conditions"],
    ["certificates"],
    ["definitions"],
    ["busconfig"],
    ["config"],
    ["model"],
    ["core"],
    ["history"],
    ["bus", "api", "simulator", "ports", "options", "systemd", "signals", "journald"],
    ["exposure", "client", "advice", "rawregisters", "capturing", "linescan", "remote"],
    ["operate", "scan"],
    ["past"],
    ["cli"],
    ["mountedboard"],
    ["onewiresegment"],
    ["segments"],
    ["unit"],
    ["check", "fronts", "listening"],
    ["reloading"],
    ["tap"],
    ["plugin", "reading"],
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
TOP = len(LAYERS)

#: Modules that are not of the part that their name says.
ELSEWHERE = {"simulator.tap": "tap"}

PLUGIN = ROOT / "twisted" / "plugins" / "evok_plugin.py"
FILES = [*sorted((ROOT / PACKAGE).rglob("*.py")), PLUGIN]
MODULES = {
    "plugin" if file == PLUGIN else ".".join(file.relative_to(ROOT / PACKAGE).with_suffix("").parts): file
    for file in FILES
}
MODULES = {name.removesuffix("__init__").removesuffix("."): file for name, file in MODULES.items()}

#: What has a clock, a reactor, I/O or chance in it.
IMPURE = {
    "asyncio",
    "autobahn",
    "datetime",
    "io",
    "logging",
    "os",
    "pathlib",
    "pymodbus",
    "random",
    "select",
    "socket",
    "subprocess",
    "threading",
    "time",
    "twisted",
}


def imports(source, module="", is_package=False):
    """The full names of everything that a module imports, wherever in it that stands.

    ``from a import b`` is ``a.b``, whether that is a module or not.
    """
    inside = f"{PACKAGE}.{module}".split(".") if module else [PACKAGE]
    package = inside if is_package else inside[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            start = ".".join(filter(None, (base, node.module)))
            yield from (f"{start}.{alias.name}" for alias in node.names)


def imports_of(module):
    file = MODULES[module]
    return sorted(set(imports(file.read_text("utf-8"), module, file.name == "__init__.py")))


def part_of(module):
    return ELSEWHERE.get(module, module.partition(".")[0])


def own_module(name):
    """The module of ours that an imported name is, or is in; None for one of a library."""
    if name != PACKAGE and not name.startswith(f"{PACKAGE}."):
        return None
    inside = name.removeprefix(PACKAGE).removeprefix(".")
    while inside not in MODULES:
        inside = inside.rpartition(".")[0]
    return inside


def below(name, library):
    return name == library or name.startswith(f"{library}.")


@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_of_a_known_layer(module):
    assert part_of(module) in LEVEL, f"{module}: give it a place in LAYERS, and in docs/architecture.md"


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_from_the_upper_layers_to_the_lower(module):
    part = part_of(module)
    used = {own_module(name) for name in imports_of(module)} - {None}
    level = LEVEL.get(part, TOP)
    assert [other for other in used if part_of(other) != part and LEVEL.get(part_of(other), -1) >= level] == []


@pytest.mark.parametrize("module", [module for module in MODULES if part_of(module) == "model"])
def test_the_model_is_pure(module):
    used = imports_of(module)
    assert [name for name in used if name.partition(".")[0] in IMPURE or own_module(name) == "logs"] == []


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"bus.framing", "simulator.server"}))
def test_pymodbus_is_imported_where_bytes_are_made_and_nowhere_else(module):
    assert [name for name in imports_of(module) if below(name, "pymodbus")] == []


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if part_of(module) not in ("tap", "plugin", "reading", "client", "operate", "scan")],
)
def test_only_the_outermost_modules_touch_the_global_reactor(module):
    assert [name for name in imports_of(module) if below(name, "twisted.internet.reactor")] == []


#: What fronts know of the core: their desk, and what it hands out.
SEEN_FROM_A_DESK = {"core.desk", "core.events", "core.filters", "core.identity", "core.slices", "core.wills"}
#: What describes the desk's answers needs to know what they are made of, and what says who a client is, tokens.
DESCRIBED = {
    "api.schemas": {"core.dialects", "core.health"},
    "api.mqtt.front": {"core.health"},
    "api.mqtt.link": {"core.health"},
    "api.webhook": {"core.health"},
    "api.tokens": {"core.issuing", "core.keyring", "core.tokens"},
    "api.gate": {"core.keyring", "core.sessions", "core.tokens"},
}


@pytest.mark.parametrize("module", [module for module in MODULES if part_of(module) == "api"])
def test_a_front_knows_its_desk_and_nothing_else_of_the_core(module):
    used = {own_module(name) for name in imports_of(module)} - {None}
    seen = SEEN_FROM_A_DESK | DESCRIBED.get(module, set())
    assert [other for other in used if part_of(other) == "core" and other not in seen] == []


# The eyes of this test


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import a.b as c, d", ["a.b", "d"]),
        ("from a.b import c, d as e", ["a.b.c", "a.b.d"]),
        ("def f():\n    from twisted.internet import reactor", ["twisted.internet.reactor"]),
        ("if TYPE_CHECKING:\n    from evok_twisted.core.slave import Slave", ["evok_twisted.core.slave.Slave"]),
        ("from .device import Device", ["evok_twisted.model.device.Device"]),
        ("from . import device", ["evok_twisted.model.device"]),
        ("from .. import logs", ["evok_twisted.logs"]),
        ("from ..core.slave import Slave", ["evok_twisted.core.slave.Slave"]),
    ],
)
def test_an_import_is_seen_however_it_is_written(source, found):
    assert list(imports(source, "model.digital")) == found


def test_a_package_is_the_place_that_its_own_relative_imports_begin_from():
    assert list(imports("from .device import Device", "model", is_package=True)) == ["evok_twisted.model.device.Device"]


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("evok_twisted.model.device.Device", "model.device"),
        ("evok_twisted.model.device", "model.device"),
        ("evok_twisted.model", "model"),
        ("evok_twisted.errors.EvokError", "errors"),
        ("evok_twisted", ""),
        ("evok_twisted.version", ""),
        ("evok_twisted_other.x", None),
        ("twisted.internet", None),
    ],
)
def test_an_imported_name_is_told_by_its_module(name, module):
    assert own_module(name) == module


def test_the_modules_are_found():
    assert {"", "errors", "model", "model.codec", "bus.framing", "tap", "plugin"} <= MODULES.keys()
