"""Brokers: one in memory, whose every word the test decides, and mosquitto."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from fakes import Rig, Transport
from paho.mqtt.client import topic_matches_sub
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from evok_twisted.api.front import Context
from evok_twisted.api.gate import Gate
from evok_twisted.api.mqtt.front import make
from evok_twisted.api.mqtt.settings import HomeAssistantSettings, MqttSettings
from evok_twisted.problems import Problems


def length(number):
    """The length of a packet, as it is written."""
    found = bytearray()
    while True:
        number, low = divmod(number, 128)
        found.append(low | (128 if number else 0))
        if not number:
            return bytes(found)


def packet(head, body=b""):
    return bytes([head]) + length(len(body)) + body


def text(words):
    data = words.encode() if isinstance(words, str) else words
    return struct.pack(">H", len(data)) + data


class Published:
    def __init__(self, topic, payload, qos, retain, properties):
        self.topic, self.payload, self.qos, self.retain, self.properties = topic, payload, qos, retain, properties

    def __repr__(self):
        return f"{self.topic} {self.payload[:80]!r}"

    @property
    def json(self):
        return json.loads(self.payload)


class Peer(Transport):
    """The transport of one connection of a ``ScriptedBroker``."""

    def __init__(self, broker, protocol):
        super().__init__()
        self.broker, self.client = broker, protocol
        self.read = bytearray()
        self.lost = False

    def write(self, data):
        self.read += data
        self.broker.clock.callLater(0, self._work)

    def _work(self):
        while not self.lost:
            if len(self.read) < 2:
                return
            size = place = 0
            for place, byte in enumerate(self.read[1:5]):
                size |= (byte & 127) << 7 * place
                if not byte & 128:
                    break
            else:
                return
            begin = place + 2
            if len(self.read) < begin + size:
                return
            head, body = self.read[0], bytes(self.read[begin : begin + size])
            del self.read[: begin + size]
            self.broker.take(self, head, body)

    def say(self, data):
        if not self.lost:
            self.client.dataReceived(data)

    def lose(self, reason=None):
        if not self.lost:
            self.lost = True
            self.client.connectionLost(reason or Failure(ConnectionDone()))

    def loseConnection(self):
        self.broker.clock.callLater(0, self.lose)

    abortConnection = loseConnection


class ScriptedBroker:
    """A broker in memory, of one client.

    :ivar code: of its answer to a connection; 0 takes it.
    :ivar properties: of that answer, of MQTT 5.
    :ivar acknowledges: messages of QoS 1, when they come.
    """

    def __init__(self, clock, version=5):
        self.clock, self.version = clock, version
        self.code, self.properties = 0, {}
        self.acknowledges = True
        self.retained, self.published, self.subscriptions, self.hellos = {}, [], {}, []
        self.refused = set()
        self.unacknowledged = []
        self.acknowledged_by_client = []
        self.farewells = 0
        self.peer = None
        self._number = 0

    def connect(self, protocol):
        """A client's connection is made."""
        self.subscriptions.clear()
        self.unacknowledged.clear()
        self.peer = Peer(self, protocol)
        protocol.makeConnection(self.peer)

    def take(self, peer, head, body):
        kind = head >> 4
        if kind == 1:
            self._connect(peer, body)
        elif kind == 3:
            self._published(peer, head, body)
        elif kind == 4:
            self.acknowledged_by_client.append(struct.unpack(">H", body[:2])[0])
        elif kind in (8, 10):
            self._subscribe(peer, kind, body)
        elif kind == 12:
            peer.say(packet(0xD0))
        elif kind == 14:
            self.farewells += 1
            peer.lose()

    def _connect(self, peer, body):
        self.hellos.append(body)
        speaks = body[6]
        if speaks > self.version + (self.version == 3):  # 3.1.1 is 4 on the wire
            peer.say(packet(0x20, b"\x00\x01"))
            peer.lose()
            return
        answer = bytes([0, self.code])
        if speaks == 5:
            properties = Properties(PacketTypes.CONNACK)
            for name, value in self.properties.items():
                setattr(properties, name, value)
            answer += properties.pack()
        peer.say(packet(0x20, answer))
        if self.code:
            peer.lose()

    @property
    def v5(self):
        return self.hellos[-1][6] == 5

    def _published(self, peer, head, body):
        size = struct.unpack(">H", body[:2])[0]
        topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
        qos, retain = head >> 1 & 3, bool(head & 1)
        number = None
        if qos:
            number, rest = struct.unpack(">H", rest[:2])[0], rest[2:]
        properties = None
        if self.v5:
            properties = Properties(PacketTypes.PUBLISH)
            _, used = properties.unpack(rest)
            rest = rest[used:]
        self.published.append(Published(topic, rest, qos, retain, properties))
        if retain:
            self.retained[topic] = rest
            if not rest:
                del self.retained[topic]
        if qos:
            self.unacknowledged.append(number)
            if self.acknowledges:
                self.acknowledge()

    def acknowledge(self, many=None, code=0):
        """Acknowledge what came first."""
        for _ in range(len(self.unacknowledged) if many is None else many):
            body = struct.pack(">H", self.unacknowledged.pop(0))
            self.peer.say(packet(0x40, body + (bytes([code]) if code else b"")))

    def _subscribe(self, peer, kind, body):
        number, rest = body[:2], body[2:]
        if self.v5:
            _, used = Properties(PacketTypes.SUBSCRIBE).unpack(rest)
            rest = rest[used:]
        patterns = []
        while rest:
            size = struct.unpack(">H", rest[:2])[0]
            pattern, rest = rest[2 : 2 + size].decode(), rest[2 + size :]
            options = 0
            if kind == 8:
                options, rest = rest[0], rest[1:]
            patterns.append((pattern, options))
        empty = b"\x00" if self.v5 else b""
        if kind == 10:
            for pattern, _ in patterns:
                self.subscriptions.pop(pattern, None)
            peer.say(packet(0xB0, number + empty + (bytes(len(patterns)) if self.v5 else b"")))
            return
        taken = [pattern not in self.refused for pattern, _ in patterns]
        refusal = 0x87 if self.v5 else 0x80
        codes = bytes(options & 3 if ok else refusal for (_, options), ok in zip(patterns, taken, strict=True))
        peer.say(packet(0x90, number + empty + codes))
        for (pattern, options), ok in zip(patterns, taken, strict=True):
            if ok:
                self.subscriptions[pattern] = options
                for topic, payload in tuple(self.retained.items()):
                    if topic_matches_sub(pattern, topic):
                        self.deliver(topic, payload, retain=True)

    def deliver(self, topic, payload=b"", qos=0, retain=False, **properties):
        """Send the client a message."""
        self._number += 1
        body = text(topic) + (struct.pack(">H", self._number) if qos else b"")
        if self.v5:
            of = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(of, name, value)
            body += of.pack()
        payload = payload.encode() if isinstance(payload, str) else payload
        self.peer.say(packet(0x30 | qos << 1 | retain, body + payload))

    def on(self, topic):
        """What was published on a topic."""
        return [one for one in self.published if one.topic == topic]

    def topics(self):
        return [one.topic for one in self.published]


