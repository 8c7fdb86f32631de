"""Which web pages may talk to us.

A browser lets any page that its user visits send requests to any address that it can reach, a PLC's among them; all it
does is to name the page's origin. Programs that are no browsers send none.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

EVERYBODY = "*"


class Origins:
    """Decides by the ``Origin`` header.

    :param allowed: origins (``https://panel.example``) or hosts that are let in besides our own; ``*`` is everybody.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self.everybody = False
        self._allowed: set[str] = set()
        for origin in allowed:
            self.everybody = self.everybody or origin == EVERYBODY
            self._allowed.add(origin.lower().rstrip("/"))

    def allow(self, origin: str, host: str) -> bool:
        """Whether a page of ``origin`` may talk to us.

        :param host: the host that the request asked for, without its port: a page of our own host is our own, whatever
            port it is from.
        """
        if self.everybody or origin.lower() in self._allowed:
            return True
        name = host_of(origin)
        return name is not None and (name == host.lower().strip("[]") or name in self._allowed)


def host_of(origin: str) -> str | None:
    """The host of an origin, which some clients write without a scheme; None when there is none."""
    try:
        return urlsplit(origin if "//" in origin else f"//{origin}").hostname
    except ValueError:
        return None
