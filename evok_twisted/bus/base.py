"""What buses over TCP and over serial lines share: one connection that is kept up, and requests through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from evok_twisted.bus.framing import Framing, ModbusPDU
from evok_twisted.bus.line import Line
from evok_twisted.bus.modbus import ModbusClientProtocol, Request
from evok_twisted.conditions import Condition, Signal, Subscription, Timer, backoff
from evok_twisted.definitions import Block
from evok_twisted.errors import BadAnswer, EvokError, Offline
from evok_twisted.logs import Logger, QuietLogger, Repeats
from evok_twisted.meters import BusMeter
from evok_twisted.model.registers import Table, Write, WriteCoil, WriteCoils, WriteRegister
from evok_twisted.pcapng import Form

#: longest wait between two attempts to connect, in seconds
SLOWEST_RETRY = 3.0
#: seconds until the next attempt where the connection that ended was of use
QUICK_RETRY = 0.05
#: seconds that requests wait for that next connection
GRACE = 1.0
#: seconds after which a connection has proved that it lasts
LASTING = 5.0
#: what becomes of most requests
ANSWERED = "answered"


def retry_delay(attempt: int) -> float:
    """Seconds to wait before the ``attempt``-th try to connect, counted from 1."""
    return backoff(attempt, 0.05, SLOWEST_RETRY)


class _ClientService(ClientService):
    _log = QuietLogger()  # it tells of every single retry


class _Factory(Factory):
    noisy = False


class ModbusBus(ABC):
    """Modbus slaves that are reached through one connection (a ``core.slave.Bus``).

    :param endpoint: how to connect.
    :param timeout: seconds for an answer.
    :param write_timeout: seconds within which a command must be on its way.
    :param retry: seconds before each attempt to connect, by its number.
    :ivar meter: what is counted of it.
    :ivar frames: tells what goes over the line.
    """

    _log = Logger()

    #: registers that may be read in vain where that saves a request (``core.slave.Bus``)
    gap: int = 0

    #: of what form its frames are, for those who look at them
    framing: Form = "mbtcp"

    #: whether the other side may close a connection of use at any time, as some servers do after every answer
    may_be_closed: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
        *,
        timeout: float,
        write_timeout: float,
        retry: Callable[[int], float] = retry_delay,
    ) -> None:
        self.name = name
        self.timeout = timeout
        self.write_timeout = write_timeout
        self.meter = BusMeter()
        self.frames: Signal[[bool, bytes, str]] = Signal(self._log)
        self._clock = clock
        self._protocol: ModbusClientProtocol | None = None
        #: a connection that was of use and was closed: requests wait there for the next one
        self._standby: ModbusClientProtocol | None = None
        self._grace = Timer(clock, lambda: self._abandon(self._why))
        self._why = ""
        self._connected_at = 0.0
        self._useful = False
        self._closings = Repeats(self._log, clock)
        self._turned: Signal[[bool]] = Signal(self._log)
        # a server that takes connections and never answers is one condition, however often it is connected
        self._down = Condition(Repeats(self._log, clock, burst=4), clock, lasts=None)
        self._retry = retry
        #: attempts since a connection lasted; ClientService begins anew with every connection, of use or not
        self._fruitless = 0
        #: keeps the connection up while it runs
        self.service = _ClientService(
            _Reporting(endpoint, self._not_connected),
            _Factory.forProtocol(self._make),
            retryPolicy=self._delay,
            clock=clock,
        )

    def _delay(self, _: int) -> float:
        if self._standby is not None:
            return QUICK_RETRY
        self._fruitless += 1
        return self._retry(self._fruitless)

    @abstractmethod
    def _make(self) -> ModbusClientProtocol:
        """The protocol of a new connection."""

    def __repr__(self) -> str:
        return f"bus {self.name}"

    @property
    def online(self) -> bool:
        """Whether there is a connection, or one that was of use has only just ended."""
        return self._client is not None

    @property
    def _client(self) -> ModbusClientProtocol | None:
        return self._protocol or self._standby

    @property
    def short_lived(self) -> bool:
        """Whether the connection before was closed soon, with something unanswered perhaps."""
        return self._standby is not None

    def cost(self, block: Block) -> float:
        """Seconds that reading ``block`` takes all others on the bus; 0 where that is not known."""
        return 0.0

    def watch(self, watcher: Callable[[bool], object]) -> Subscription:
        """Call ``watcher`` with ``online`` whenever that changes."""
        return self._turned.watch(watcher)

    def read(self, unit: int, block: Block, timeout: float | None = None) -> Deferred[tuple[int, ...]]:
        """Read the words of ``block``.

        :param timeout: of a probe, which gives way to commands: seconds for the answer, at most.
        """
        client = self._client
        if client is None:
            return fail(Offline(f"{self!r} is offline"))
        read = client.read_input_registers if block.input else client.read_holding_registers
        answer = read(block.start, count=block.count, device_id=unit)
        if timeout is not None:
            client.make_probe(answer, timeout)
        key = (unit, "read" if timeout is None else "probe")
        return answer.addCallbacks(self._has_read, self._has_failed, callbackArgs=key, errbackArgs=key)

    def read_table(self, unit: int, table: Table, start: int, count: int) -> Deferred[tuple[int, ...]]:
        """Read registers, or bits, of any of the four tables of a slave."""
        if table in ("holding", "input"):
            return self.read(unit, Block(start, count, input=table == "input"))
        client = self._client
        if client is None:
            return fail(Offline(f"{self!r} is offline"))
        read = client.read_coils if table == "coils" else client.read_discrete_inputs
        answer = read(start, count=count, device_id=unit)
        return answer.addCallbacks(
            self._has_read_bits, self._has_failed, callbackArgs=(unit, count), errbackArgs=(unit, "read")
        )

    def _has_read_bits(self, answer: ModbusPDU, unit: int, count: int) -> tuple[int, ...]:
        self.meter.requests[unit, "read", ANSWERED] += 1
        if not count <= len(answer.bits) < count + 8:
            raise BadAnswer(f"the answer has {len(answer.bits)} bits, not {count}")
        return tuple(map(int, answer.bits[:count]))

    def _has_read(self, answer: ModbusPDU, unit: int, kind: str) -> tuple[int, ...]:
        self.meter.requests[unit, kind, ANSWERED] += 1
        return tuple(answer.registers)

    def _has_failed(self, failure: Failure, unit: int, kind: str) -> Failure:
        error = failure.value
        self.meter.requests[unit, kind, error.code if isinstance(error, EvokError) else EvokError.code] += 1
        return failure

    def write(self, unit: int, write: Write, deadline: float) -> Deferred[None]:
        """Write; what could not be sent by ``deadline`` fails with ``Timeout`` and is never sent."""
        client = self._client
        if client is None:
            return fail(Offline(f"{self!r} is offline"))
        if isinstance(write, WriteCoil):
            answer = client.write_coil(write.address, bool(write.value), device_id=unit)
        elif isinstance(write, WriteCoils):
            answer = client.write_coils(write.address, [bool(coil.value) for coil in write.coils], device_id=unit)
        elif isinstance(write, WriteRegister):
            answer = client.write_register(write.address, write.value, device_id=unit)
        else:
            answer = client.write_registers(write.address, list(write.values), device_id=unit)
        left = max(0.0, deadline - self._clock.seconds())
        expiry = self._clock.callLater(left, self._withdraw, answer)

        def done(result: ModbusPDU | Failure) -> Failure | None:
            if expiry.active():
                expiry.cancel()
            if isinstance(result, Failure):
                return self._has_failed(result, unit, "write")
            self.meter.requests[unit, "write", ANSWERED] += 1
            return None

        acknowledged: Deferred[None] = Deferred()
        answer.addBoth(done).addCallbacks(acknowledged.callback, acknowledged.errback)
        return acknowledged

    def _withdraw(self, answer: Deferred[ModbusPDU]) -> None:
        if self._client is not None:
            self._client.withdraw(answer)

    def connected(self, protocol: ModbusClientProtocol) -> None:
        """Use ``protocol``, whose connection was made just now."""
        self._protocol = protocol
        self.meter.connections += 1
        self._connected_at = self._clock.seconds()
        self._useful = False
        standby, self._standby = self._standby, None
        if standby is None:
            self._turned.emit(self.online)
        else:
            protocol.inherit(standby)

    def heard(self) -> None:
        """There was an answer: only now it is known that the connection is of use."""
        self._useful = True
        self._grace.stop()
        if self._clock.seconds() - self._connected_at > LASTING:
            self._fruitless = 0
        if self._down.lasts is not False:
            self._down.end("{bus!r} is connected, after {lasted:.1f} s", bus=self)

    def _not_connected(self, failure: Failure) -> None:
        why = failure.getErrorMessage().rstrip(".")
        if self._standby is not None:
            self._abandon(self._why)
        else:
            self._down.begin("{bus!r} cannot be connected: {why}; retrying", bus=self, why=why)

    def lost(self, protocol: ModbusClientProtocol, why: str) -> None:
        """Do without ``protocol``, whose connection is gone; wait a moment for another, or be offline."""
        if self._protocol is not protocol:
            return
        self._protocol = None
        if self.may_be_closed and self._useful and self.service.running and not protocol.given_up:
            # what waits goes out on the next connection
            lasted = self._clock.seconds() - self._connected_at
            message = "{bus!r} was closed after {lasted:.1f} s: {why}; connecting again"
            self._closings.info(message, bus=self, lasted=lasted, why=why)
            protocol.standby = True
            self._standby, self._why = protocol, why
            if not self._grace.running:
                self._grace.start(GRACE)
        else:
            self._lost(why)

    def _abandon(self, why: str) -> None:
        """The next connection does not come, or is of no use either."""
        self._grace.stop()
        if self._standby is not None:
            standby, self._standby = self._standby, None
            self._lost(why)
            standby.abandon(f"the connection was lost: {why}")

    def _lost(self, why: str) -> None:
        self._grace.stop()
        if self.service.running:
            self._down.begin("{bus!r} lost its connection after {lasted:.1f} s: {why}", bus=self, why=why)
        self._turned.emit(self.online)


class Connection(ModbusClientProtocol):
    """A protocol that tells its bus how it is, and of its loss before its requests fail."""

    def __init__(self, bus: ModbusBus, clock: IReactorTime, timeout: float, framing: Framing, line: Line) -> None:
        super().__init__(clock, timeout, framing, line)
        self._bus = bus
        self.frames = bus.frames

    def connectionMade(self) -> None:
        super().connectionMade()
        self._bus.connected(self)

    def _answered(self, request: Request, pdu: ModbusPDU | None) -> None:
        self._bus.heard()
        self._over(request)
        if request.sent is not None:
            self._bus.meter.seconds.observe(self._heard - request.sent)
        super()._answered(request, pdu)

    def _over(self, request: Request) -> None:
        if request.sent is not None:
            self._bus.meter.occupied(request.sent, self._clock.seconds())

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._bus.lost(self, self.given_up or reason.getErrorMessage())
        super().connectionLost(reason)


@implementer(IStreamClientEndpoint)
class _Reporting:
    """An endpoint that tells of failed attempts, which a ClientService keeps to itself."""

    def __init__(self, endpoint: IStreamClientEndpoint, failed: Callable[[Failure], None]) -> None:
        self._endpoint = endpoint
        self._failed = failed

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        def report(failure: Failure) -> Failure:
            self._failed(failure)
            return failure

        return self._endpoint.connect(factory).addErrback(report)
