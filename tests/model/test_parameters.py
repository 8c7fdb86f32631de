"""What clients may send for a parameter."""

from __future__ import annotations

import math
import re

import pytest

from evok_twisted.errors import BadParameter, BadValue
from evok_twisted.model.parameters import Bit, Choice, Real, Whole, parse, shown

NEVER = [
    None,
    [],
    [1],
    {},
    {"value": 1},
    "",
    "on and on",
    "nan",
    "1e400",
    "-inf",
    "1_000",
    "0x10",
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    pytest.param("9" * 5000, id="5000 digits as text"),
    pytest.param(10**5000, id="5000 digits"),
    -(2**70),
    1e300,
]

PERCENT = Real(0, 100, "%")
DEBOUNCE = Whole(0, 65535, "ms")
MODE = Choice(("Simple", "PWM"))


@pytest.mark.parametrize("value", [1, True, 1.0, "1", "true", "True", "on", " ON "])
def test_a_bit_is_1_however_it_is_spelt(value):
    assert Bit().parse(value) == 1


@pytest.mark.parametrize("value", [0, False, 0.0, "0", "false", "False", "off", "OFF\n"])
def test_a_bit_is_0_however_it_is_spelt(value):
    assert Bit().parse(value) == 0


@pytest.mark.parametrize("value", [*NEVER, 2, -1, 0.5, "2", "-1", "1.0", "yes"])
def test_a_bit_is_nothing_else(value):
    with pytest.raises(BadValue):
        parse({"value": Bit()}, {"value": value})


@pytest.mark.parametrize(
    ("value", "number"),
    [(0, 0), (100, 100), (50.5, 50.5), ("50.5", 50.5), (" 7 ", 7), ("1e1", 10), ("+.5", 0.5), (-0.0, 0)],
)
def test_a_real_parameter_takes_numbers_in_its_range(value, number):
    assert PERCENT.parse(value) == number


@pytest.mark.parametrize("value", [*NEVER, -0.001, 100.001, "-1", "101", True, False, "50 %", "1,5"])
def test_a_real_parameter_takes_nothing_else(value):
    with pytest.raises(BadValue):
        parse({"pwm_duty": PERCENT}, {"pwm_duty": value})


def test_a_limit_may_be_excluded():
    timeout = {"timeout": Real(0, 10, "seconds", above=True)}
    assert parse(timeout, {"timeout": 1e-9}) == {"timeout": 1e-9}
    with pytest.raises(BadValue, match="expected a number more than 0 and at most 10 seconds"):
        parse(timeout, {"timeout": 0})


@pytest.mark.parametrize(
    ("value", "number"), [(0, 0), (65535, 65535), (50.0, 50), ("50", 50), ("50.0", 50), ("1e3", 1000)]
)
def test_a_whole_parameter_takes_whole_numbers_in_its_range(value, number):
    parsed = DEBOUNCE.parse(value)
    assert (parsed, type(parsed)) == (number, int)


@pytest.mark.parametrize("value", [*NEVER, -1, 65536, 0.5, "0.5", "65536", True, False])
def test_a_whole_parameter_takes_nothing_else(value):
    with pytest.raises(BadValue):
        parse({"debounce": DEBOUNCE}, {"debounce": value})


def test_a_whole_parameter_is_exact_over_its_whole_range():
    assert Whole(0, 2**32 - 1).parse(str(2**32 - 1)) == 2**32 - 1


@pytest.mark.parametrize("value", ["Simple", "PWM"])
def test_a_choice_takes_its_words(value):
    assert MODE.parse(value) == value


@pytest.mark.parametrize("value", [*NEVER, "simple", "Simple ", 0, 1, True, ["Simple"]])
def test_a_choice_takes_nothing_else(value):
    with pytest.raises(BadValue):
        parse({"mode": MODE}, {"mode": value})


ALLOWED = {"value": Bit(), "debounce": DEBOUNCE, "mode": MODE, "pwm_duty": PERCENT}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"value": 2}, "value: got 2, expected 0 or 1"),
        ({"debounce": "soon"}, "debounce: got 'soon', expected a whole number from 0 to 65535 ms"),
        ({"mode": None}, "mode: got None, expected one of Simple, PWM"),
        ({"pwm_duty": [5]}, "pwm_duty: got [5], expected a number from 0 to 100 %"),
    ],
)
def test_a_bad_value_is_told_with_its_parameter_and_what_was_expected(given, message):
    with pytest.raises(BadValue) as raised:
        parse(ALLOWED, given)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("parameter", "expects"),
    [
        (Real(0, 1), "a number from 0 to 1"),
        (Real(0.5, 2_000_000, "Hz"), "a number from 0.5 to 2000000 Hz"),
        (Whole(0, 5), "a whole number from 0 to 5"),
        (Whole(0, 5, "ms"), "a whole number from 0 to 5 ms"),
    ],
)
def test_a_unit_is_told_where_there_is_one(parameter, expects):
    assert parameter.expects == expects


def test_a_parameter_that_is_not_allowed_is_told_with_those_that_are():
    with pytest.raises(BadParameter) as raised:
        parse(ALLOWED, {"value": 1, "colour": "red"})
    assert str(raised.value) == "there is no parameter 'colour' here; allowed are value, debounce, mode, pwm_duty"


def test_where_no_parameter_is_allowed_the_error_says_none():
    with pytest.raises(BadParameter, match="allowed are none"):
        parse({}, {"value": 1})


def test_parameters_are_typed_and_keep_their_order():
    parsed = parse(ALLOWED, {"debounce": "50", "value": True})
    assert list(parsed.items()) == [("debounce", 50), ("value", 1)]


@pytest.mark.parametrize("length", [59, 10000])
def test_a_long_value_is_cut_in_messages(length):
    text = shown("x" * length)
    assert (len(text), text[:5], text[-4:]) == (60, "'xxxx", "x...")


def test_a_value_of_60_characters_is_not_cut():
    assert shown("x" * 58) == repr("x" * 58)


def test_a_value_that_is_nested_deep_is_shown_by_its_begin():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(BadValue, match=re.escape("value: got [[[[...]]]], expected 0 or 1")):
        parse({"value": Bit()}, {"value": nested})


def test_a_number_too_long_to_be_shown_is_told_by_its_type():
    assert shown(10**5000) == "a value of type int"


@pytest.mark.parametrize(
    ("parameter", "schema"),
    [
        (Bit(), {"enum": [0, 1]}),
        (PERCENT, {"type": "number", "minimum": 0, "maximum": 100}),
        (Real(0, 10, above=True), {"type": "number", "exclusiveMinimum": 0, "maximum": 10}),
        (DEBOUNCE, {"type": "integer", "minimum": 0, "maximum": 65535}),
        (MODE, {"enum": ["Simple", "PWM"]}),
    ],
)
def test_a_parameter_describes_itself_as_a_json_schema(parameter, schema):
    assert parameter.schema == schema
