"""The Modbus TCP server in front of simulated boards; RTU frames are put around it in ``rtu``."""

from __future__ import annotations

import logging
import struct
from collections import deque
from collections.abc import Container, Mapping
from typing import Any, cast

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsResponse, ReadDiscreteInputsResponse, WriteMultipleCoilsResponse
from pymodbus.pdu.register_message import (
    MaskWriteRegisterRequest,
    ReadWriteMultipleRegistersRequest,
    ReadWriteMultipleRegistersResponse,
    WriteMultipleRegistersResponse,
)
from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

from evok_twisted.logs import Logger
from evok_twisted.simulator.boards import SimulatedBoard

# pymodbus logs to the standard library's logging what it also raises; we answer it
_pymodbus_log = logging.getLogger("pymodbus")
_pymodbus_log.addHandler(logging.NullHandler())
_pymodbus_log.propagate = False

READ_COILS, READ_DISCRETE_INPUTS, READ_HOLDING, READ_INPUT = 1, 2, 3, 4
WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS, MASK_WRITE, READ_WRITE = 5, 6, 15, 16, 22, 23

#: What stands after the address in a request: the count of what to read or write, the value of one, or a mask.
_ALLOWED: Mapping[int, Container[int]] = {
    READ_COILS: range(1, 2001),
    READ_DISCRETE_INPUTS: range(1, 2001),
    READ_HOLDING: range(1, 126),
    READ_INPUT: range(1, 126),
    WRITE_COIL: (0, 0xFF00),
    WRITE_REGISTER: range(0x10000),
    WRITE_COILS: range(1, 1969),
    WRITE_REGISTERS: range(1, 124),
    MASK_WRITE: range(0x10000),
    READ_WRITE: range(1, 126),
}

#: transaction, protocol, length of what follows, unit, function
_HEADER = struct.Struct(">HHHBB")
_LONGEST = 254
_PAIR = struct.Struct(">HH")


