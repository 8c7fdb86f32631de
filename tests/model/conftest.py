"""Boards as a test wants them: shipped ones or any features, on any words."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import pytest

from evok_twisted.definitions import Block, Definition, load_definition
from evok_twisted.model.boards import build
from evok_twisted.model.registers import Registers
from evok_twisted.problems import Problems

DEFINITIONS = Path(__file__).parents[2] / "conf" / "hw_definitions"

# More than any feature of these tests needs.
EVERYTHING = (Block(0, 4200), Block(0, 200, input=True))


class Board:
    """The circuits of the configured device ``1``, found by kind and circuit: ``board["di 1_01"]``."""

    def __init__(self, definition):
        self.devices = {repr(device): device for device in build(definition, "1", 2, Problems())}
        self.blocks = definition.blocks
        self.size = sum(block.count for block in definition.blocks)
        self._local = {name: dict(device.local) for name, device in self.devices.items()}
        self.fill([0] * self.size)

    def __getitem__(self, name):
        return self.devices[name]

    def fill(self, words):
        """Begin anew, with these words in all registers that the board reads."""
        self.registers = Registers()
        words = iter(words)
        for block in self.blocks:
            self.registers.store(block, tuple(itertools.islice(words, block.count)))
        for name, device in self.devices.items():
            device.local = dict(self._local[name])

    def put(self, words):
        for key, word in words.items():
            self.registers.write_through(key, (word,))

    def state(self, name):
        return self[name].decode(self.registers)

    def plan(self, name, **parameters):
        return self[name].plan(self[name].checked(parameters), self.registers)

    def writes(self, name, **parameters):
        return list(self.plan(name, **parameters).writes)

    def set(self, name, **parameters):
        """Do what the plan says, as a board that acknowledges everything would; returns the new state."""
        plan = self.plan(name, **parameters)
        for write in plan.writes:
            write.apply(self.registers)
        self[name].local.update(plan.local)
        return self.state(name)


@functools.cache
def shipped(model):
    return load_definition(DEFINITIONS / f"{model}.yaml", Problems())


@pytest.fixture(scope="session")
def board():
    """``board("00")`` is a shipped model, ``board(Relays(...), ...)`` one with these features."""

    def make(*what):
        if isinstance(what[0], str):
            return Board(shipped(what[0]))
        return Board(Definition("made", "made.yaml", EVERYTHING, tuple(("", feature) for feature in what)))

    return make
