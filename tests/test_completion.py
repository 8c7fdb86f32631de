"""What bash completes of the command ``evok``."""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

import pytest

from evok_twisted.cli import _parser

FILE = Path(__file__).parents[1] / "debian" / "completion" / "evok"
OPTIONS = dict(re.findall(r'\[(\w+)\]="([^"]*)"', FILE.read_text("utf-8")))


def completed(*words):
    """What there is to choose from for the last of some words."""
    script = 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _evok; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script, FILE, *words], capture_output=True, text=True, timeout=10, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def commands(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    return {}


def options(parser):
    """The long options of a parser and of those below it, but for such as every command has."""
    own = {name for action in parser._actions for name in action.option_strings if name.startswith("--")}
    below = set().union(*(options(one) for one in commands(parser).values()))
    return (own | below) - {"--help", "--config", "--url", "--token", "--timeout"}


def test_it_knows_every_command_and_its_options():
    found = {name: options(parser) for name, parser in commands(_parser()).items()}
    found["link"].add("--url")
    assert {name: set(text.split()) for name, text in OPTIONS.items()} == found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("evok", "st"), {"status"}),
        (("evok", "list", "r"), {"ro", "register"}),
        (("evok", "set", "ro", "2_01", "o"), {"on", "off"}),
        (("evok", "list", "--j"), {"--json"}),
        (("evok", "get", "--ur"), {"--url"}),
        (("evok", "token", "create", "me", "--role", "v"), {"viewer"}),
        (("evok", "registers", ""), {"read", "write"}),
        (("evok", "nonsense", "x"), set()),
    ],
)
def test_words_are_completed(words, expected):
    assert completed(*words) == expected
