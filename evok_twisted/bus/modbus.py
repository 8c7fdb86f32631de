"""A Modbus client on Twisted: requests with priorities, one or several in flight, each with its time to answer."""

from __future__ import annotations

import struct
from collections import deque
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from evok_twisted.bus.framing import (
    DOUBTFUL,
    SILENT,
    WRITES,
    Framing,
    ModbusClientMixin,
    ModbusPDU,
    check,
    exception_name,
    exception_of,
)
from evok_twisted.bus.line import Line
from evok_twisted.conditions import Signal, Timer
from evok_twisted.errors import BadAnswer, EvokError, Offline, Refused, Timeout
from evok_twisted.logs import Logger


class Request:
    """A request on its way, and who waits for its answer."""

    __slots__ = ("answer", "begun", "due", "gave_way", "pdu", "probe", "sent", "timeout")

    def __init__(self, pdu: ModbusPDU, timeout: float) -> None:
        self.pdu = pdu
        self.timeout = timeout
        self.answer: Deferred[ModbusPDU] = Deferred()
        #: whether it gives way to writes, and whether it did
        self.probe = self.gave_way = False
        #: when it was sent, None while it waits
        self.sent: float | None = None
        #: when it was sent first, perhaps through another connection
        self.begun: float | None = None
        #: when its answer must be there
        self.due = 0.0


