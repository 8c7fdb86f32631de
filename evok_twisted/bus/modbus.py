"""A Modbus client on Twisted: requests with priorities, several in flight, each with its time to answer."""

from __future__ import annotations

import struct
from collections import deque
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from evok_twisted.bus.framing import (
    SILENT,
    WRITES,
    ModbusClientMixin,
    ModbusPDU,
    SocketFraming,
    check,
    exception_name,
    exception_of,
)
from evok_twisted.errors import BadAnswer, EvokError, Offline, Refused, Timeout
from evok_twisted.logs import Logger


class _Request:
    __slots__ = ("answer", "pdu", "sent")

    def __init__(self, pdu: ModbusPDU) -> None:
        self.pdu = pdu
        self.answer: Deferred[ModbusPDU] = Deferred()
        #: when it was sent, None while it waits
        self.sent: float | None = None


class ModbusClientProtocol(Protocol, ModbusClientMixin[Deferred[ModbusPDU]]):
    """One connection to a Modbus server.

    pymodbus's mixin gives it ``read_holding_registers`` and its like; each returns a Deferred of the answer, which
    fails with ``Refused``, ``Timeout``, ``BadAnswer``, or ``Offline`` when the connection goes. Writes go ahead of
    reads. Answers are matched by transaction and unit; one that is late or foreign is passed over.

    :param timeout: seconds for an answer, from sending.
    :param pipeline: how many requests may be in flight.
    """

    _log = Logger()

    #: requests in a row without a byte in return, after which the connection is taken for dead: a server that was
    #: switched off says nothing, and TCP alone would notice minutes later
    patience = 3

    def __init__(self, clock: IReactorTime, timeout: float, pipeline: int) -> None:
        super().__init__()
        self._clock = clock
        self._timeout = timeout
        self._pipeline = pipeline
        self._framing = SocketFraming()
        self._transaction = 0
        self._writes: deque[_Request] = deque()
        self._reads: deque[_Request] = deque()
        self._in_flight: dict[int, _Request] = {}  # by transaction, the oldest first
        self._watch: IDelayedCall | None = None
        self._silent = 0
        self._heard = 0.0

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)

    def execute(self, no_response_expected: bool, request: ModbusPDU) -> Deferred[ModbusPDU]:
        """Queue a request; pymodbus's mixin comes through here."""
        queued = _Request(request)
        if not self.connected:
            queued.answer.errback(Offline("not connected"))
            return queued.answer
        (self._writes if request.function_code in WRITES else self._reads).append(queued)
        self._pump()
        return queued.answer

    def withdraw(self, answer: Deferred[ModbusPDU]) -> None:
        """Fail the request that ``answer`` belongs to with ``Timeout``, if it still waits: it is never sent then."""
        for queue in (self._writes, self._reads):
            for request in queue:
                if request.answer is answer:
                    queue.remove(request)
                    answer.errback(Timeout("could not be sent in time; it will not be sent"))
                    return

    def _pump(self) -> None:
        assert self.transport is not None
        while len(self._in_flight) < self._pipeline and (self._writes or self._reads):
            request = (self._writes or self._reads).popleft()
            self._transaction = self._transaction % 0xFFFF + 1
            while self._transaction in self._in_flight:
                self._transaction = self._transaction % 0xFFFF + 1
            request.pdu.transaction_id = self._transaction
            try:
                frame = self._framing.encode(request.pdu)
            except (ValueError, struct.error) as error:
                request.answer.errback(BadAnswer(f"there is no such request: {error}"))
                continue
            request.sent = self._clock.seconds()
            self._in_flight[self._transaction] = request
            self.transport.write(frame)
        if self._watch is None and self._in_flight:
            self._watch_oldest()

    def _watch_oldest(self) -> None:
        # one timer for all: they have one timeout, so the oldest is the first to run out
        oldest = next(iter(self._in_flight.values()))
        assert oldest.sent is not None
        self._watch = self._clock.callLater(oldest.sent + self._timeout - self._clock.seconds(), self._expire)

    def _expire(self) -> None:
        self._watch = None
        now = self._clock.seconds()
        stuck = False
        late = [t for t, request in self._in_flight.items() if (request.sent or 0.0) + self._timeout <= now]
        for transaction in late:
            request = self._in_flight.pop(transaction)
            if request.pdu.function_code in WRITES and (request.sent or 0.0) >= self._heard:
                # nothing came back since: the write may still lie in a buffer, and must not arrive later
                stuck = True
            request.answer.errback(_sent(Timeout(f"no answer within {self._timeout:g} s")))
        if stuck:
            return self._give_up("a write was not answered")
        if late:
            self._silent += 1
            if self._framing.partial:
                return self._give_up("a frame was left incomplete")
            if self._silent >= self.patience:
                return self._give_up("the server is silent")
        if self.connected:
            self._pump()
            if self._watch is None and self._in_flight:
                self._watch_oldest()
        return None

    def _give_up(self, why: str) -> None:
        self._log.debug("dropping the connection: {why}", why=why)
        self._fail_all(f"the connection was dropped: {why}")
        cast(ITCPTransport, self.transport).abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self._silent = 0
        self._heard = self._clock.seconds()
        try:
            for transaction, unit, pdu in self._framing.feed(data):
                request = self._in_flight.get(transaction)
                if request is None or request.pdu.dev_id != unit:
                    self._log.debug("passed over an answer of unit {unit}, late or foreign", unit=unit)
                    continue
                del self._in_flight[transaction]
                self._answered(request, pdu)
        except BadAnswer as error:
            self._log.warn("unusable answer: {error}", error=error)
            self._give_up(str(error))
        else:
            if self.connected:
                self._pump()

    def _answered(self, request: _Request, pdu: ModbusPDU | None) -> None:
        try:
            check(request.pdu, pdu)
        except BadAnswer as error:
            request.answer.errback(_sent(error))
            return
        assert pdu is not None
        code = exception_of(pdu)
        if code in SILENT:
            request.answer.errback(_sent(Timeout(f"the gateway had no answer: {exception_name(code)}")))
        elif code:
            request.answer.errback(Refused(f"refused: {exception_name(code)}", code))
        else:
            request.answer.callback(pdu)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail_all(f"the connection was lost: {reason.getErrorMessage()}")
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _fail_all(self, why: str) -> None:
        pending = [*self._in_flight.values(), *self._writes, *self._reads]
        for requests in (self._in_flight, self._writes, self._reads):
            requests.clear()
        for request in pending:
            error = Offline(why)
            request.answer.errback(error if request.sent is None else _sent(error))


def _sent(error: EvokError) -> EvokError:
    error.sent = True
    return error
