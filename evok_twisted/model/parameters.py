"""What clients may send for a parameter of a set.

A ``Parameter`` turns what a client sent (a number, a boolean or text: all clients mix them) into a value, or raises
``BadValue`` naming what was expected.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

from evok_twisted.errors import BadParameter, BadValue


class Parameter:
    """What one parameter of a ``set`` may be.

    :ivar expects: what a value looks like, for people.
    :ivar schema: the same as JSON Schema.
    :ivar once: asks for something to be done, each time: a newer set does not make up for it.
    :ivar qualifies: says more of another parameter, and is nothing without it.
    :ivar selects: says which part of the device the others are about.
    """

    expects: str = "a value"
    schema: Mapping[str, Any] = {}
    once = qualifies = selects = False

    def marked(self, *, once: bool = False, qualifies: bool = False, selects: bool = False) -> Parameter:
        """One that is the same but for this."""
        other = copy(self)
        other.once, other.qualifies, other.selects = once, qualifies, selects
        return other

    def parse(self, value: Any) -> Any:
        """The value that was meant.

        :raises ValueError: (or TypeError, OverflowError) it is none of these.
        """
        raise NotImplementedError


class Bit(Parameter):
    """0 or 1, however a client spells it."""

    expects = "0 or 1"
    schema = {"enum": [0, 1]}
    _words: Mapping[str, int] = {"0": 0, "1": 1, "false": 0, "true": 1, "off": 0, "on": 1}

    def parse(self, value: Any) -> int:
        if isinstance(value, str):
            return self._words[value.strip().lower()]
        if isinstance(value, bool | int | float) and value in (0, 1):
            return int(value)
        raise ValueError


class Real(Parameter):
    """A finite number in a range.

    :param low: the least value; with ``above`` the value must be more than it.
    """

    def __init__(self, low: float, high: float, unit: str = "", *, above: bool = False) -> None:
        self._low, self._high, self._above = low, high, above
        span = f"more than {low:g} and at most {high:.12g}" if above else f"from {low:g} to {high:.12g}"
        self.expects = f"a number {span}{' ' if unit else ''}{unit}"
        self.schema = {"type": "number", "exclusiveMinimum" if above else "minimum": low, "maximum": high}

    def parse(self, value: Any) -> float:
        number = _number(value)
        if not self._low <= number <= self._high or (self._above and number == self._low):
            raise ValueError
        return number


class Whole(Parameter):
    """A whole number in a range."""

    def __init__(self, low: int, high: int, unit: str = "") -> None:
        self._low, self._high = low, high
        self.expects = f"a whole number from {low} to {high}{' ' if unit else ''}{unit}"
        self.schema = {"type": "integer", "minimum": low, "maximum": high}

    def parse(self, value: Any) -> int:
        number = _number(value)
        if not self._low <= number <= self._high or number != int(number):
            raise ValueError
        return int(number)


class Choice(Parameter):
    """One of some words.

    :param any_case: take them in upper and lower case alike.
    """

    def __init__(self, options: Iterable[str], *, any_case: bool = False) -> None:
        self._options = tuple(options)
        self._meant = {option.lower(): option for option in self._options} if any_case else {}
        self.expects = "one of " + ", ".join(self._options)
        self.schema = {"enum": list(self._options)}

    def parse(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError
        meant = self._meant.get(value.lower(), value)
        if meant not in self._options:
            raise ValueError
        return meant


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError
    if isinstance(value, str) and "_" in value:
        raise ValueError  # Python would read 1_000; no client means that
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


#: Looks at the begin of what it is given, and not at all of it.
_brief = reprlib.Repr()
_brief.maxdict = _brief.maxlist = 20
_brief.maxlevel = 3
_brief.maxstring = _brief.maxother = 60


def shown(value: Any) -> str:
    """A client's value in an error message, cut to a length that fits one."""
    try:
        text = (
            _brief.repr(value)
            if isinstance(value, dict | list)
            else repr(value[:61] if isinstance(value, str) else value)
        )
    except (ValueError, RecursionError):  # a number of thousands of digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def parse(allowed: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a ``set``, checked and typed.

    :raises BadParameter: one that is not allowed.
    :raises BadValue: a value that does not fit.
    """
    parsed = {}
    for name, value in given.items():
        if name not in allowed:
            raise BadParameter(f"there is no parameter {shown(name)} here; allowed are {', '.join(allowed) or 'none'}")
        try:
            parsed[name] = allowed[name].parse(value)
        except (ValueError, TypeError, OverflowError, KeyError):
            raise BadValue(f"{name}: got {shown(value)}, expected {allowed[name].expects}") from None
    return parsed


def replaces(allowed: Mapping[str, Parameter], newer: Mapping[str, Any], older: Mapping[str, Any]) -> bool:
    """Whether of two sets of one device the older need not be done, where the newer is."""
    for name, value in older.items():
        parameter = allowed[name]
        if parameter.once or (parameter.selects and newer.get(name) != value):
            return False
        if name not in newer and not parameter.qualifies:
            return False
    return True