class ModbusClientProtocol(Protocol, ModbusClientMixin[Deferred[ModbusPDU]]):
    """One connection to a Modbus server, or to the slaves of a serial line.

    pymodbus's mixin gives it ``read_holding_registers`` and its like; each returns a Deferred of the answer, which
    fails with ``Refused``, ``Timeout``, ``BadAnswer``, or ``Offline`` when the connection goes. Writes go ahead of
    reads. Answers are matched by transaction and unit; one that is late or foreign is ignored.

    :param timeout: seconds for an answer, from sending, besides those that both take on the line.
    :param framing: makes frames of requests, and finds answers.
    :param line: says when a request may be sent.
    """

    _log = Logger()

    #: requests in a row without a byte in return, after which the connection is taken for dead: a server that was
    #: switched off says nothing, and TCP alone would notice minutes later
    silent_limit = 3
    #: who wants to know what goes over the line: whether we have sent it, the bytes, and what is to be said of it
    frames: Signal[[bool, bytes, str]] | None = None
    #: seconds that a probe which was sent has for its answer when a write waits for it
    courtesy = 0.1

    def __init__(self, clock: IReactorTime, timeout: float, framing: Framing, line: Line) -> None:
        super().__init__()
        self._clock = clock
        self._timeout = timeout
        self._framing = framing
        self._line = line
        self._transaction = 0
        self._writes: deque[Request] = deque()
        self._reads: deque[Request] = deque()
        self._in_flight: dict[int, Request] = {}  # by transaction, the oldest first
        self._watch = Timer(clock, self._expire)
        self._pause = Timer(clock, self._resume)
        self._silent = 0
        self._heard = 0.0
        #: whether there is to be another connection soon, which takes over what waits
        self.standby = False
        #: why the connection was dropped, if it was we who did
        self.given_up = ""

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self._line.heard()  # what was on it before we came is not known

    def execute(self, no_response_expected: bool, request: ModbusPDU) -> Deferred[ModbusPDU]:
        """Queue a request; pymodbus's mixin comes through here."""
        queued = Request(request, self._timeout)
        if not (self.connected or self.standby):
            queued.answer.errback(Offline("not connected"))
            return queued.answer
        if request.function_code in WRITES:
            self._writes.append(queued)
            self._hurry_probes()
        else:
            self._reads.append(queued)
        self._pump()
        return queued.answer

    def _hurry_probes(self) -> None:
        now = self._clock.seconds()
        probes = [request for request in self._in_flight.values() if request.probe]
        if probes and not self._line.free(len(self._in_flight)):
            for request in probes:
                due = max(now, (now if request.sent is None else request.sent) + self.courtesy)
                request.gave_way = request.gave_way or due < request.due
                request.due = min(request.due, due)
            self._watch_first()

    def withdraw(self, answer: Deferred[ModbusPDU]) -> None:
        """Fail the request that ``answer`` belongs to with ``Timeout``, if it still waits: it is never sent then."""
        for queue in (self._writes, self._reads):
            for request in queue:
                if request.answer is answer:
                    queue.remove(request)
                    answer.errback(Timeout("could not be sent in time"))
                    return

    def make_probe(self, answer: Deferred[ModbusPDU], timeout: float) -> None:
        """Let the request that ``answer`` belongs to have less time for it than others, and give way to writes.

        :param timeout: seconds.
        """
        for request in (*self._in_flight.values(), *self._writes, *self._reads):
            if request.answer is answer:
                request.probe = True
                request.due -= max(0.0, request.timeout - timeout)
                request.timeout = min(timeout, request.timeout)
        self._watch_first()

    def inherit(self, lost: ModbusClientProtocol) -> None:
        """Take over what waits of a connection that was lost."""
        for mine, theirs in ((self._writes, lost._writes), (self._reads, lost._reads)):
            mine.extend(theirs)
            theirs.clear()
        lost.standby = False
        self._pump()

    def abandon(self, why: str) -> None:
        """There is no other connection: fail what waits."""
        self.standby = False
        self._fail_all(why)

    def _pump(self) -> None:
        if not self.connected:
            return
        assert self.transport is not None
        hurried = False
        while (self._writes or self._reads) and self._line.free(len(self._in_flight)):
            request = self._next()
            if request is None:
                break
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
            request.begun = request.sent if request.begun is None else request.begun
            request.due = request.sent + request.timeout + self._line.sent(len(frame), self._framing.awaited)
            self._in_flight[self._transaction] = request
            self.transport.write(frame)
            if self.frames:
                self.frames.emit(True, frame, "")
            hurried = hurried or request.timeout < self._timeout
        if not self._watch.running or hurried:
            self._watch_first()

    def _next(self) -> Request | None:
        """Take the first request that may be sent now; where the line says that it must wait, come back then."""
        soonest: float | None = None
        for queue in (self._writes, self._reads):
            for request in queue:
                delay = self._line.delay(request.pdu.dev_id)
                if delay <= 0:
                    queue.remove(request)
                    return request
                soonest = delay if soonest is None else min(soonest, delay)
        if soonest is not None:
            self._pause.start_within(soonest)  # and not put off by everything that comes, or it might never be
        return None

    def _resume(self) -> None:
        if self._line.jammed:
            waiting = [*self._writes, *self._reads]
            self._writes.clear()
            self._reads.clear()
            for request in waiting:
                request.answer.errback(Timeout("the line is never silent"))
        self._pump()

    def _watch_first(self) -> None:
        """Come back when the first of the requests in flight is due: one timer is enough for all."""
        if self._in_flight:
            due = min(request.due for request in self._in_flight.values())
            self._watch.start_by(due)

    def _expire(self) -> None:
        now = self._clock.seconds()
        late = [t for t, request in self._in_flight.items() if request.due <= now]
        requests = [self._in_flight.pop(transaction) for transaction in late]
        resting = {r.pdu.dev_id for r in requests if self._line.unanswered(r.pdu.dev_id)}
        # the reads of a unit that is asleep would keep the others waiting, each for the whole of its time
        hopeless = [request for request in self._reads if request.pdu.dev_id in resting]
        for request in hopeless:
            self._reads.remove(request)
        asked = [request for request in requests if not request.gave_way]
        why = self._hopeless(asked) if asked else ""
        for request in requests:
            self._over(request)
            if request.probe:
                message = "it does not answer when asked whether it is there"
            else:
                message = f"no answer within {request.timeout:g} s{self._framing.remark}"
            if self.frames:
                self.frames.emit(False, b"", f"unit {request.pdu.dev_id}: {message}")
            request.answer.errback(_sent(Timeout(message)))
        for request in hopeless:
            request.answer.errback(Timeout("the request before was not answered"))
        if why:
            self._give_up(why)
        elif self.connected:
            self._pump()
            self._watch_first()

    def _hopeless(self, late: list[Request]) -> str:
        """Why nothing is to be hoped of the connection after ``late`` had no answer; empty while something is."""
        self._silent += 1
        if any(request.pdu.function_code in WRITES and (request.sent or 0.0) >= self._heard for request in late):
            # nothing came back since: the write may still lie in a buffer, and must not arrive later
            return "a write was not answered"
        if self._framing.partial:
            return "a frame was left incomplete"
        return "the server is silent" if self._silent >= self.silent_limit else ""

    def _give_up(self, why: str) -> None:
        if self.frames:
            self.frames.emit(False, b"", f"the connection is dropped: {why}")
        self.given_up = why
        self._fail_all(f"the connection was dropped: {why}")
        cast(ITCPTransport, self.transport).abortConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.frames:
            self.frames.emit(False, data, "")
        self._silent = 0
        self._heard = self._clock.seconds()
        self._line.heard()
        try:
            for transaction, unit, pdu in self._framing.feed(data):
                request = self._in_flight.get(transaction)
                if request is None or request.pdu.dev_id != unit:
                    self._log.debug("ignored an answer of unit {unit}, late or foreign", unit=unit)
                    continue
                del self._in_flight[transaction]
                self._answered(request, pdu)
        except BadAnswer as error:
            self._give_up(f"unusable answer: {error}")
        else:
            if self.connected:
                self._pump()

    def _over(self, request: Request) -> None:
        """The time of a request that was sent is over, with an answer or without; for whoever counts it."""

    def _answered(self, request: Request, pdu: ModbusPDU | None) -> None:
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
            refused = Refused(f"refused: {exception_name(code)}", code)
            refused.sent = code in DOUBTFUL and request.pdu.function_code in WRITES
            request.answer.errback(refused)
        else:
            request.answer.callback(pdu)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.connected = 0
        if self.standby:
            self._keep_reads()
        self._fail_all(f"the connection was lost: {reason.getErrorMessage()}")
        self._watch.stop()
        self._pause.stop()

    def _keep_reads(self) -> None:
        """Let reads that were not answered be asked again, unless they have been asked for too long."""
        now = self._clock.seconds()
        for transaction, request in reversed(tuple(self._in_flight.items())):
            young = request.begun is None or now - request.begun <= self._timeout
            if request.pdu.function_code not in WRITES and young:
                del self._in_flight[transaction]
                request.sent = None
                self._reads.appendleft(request)

    def _fail_all(self, why: str) -> None:
        """Fail what was sent and, unless another connection is to come, what was not."""
        for request in self._in_flight.values():
            self._line.unanswered(request.pdu.dev_id)  # its answer may come through the next connection yet
        pending = list(self._in_flight.values())
        self._in_flight.clear()
        if not self.standby:
            pending += [*self._writes, *self._reads]
            self._writes.clear()
            self._reads.clear()
        for request in pending:
            error = Offline(why)
            request.answer.errback(error if request.sent is None else _sent(error))


def _sent(error: EvokError) -> EvokError:
    error.sent = True
    return error
