"""Tells systemd how the service is: sd_notify(3), a datagram to the socket that systemd names.

The libraries that do this are no longer kept, or need a compiler; the protocol is four lines of text.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from evok_twisted.logs import Logger

#: Seconds between two looks at the status.
LOOK = 1.0


class Systemd(Service):
    """Says READY when the service runs, STATUS when that changes, WATCHDOG while all is well, STOPPING at the end.

    Does nothing where systemd did not start us, or does not want to know.

    :param status: the status in a few words.
    :param alive: whether what is to go on goes on; systemd restarts the service when it does not for ``WatchdogSec``.
    :param environ: where systemd says what it wants.
    """

    _log = Logger()

    def __init__(
        self,
        status: Callable[[], str],
        alive: Callable[[], bool],
        reactor: Any,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._status = status
        self._alive = alive
        self._reactor = reactor
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog = _watchdog_interval(environ)
        self._status_sent = ""
        self._loops: list[LoopingCall] = []

    def startService(self) -> None:
        super().startService()
        if self._address:
            self._reactor.callWhenRunning(self._ready)
            self._reactor.addSystemEventTrigger("before", "shutdown", self._send, "STOPPING=1\nSTATUS=stopping")

    def _ready(self) -> None:
        self._status_sent = self._status()
        self._send(f"READY=1\nSTATUS={self._status_sent}")
        self._loop(self._look, LOOK)
        if self._watchdog:
            self._loop(self._beat, self._watchdog / 2)

    def _loop(self, function: Callable[[], None], interval: float) -> None:
        loop = LoopingCall(function)
        loop.clock = self._reactor
        loop.start(interval)
        self._loops.append(loop)

    def _look(self) -> None:
        status = self._status()
        if status != self._status_sent:
            self._status_sent = status
            self._send(f"STATUS={status}")

    def _beat(self) -> None:
        if self._alive():
            self._send("WATCHDOG=1")
        else:
            self._log.error("a scan stands still; systemd is not notified")

    def _send(self, message: str) -> None:
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
                notify.setblocking(False)
                notify.sendto(message.encode(), address)
        except OSError as error:
            self._log.warn("systemd cannot be notified of {message}: {why}", message=message, why=error)

    def stopService(self) -> None:
        super().stopService()
        for loop in self._loops:
            loop.stop()
        self._loops.clear()


def _watchdog_interval(environ: Mapping[str, str]) -> float:
    """Seconds within which systemd wants a sign of life; 0 for none."""
    pid = environ.get("WATCHDOG_PID", "")
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(microseconds) / 1e6
