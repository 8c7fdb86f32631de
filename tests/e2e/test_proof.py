"""Nothing gets past access: every path and method, and every command, by who asks and how.

The tables are checked against what the running service says that it has, so that nothing new is forgotten.
"""

from __future__ import annotations

import itertools
import json
import time

import pytest
import requests
import websocket

from evok_twisted.api.asyncapi import QUESTIONS
from evok_twisted.api.session import Session
from evok_twisted.core.identity import Scopes
from evok_twisted.core.tokens import Token, digest_of, fresh, save

CONFIG = """
apis:
  alias_file: ""
  history: {{enabled: true, file: ":memory:", devices: [led]}}
  access_log: true
  trusted_proxies: [127.0.0.1]
  access: {{tokens: {directory}/tokens.yaml}}
comm_channels:
  LOCAL:
    type: MODBUSTCP
    port: {port}
    devices:
      1: {{model: 00}}
"""

#: Who asks: what their token may do and for how long, and what else they send.
SORTS = {
    "none": (None, {}),
    "viewer": (Scopes("viewer"), {}),
    "operator": (Scopes("operator"), {}),
    "narrowed": (Scopes("operator", ("led/1_01", "di")), {}),
    "expired": (Scopes("admin"), {}),
    "revoked": (Scopes("admin"), {}),
    "foreign origin": (Scopes("admin"), {"Origin": "https://attacker.example"}),
    "foreign host": (Scopes("admin"), {"Host": "attacker.example:8080", "User-Agent": "Mozilla/5.0"}),
    "admin": (Scopes("admin"), {}),
}
#: What becomes of it, in the order of SORTS, by what it is.
VERDICTS = {
    "open": (200, 200, 200, 200, 401, 401, 403, 403, 200),
    "asked beforehand": (204, 204, 204, 204, 401, 401, 403, 403, 204),
    "reads": (401, 200, 200, 200, 401, 401, 403, 403, 200),
    "operates": (401, 403, 200, 403, 401, 401, 403, 403, 200),
    "administers": (401, 403, 403, 403, 401, 401, 403, 403, 200),
    "promises": (401, 403, 200, 403, 401, 401, 403, 403, 200),
}
SET = {"value": 1}
ASSIGNED = {"device_type": "led", "device_circuit": "1_02", "assigned_values": SET}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "led_set", "params": ["1_02", 1]}

#: Every path and method but OPTIONS: what it is, and a body.
PATHS = {
    **{
        (f"/{root}{path}", "get"): ("reads", None)
        for root in ("rest", "json")
        for path in ("/all", "/{dev}/all", "/{dev}/all/{property}", "/{dev}/{circuit}", "/{dev}/{circuit}/{property}")
    },
    ("/rest/{dev}/{circuit}", "post"): ("operates", SET),
    ("/json/{dev}/{circuit}", "post"): ("operates", SET),
    ("/bulk", "post"): ("operates", {"individual_assignments": [ASSIGNED]}),
    ("/rpc", "post"): ("operates", CALL),
    ("/openapi.json", "get"): ("reads", None),
    ("/asyncapi.json", "get"): ("reads", None),
    ("/health", "get"): ("open", None),
    ("/version", "get"): ("open", None),
    ("/access/whoami", "get"): ("open", None),
    ("/access/logout", "post"): ("open", {}),
    ("/access/login", "post"): ("open", "a token"),
    ("/access/tokens", "get"): ("administers", None),
    ("/access/tokens", "post"): ("administers", {"name": "{n}", "role": "viewer"}),
    ("/access/tokens/{id}", "post"): ("administers", {"role": "viewer"}),
    ("/access/tokens/{id}", "delete"): ("administers", None),
    ("/access/link", "post"): ("administers", {"role": "viewer"}),
    ("/log", "get"): ("administers", None),
    ("/panel/rules", "get"): ("reads", None),
    ("/metrics", "get"): ("reads", None),
    ("/history/events", "get"): ("reads", None),
    ("/history/{dev}/{circuit}", "get"): ("reads", None),
    ("/reload", "post"): ("administers", {}),
    ("/modbus/{bus}/capture", "get"): ("administers", None),
    ("/modbus/{bus}/{unit}/{table}/{start}", "get"): ("administers", None),
    ("/modbus/{bus}/{unit}/{table}/{start}", "post"): ("administers", {"values": [0]}),
}
#: A register that can be read and written: the first of outputs.
REGISTER = {"bus": "LOCAL", "unit": 1, "table": "holding", "start": 1}
#: Every command of the WebSocket: what it is, and the message.
COMMANDS = {
    "all": ("reads", {}),
    "full": ("reads", {"dev": "led", "circuit": "1_02"}),
    "filter": ("reads", {"devices": ["led"]}),
    "health": ("reads", {}),
    "history": ("reads", {"dev": "led", "circuit": "1_02"}),
    "subscribe": ("reads", {}),
    "unsubscribe": ("reads", {}),
    "will": ("promises", {"sets": [{"dev": "led", "circuit": "1_02", "value": 0}]}),
    "unwill": ("reads", {}),
    "set": ("operates", {"dev": "led", "circuit": "1_02", "value": 1}),
}


