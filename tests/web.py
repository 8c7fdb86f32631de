"""Clients of the fronts, in memory: HTTP through the real resource tree, and what a WebSocket carries."""

from __future__ import annotations

import json
import struct

from fakes import BY, Rig, Transport
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from evok_twisted.api.access import Access
from evok_twisted.api.gate import Gate
from evok_twisted.api.session import Session
from evok_twisted.api.site import ApiSite, Root, resources
from evok_twisted.api.upgrade import UpgradeResource
from evok_twisted.api.websocket import ConnectionFactory, WebSocketSettings
from evok_twisted.logs import Logger, Repeats


class Answer:
    """A parsed HTTP answer."""

    def __init__(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        self.status = int(first.split()[1]) if first else 0
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The status and the name of the error."""
        (name,) = self.json["errors"]
        return self.status, name


class Client:
    """Sends requests to the resource tree of a ``Rig``, in memory."""

    def __init__(self, model="00", rig=None, gate=None):
        self.rig = rig or Rig(Clock(), model).start()
        self.tree = resources(self.rig.desks, {b"access": Access(gate or Gate())})
        self.site = ApiSite(Root(self.tree), self.rig.clock, gate=gate)
        self.peer = self.host = None

    def send(self, method, path, body=b"", **headers):
        """Send a request; what was answered is known with ``received``."""
        self.transport = StringTransport(hostAddress=self.host, peerAddress=self.peer)
        self.channel = self.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)
        host = headers.pop("Host", "plc")
        lines = [f"{method} {path} HTTP/1.1", *([f"Host: {host}"] if host else []), f"Content-Length: {len(body)}"]
        for name, values in headers.items():
            lines += [f"{name.replace('_', '-')}: {one}" for one in ([values] if isinstance(values, str) else values)]
        self.channel.dataReceived("\r\n".join([*lines, "", ""]).encode() + body)
        return self

    @property
    def received(self):
        return Answer(self.transport.value())

    def get(self, path, **headers):
        return self.send("GET", path, **headers).received

    def post(self, path, body, **headers):
        return self.send(
            "POST", path, body if isinstance(body, bytes) else json.dumps(body).encode(), **headers
        ).received


class Talk:
    """A session on a rig, and what it sent."""

    def __init__(self, dialect="classic", all_filtered=False, rig=None):
        self.rig = rig or Rig(Clock()).start()
        self.sent = []
        self.filters = []
        self.session = Session(
            self.rig.desks(BY, dialect),
            all_filtered=all_filtered,
            send=self.sent.append,
            listen=lambda wanted, every: self.filters.append(wanted),
            peer="test",
            repeats=Repeats(Logger(), self.rig.clock, burst=1),
        )

    def say(self, message):
        """Say it, and return what was sent since."""
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.session.handle(payload)
        sent = [json.loads(one) for one in self.sent]
        self.sent.clear()
        return sent


class Browser:
    """A client that speaks bytes."""

    def __init__(self, rig, clock, dialect="classic", gate=None, **options):
        self.rig, self.clock = rig, clock
        self.factory = ConnectionFactory(rig.core.desks(dialect), clock, WebSocketSettings(**options), gate)
        self.site = ApiSite(Root({b"ws": UpgradeResource(self.factory)}), clock, gate=gate)
        self.connect()

    def connect(self):
        self.transport = Transport(peerAddress=IPv4Address("TCP", "127.0.0.1", 50000))
        self.channel = self.site.buildProtocol(None)
        self.transport.protocol = self.channel
        self.channel.makeConnection(self.transport)
        return self

    def request(self, path="/ws", extra=""):
        self.send(
            f"GET {path} HTTP/1.1\r\nHost: plc\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n".encode()
        )
        head = self.transport.value()
        self.transport.clear()
        return head

    def open(self, path="/ws", extra=""):
        assert self.request(path, extra).startswith(b"HTTP/1.1 101 ")
        return self

    def send(self, data):
        self.transport.protocol.dataReceived(data)

    def say(self, message, opcode=1):
        payload = message if isinstance(message, bytes) else json.dumps(message).encode()
        size = len(payload)
        if size < 126:
            length = bytes([0x80 | size])
        else:
            length = b"\xfe" + struct.pack(">H", size) if size <= 0xFFFF else b"\xff" + struct.pack(">Q", size)
        self.send(bytes([0x80 | opcode]) + length + b"\0\0\0\0" + payload)

    def frames(self):
        """What was received since the last call: (opcode, payload)."""
        data, found = self.transport.value(), []
        self.transport.clear()
        while data:
            size, begin = data[1], 2
            if size == 126:
                size, begin = struct.unpack_from(">H", data, 2)[0], 4
            elif size == 127:
                size, begin = struct.unpack_from(">Q", data, 2)[0], 10
            found.append((data[0] & 15, data[begin : begin + size]))
            data = data[begin + size :]
        return found

    def messages(self):
        return [json.loads(payload) for opcode, payload in self.frames() if opcode == 1]

    def change(self, **words):
        self.rig.bus.words.update({int(key[1:]): word for key, word in words.items()})
        self.clock.advance(0.02)
