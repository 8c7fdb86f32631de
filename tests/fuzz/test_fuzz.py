"""Nonsense from every side, for a bounded time: nothing may crash, hang or leak, and afterwards everything works.

``FUZZ_SEED`` and ``FUZZ_SECONDS`` (of all tests here together) choose another run; ``make fuzz`` runs long.
"""

from __future__ import annotations

import json
import os
import random
import struct
import time

import msgspec
import pytest
import pytest_twisted
from fakes import Rig, desk_of
from stack import DEFINITIONS, slave_of, turn
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from web import Client

from evok_twisted import busconfig
from evok_twisted import config as cfg
from evok_twisted.api.session import Session
from evok_twisted.api.site import ApiSite, Root, resources
from evok_twisted.api.websocket import ConnectionFactory, UpgradeResource, WebSocketSettings
from evok_twisted.definitions import load_definition
from evok_twisted.logs import Logger, Repeats
from evok_twisted.problems import Problems
from evok_twisted.simulator.boards import SimulatedBoard
from evok_twisted.simulator.owserver import OwServerSimulator, thermometer
from evok_twisted.simulator.rtu import RtuSimulatorFactory
from evok_twisted.simulator.server import SimulatorFactory, crc
from evok_twisted.unit import Unit

SEED = os.environ.get("FUZZ_SEED", "1")
#: Seconds for each of the eight tests here.
SHARE = float(os.environ.get("FUZZ_SECONDS", "8")) / 8


class Fuzz:
    """Chance that can be repeated, for a time."""

    def __init__(self, name):
        self.random = random.Random(f"{SEED} {name}")
        self.name = name

    def rounds(self):
        """Counts rounds until the time is over; there is at least one."""
        end = time.monotonic() + SHARE
        n = 0
        while n == 0 or time.monotonic() < end:
            print(f"FUZZ_SEED={SEED} {self.name}: round {n}")  # shown when the test fails
            yield n
            n += 1

    def noise(self, most=300):
        return self.random.randbytes(self.random.randint(1, most))

    def mutated(self, data):
        """``data`` with something wrong."""
        chance, data = self.random, bytearray(data)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(6):
                case 0 if data:
                    data[at % len(data)] ^= 1 << chance.randrange(8)
                case 1:
                    data[at:at] = self.noise(8)
                case 2:
                    del data[at : at + chance.randint(1, 8)]
                case 3:
                    data += data[at:]
                case 4 if data:
                    data[at % len(data)] = chance.choice((0, 0x7F, 0x80, 0xFF))
                case _:
                    data = data[:at]
        print(bytes(data).hex())
        return bytes(data)

    def value(self, depth=0):
        """Any JSON value, the interesting ones often."""
        chance = self.random
        known = ("1_01", "relay", "led", "di", "value", "alias", "all", "", "é\u2028", "x" * 300, "al_", "1_01 ")
        scalars = (None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 1e308, -0.0, 0.5, *known)
        kind = chance.randrange(6 if depth < 4 else 4)
        if kind == 4:
            return [self.value(depth + 1) for _ in range(chance.randrange(4))]
        if kind == 5:
            keys = (*known, "cmd", "dev", "circuit", "id", "devices", "timeout", "pwm_duty", "mode")
            return {chance.choice(keys): self.value(depth + 1) for _ in range(chance.randrange(5))}
        return chance.choice(scalars)

    def filled(self, template):
        """``template`` with some of its leaves replaced by any value."""
        chance = self.random
        if chance.random() < 0.15:
            return self.value(1)
        if isinstance(template, dict):
            return {key: self.filled(value) for key, value in template.items() if chance.random() < 0.9}
        if isinstance(template, list):
            return [self.filled(value) for value in template for _ in range(chance.randint(0, 2))]
        return template


@pytest.fixture
def fuzz(request):
    return Fuzz(request.node.name)