class SimulatorProtocol(Protocol):
    """One connection; answers leave in the order of the requests, in one piece for each piece that was received."""

    _log = Logger()

    transport: Any

    def __init__(self, factory: SimulatorFactory) -> None:
        self._factory = factory
        self._buffer = b""

    def connectionMade(self) -> None:
        self._factory.connections.add(self)
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        # a client that asks and does not read is not read from until it does: this bounds what waits for it
        self.transport.registerProducer(self.transport, True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._factory.connections.discard(self)

    def dataReceived(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        begin, end = 0, len(buffer)
        answers = []
        while end - begin >= _HEADER.size:
            _, protocol, length, _, _ = _HEADER.unpack_from(buffer, begin)
            if protocol or not 2 <= length <= _LONGEST:
                start = buffer[begin : begin + 8].hex(" ")
                self._log.warn("a client sent what is no Modbus, beginning with {start}; hanging up", start=start)
                self.transport.loseConnection()
                begin = end
                break
            if end - begin < 6 + length:
                break
            answers.append(self._factory.answer(buffer[begin : begin + 6 + length]))
            begin += 6 + length
        self._buffer = buffer[begin:]
        if any(answers):
            self.transport.write(b"".join(answers))

    def drop(self) -> None:
        """End the connection without a farewell."""
        self.transport.abortConnection()


class SimulatorFactory(ServerFactory):
    """Serves boards by unit id; a request to any other is answered as by a gateway: the target did not respond.

    :ivar units: the boards; they may come and go.
    :ivar writes: the last writes that were done, as (unit, function, address, *values); a mask write's values are its
        two masks.
    :ivar mute: units that do not answer, nor do what is asked, as if they were off.
    :ivar exceptions: units that answer every request with this exception code, and do nothing.
    :ivar connections: those that are open.
    """

    noisy = False
    echo = False

    def __init__(self, units: Mapping[int, SimulatedBoard]) -> None:
        self.units: dict[int, SimulatedBoard] = dict(units)
        self.writes: deque[tuple[int, ...]] = deque(maxlen=10_000)
        self.mute: set[int] = set()
        self.exceptions: dict[int, int] = {}
        self.connections: set[SimulatorProtocol] = set()
        self._framer = FramerSocket(DecodePDU(True))

    def buildProtocol(self, addr: IAddress | None) -> SimulatorProtocol:
        return SimulatorProtocol(self)

    def drop_connections(self) -> None:
        """End every connection, as when the server crashes."""
        for protocol in tuple(self.connections):
            protocol.drop()

    def answer(self, frame: bytes) -> bytes:
        """Do what a request asks.

        :param frame: one whole frame: the header of 7 bytes, and a PDU of 1 to 253.
        :returns: the frame that answers it; nothing from a unit that is mute.
        """
        transaction, _, _, unit, function = _HEADER.unpack_from(frame)
        if unit in self.mute:
            return b""
        board = self.units.get(unit)
        if board is None:
            code: int = ExcCodes.GATEWAY_NO_RESPONSE
        elif unit in self.exceptions:
            code = self.exceptions[unit]
        elif function not in _ALLOWED:
            code = ExcCodes.ILLEGAL_FUNCTION
        elif not _well_formed(frame[7:]):
            code = ExcCodes.ILLEGAL_VALUE
        else:
            try:
                if function in (READ_HOLDING, READ_INPUT):
                    return _read_registers(board, frame)
                return self._perform(board, frame)
            except KeyError:
                code = ExcCodes.ILLEGAL_ADDRESS
        return self._framer.buildFrame(ExceptionResponse(function, code, unit, transaction))

    def _perform(self, board: SimulatedBoard, frame: bytes) -> bytes:
        """What is not asked a hundred times a second goes the whole way through pymodbus.

        :raises KeyError: the board has no such address.
        """
        # zeros: whatever the transaction and unit
        _, pdu = self._framer.handleFrame(frame, 0, 0)
        assert pdu is not None, "it is whole and well formed"
        function, address = pdu.function_code, pdu.address
        answer: ModbusPDU | None = None  # none: the request is its own answer
        values: list[int] = []
        if function in (READ_COILS, READ_DISCRETE_INPUTS):
            respond = ReadCoilsResponse if function == READ_COILS else ReadDiscreteInputsResponse
            answer = respond(bits=[bool(bit) for bit in board.coils.read(address, pdu.count)])
        elif function in (WRITE_COIL, WRITE_COILS):
            values = [int(bit) for bit in pdu.bits]
            board.coils.write(address, values)
            if function == WRITE_COILS:
                answer = WriteMultipleCoilsResponse(address=address, count=pdu.count)
        elif function in (WRITE_REGISTER, WRITE_REGISTERS):
            values = list(pdu.registers)
            board.holding.write(address, values)
            if function == WRITE_REGISTERS:
                answer = WriteMultipleRegistersResponse(address=address, count=pdu.count)
        elif function == MASK_WRITE:
            mask = cast(MaskWriteRegisterRequest, pdu)
            values = [mask.and_mask, mask.or_mask]
            board.holding[address] = board.holding[address] & mask.and_mask | mask.or_mask & ~mask.and_mask & 0xFFFF
        else:
            both = cast(ReadWriteMultipleRegistersRequest, pdu)
            address, values = both.write_address, list(both.write_registers)
            board.holding.read(both.read_address, both.read_count)  # a request that is refused has written nothing
            board.holding.write(address, values)
            registers = board.holding.read(both.read_address, both.read_count)
            answer = ReadWriteMultipleRegistersResponse(registers=registers)
        if values:
            self.writes.append((pdu.dev_id, function, address, *values))
        if answer is None:
            return frame
        answer.dev_id, answer.transaction_id = pdu.dev_id, pdu.transaction_id
        return self._framer.buildFrame(answer)


def crc(data: bytes) -> bytes:
    """The two bytes that end an RTU frame."""
    return FramerRTU.compute_CRC(data).to_bytes(2, "big")


def _read_registers(board: SimulatedBoard, frame: bytes) -> bytes:
    """The answer to the request that a scan is made of, in one piece.

    :raises KeyError: the board has no such address.
    """
    transaction, _, _, unit, function = _HEADER.unpack_from(frame)
    address, count = _PAIR.unpack_from(frame, 8)
    words = (board.holding if function == READ_HOLDING else board.input).read(address, count)
    return struct.pack(f">HHHBBB{count}H", transaction, 0, 3 + 2 * count, unit, function, 2 * count, *words)


def _well_formed(pdu: bytes) -> bool:
    """Whether a request has the length that its function and counts say, and counts and values that Modbus allows.

    pymodbus takes what it needs and passes over the rest.
    """
    function, size = pdu[0], len(pdu)
    number = int.from_bytes(pdu[3:5], "big")
    if size < 5 or number not in _ALLOWED[function]:
        return False
    if function in (WRITE_COILS, WRITE_REGISTERS):
        expected = (number + 7) // 8 if function == WRITE_COILS else 2 * number
        return size > 6 and pdu[5] == expected == size - 6
    if function == READ_WRITE:
        expected = 2 * int.from_bytes(pdu[7:9], "big")
        return size > 10 and pdu[9] == expected == size - 10
    return size == (7 if function == MASK_WRITE else 5)
