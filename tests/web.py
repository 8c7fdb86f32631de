"""Clients of the fronts, in memory: HTTP through the real resource tree, and what a WebSocket carries."""

from __future__ import annotations

import json

from fakes import BY, Rig
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from evok_twisted.api.session import Session
from evok_twisted.api.site import ApiSite, Root, resources
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

    def __init__(self, model="00", rig=None):
        self.rig = rig or Rig(Clock(), model).start()
        tree = resources(self.rig.desks)
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
            listen=self.filters.append,
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
