"""Modbus RTU frames: an answer is found among noise and echoes, by what is known of it beforehand."""

from __future__ import annotations

from typing import NamedTuple, cast

from evok_twisted.bus.framing import (
    MASK_WRITE,
    READ_BITS,
    READ_WRITE,
    READS,
    WRITE_COIL,
    WRITE_REGISTER,
    WRITE_SEVERAL,
    Answer,
    FramerRTU,
    ModbusPDU,
    ReadWriteMultipleRegistersRequest,
    decoder,
)


class _Awaited(NamedTuple):
    """What is known beforehand of the answer to a request.

    :ivar frame: the request.
    :ivar head: how an answer that is no exception begins.
    :ivar size: how many bytes it has.
    """

    transaction: int
    unit: int
    frame: bytes
    head: bytes
    size: int

    @property
    def alike(self) -> bool:
        """Whether the answer is the same, byte by byte, as the request."""
        return self.size == len(self.frame) and self.frame.startswith(self.head)


class RtuFraming:
    """Modbus RTU on one line, as the client; for one request after the other.

    Nothing in an RTU frame says where it begins, nor what it answers. But it is known what answer is awaited: it is
    looked for at every place of what comes, whatever is before and behind it.

    Some adapters hear what they send. The echo of a write of one coil or register is, to the byte, the answer that
    confirms it, and must not be taken for that. Whether there are echoes is seen by every request whose answer
    cannot be mistaken; while it is not known, or where there are, a write is confirmed by the second copy only.
    """

    partial = False

    #: bytes of what came that are kept: an echo and an answer, each of the longest, with as much noise
    limit = 1024
    #: that many bytes before an answer, half of a request, may be what is left of an echo; less is the noise of a
    #: line that turns round
    noise = 4
    #: answers without an echo, after which a line that has echoed is believed not to do so any more
    proof = 100

    def __init__(self) -> None:
        self._decoder = decoder()
        self._framer = FramerRTU(self._decoder)
        self._buffer = b""
        self._awaited: _Awaited | None = None
        #: answers without an echo that it takes until a single copy of a write is its answer
        self._doubt = 1
        self.awaited = 0

    def encode(self, request: ModbusPDU) -> bytes:
        frame = self._framer.buildFrame(request)
        head, size = _expected(request, frame)
        # what came before the question is no answer to it
        self._buffer = b""
        self._awaited = _Awaited(request.transaction_id, request.dev_id, frame, head, size)
        self.awaited = size
        return frame

    def feed(self, data: bytes) -> list[Answer]:
        awaited = self._awaited
        if awaited is None:
            return []
        self._buffer = buffer = (self._buffer + data)[-self.limit :]
        echo = buffer.find(awaited.frame)
        if echo >= 0 and not awaited.alike:
            self._doubt = self.proof
        begin, alike = 0, True
        if echo >= 0 and (self._doubt or not awaited.alike):
            begin = echo + len(awaited.frame)
        elif self._doubt and awaited.alike:
            alike = False  # only an exception can be told from the echo
        elif self._doubt and awaited.frame.startswith(buffer):
            return []  # an echo, it seems, that is not complete
        place, frame = self._find(awaited, begin, alike)
        if not frame:
            return []
        if echo < 0 and not awaited.alike:
            self._doubt = max(self._doubt, 1) if place >= self.noise else max(self._doubt - 1, 0)
        self._buffer, self._awaited = b"", None
        return [Answer(awaited.transaction, awaited.unit, self._decoder.decode(frame[1:-2]))]

    @property
    def remark(self) -> str:
        if self._awaited is not None and self._awaited.frame in self._buffer:
            return ", only what may be an echo of the request"
        return ""

    def _find(self, awaited: _Awaited, begin: int, alike: bool) -> tuple[int, bytes]:
        """The awaited answer or an exception, and where it begins; no bytes while it is not (all) there.

        :param alike: whether what is no exception counts.
        """
        buffer = self._buffer
        exception = bytes((awaited.unit, awaited.head[1] | 0x80))
        for place in range(begin, len(buffer) - 4):
            if alike and buffer.startswith(awaited.head, place):
                frame = buffer[place : place + awaited.size]
                if len(frame) == awaited.size and _sound(frame):
                    return place, frame
            elif buffer.startswith(exception, place) and _sound(buffer[place : place + 5]):
                return place, buffer[place : place + 5]
        return 0, b""


def _expected(request: ModbusPDU, frame: bytes) -> tuple[bytes, int]:
    """How the RTU answer to a request begins, and how many bytes it has.

    :raises ValueError: that is not known of this function.
    """
    function = request.function_code
    if function in (WRITE_COIL, WRITE_REGISTER, MASK_WRITE):
        return frame, len(frame)
    if function in WRITE_SEVERAL:
        return frame[:6], 8
    if function in READS:
        size = 2 * request.count
    elif function in READ_BITS:
        size = (request.count + 7) // 8
    elif function == READ_WRITE:
        size = 2 * cast(ReadWriteMultipleRegistersRequest, request).read_count
    else:
        raise ValueError(f"function {function} is not served on serial lines")
    return bytes((*frame[:2], size)), 5 + size


def _sound(frame: bytes) -> bool:
    """Whether the CRC of an RTU frame is right."""
    return FramerRTU.check_CRC(frame[:-2], int.from_bytes(frame[-2:], "big"))
