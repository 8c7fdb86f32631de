"""Signals, and what each means to the service."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from evok_twisted.logs import Logger

_log = Logger()

#: Signals that ask for the end of the service, and such as say that something is wrong with it.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
_ABORTS = (signal.SIGABRT, signal.SIGXCPU)
#: Signals that would kill it, and say nothing that it understands.
_IGNORED = (signal.SIGUSR1, signal.SIGUSR2)


def take_signals(reactor: Any, reload: Callable[[], object]) -> None:
    """Make signals an orderly end, in which outputs in the middle of a pulse are put back, or no end at all.

    Asked to end, the exit status is 0; with Twisted's own handlers the process, when everything is stopped, kills
    itself once more by the signal, and whoever started it sees a crash. Of an abort that is what is to be seen.

    :param reload: reads the configuration again, on SIGHUP.
    """

    def stop(number: int, _frame: object) -> None:
        reactor.callFromThread(_log.info, "stopping, on {name}", name=signal.Signals(number).name)
        if number in _ABORTS:
            reactor._exitSignal = number
        reactor.callFromThread(reactor.stop)
        signal.signal(number, signal.SIG_DFL)  # a second one ends it at once

    def ignore(number: int, _frame: object) -> None:
        message = "{name} is ignored; SIGHUP has the service read its configuration again"
        reactor.callFromThread(_log.info, message, name=signal.Signals(number).name)

    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(reload))
    for number in (*_ENDS, *_ABORTS):
        signal.signal(number, stop)
    for number in _IGNORED:
        if signal.getsignal(number) is signal.SIG_DFL:  # twistd's log file is rotated on one of them
            signal.signal(number, ignore)