def descriptors():
    """The sockets that are open, by number and kind; Twisted keeps a file of its own open, too."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
        except OSError:
            pass  # that of this very listing
    return {one for one in found if "socket:" in one[1]}


async def until(condition, what, seconds=15.0):
    deadline = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < deadline, f"not within {seconds} s: {what() if callable(what) else what}"
        await turn(0.005)


# Servers of ours that go mad


class NoisyProxy(Factory):
    """Between a client and its server; while ``wild``, what the server says is changed, held back or cut off."""

    noisy = False

    def __init__(self, fuzz, server_port):
        self.fuzz, self.server_port, self.wild, self.connections = fuzz, server_port, False, set()

    def buildProtocol(self, address):
        return Near(self)

    def drop(self):
        for connection in tuple(self.connections):
            connection.transport.abortConnection()


class Near(Protocol):
    """The client's side."""

    def __init__(self, proxy):
        self.proxy, self.far, self.waiting = proxy, None, b""

    def connectionMade(self):
        self.proxy.connections.add(self)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.proxy.server_port)
        endpoint.connect(Factory.forProtocol(lambda: Far(self))).addErrback(lambda _: self.transport.loseConnection())

    def dataReceived(self, data):
        if self.far is None:
            self.waiting += data
        else:
            self.far.transport.write(data)

    def connectionLost(self, reason):
        self.proxy.connections.discard(self)
        if self.far is not None:
            self.far.transport.loseConnection()

    def answer(self, data):
        """Pass on what the server said, or something else."""
        fuzz = self.proxy.fuzz
        if self.proxy.wild and fuzz.random.random() < 0.3:
            match fuzz.random.randrange(6):
                case 0:
                    return self.transport.abortConnection()
                case 1:
                    return None
                case 2:
                    data = fuzz.noise()
                case 3:
                    data = data + data
                case _:
                    data = fuzz.mutated(data)
        return self.transport.write(data)


class Far(Protocol):
    """The server's side."""

    def __init__(self, near):
        self.near = near

    def connectionMade(self):
        self.near.far = self
        self.transport.write(self.near.waiting)
        if not self.near.connected:
            self.transport.loseConnection()

    def dataReceived(self, data):
        self.near.answer(data)

    def connectionLost(self, reason):
        self.near.transport.loseConnection()


class Madhouse:
    """A service whose server is behind a ``NoisyProxy``."""

    def __init__(self, fuzz, server, settings):
        self.server = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.factory = server
        self.proxy = NoisyProxy(fuzz, self.server.getHost().port)
        self.port = reactor.listenTCP(0, self.proxy, interface="127.0.0.1")
        definition = load_definition(DEFINITIONS / "xS11.yaml", Problems())
        modbus = isinstance(settings, busconfig.ModbusTcpSettings)
        device = busconfig.DeviceSettings(slave_id=1, model="xS11", scan_frequency=200)
        board = busconfig.Board("1", 1, device, definition)
        settings = msgspec.structs.replace(settings, port=self.port.getHost().port)
        bus = busconfig.Bus("MAD", settings, (board,) if modbus else ())
        self.unit = Unit(cfg.Config(apis=cfg.Apis(alias_file=""), buses=(bus,)), reactor, Problems())
        self.unit.startService()

    async def stop(self):
        await self.unit.stopService()
        await self.unit.drain()
        self.proxy.drop()
        self.factory.drop_connections()
        await self.port.stopListening()
        await self.server.stopListening()


@pytest.mark.parametrize("framer", ["socket", "rtu"])
@pytest_twisted.ensureDeferred
async def test_a_modbus_server_that_answers_nonsense(fuzz, framer, log):
    before = descriptors()
    board = SimulatedBoard(load_definition(DEFINITIONS / "xS11.yaml", Problems()))
    server = (SimulatorFactory if framer == "socket" else RtuSimulatorFactory)({1: board})
    settings = busconfig.ModbusTcpSettings(hostname="127.0.0.1", timeout=0.05, write_timeout=0.2, framer=framer)
    house = Madhouse(fuzz, server, settings)
    slave = slave_of(house.unit)
    try:
        await until(lambda: slave.online, "it is online")
        house.proxy.wild = True
        for n in fuzz.rounds():
            outcome = []
            desk_of(house.unit).set("relay", f"1_{n % 13 + 1:02d}", {"value": n % 2}).addBoth(outcome.append)
            await until(lambda outcome=outcome: outcome, "the set is answered", 3.0)
        house.proxy.wild = False
        house.proxy.drop()
        await until(lambda: slave.online and slave.bus.online, "it is online again")
        server.writes.clear()

        async def works():
            try:
                return (await desk_of(house.unit).set("relay", "1_01", {"value": 1})).state.value
            except Exception as error:
                return error

        results = []
        while results[-3:] != [1, 1, 1]:
            results.append(await works())
            assert len(results) < 100, results
            await turn(0.02)
        await until(lambda: house.unit.registry.find("relay", "1_01", "classic").state.value == 1, "the value is right")
        assert (1, 5, 0, 1) in server.writes
    finally:
        await house.stop()
    await until(lambda: len(descriptors()) <= len(before), lambda: f"closed: {descriptors() - before}")


