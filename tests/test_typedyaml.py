"""YAML into typed settings, and what is said of every mistake in it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from evok_twisted.problems import Problem, Problems, nearest
from evok_twisted.typedyaml import Reader, Settings, load_yaml


@pytest.fixture
def load(tmp_path):
    def load_it(text):
        file = tmp_path / "some.yaml"
        file.write_text(text)
        return load_yaml(file, Problems())

    return load_it


# Hints


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("hostnme", ["port", "hostname"], "did you mean 'hostname'?"),
        ("HOSTNAME", ["port", "hostname"], "did you mean 'hostname'?"),
        ("xs51", ["xS50", "xS51"], "did you mean 'xS51'?"),
        ("colour", ["port", "hostname"], "known are hostname, port"),
        ("colour", [], "none are known"),
    ],
)
def test_a_hint_is_the_nearest_word_or_all_of_them(word, known, hint):
    assert nearest(word, known) == hint


# Reading


class Logging(Settings, frozen=True, kw_only=True):
    level: Literal["debug", "info"] = "info"
    size: int = 1


class Thing(Settings, frozen=True, kw_only=True):
    also = {"unit-id": "unit", "id": "unit"}
    misspelt = {"boudrate": "baudrate"}
    ignored = frozenset({"type"})

    unit: Annotated[int, Meta(ge=1, le=247, description="a unit id from 1 to 247")] = 1
    baudrate: int = 19200
    model: str = ""
    rate: float = 50.0
    enabled: bool = True
    number: Literal[8, 16] = 8
    parity: Literal["N", "E"] = "N"
    logging: Logging = Logging()
    limit: Annotated[int, Meta(ge=0, description="a limit, 0 or more")] | None = 7
    name: str | None = "unnamed"
    either: int | float | None = None
    several: tuple[int, ...] = ()
    spans: tuple[int | float, ...] = ()
    named: dict[str, Logging] = {}
    rest: dict[str, Any] = {}
    plain: Annotated[int, Meta(ge=0)] = 0


class Demanding(Settings, frozen=True, kw_only=True):
    also = {"slave-id": "slave_id", "address": "slave_id"}

    slave_id: Annotated[int, Meta(ge=0, description="a unit id")]
    model: str
    options: Logging
    modes: tuple[str, ...]


@pytest.fixture
def read(load):
    """Reads some YAML as a ``Thing``: what was made of it, and every problem as text."""

    def read_it(text, cls=Thing, **how):
        problems = Problems()
        made = Reader("some.yaml", problems, **how).struct(cls, load(text))
        return made, [str(problem) for problem in problems.found]

    return read_it


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("model: 00", "model", "00"),
        ("model: 1e3", "model", "1e3"),
        ("model: null", "model", "null"),
        ("model: yes", "model", "yes"),
        ("model:", "model", ""),
        ("rate: 1e3", "rate", 1000.0),
        ("rate: 50", "rate", 50.0),
        ("rate: -0.5", "rate", -0.5),
        ("baudrate: 9600", "baudrate", 9600),
        ("baudrate:", "baudrate", 19200),
        ("baudrate: null", "baudrate", 19200),
        ("rate: ~", "rate", 50.0),
        ("baudrate: '9600'", "baudrate", 9600),
        ("baudrate: 0x10", "baudrate", 16),
        ("baudrate: -0XfF", "baudrate", -255),
        ("baudrate: 010", "baudrate", 10),
        ("baudrate: +5", "baudrate", 5),
        ("unit: 0xF7", "unit", 247),
        ("enabled: yes", "enabled", True),
        ("enabled: on", "enabled", True),
        ("enabled: true", "enabled", True),
        ("enabled: True", "enabled", True),
        ("enabled: ON", "enabled", True),
        ("enabled: 1", "enabled", True),
        ("enabled: no", "enabled", False),
        ("enabled: Off", "enabled", False),
        ("enabled: FALSE", "enabled", False),
        ("enabled: 0", "enabled", False),
        ("parity: e", "parity", "E"),
        ("parity: E", "parity", "E"),
        ("limit: 3", "limit", 3),
        ("limit: null", "limit", None),
        ("limit: ~", "limit", None),
        ("limit:", "limit", None),
        ("name: NULL", "name", None),
        ("name: nothing", "name", "nothing"),
        ("either: 5", "either", 5),
        ("either: 0.5", "either", 0.5),
        ("either: null", "either", None),
        ("several: [1, 0x2]", "several", (1, 2)),
        ("several: 5", "several", (5,)),
        ("several: []", "several", ()),
        ("several:", "several", ()),
        ("spans: [0, 2.5]", "spans", (0, 2.5)),
        ("logging: {level: DEBUG}", "logging", Logging(level="debug")),
        ("logging:", "logging", Logging()),
        ("named: {a: {size: 2}, b: }", "named", {"a": Logging(size=2), "b": Logging()}),
        ("named:", "named", {}),
        ("rest: {a: [1, {b: yes}]}", "rest", {"a": ["1", {"b": "yes"}]}),
    ],
)
def test_a_value_is_converted_to_the_type_of_its_field(read, text, field, value):
    made, problems = read(text)
    assert (getattr(made, field), problems) == (value, [])


@pytest.mark.parametrize("text", ["", "null", "{}"])
def test_where_nothing_is_said_the_defaults_hold(read, text):
    assert read(text) == (Thing(), [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("unit: 0", "unit: got '0', expected a unit id from 1 to 247"),
        ("unit: 248", "unit: got '248', expected a unit id from 1 to 247"),
        ("unit: one", "unit: got 'one', expected a unit id from 1 to 247"),
        ("unit: [1]", "unit: got a list, expected a unit id from 1 to 247"),
        ("baudrate: fast", "baudrate: got 'fast', expected a whole number"),
        ("baudrate: 1.5", "baudrate: got '1.5', expected a whole number"),
        ("baudrate: 1_000", "baudrate: got '1_000', expected a whole number"),
        ("baudrate: {a: 1}", "baudrate: got a mapping, expected a whole number"),
        ("rate: fast", "rate: got 'fast', expected a number"),
        ("rate: nan", "rate: got 'nan', expected a number"),
        ("rate: inf", "rate: got 'inf', expected a number"),
        ("rate: 1e400", "rate: got '1e400', expected a number"),
        ("model: [00]", "model: got a list, expected text"),
        ("enabled: maybe", "enabled: got 'maybe', expected true or false"),
        ("enabled: 2", "enabled: got '2', expected true or false"),
        ("parity: X", "parity: got 'X', expected one of N, E"),
        ("number: 9", "number: got '9', expected one of 8, 16"),
        ("logging: debug", "logging: got 'debug', expected a mapping (key: value)"),
        ("logging: [debug]", "logging: got a list, expected a mapping (key: value)"),
        ("logging: {level: loud}", "logging.level: got 'loud', expected one of debug, info"),
        ("limit: few", "limit: got 'few', expected a limit, 0 or more"),
        ("name: {a: b}", "name: got a mapping, expected text"),
        ("either: []", "either: got a list, expected a whole number or a number"),
        ("several: [1, x]", "several.1: got 'x', expected a whole number"),
        ("several: {a: 1}", "several.0: got a mapping, expected a whole number"),
        ("spans: [1, x]", "spans.1: got 'x', expected a whole number or a number"),
        ("spans: [nan]", "spans.0: got 'nan', expected a whole number or a number"),
        ("named: some", "named: got 'some', expected a mapping (key: value)"),
        ("named: {a: {size: x}}", "named.a.size: got 'x', expected a whole number"),
        ("named: {a: 5}", "named.a: got '5', expected a mapping (key: value)"),
        ("plain: -1", "plain: got '-1', expected a whole number"),
        ("rest: []", "rest: got a list, expected a mapping (key: value)"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_its_place_and_what_was_expected(read, text, problem):
    assert read(text) == (None, [f"error: some.yaml: {problem}"])


def test_a_number_of_thousands_of_digits_is_told_like_any_other(read):
    digits = "9" * 5000
    assert read(f"baudrate: {digits}") == (
        None,
        [f"error: some.yaml: baudrate: got '{digits}', expected a whole number"],
    )


@pytest.mark.parametrize(("text", "got"), [("[a]", "a list"), ("word", "'word'"), ("5", "'5'")])
def test_a_document_that_is_no_mapping_is_told_of_the_file(read, text, got):
    assert read(text) == (None, [f"error: some.yaml: got {got}, expected a mapping (key: value)"])


def test_every_error_is_told_at_once(read):
    _, problems = read("unit: 0\nrate: x\nlogging: {level: loud, size: y}\nseveral: [a, 1, b]\nnamed: {a: 1, b: 2}\n")
    assert [problem.split(": ")[2] for problem in problems] == [
        "unit",
        "rate",
        "logging.level",
        "logging.size",
        "several.0",
        "several.2",
        "named.a",
        "named.b",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("bautrate: 9600", "bautrate: unknown key, ignored; did you mean 'baudrate'?"),
        ("unitid: 1", "unitid: unknown key, ignored; did you mean 'unit-id'?"),
        ("logging: {levle: info}", "logging.levle: unknown key, ignored; did you mean 'level'?"),
        ("logging: {x: info}", "logging.x: unknown key, ignored; known are level, size"),
    ],
)
def test_an_unknown_key_is_warned_of_with_the_nearest_that_is_known(read, text, problem):
    assert read(text) == (Thing(), [f"warning: some.yaml: {problem}"])


def test_a_misspelt_key_is_taken_with_a_warning(read):
    assert read("boudrate: 9600") == (
        Thing(baudrate=9600),
        ["warning: some.yaml: boudrate: this key is spelt 'baudrate'; taken as that"],
    )


def test_the_value_of_a_misspelt_key_is_checked_under_the_name_it_has(read):
    _, problems = read("boudrate: fast")
    assert problems[-1] == "error: some.yaml: boudrate: got 'fast', expected a whole number"


@pytest.mark.parametrize("key", ["unit", "unit-id", "id"])
def test_another_spelling_is_taken_without_a_word(read, key):
    assert read(f"{key}: 5") == (Thing(unit=5), [])


@pytest.mark.parametrize(("first", "second", "name"), [("unit", "unit-id", "unit"), ("id", "unit-id", "unit")])
def test_two_spellings_of_one_key_are_an_error(read, first, second, name):
    assert read(f"{first}: 5\n{second}: 6\n") == (
        None,
        [f"error: some.yaml: {second}: the key stands twice, also as another spelling of '{name}'"],
    )


def test_a_key_of_another_version_is_passed_over(read):
    assert read("type: anything") == (Thing(), [])


def test_missing_keys_are_told_with_all_their_spellings_and_what_was_expected(read):
    assert read("", Demanding) == (
        None,
        [
            "error: some.yaml: the key 'slave_id' or 'slave-id' or 'address' is missing; expected a unit id",
            "error: some.yaml: the key 'model' is missing; expected text",
            "error: some.yaml: the key 'options' is missing; expected a mapping (key: value)",
            "error: some.yaml: the key 'modes' is missing; expected a list",
        ],
    )


def test_a_key_that_is_there_and_wrong_is_not_called_missing_as_well(read):
    _, problems = read("{slave-id: x, model: 00, options: {}, modes: []}", Demanding)
    assert problems == ["error: some.yaml: slave-id: got 'x', expected a unit id"]


def test_a_path_begins_where_the_reader_is_told(load):
    problems = Problems()
    Reader("some.yaml", problems).struct(Thing, load("unit: x"), "buses.LOCAL")
    assert problems.found[0].path == "buses.LOCAL.unit"


@pytest.mark.parametrize(("how", "fatal"), [({}, True), ({"fatal": True}, True), ({"fatal": False}, False)])
def test_a_reader_is_told_whether_its_errors_are_fatal(load, how, fatal):
    problems = Problems()
    Reader("some.yaml", problems, **how).struct(Thing, load("unit: x"))
    assert (len(problems.errors), bool(problems.fatal)) == (1, fatal)


def test_a_warning_is_no_error():
    problems = Problems()
    problems.warning("some.yaml", "a", "odd")
    assert (problems.errors, problems.fatal) == ([], [])


@pytest.mark.parametrize(
    ("path", "text"), [("a.b", "error: some.yaml: a.b: is wrong"), ("", "error: some.yaml: is wrong")]
)
def test_a_problem_says_where_it_is(path, text):
    assert str(Problem("error", True, "some.yaml", path, "is wrong")) == text
