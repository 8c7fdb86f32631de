"""An owserver whose sensors do not exist: what the demo and the tests need of the protocol, and no more."""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol

_HEADER = struct.Struct(">6i")

_NOP, _READ, _WRITE, _PRESENT, _DIRALL = 1, 2, 3, 6, 7
#: owserver's own answers: no such thing, and an unknown request
_NOT_FOUND, _UNKNOWN = -1, -42

#: Seconds in which a simulated temperature goes up and down once.
PERIOD = 300.0


class SimulatedSensor:
    """A sensor as owserver shows it.

    :param address: in owserver's form, ``28.95DCD5090000``.
    :param properties: the text of each, or what gives it.
    :param writable: the properties that can be written, and keep what was.
    """

    def __init__(
        self, address: str, type: str, properties: Mapping[str, str | Callable[[], str]], writable: Iterable[str] = ()
    ) -> None:
        self.address = address
        self.properties: dict[str, str | Callable[[], str]] = {"type": type, **properties}
        self.writable = frozenset(writable)

    def read(self, name: str) -> str | None:
        """The text of a property; None where there is none."""
        value = self.properties.get(name)
        return value() if callable(value) else value

    def write(self, name: str, text: str) -> bool:
        """Keep what was written; whether that is possible."""
        if name not in self.writable:
            return False
        self.properties[name] = text
        return True


class OwServerSimulator(Factory):
    """Serves ``sensors``, which may come and go while it runs.

    :ivar requests: the paths of the last requests.
    """

    noisy = False

    def __init__(self, sensors: Iterable[SimulatedSensor] = ()) -> None:
        self.sensors = {sensor.address: sensor for sensor in sensors}
        self.requests: deque[str] = deque(maxlen=1000)
        self._connections: set[OwServerConnection] = set()

    def buildProtocol(self, addr: object) -> OwServerConnection:
        return OwServerConnection(self, self._connections)

    def drop_connections(self) -> None:
        """Close every connection at once."""
        for connection in tuple(self._connections):
            connection.transport.abortConnection()

    def answer(self, kind: int, path: str, data: str) -> tuple[int, bytes]:
        """The result code of a request, and what comes with it."""
        self.requests.append(path)
        prefix, parts = "", [part for part in path.split("/") if part]
        if parts[:1] == ["uncached"]:
            prefix, parts = "/uncached", parts[1:]
        if kind == _NOP or (kind == _WRITE and parts == ["simultaneous", "temperature"]):
            return 0, b""
        if kind == _DIRALL and not parts:
            return 0, ",".join(f"{prefix}/{address}" for address in self.sensors).encode() + b"\0"
        sensor = self.sensors.get(parts[0]) if parts else None
        if kind not in (_READ, _WRITE, _PRESENT, _DIRALL):
            return _UNKNOWN, b""
        return (_NOT_FOUND, b"") if sensor is None else _of(sensor, kind, "/".join(parts[1:]), data)


def _of(sensor: SimulatedSensor, kind: int, name: str, data: str) -> tuple[int, bytes]:
    if kind == _PRESENT or (kind == _WRITE and sensor.write(name, data)):
        return 0, b""
    text = sensor.read(name) if kind == _READ else None
    return (_NOT_FOUND, b"") if text is None else (len(text), text.encode())


class OwServerConnection(Protocol):
    """One client's connection, kept as long as the client asks for that."""

    transport: ITCPTransport

    def __init__(self, server: OwServerSimulator, connections: set[OwServerConnection]) -> None:
        self._server = server
        self._connections = connections
        self._buffer = b""

    def connectionMade(self) -> None:
        self._connections.add(self)

    def connectionLost(self, reason: object = None) -> None:
        self._connections.discard(self)

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            _, length, kind, flags, _, _ = _HEADER.unpack_from(self._buffer)
            if not 0 <= length <= 65536:
                self.transport.abortConnection()
                return
            end = _HEADER.size + length
            if len(self._buffer) < end:
                return
            path, _, written = self._buffer[_HEADER.size : end].partition(b"\0")
            self._buffer = self._buffer[end:]
            code, payload = self._server.answer(
                kind, path.decode("ascii", "replace"), written.decode("ascii", "replace")
            )
            size = len(payload.rstrip(b"\0"))
            self.transport.write(_HEADER.pack(0, len(payload), code, flags, size, 0) + payload)
            if not flags & 0x004:
                self.transport.loseConnection()


def thermometer(address: str, clock: IReactorTime, mean: float, phase: float = 0.0) -> SimulatedSensor:
    """A DS18B20 that drifts two degrees up and down, in its steps of 1/16."""

    def temperature() -> str:
        value = mean + 2 * math.sin(2 * math.pi * (clock.seconds() / PERIOD + phase))
        return f"{round(value * 16) / 16:12g}"

    return SimulatedSensor(address, "DS18B20", {"temperature": temperature, "latesttemp": temperature})


def humidity_sensor(address: str, clock: IReactorTime) -> SimulatedSensor:
    """A DS2438 with a humidity sensor on its VAD pin."""

    def humidity() -> float:
        return 45 + 5 * math.sin(2 * math.pi * clock.seconds() / PERIOD)

    return SimulatedSensor(
        address,
        "DS2438",
        {
            "temperature": "21.5",
            "VDD": "5.02",
            # of an HIH-4000, the sensor that owserver takes for granted
            "VAD": lambda: f"{5.02 * (0.0062 * humidity() + 0.16):.2f}",
            "vis": "0.0001",
            "humidity": lambda: f"{humidity():.4f}",
        },
    )
