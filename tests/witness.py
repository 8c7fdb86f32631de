"""What the end-to-end tests have in common: two boards, seen from outside of the service, and what no log may show."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path

from brokers import free_port

#: The command for shells.
EVOK = Path(sys.executable).with_name("evok")

#: A board 00 and a board 13 behind one Modbus server.
TWO_BOARDS = """
comm_channels:
  LOCAL:
    type: MODBUSTCP
    port: {port}
    devices:
      1: {{slave-id: 1, model: 00}}
      2: {{slave-id: 2, model: 13}}
"""

#: Tokens, codes of links, and sessions of browsers.
SECRET = re.compile(r"evok_[0-9a-f]{8}_[\w-]{43}|\b[0-9a-f]{8}\.[0-9]{9,11}\.[\w-]{43}")


class Boards:
    """Reads and writes the registers of simulated boards."""

    READ, WRITE = 3, 6

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), 5)

    def _ask(self, unit, function, register, word, size):
        self._socket.sendall(struct.pack(">HHHBBHH", 1, 0, 6, unit, function, register, word))
        answer = b""
        while len(answer) < size:
            answer += self._socket.recv(64)
        return struct.unpack(">H", answer[-2:])[0]

    def read(self, unit, register):
        return self._ask(unit, self.READ, register, 1, 11)

    def write(self, unit, register, word):
        self._ask(unit, self.WRITE, register, word, 12)

    def close(self):
        self._socket.close()


class Unit:
    """A service on two simulated boards, each a process of its own, and the command that asks it.

    :param apis: more keys of ``apis``, each behind a comma.
    :param bus: more lines of the bus.
    :param option: where the boards are served.
    """

    def __init__(self, directory, twistd, *, apis="", bus="", option="--port"):
        self.directory, self._twistd, self._option = directory, twistd, option
        self.modbus, self.http = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        text = f"apis: {{port: {self.http}, alias_file: ''{apis}}}\n{TWO_BOARDS.format(port=self.modbus)}{bus}"
        (directory / "config.yaml").write_text(text)
        self.environ = {**os.environ, "EVOK_CONFIG": str(directory)}
        self.simulator = self.begin_boards()
        self.service = self.begin()

    def begin_boards(self):
        """Serve the boards."""
        simulator = self._twistd("evok-simulator", "--config", self.directory, self._option, self.modbus)
        simulator.wait_for("listening")
        return simulator

    def begin(self):
        """Run the service."""
        service = self._twistd("evok", "--config", self.directory)
        service.wait_for("slave 2 .* answers")
        return service

    def evok(self, *arguments, answer=None, **environ):
        """Run a command to its end."""
        return subprocess.run(
            [EVOK, *map(str, arguments)],
            capture_output=True,
            text=True,
            input=answer,
            timeout=30,
            env={**self.environ, **environ},
        )