@pytest_twisted.ensureDeferred
async def test_an_owserver_that_answers_nonsense(fuzz):
    before = descriptors()
    server = OwServerSimulator([thermometer(f"28.00000000000{n}", reactor, 20.0) for n in range(4)])
    settings = busconfig.OneWireSettings(hostname="127.0.0.1", interval=0.1, scan_interval=0.5)
    house = Madhouse(fuzz, server, settings)
    registry = house.unit.registry
    try:
        await until(lambda: len(registry.of_kind("temp")) == 4, "the sensors are found")
        house.proxy.wild = True
        for _ in fuzz.rounds():
            await turn(0.05)
        house.proxy.wild = False
        house.proxy.drop()
        good = [f"28.00000000000{n}" for n in range(4)]
        await until(
            lambda: all(
                not one.state.lost and one.state.value is not None
                for one in registry.of_kind("temp")
                if one.state.address in good
            ),
            "the sensors are read again",
            40.0,
        )
    finally:
        await house.stop()
    await until(lambda: len(descriptors()) <= len(before), lambda: f"closed: {descriptors() - before}")


# Clients that go mad


class Raw(Protocol):
    """A client that speaks bytes."""

    def __init__(self):
        self.heard = b""
        self.gone = False

    def dataReceived(self, data):
        self.heard += data

    def connectionLost(self, reason):
        self.gone = True


async def raw(port):
    return await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(Factory.forProtocol(Raw))


@pytest.mark.parametrize("framer", ["socket", "rtu"])
@pytest_twisted.ensureDeferred
async def test_a_simulator_that_is_asked_nonsense(fuzz, framer):
    before = descriptors()
    board = SimulatedBoard(load_definition(DEFINITIONS / "xS11.yaml", Problems()))
    factory = (SimulatorFactory if framer == "socket" else RtuSimulatorFactory)({1: board})
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")

    def request(pdu):
        return (
            struct.pack(">HHHB", 7, 0, len(pdu) + 1, 1) + pdu
            if framer == "socket"
            else (b"\1" + pdu + crc(b"\1" + pdu))
        )

    read, write = struct.pack(">BHH", 3, 0, 2), struct.pack(">BHH", 5, 0, 0xFF00)
    client = None
    try:
        for _ in fuzz.rounds():
            if client is None or client.gone:
                client = await raw(port.getHost().port)
            sound = request(fuzz.random.choice((read, write, bytes([fuzz.random.randrange(1, 128)]) + fuzz.noise(20))))
            client.transport.write(fuzz.random.choice((sound, fuzz.mutated(sound), fuzz.noise())))
            await turn(0.002)
        if not client.gone:
            client.transport.abortConnection()
        client = await raw(port.getHost().port)
        client.transport.write(request(read))
        size = 13 if framer == "socket" else 9
        await until(lambda: len(client.heard) >= size, "a sound request is answered")
        assert client.heard[7 if framer == "socket" else 1 :][:2] == b"\3\4"
        client.transport.abortConnection()
    finally:
        factory.drop_connections()
        await port.stopListening()
    await until(lambda: len(descriptors()) <= len(before), lambda: f"closed: {descriptors() - before}")


def frame(fuzz, payload):
    """A WebSocket frame of a client, often a sound one."""
    opcode = fuzz.random.choice((1, 1, 1, 1, 2, 0, 8, 9, 10, 3, 15))
    first = fuzz.random.choice((0x80, 0x80, 0x80, 0, 0xC0, 0xF0)) | opcode
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size & 0xFFFF)
    return bytes([first]) + length + b"\0\0\0\0" + payload


COMMANDS = [
    {"cmd": "set", "dev": "relay", "circuit": "1_01", "value": 1, "id": 1},
    {"cmd": "set", "dev": "led", "circuit": "1_01", "value": {"value": 1, "alias": "lamp"}, "id": "a"},
    {"cmd": "filter", "devices": ["relay", "di/1_*", "default"], "id": 2},
    {"cmd": "full", "dev": "ai", "circuit": "1_01", "id": 3},
    {"cmd": "all", "id": 4},
    {"cmd": "health", "id": 5},
    {"cmd": "subscribe", "devices": ["led"], "every": 0.5, "since": {"epoch": "x", "number": 5}, "id": 6},
    {"cmd": "unsubscribe", "id": 7},
    {"cmd": "will", "within": 5, "sets": [{"dev": "led", "circuit": "1_01", "value": 1}], "id": 8},
    {"cmd": "unwill", "id": 9},
]


