"""Bounds on clients: how many connections there are, how fast one may ask, and how much is kept of what it sends."""

from __future__ import annotations

import resource
from collections import Counter

from twisted.internet.interfaces import IAddress

from evok_twisted.hosts import is_loopback, one_host
from evok_twisted.logs import Logger

#: Descriptors that connections of clients leave for buses, files and libraries.
RESERVE = 128

#: Seconds to wait at least: what is missing by a rounding error is not worth a timer of its own.
SHORTEST_WAIT = 0.001


_log = Logger()


class Allowance:
    """So many at once, and so many a second: what is not used up to a second's worth can be used later.

    :param rate: a second.
    """

    __slots__ = ("_left", "_rate", "_then")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = self._left = rate
        self._then = now

    def take(self, now: float) -> float:
        """Use up one; otherwise, the seconds to wait until there is one."""
        self._left = min(self._rate, self._left + (now - self._then) * self._rate)
        self._then = now
        if self._left < 1:
            return max((1 - self._left) / self._rate, SHORTEST_WAIT)
        self._left -= 1
        return 0.0


def connections(wanted: int) -> int:
    """How many connections there may be, of ``wanted``, so that files and buses can be opened all the same.

    As far as the system lets us, its limit on open files is raised for that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVE
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    most = max(1, soft - min(RESERVE, soft // 2))
    _log.warn("at most {most} connections: the system lets this process have {soft} open files", most=most, soft=soft)
    return most


class Guest:
    """A connection that was let in, until it leaves."""

    __slots__ = ("_door", "_host")

    def __init__(self, door: Doorkeeper, host: str) -> None:
        self._door: Doorkeeper | None = door
        self._host = host

    def leave(self) -> None:
        """Make room for another; to be called once or more often."""
        door, self._door = self._door, None
        if door is not None:
            door.left(self._host)


class Doorkeeper:
    """Lets connections in up to a number, in all and from one address.

    Connections from this machine itself do not count as from one address: a proxy's clients all come from there.

    :param most: connections in all.
    :param most_of_one: connections from one address.
    :ivar count: connections that there are.
    :ivar refusals: such as were closed at once, because there were too many ``in_all`` or ``from_one``.
    """

    _log = Logger()

    def __init__(self, most: int = 2048, most_of_one: int = 256) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self.count = 0
        self._of: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter(in_all=0, from_one=0)

    def enter(self, address: IAddress | None) -> Guest | None:
        """Let a connection in, if there is room for it."""
        host = counted(address)
        if self.count >= self._most:
            self.refusals["in_all"] += 1
            self._refuse("in all", self._most)
            return None
        if host and self._of[host] >= self._most_of_one:
            self.refusals["from_one"] += 1
            self._refuse(f"from {host}", self._most_of_one)
            return None
        self.count += 1
        self._of[host] += 1
        return Guest(self, host)

    def _refuse(self, what: str, most: int) -> None:
        self._refused[what] += 1
        if self._refused[what] == 1:
            self._log.warn("there are {most} connections {what}; more are closed at once", most=most, what=what)

    def left(self, host: str) -> None:
        """A connection from ``host`` is gone."""
        self.count -= 1
        self._of[host] -= 1
        if not self._of[host]:
            del self._of[host]
        # well below the limit, so that a client that connects again and again does not fill the log
        if self.count < self._most * 0.9:
            self._accept("in all")
        if host and self._of[host] < self._most_of_one * 0.9:
            self._accept(f"from {host}")

    def _accept(self, what: str) -> None:
        refused = self._refused.pop(what, 0)
        if refused:
            self._log.info("connections {what} are taken again; {n} were closed", what=what, n=refused)


def counted(address: IAddress | None) -> str:
    """The host that an address is of; nothing where it is this machine, or has no host."""
    host = getattr(address, "host", "")
    return "" if is_loopback(host) else one_host(host)


class Bodies:
    """Counts the bytes of bodies that are not complete: bounds all of them together, and those of one address.

    Bodies from this machine itself do not count as from one address: a proxy's clients all come from there.

    :param most: bytes in all.
    :param most_of_one: bytes from one address.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._kept = 0
        self._of: Counter[str] = Counter()

    def take(self, host: str, size: int) -> bool:
        """Count ``size`` bytes from ``host``, if there is room for them."""
        if self._kept + size > self._most or (host and self._of[host] + size > self._most_of_one):
            return False
        self._kept += size
        self._of[host] += size
        return True

    def give(self, host: str, size: int) -> None:
        """Count them no more."""
        self._kept -= size
        self._of[host] -= size
        if not self._of[host]:
            del self._of[host]
