"""Captures of Modbus lines, as Wireshark reads them: pcapng, of which the packets are "exported PDUs".

Formats: the IETF's draft-ietf-opsawg-pcapng; for the tags, which are big-endian, Wireshark's epan/exported_pdu.h.
"""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

#: LINKTYPE_WIRESHARK_UPPER_PDU
_UPPER_PDU = 252
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_COMMENT, _NAME, _FLAGS, _PROGRAM = 1, 2, 2, 4
_INBOUND, _OUTBOUND = 1, 2
_DISSECTOR, _SOURCE, _TARGET, _PORT_TYPE, _SOURCE_PORT, _TARGET_PORT, _END = 12, 20, 21, 24, 25, 26, 0
_TCP = 2
#: Where masters and slaves are said to be, so that requests are told from answers.
_MASTER, _SLAVES = (b"\x0a\0\0\1", 40000), (b"\x0a\0\0\2", 502)

#: What Wireshark calls the two forms of Modbus frames.
Form = Literal["mbtcp", "mbrtu"]


class Frame(NamedTuple):
    """What went over a line.

    :ivar wall: when, in seconds of the Unix epoch.
    :ivar sent: by us; otherwise to us.
    :ivar data: none, of what is only to be said.
    :ivar comment: what is to be said of it.
    """

    wall: float
    sent: bool
    data: bytes
    comment: str = ""


def begin(bus: str) -> bytes:
    """How a capture of a bus begins."""
    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _option(_PROGRAM, b"evok-twisted") + _option(0, b"")
    interface = struct.pack("<HHI", _UPPER_PDU, 0, 0) + _option(_NAME, bus.encode()) + _option(0, b"")
    return _block(_SECTION, section) + _block(_INTERFACE, interface)


def packet(frame: Frame, form: Form) -> bytes:
    """A frame of a capture."""
    (source, source_port), (target, target_port) = (_MASTER, _SLAVES) if frame.sent else (_SLAVES, _MASTER)
    pdu = (
        _tag(_DISSECTOR, form.encode())
        + _tag(_SOURCE, source)
        + _tag(_TARGET, target)
        + _tag(_PORT_TYPE, struct.pack(">I", _TCP))
        + _tag(_SOURCE_PORT, struct.pack(">I", source_port))
        + _tag(_TARGET_PORT, struct.pack(">I", target_port))
        + _tag(_END, b"")
        + frame.data
    )
    stamp = int(frame.wall * 1e6)
    options = _option(_COMMENT, frame.comment.encode()) if frame.comment else b""
    options += _option(_FLAGS, struct.pack("<I", _OUTBOUND if frame.sent else _INBOUND)) + _option(0, b"")
    head = struct.pack("<IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(pdu), len(pdu))
    return _block(_PACKET, head + _padded(pdu) + options)


def _block(kind: int, body: bytes) -> bytes:
    size = len(body) + 12
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _tag(code: int, value: bytes) -> bytes:
    padded = _padded(value)
    return struct.pack(">HH", code, len(padded)) + padded


def _padded(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)