PATHS = ("/rest/all", "/rest/relay/1_01", "/json/led/1_01", "/bulk", "/rpc", "/health", "/openapi.json", "/ws", "/x")


@pytest_twisted.ensureDeferred
async def test_websocket_and_http_clients_that_send_nonsense(fuzz):
    before = descriptors()
    rig = Rig(reactor).start_for_ever()
    tree = resources(rig.desks, {})
    clients = ConnectionFactory(rig.desks, reactor, WebSocketSettings())
    port = reactor.listenTCP(
        0, ApiSite(Root({**tree, b"ws": UpgradeResource(clients)}), reactor), interface="127.0.0.1"
    )
    number = port.getHost().port
    shake = (
        b"GET /ws HTTP/1.1\r\nHost: plc\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    heard = b""
    try:
        for n in fuzz.rounds():
            client = await raw(number)
            if n % 2:
                path = fuzz.random.choice(
                    ("/rest/all", "/rest/relay/1_01", "/json/led/1_01", "/bulk", "/rpc", "/ws", "/x")
                )
                body = json.dumps(fuzz.value()).encode()
                method = fuzz.random.choice(("GET", "POST", "OPTIONS", "HEAD", "PUT"))
                head = f"{method} {path} HTTP/1.1\r\nHost: plc\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                client.transport.write(fuzz.random.choice((head + body, fuzz.mutated(head + body), fuzz.noise())))
            else:
                client.transport.write(fuzz.mutated(shake) if fuzz.random.random() < 0.2 else shake)
                for _ in range(fuzz.random.randrange(6)):
                    payload = json.dumps(fuzz.filled(fuzz.random.choice(COMMANDS))).encode()
                    sent = frame(fuzz, payload)
                    client.transport.write(fuzz.mutated(sent) if fuzz.random.random() < 0.3 else sent)
            await turn(0.004)
            heard += client.heard[:200]
            client.transport.abortConnection()
        assert b"HTTP/1.1 500" not in heard
        client = await raw(number)
        client.transport.write(b"GET /rest/led/1_02 HTTP/1.1\r\nHost: plc\r\n\r\n")
        await until(lambda: b'"circuit":"1_02"' in client.heard, "a sound request is answered")
        client.transport.abortConnection()
        await until(lambda: not clients.connections, "every WebSocket is closed")
    finally:
        rig.scanner.stop()
        await port.stopListening()
    await until(lambda: len(descriptors()) <= len(before), lambda: f"closed: {descriptors() - before}")


def test_messages_with_nonsense_in_them_each_get_one_reply(fuzz):
    rig = Rig(Clock()).start()
    sent = []
    session = Session(
        rig.desk,
        all_filtered=True,
        send=sent.append,
        listen=lambda *_: None,
        peer="fuzz",
        repeats=Repeats(Logger(), rig.clock),
    )
    for n in fuzz.rounds():
        for _ in range(50):
            message = fuzz.filled(fuzz.random.choice(COMMANDS))
            if isinstance(message, dict):
                message["id"] = n
            sent.clear()
            session.handle(json.dumps(message).encode())
            replies = [reply for reply in map(json.loads, sent) if isinstance(reply, dict)]
            assert len(replies) == isinstance(message, dict), message
            assert all(reply["success"] or reply["error"]["code"] != "error" for reply in replies), message
            session.handle(fuzz.mutated(json.dumps(message).encode()))


def test_bulk_and_rpc_documents_with_nonsense_in_them_are_no_error_of_the_service(fuzz):
    client = Client()
    bulk = {
        "individual_assignments": [{"device_type": "led", "device_circuit": "1_01", "assigned_values": {"value": 1}}],
        "group_assignments": [
            {"device_type": "relay", "device_circuits": ["1_01"], "group": "1", "assigned_values": {"value": 0}}
        ],
        "group_queries": [{"device_types": ["ai", "ao"], "global_device_id": 2}],
    }
    call = {"jsonrpc": "2.0", "method": "relay_set", "params": ["1_01", 1], "id": 1}
    for _ in fuzz.rounds():
        document = fuzz.filled(fuzz.random.choice((bulk, call, [call, call])))
        for path in ("/bulk", "/rpc", "/json/led/1_01", "/rest/relay/1_01?dialect=v3"):
            client.send("POST", path, json.dumps(document).encode())
            client.rig.clock.pump([0] * 50)  # what is long is done in slices
            answer = client.received
            assert answer.status in (200, 204, 207, 400, 404, 409), (path, document)
            if answer.status != 204:
                assert isinstance(answer.json, dict | list)
