"""The real owserver, as a process of its own, where it is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import suppress

import pytest

OWSERVER = shutil.which("owserver")

#: For tests that need it.
needs_owserver = pytest.mark.skipif(
    OWSERVER is None, reason="owserver is not installed; 'apt-get install owserver' (as root) gets it"
)


class RealOwServer:
    """An owserver on a port of its own, which can be stopped and started again.

    :param options: what sensors it has: ``--fake`` gives random values, ``--tester`` the same ones every time.
    """

    def __init__(self, *options):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._options = options
        self._process = None

    def start(self):
        self._process = subprocess.Popen(
            [OWSERVER, "--foreground", *self._options, "--port", f"127.0.0.1:{self.port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while True:
            assert self._process.poll() is None and time.monotonic() < deadline, "owserver did not start"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.02)
            else:
                return self

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)
            self._process = None
