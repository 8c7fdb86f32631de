"""When the next request may be sent: while there is room, or in turns on a line that all its slaves share."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IReactorTime

#: bits of a character on the line: start, eight of data, parity (or a second stop bit), stop
CHARACTER = 11
#: above this baud rate the silent interval does not get shorter
FAST = 19200
#: bytes of the longest frame
LONGEST = 256


def character_time(baudrate: int) -> float:
    """Seconds that a character takes on a serial line."""
    return CHARACTER / baudrate


def silent_interval(baudrate: int) -> float:
    """Seconds of silence that part two frames on a serial line: 3.5 characters, and 1.75 ms on fast ones."""
    return 0.00175 if baudrate > FAST else 3.5 * character_time(baudrate)


#: seconds that a slave takes to answer, of the slow ones among common modules
TURNAROUND = 0.004
#: bytes of a read request, and of its answer besides the registers
REQUEST, ANSWER = 8, 5


def request_time(baudrate: int, registers: int) -> float:
    """Seconds that a serial line is busy with one request to read ``registers`` and its answer.

    Both frames, the silence before each, and the time that the slave takes.
    """
    frames = (REQUEST + ANSWER + 2 * registers) * character_time(baudrate)
    return frames + 2 * silent_interval(baudrate) + TURNAROUND


def gap(baudrate: int) -> int:
    """Registers that take no longer than one more request."""
    return int(request_time(baudrate, 0) / (2 * character_time(baudrate)))


class Line(Protocol):
    """What a client asks before it sends, and tells of what it sent and heard."""

    @property
    def jammed(self) -> bool:
        """Whether it has been noisy for so long that there is no use in waiting."""

    def free(self, in_flight: int) -> bool:
        """Whether there is room for one more request."""

    def delay(self, unit: int) -> float:
        """Seconds until ``unit`` may be asked; 0 or less is now."""

    def sent(self, size: int, awaited: int) -> float:
        """So many bytes were sent, and so many are awaited; the seconds that both are under way."""

    def heard(self) -> None:
        """Note that bytes came, whatever they are."""

    def unanswered(self, unit: int) -> bool:
        """``unit`` did not answer in time; returns whether it is left alone for a while now."""


class Pipeline:
    """A connection on which ``size`` requests may be in flight, each with its number."""

    jammed = False

    def __init__(self, size: int) -> None:
        self._size = size

    def free(self, in_flight: int) -> bool:
        return in_flight < self._size

    def delay(self, unit: int) -> float:
        return 0.0

    def sent(self, size: int, awaited: int) -> float:
        return 0.0

    def heard(self) -> None:
        pass

    def unanswered(self, unit: int) -> bool:
        return False


class Turns:
    """A line on which one request is in flight, after a silence, and answers have no number; for all connections to it.

    A unit that did not answer in time is left alone for as long again: its late answer would be taken for that to the
    next question. The others are asked meanwhile.

    :param rest: seconds that it is left alone.
    :param baudrate: of a serial line; None where frames are tunnelled, and there is no silence to keep.
    """

    def __init__(self, clock: IReactorTime, rest: float, baudrate: int | None = None) -> None:
        self._clock = clock
        self._rest = rest
        self._character = character_time(baudrate) if baudrate else 0.0
        self._silence = silent_interval(baudrate) if baudrate else 0.0
        self._used = self._begun = clock.seconds()
        self._resting: dict[int, float] = {}  # until when, by unit: 256 at most

    @property
    def jammed(self) -> bool:
        return self._used - self._begun > self._rest + 2 * LONGEST * self._character

    def free(self, in_flight: int) -> bool:
        return not in_flight

    def delay(self, unit: int) -> float:
        return max(self._used + self._silence, self._resting.get(unit, 0.0)) - self._clock.seconds()

    def sent(self, size: int, awaited: int) -> float:
        self._begun = self._clock.seconds()
        self._used = self._begun + size * self._character
        return (size + awaited) * self._character

    def heard(self) -> None:
        now = self._clock.seconds()
        if now > self._used + self._silence:
            self._begun = now
        self._used = now

    def unanswered(self, unit: int) -> bool:
        self._resting[unit] = self._clock.seconds() + self._rest
        return True
