"""How large what a broker sends may be, seen before any of it is kept."""

from __future__ import annotations

from typing import NamedTuple

#: Bytes of the largest packet that is taken; brokers of MQTT 5 are told so.
LARGEST_PACKET = (64 << 10) + 1024

_PUBLISH, _PUBACK = 0x30, 0x40
#: Bytes that the length of a packet takes at most.
_LONGEST_LENGTH = 4


class Passed(NamedTuple):
    """What came through.

    :ivar data: the packets, or parts of them, that are to be read.
    :ivar answers: what acknowledges messages that were passed over.
    """

    data: bytes
    answers: bytes


class Sieve:
    """Passes over messages that are too large, as they come in: only a broker of MQTT 5 keeps such back itself.

    They are acknowledged, or the broker would send one that it retains at each connection, for ever.

    :ivar passed_over: how many there were.
    """

    def __init__(self, largest: int = LARGEST_PACKET) -> None:
        self._largest = largest
        self._head = bytearray()
        #: bytes of the packet that are still to come
        self._left = 0
        #: of a message that is passed over, its begin: the topic and the packet's number; None of one that is not
        self._skipped: bytearray | None = None
        self.passed_over = 0

    def feed(self, data: bytes) -> Passed:
        """Take what came in.

        :raises ValueError: it is no MQTT, or a packet that cannot be passed over is too large.
        """
        passed, answers = bytearray(), bytearray()
        place = 0
        while place < len(data):
            if self._left:
                part = data[place : place + self._left]
                place += len(part)
                self._left -= len(part)
                if self._skipped is None:
                    passed += part
                else:
                    answers += self._skip(part)
                continue
            self._head.append(data[place])
            place += 1
            if len(self._head) > 1 and not self._head[-1] & 0x80:
                passed += self._begin()
            elif len(self._head) > _LONGEST_LENGTH:
                raise ValueError("a packet's length has no end")
        return Passed(bytes(passed), bytes(answers))

    def _begin(self) -> bytes:
        """The header of a packet is complete; what of it is passed on."""
        head, self._head = bytes(self._head), bytearray()
        self._left = sum((byte & 0x7F) << 7 * n for n, byte in enumerate(head[1:]))
        if self._left <= self._largest:
            self._skipped = None
            return head
        if head[0] & 0xF0 != _PUBLISH:
            raise ValueError(f"a packet of {self._left} bytes that is no message")
        self._skipped = bytearray(head[:1])
        self.passed_over += 1
        return b""

    def _skip(self, part: bytes) -> bytes:
        """Pass over a part of a message; when enough of it is known, what acknowledges it."""
        begin = self._skipped
        if begin is None or not begin[0] & 0x06:  # nothing acknowledges a message of QoS 0
            return b""
        known = len(begin)
        begin += part[: 5 + (1 << 16) - known]
        number = 3 + int.from_bytes(begin[1:3])
        if len(begin) < 3 or len(begin) < number + 2:
            return b""
        answer = bytes((_PUBACK, 2, *begin[number : number + 2]))
        begin[0] &= ~0x06
        return answer
