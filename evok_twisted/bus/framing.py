"""Modbus frames: the only file of the bus that knows pymodbus, whose framer API moves with its minor versions.

pymodbus does the bytes. What it leaves to its caller is here: a stream that can no longer be followed is noticed, an
answer is found among noise and echoes, and answers are decoded in one piece.
"""

from __future__ import annotations

import logging
import struct
from typing import NamedTuple, Protocol

from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse, ReadWriteMultipleRegistersRequest

from evok_twisted.errors import BadAnswer

__all__ = [
    "DOUBTFUL",
    "SILENT",
    "WRITES",
    "Answer",
    "FramerRTU",
    "Framing",
    "ModbusClientMixin",
    "ModbusPDU",
    "ReadWriteMultipleRegistersRequest",
    "SocketFraming",
    "check",
    "decoder",
    "exception_name",
    "exception_of",
]

# pymodbus logs to the standard library's logging what it also raises; we log what we make of it
_pymodbus_log = logging.getLogger("pymodbus")
_pymodbus_log.addHandler(logging.NullHandler())
_pymodbus_log.propagate = False

READ_BITS = (1, 2)
READS = (3, 4)
WRITE_COIL = 5
WRITE_REGISTER = 6
WRITE_SEVERAL = (15, 16)
MASK_WRITE = 22
READ_WRITE = 23
WRITES = (WRITE_COIL, WRITE_REGISTER, *WRITE_SEVERAL, MASK_WRITE, READ_WRITE)
#: exceptions by which a gateway says that the slave behind it did not answer
SILENT = (ExcCodes.GATEWAY_PATH_UNAVIABLE, ExcCodes.GATEWAY_NO_RESPONSE)
#: exceptions after which a write may have been done all the same: server failure, acknowledge, busy
DOUBTFUL = (ExcCodes.DEVICE_FAILURE, ExcCodes.ACKNOWLEDGE, ExcCodes.DEVICE_BUSY)

_HEADER = struct.Struct(">HHHB")
_BEGIN = struct.Struct(">HHHBB")
#: length field of the longest frame: unit, and a PDU of 253 bytes
_LONGEST = 254
#: bytes of the longest frame, and of one that carries an exception
LARGEST, EXCEPTION = 6 + _LONGEST, 9


class _ReadHoldingRegisters(ReadHoldingRegistersResponse):
    """All registers with one ``unpack``, where pymodbus unpacks one by one; and strict about the length."""

    def decode(self, data: bytes) -> None:
        size = data[0]
        if size != len(data) - 1 or size % 2:
            raise ValueError(f"byte count {size} with {len(data) - 1} bytes")
        self.registers = struct.unpack(f">{size // 2}H", data[1:])

    def __str__(self) -> str:
        # pymodbus renders every PDU that it decodes, for a debug line that nobody reads
        return "registers"


class _ReadInputRegisters(_ReadHoldingRegisters):
    function_code = 4


class Answer(NamedTuple):
    """A frame that was received; ``pdu`` is None when its content cannot be decoded."""

    transaction: int
    unit: int
    pdu: ModbusPDU | None


class Framing(Protocol):
    """Makes requests into bytes, and bytes into answers, for one connection of a client."""

    #: bytes of the answer that is awaited; 0 where they take no time
    awaited: int

    @property
    def remark(self) -> str:
        """What is to be said where no answer came, if anything."""

    @property
    def partial(self) -> bool:
        """Whether the begin of a frame waits for its end, and nothing can be understood before that."""

    def encode(self, request: ModbusPDU) -> bytes:
        """The frame of a request; its ``transaction_id`` and ``dev_id`` are the caller's.

        :raises ValueError, struct.error: there is no such request.
        """

    def feed(self, data: bytes) -> list[Answer]:
        """Take received bytes, in pieces of any size; returns the answers that are complete now.

        :raises BadAnswer: this is no Modbus stream (any more): nothing that comes after can be understood.
        """


def decoder() -> DecodePDU:
    """What decodes the PDUs of answers."""
    decoder = DecodePDU(False)
    decoder.register(_ReadHoldingRegisters)
    decoder.register(_ReadInputRegisters)
    return decoder