class House:
    """A service that asks for tokens, and those who come."""

    def __init__(self, directory, url):
        self.url = url
        self.address = url.replace("ws://", "http://").removesuffix("/ws")
        self.tokens, self.kept, now = {}, {}, time.time()
        for sort, (scopes, _) in SORTS.items():
            if scopes is not None:
                id, self.tokens[sort] = fresh(self.kept)
                expires = now - 1 if sort == "expired" else None
                self.kept[id] = Token(id, sort, scopes, (), now, expires, digest_of(self.tokens[sort]))
        save(directory / "tokens.yaml", self.kept)
        self.await_status("revoked", 200)
        del self.kept[self.tokens["revoked"][5:13]]
        save(directory / "tokens.yaml", self.kept)
        self.await_status("revoked", 401)
        self._hosts = itertools.count()

    def await_status(self, sort, status):
        deadline = time.monotonic() + 10
        headers = {"Authorization": f"Bearer {self.tokens[sort]}", "X-Forwarded-For": "10.9.9.9"}
        while requests.get(f"{self.address}/rest/all", headers=headers, timeout=5).status_code != status:
            assert time.monotonic() < deadline
            time.sleep(0.5)

    def headers(self, sort):
        n = next(self._hosts)  # of another host each time, for wrong tokens are slowed down
        token = {} if sort not in self.tokens else {"Authorization": f"Bearer {self.tokens[sort]}"}
        return {"Host": "plc", "X-Forwarded-For": f"10.1.{n // 250}.{n % 250}", **token, **SORTS[sort][1]}

    def verdict(self, sort, path, method, body):
        """The status of an answer; of one of JSON-RPC, which is always 200, that of its error."""
        spare = self.spare() if "{id}" in path else ""
        path = path.format(dev="led", circuit="1_02", property="value", id=spare, **REGISTER)
        if isinstance(body, dict) and body.get("name") == "{n}":
            body = {**body, "name": f"token {next(self._hosts)}"}
        body = {"token": self.tokens.get(sort, self.tokens["viewer"])} if body == "a token" else body
        path += "?seconds=1" if path.endswith("/capture") else ""
        answer = requests.request(method, f"{self.address}{path}", json=body, headers=self.headers(sort), timeout=5)
        if path == "/rpc" and method == "post" and answer.status_code == 200:
            return {"forbidden": 403}[answer.json()["error"]["data"]["code"]] if "error" in answer.json() else 200
        return answer.status_code

    def spare(self):
        """The id of a token that nobody needs."""
        made = {"name": f"spare {next(self._hosts)}", "role": "viewer"}
        headers = self.headers("admin")
        answer = requests.post(f"{self.address}/access/tokens", json=made, headers=headers, timeout=5)
        return answer.json()["token"]["id"]

    def over(self, sort, query=""):
        headers = self.headers(sort)
        return websocket.create_connection(
            f"{self.url}{query}",
            host=headers.pop("Host"),
            origin=headers.pop("Origin", None),
            suppress_origin="Origin" not in SORTS[sort][1],
            header=headers,
            timeout=5,
        )

    def led(self):
        return requests.get(f"{self.address}/rest/led/1_02", headers=self.headers("admin"), timeout=5).json()["value"]

    def switch_off(self):
        requests.post(f"{self.address}/rest/led/1_02", json={"value": 0}, headers=self.headers("admin"), timeout=5)
        assert self.led() == 0


def said(over, message):
    """What a WebSocket answers, as the status of HTTP."""
    over.send(json.dumps({"id": 1, **message}))
    while True:
        reply = json.loads(over.recv())
        if isinstance(reply, dict) and reply.get("id") == 1:
            return 200 if reply["success"] else {"forbidden": 403}[reply["error"]["code"]]


@pytest.fixture
def house(twistd, tmp_path, port):
    (tmp_path / "config.yaml").write_text(CONFIG.format(directory=tmp_path, port=port))
    twistd("evok-simulator", "--config", tmp_path, "--port", port).wait_for("listening")
    service = twistd("evok", "--config", tmp_path, "--port", "tcp:0:interface=127.0.0.1")
    service.wait_for("slave 1 .* answers")
    return House(tmp_path, service.url)


def test_every_path_and_method_gives_each_their_verdict(house):
    described = requests.get(f"{house.address}/openapi.json", headers=house.headers("viewer"), timeout=5).json()
    methods = {(path, method) for path, operations in described["paths"].items() for method in operations}
    methods = {(path, method) for path, method in methods if method not in ("parameters", "options")}
    assert methods == PATHS.keys()
    wanted = {**PATHS, **{(path, "options"): ("asked beforehand", None) for path, _ in methods}}
    wrong = {}
    for (path, method), (what, body) in wanted.items():
        for sort, expected in zip(SORTS, VERDICTS[what], strict=True):
            if what == "operates":
                house.switch_off()
            found = house.verdict(sort, path, method, body)
            written = what == "operates" and house.led() == 1
            if (found, written) != (expected, what == "operates" and expected == 200):
                wrong[path, method, sort] = (found, written)
    assert wrong == {}


def test_every_command_of_the_websocket_gives_each_their_verdict(house):
    assert COMMANDS.keys() == {*Session._handlers, *QUESTIONS}
    wrong = {}
    for command, (what, message) in COMMANDS.items():
        for sort, expected in zip(SORTS, VERDICTS[what], strict=True):
            house.switch_off()
            try:
                over = house.over(sort)
            except websocket.WebSocketBadStatusException as error:
                found = error.status_code
            else:
                found = said(over, {"cmd": command, **message})
                over.close()
            written = house.led() == 1
            if (found, written) != (expected, what == "operates" and expected == 200):
                wrong[command, sort] = (found, written)
    assert wrong == {}


def test_before_the_first_message_has_shown_a_token_no_command_is_answered(house):
    for command, (_, message) in COMMANDS.items():
        over = house.over("none", "?auth=message")
        over.send(json.dumps({"cmd": command, "id": 1, **message}))
        assert json.loads(over.recv())["error"]["code"] == "bad_request", command
        assert over.recv_data(control_frame=True)[0] == websocket.ABNF.OPCODE_CLOSE, command
        assert house.led() == 0, command
