"""A unit with browsers before it: what the tests of the panel share."""

from __future__ import annotations

import json
import shutil
import socket
import time

import websocket

from evok_twisted.core.identity import Scopes
from evok_twisted.core.tokens import Token, digest_of, fresh, load, save
from evok_twisted.problems import Problems

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()

CONFIG = """
apis:
  alias_file: ""
  trusted_proxies: [127.0.0.1]
  access: {{tokens: {directory}/tokens.yaml, anonymous: {{local: {local}}}}}
  panel: {{confirm: [ro/2_02]}}
{apis}comm_channels:
  LOCAL:
    type: MODBUSTCP
    port: {port}
    timeout: {timeout}
    write_timeout: {deadline}
    devices:
{devices}
"""
TWO = "      1: {slave-id: 1, model: 00}\n      2: {slave-id: 2, model: 13}\n"


class House:
    """A unit, and browsers before it."""

    def __init__(self, browser, twistd, directory, port, local="admin", devices=TWO, timeout=0.3, apis=""):
        self.directory, self.port = directory, port
        self._twistd, self._browser, self._contexts = twistd, browser, []
        self.complaints = []
        self.http = free_port()
        text = CONFIG.format(
            directory=directory,
            port=port,
            local=local,
            devices=devices,
            timeout=timeout,
            deadline=max(2.0, timeout),
            apis=apis,
        )
        (directory / "config.yaml").write_text(text)
        save(directory / "tokens.yaml", {})
        self.url = f"http://127.0.0.1:{self.http}/panel/"
        self.begin_boards()
        self.begin()

    def begin_boards(self):
        self.simulator = self._twistd("evok-simulator", "--config", self.directory, "--port", self.port)
        self.simulator.wait_for("listening")

    def begin(self):
        port = f"tcp:{self.http}:interface=127.0.0.1"
        self.service = self._twistd("evok", "--config", self.directory, "--port", port)
        self.service.wait_for("slave .* answers")

    def token(self, role, write=None):
        """A token of a role; its text and its id."""
        tokens = load(self.directory / "tokens.yaml", Problems())
        id, text = fresh(tokens)
        name = f"{role}{len(tokens)}"
        tokens[id] = Token(id, name, Scopes(role, write), (), time.time(), None, digest_of(text))
        save(self.directory / "tokens.yaml", tokens)
        return text, id

    def revoke(self, id):
        tokens = load(self.directory / "tokens.yaml", Problems())
        del tokens[id]
        save(self.directory / "tokens.yaml", tokens)

    def page(self, query="", url=None, ready="circuit-row", **context):
        """A page in a browser of its own, which must not complain, and asks nobody else for anything."""
        made = self._browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **context})
        self._contexts.append(made)
        page = made.new_page()
        origin = (url or self.url).split("/panel")[0]

        def complain(what):
            self.complaints.append(what)

        page.on("console", lambda message: message.type == "error" and complain(message.text))
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("request", lambda request: request.url.startswith(origin) or complain(f"asked {request.url}"))
        page.goto((url or self.url) + query)
        if ready:
            page.wait_for_selector(ready)
        return page

    def close(self):
        contexts, self._contexts = self._contexts, []
        for context in contexts:
            context.close()
        complaints, self.complaints = self.complaints, []
        assert complaints == []

    def command(self, **message):
        line = websocket.create_connection(
            f"ws://127.0.0.1:{self.http}/ws?dialect=v3", timeout=10, suppress_origin=True
        )
        line.send(json.dumps({"id": 1, **message}))
        while True:
            reply = json.loads(line.recv())
            if isinstance(reply, dict) and reply.get("id") == 1:
                line.close()
                return reply


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def lost(house):
    """What a browser says of connections that end: forgive it that, for the unit was made to end."""
    house.complaints = [one for one in house.complaints if "WebSocket" not in one and "ERR_" not in one]


def row(page, key):
    return page.locator(f'circuit-row[data-key="{key}"]')


def switch(page, name):
    return page.get_by_role("switch", name=name)
