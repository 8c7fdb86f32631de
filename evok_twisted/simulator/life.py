"""What makes simulated boards look alive: inputs that switch now and then, and analog inputs that wander."""

from __future__ import annotations

import math
from collections.abc import Iterable
from random import Random

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from evok_twisted.logs import Logger
from evok_twisted.simulator.boards import SimulatedBoard

#: Seconds between two ticks; a tick moves at most one analog input.
TICK = 0.2
#: A digital input switches every so many ticks, and no analog input moves more often.
TICKS_A_SECOND = 5
#: Seconds in which an analog input goes up and down once, and how far it jitters, of its range.
PERIOD = 60.0
NOISE = 0.002


class Life(Service):
    """Moves the inputs of ``boards`` while it runs, and leaves outputs alone.

    Each second one digital input switches, and up to five analog inputs move: enough to watch, and to follow.

    :param seed: the same seed gives the same life.
    """

    _log = Logger()

    def __init__(self, boards: Iterable[SimulatedBoard], clock: IReactorTime, seed: int = 1) -> None:
        self._clock = clock
        self._random = Random(seed)  # noqa: S311 -- repeatable on purpose
        self._digital: list[tuple[SimulatedBoard, int]] = []
        self._analog: list[tuple[SimulatedBoard, int]] = []
        for board in boards:
            self._digital += [(board, number) for number in board.digital_inputs]
            self._analog += [(board, number) for number in board.analog_inputs]
        self._ticks = 0
        self._loop = LoopingCall(self._tick)
        self._loop.clock = clock

    def startService(self) -> None:
        super().startService()
        self._loop.start(TICK, now=False).addErrback(self._failed)

    def stopService(self) -> Deferred[None] | None:
        if self._loop.running:
            self._loop.stop()
        super().stopService()
        return None

    def _failed(self, failure: Failure) -> None:
        self._log.failure("the simulated boards stand still from now on", failure)

    def _tick(self) -> None:
        tick, self._ticks = self._ticks, self._ticks + 1
        if tick % TICKS_A_SECOND == 0 and self._digital:
            board, number = self._random.choice(self._digital)
            board.set_input(number, 1 - board.get_input(number))
        turn = tick % max(TICKS_A_SECOND, len(self._analog))
        if turn < len(self._analog):
            self._move(*self._analog[turn], phase=turn / len(self._analog))

    def _move(self, board: SimulatedBoard, number: int, phase: float) -> None:
        reach = board.analog_range(number)
        if reach is None:
            return  # it measures nothing in this mode
        low, high = reach
        wave = 0.5 + 0.4 * math.sin(2 * math.pi * (self._clock.seconds() / PERIOD + phase))
        place = min(max(wave + self._random.gauss(0, NOISE), 0.0), 1.0)
        board.set_analog(number, low + place * (high - low))
