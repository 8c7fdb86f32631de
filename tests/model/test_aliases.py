"""What an alias may be."""

from __future__ import annotations

import pytest

from evok_twisted.errors import BadValue
from evok_twisted.model.aliases import LONGEST, bare, checked


@pytest.mark.parametrize("alias", ["door", "Door-2", "a.b_c", "0", "al_door", "-", "x" * LONGEST, "", "All", "alias"])
def test_letters_digits_and_three_signs_are_an_alias(alias):
    assert checked(alias) == alias


def test_a_number_is_taken_as_text():
    assert checked(12) == "12"


@pytest.mark.parametrize(
    "alias",
    [
        "front door",
        "door\n",
        "dveře",
        "a/b",
        "a:b",
        "*",
        "x" * (LONGEST + 1),
        "all",
        "al_",
        None,
        True,
        False,
        1.5,
        [],
        ["door"],
        {},
        -1.0,
    ],
)
def test_anything_else_is_refused(alias):
    with pytest.raises(BadValue):
        checked(alias)


def test_the_error_says_what_an_alias_may_be():
    with pytest.raises(BadValue) as raised:
        checked("front door")
    assert str(raised.value) == (
        "alias: got 'front door', expected at most 128 letters, digits, '_', '-' or '.', and not 'all'"
    )


@pytest.mark.parametrize(("alias", "found_by"), [("al_door", "door"), ("door", "door"), ("al_al_x", "al_x")])
def test_an_alias_is_looked_up_without_its_prefix(alias, found_by):
    assert bare(alias) == found_by