class House:
    """A unit with one board, on a ``ScriptedBroker``."""

    def __init__(self, model="00", version=5, home_assistant=None, name="1", **settings):
        self.clock = MemoryReactorClock()
        self.rig = Rig(self.clock, model, name=name).start()
        self.broker = ScriptedBroker(self.clock, version)
        self.problems = Problems()
        assistant = HomeAssistantSettings(**{"enabled": False, **(home_assistant or {})})
        self.settings = MqttSettings(
            enabled=True,
            unit="plc1",
            home_assistant=assistant,
            **{"role": "admin", "version": "5" if version == 5 else "3.1.1", **settings},
        )
        self.context = Context(self.rig.desks, self.clock, self.problems, {}, Gate(), "http://plc1:8080/")
        self.front = make(self.context, self.settings)

    def start(self):
        """Connect, and wait until all is said."""
        self.front.startService()
        self.connect()
        return self

    def connect(self):
        """Let the connection be made that the front is waiting for, and all be said."""
        self.accept()
        for _ in range(100):
            self.clock.advance(0.02)
        return self

    def accept(self):
        """Let the connection be made that the front is waiting for, within a minute."""
        for _ in range(600):
            if self.clock.tcpClients:
                break
            self.clock.advance(0.1)
        _, _, factory, _, _ = self.clock.tcpClients.pop()
        self.broker.connect(factory.buildProtocol(None))

    def lose(self):
        """Let the connection be lost, which has lasted for a while, and the next be due."""
        self.clock.advance(5)
        self.broker.peer.lose()

    def wait(self, seconds):
        """Let time go by."""
        for _ in range(max(1, round(seconds / 0.02))):
            self.clock.advance(0.02)

    def say(self, topic, payload="", **more):
        """Publish to the unit; its answers."""
        before = len(self.broker.published)
        self.broker.deliver(f"evok/plc1/{topic}", payload, **more)
        self.wait(0.1)
        return [one.json for one in self.broker.published[before:] if one.topic == "evok/plc1/reply"]

    def news(self):
        """What was published since this was last asked, without what tells of the unit itself."""
        found, self.broker.published = self.broker.published, []
        return found


# The real one

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
HAS_MOSQUITTO = os.access(MOSQUITTO, os.X_OK) and shutil.which("mosquitto_sub") is not None
WHY_NOT = "mosquitto and mosquitto-clients are not installed (apt install mosquitto mosquitto-clients)"


class Mosquitto:
    """A mosquitto of our own, on a port of its own."""

    def __init__(self, directory, *lines, port=None, listener="", persistent=False):
        self.port = port or free_port()
        self.directory = Path(directory)
        self._config = self.directory / f"mosquitto-{self.port}.conf"
        kept = [f"persistence_location {self.directory}/", "persistence true"] if persistent else []
        own = [f"listener {self.port} 127.0.0.1", *([listener] if listener else [])]
        anonymous = [] if any("allow_anonymous" in line for line in lines) else ["allow_anonymous true"]
        user = ["user root"] if os.geteuid() == 0 else []
        self._config.write_text("\n".join([*own, *user, *anonymous, "max_queued_messages 100000", *kept, *lines, ""]))
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", self._config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.directory
        )
        wait_until(self._listens, f"mosquitto on port {self.port}")

    def _listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self, number=signal.SIGTERM):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(10)

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def publish(self, topic, payload="", *more):
        what = ["-m", payload] if payload else ["-n"]
        command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.port), "-t", topic, *what, *more]
        subprocess.run(command, check=True, timeout=10)

    def retained(self, pattern="#", *more):
        """By topic, what it retains."""
        last = "$SYS/broker/version"  # which comes after all that was asked for before it
        listening = subprocess.Popen(
            ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(self.port), "-F", "%r\t%t\t%p"]
            + ["-t", pattern, "-t", last, "-W", "10", *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        found = {}
        with listening:
            for line in listening.stdout:
                kept, topic, payload = line.rstrip("\n").split("\t", 2)
                if topic == last:
                    break
                if kept == "1":
                    found[topic] = payload
            listening.kill()
        return found


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_until(true, what, seconds=10.0):
    """Wait until something is so, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = true()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come in {seconds} s")
