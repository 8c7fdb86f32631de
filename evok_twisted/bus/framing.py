"""Modbus frames: the only file of the bus that knows pymodbus, whose framer API moves with its minor versions.

pymodbus does the bytes. What it leaves to its caller is here: a stream that can no longer be followed is noticed, and
answers are decoded in one piece.
"""

from __future__ import annotations

import logging
import struct
from typing import NamedTuple

from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersResponse

from evok_twisted.errors import BadAnswer

__all__ = [
    "SILENT",
    "WRITES",
    "Answer",
    "ModbusClientMixin",
    "ModbusPDU",
    "SocketFraming",
    "check",
    "exception_name",
    "exception_of",
]

# pymodbus logs to the standard library's logging what it also raises; we log what we make of it
_pymodbus_log = logging.getLogger("pymodbus")
_pymodbus_log.addHandler(logging.NullHandler())
_pymodbus_log.propagate = False

READS = (3, 4)
WRITE_COIL = 5
WRITE_REGISTER = 6
WRITES = (WRITE_COIL, WRITE_REGISTER, 15, 16, 22, 23)
#: exceptions by which a gateway says that the slave behind it did not answer
SILENT = (ExcCodes.GATEWAY_PATH_UNAVIABLE, ExcCodes.GATEWAY_NO_RESPONSE)

_HEADER = struct.Struct(">HHHB")
#: length field of the longest frame: unit, and a PDU of 253 bytes
_LONGEST = 254


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


class SocketFraming:
    """Modbus TCP on one connection, as a client."""

    def __init__(self) -> None:
        decoder = DecodePDU(False)
        decoder.register(_ReadHoldingRegisters)
        decoder.register(_ReadInputRegisters)
        self._framer = FramerSocket(decoder)
        self._buffer = b""

    def encode(self, request: ModbusPDU) -> bytes:
        """The frame of a request; its ``transaction_id`` and ``dev_id`` are the caller's."""
        return self._framer.buildFrame(request)

    @property
    def partial(self) -> bool:
        """Whether the begin of a frame waits for its end."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Answer]:
        """Take received bytes, in pieces of any size; returns the answers that are complete now.

        :raises BadAnswer: this is no Modbus stream (any more): nothing that comes after can be understood.
        """
        answers: list[Answer] = []
        buffer = self._buffer + data if self._buffer else data
        begin, end = 0, len(buffer)
        while end - begin >= _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(buffer, begin)
            if protocol or not 2 <= length <= _LONGEST:
                raise BadAnswer(f"no Modbus frame: it begins with {buffer[begin : begin + 8].hex(' ')}")
            if end - begin < 6 + length:
                break
            frame = buffer[begin : begin + 6 + length]
            begin += 6 + length
            try:
                # zeros: with a transaction or unit to expect, pymodbus drops good frames behind a stale one
                _, pdu = self._framer.handleFrame(frame, 0, 0)
            except ModbusException:
                pdu = None
            answers.append(Answer(transaction, unit, pdu))
        self._buffer = buffer[begin:]
        return answers


def exception_of(answer: ModbusPDU) -> int:
    """The Modbus exception code that an answer carries, 0 for none."""
    return answer.exception_code if isinstance(answer, ExceptionResponse) else 0


def exception_name(code: int) -> str:
    """What a Modbus exception code is called, as ``illegal data address (2)``."""
    try:
        name = ExcCodes(code).name.lower().replace("_", " ")
    except ValueError:
        name = "unknown exception"
    return f"{name} ({code})"


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
