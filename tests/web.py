"""HTTP through the real resource tree, in memory."""

from __future__ import annotations

import json

from fakes import Rig
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from evok_twisted.api.site import ApiSite, Root, resources


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

    def __init__(self, model="00", rig=None):
        self.rig = rig or Rig(Clock(), model).start()
        tree = resources(self.rig.registry, self.rig.commands, self.rig.health, "classic")
        self.site = ApiSite(Root(tree), self.rig.clock)

    def send(self, method, path, body=b"", **headers):
        """Send a request; what was answered is known with ``received``."""
        self.transport = StringTransport()
        self.channel = self.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)
        lines = [f"{method} {path} HTTP/1.1", "Host: plc", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.channel.dataReceived("\r\n".join([*lines, "", ""]).encode() + body)
        return self

    @property
    def received(self):
        return Answer(self.transport.value())

    def get(self, path):
        return self.send("GET", path).received

    def post(self, path, body, **headers):
        return self.send(
            "POST", path, body if isinstance(body, bytes) else json.dumps(body).encode(), **headers
        ).received
