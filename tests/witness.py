"""What the end-to-end tests have in common: two boards, seen from outside of the service, and what no log may show."""

from __future__ import annotations

import re
import socket
import struct

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