class SocketFraming:
    """Modbus TCP on one connection, as a client.

    Where what comes can no longer be followed, because a length is wrong or there are bytes that none counts, the frame
    of an awaited transaction is a place to go on from. What nobody asked for is ignored, up to a bound.
    """

    awaited = 0

    #: requests that are remembered, so that their answers are known, late ones too
    memory = 128
    #: frames that nobody asked for, one after the other, after which the stream is of no use
    most_unasked = 64

    def __init__(self) -> None:
        self._framer = FramerSocket(decoder())
        self._buffer = b""
        #: unit and function, by transaction, the oldest first
        self._awaited: dict[int, tuple[int, int]] = {}
        self._unasked = 0
        self.remark = ""

    def encode(self, request: ModbusPDU) -> bytes:
        frame = self._framer.buildFrame(request)
        self._awaited.pop(request.transaction_id, None)
        self._awaited[request.transaction_id] = request.dev_id, request.function_code
        if len(self._awaited) > self.memory:
            del self._awaited[next(iter(self._awaited))]
        return frame

    @property
    def partial(self) -> bool:
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Answer]:
        answers: list[Answer] = []
        buffer = self._buffer + data if self._buffer else data
        begin, end = 0, len(buffer)
        while end - begin > _HEADER.size:
            size = self._size(buffer, begin)
            place = self._find(buffer, begin)
            if place > begin and (size == 0 or place < begin + size):
                begin = place
                continue
            if size == 0:
                if not answers or end - begin > LARGEST:
                    raise BadAnswer(f"no Modbus frame: it begins with {buffer[begin : begin + 8].hex(' ')}")
                begin = end  # behind an answer, a few bytes that none counts
                break
            if end - begin < size:
                break
            answer = self._take(buffer[begin : begin + size])
            if answer is not None:
                answers.append(answer)
            begin += size
        self._buffer = buffer[begin:]
        return answers

    def _size(self, buffer: bytes, place: int) -> int:
        """The bytes of the frame at ``place``; 0 where there can be none."""
        transaction, protocol, length, unit, function = _BEGIN.unpack_from(buffer, place)
        if protocol:
            return 0
        asked_unit, asked = self._awaited.get(transaction, (None, 0))
        if asked_unit == unit and function == asked | 0x80:
            return EXCEPTION  # whatever its length says
        return 6 + length if 2 <= length <= _LONGEST else 0

    def _find(self, buffer: bytes, place: int) -> int:
        """Where, not far behind ``place``, the answer to something that was asked begins; -1 where none does."""
        for begin in range(place, min(len(buffer) - _HEADER.size, place + LARGEST)):
            transaction, protocol, length, unit, function = _BEGIN.unpack_from(buffer, begin)
            if protocol == 0 and 2 <= length <= _LONGEST and (unit, function & 0x7F) == self._awaited.get(transaction):
                return begin
        return -1

    def _take(self, frame: bytes) -> Answer | None:
        transaction, _, _, unit, _ = _BEGIN.unpack_from(frame)
        asked = self._awaited.get(transaction)
        if asked is None or asked[0] != unit:
            self._unasked += 1
            self.remark = f"; what came was of transaction {transaction} of unit {unit}, which nobody had asked for"
            if self._unasked > self.most_unasked:
                raise BadAnswer(f"{self._unasked} frames that nobody had asked for, one after the other")
            return None
        del self._awaited[transaction]
        self._unasked, self.remark = 0, ""
        if frame[7] & 0x80:
            frame = frame[:4] + b"\0\3" + frame[6:]  # what an exception's length must be
        try:
            # zeros: with a transaction or unit to expect, pymodbus drops good frames behind a stale one
            _, pdu = self._framer.handleFrame(frame, 0, 0)
        except ModbusException:
            pdu = None
        return Answer(transaction, unit, pdu)


def exception_of(answer: ModbusPDU) -> int:
    """The Modbus exception code that an answer carries, 0 for none."""
    return answer.exception_code if isinstance(answer, ExceptionResponse) else 0


#: As the Modbus specification calls them.
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}


def exception_name(code: int) -> str:
    """What a Modbus exception code is called, as ``illegal data address (2)``."""
    return f"{_EXCEPTIONS.get(code, 'unknown exception')} ({code})"


def check(request: ModbusPDU, answer: ModbusPDU | None) -> None:
    """Whether an answer fits its request; an exception fits any.

    :raises BadAnswer: it is of another function, has another length, or confirms something else.
    """
    if answer is None:
        raise BadAnswer("the answer cannot be decoded")
    if answer.function_code & 0x7F != request.function_code:
        raise BadAnswer(f"the answer is of function {answer.function_code}, not {request.function_code}")
    if exception_of(answer):
        return
    if request.function_code in READS:
        if len(answer.registers) != request.count:
            raise BadAnswer(f"the answer has {len(answer.registers)} registers, not {request.count}")
        return
    confirmed, asked = _echo(answer), _echo(request)
    if confirmed != asked:
        raise BadAnswer(f"the answer confirms {confirmed}, not {asked}")


def _echo(pdu: ModbusPDU) -> tuple[int, ...]:
    """What a write's answer repeats of its request: the address, and the value or, for several, their count."""
    if pdu.function_code == WRITE_COIL:
        return pdu.address, *map(int, pdu.bits)
    if pdu.function_code == WRITE_REGISTER:
        return pdu.address, *pdu.registers
    return (pdu.address, pdu.count) if pdu.function_code in WRITES else ()
