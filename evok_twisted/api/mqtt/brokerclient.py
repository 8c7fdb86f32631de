"""Paho's client on a wire of ours: it opens no sockets, and so it never blocks."""

from __future__ import annotations

from typing import Any, NamedTuple

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from evok_twisted.api.mqtt.packets import LARGEST_PACKET

#: Messages that may be without acknowledgement at one time: what mosquitto takes, and what is taken of a broker.
WINDOW = 20


class Hello(NamedTuple):
    """What a connection begins with.

    :ivar version: ``5`` or ``3.1.1``.
    :ivar keepalive: seconds without a word after which one asks whether the other is there.
    :ivar will: the topic on which the broker is to say ``offline`` when we are gone.
    """

    client_id: str
    version: str
    keepalive: int
    username: str
    password: str
    will: str


class Wire:
    """A transport, as paho takes it for a socket."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.data = bytearray()

    def recv(self, size: int) -> bytes:
        if not self.data:
            raise BlockingIOError
        taken = bytes(self.data[:size])
        del self.data[:size]
        return taken

    def send(self, data: Any) -> int:
        self._transport.write(bytes(data))
        return len(data)

    def close(self) -> None:
        self._transport.loseConnection()

    def fileno(self) -> int:
        return -1

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""


class BrokerClient(paho.Client):
    """One connection's worth of MQTT. Nothing of it may be called in its callbacks, or it waits for itself for ever."""

    def __init__(self, hello: Hello, wire: Wire) -> None:
        self.wire = wire
        self._hello = hello
        self._v5 = hello.version == "5"
        super().__init__(
            CallbackAPIVersion.VERSION2,
            hello.client_id,
            # of MQTT 5 a session is clean unless something else is asked for
            clean_session=None if self._v5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if self._v5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        self.max_inflight_messages = 0  # paho knows nothing of what a broker takes; the window is the connection's
        self.will_set(hello.will, "offline", 1, retain=True)
        if hello.username:
            self.username_pw_set(hello.username, hello.password or None)

    def greet(self) -> None:
        """Say who we are."""
        properties = None
        if self._v5:
            properties = Properties(PacketTypes.CONNECT)
            properties.ReceiveMaximum = WINDOW
            properties.MaximumPacketSize = LARGEST_PACKET
        # the host is for paho's own sockets
        self.connect_async("broker", 1, self._hello.keepalive, properties=properties)
        self.reconnect()

    def _create_socket(self) -> Any:
        """The one private method of paho's that is another here."""
        return self.wire
