"""Who gets in, and what they may do there: the same verdict whatever the door."""

from __future__ import annotations

import base64
import json

import pytest
from fakes import Rig
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from web import Browser, Client

from evok_twisted.api.gate import Gate, without_token
from evok_twisted.api.http import JsonResource
from evok_twisted.api.origins import Origins
from evok_twisted.config import AccessSettings, AnonymousSettings
from evok_twisted.core.identity import Scopes
from evok_twisted.core.keyring import LOOK, Failures, Keyring
from evok_twisted.core.tokens import Token, changing, digest_of, fresh, load, networks_of, save
from evok_twisted.errors import ConfigError, Unauthorized
from evok_twisted.problems import Problems

NOW = 1_800_000_000.0
LAN = "192.168.1.20"


class House:
    """A rig behind a gate, with a token of each sort."""

    SORTS = {
        "viewer": (Scopes("viewer"), {}),
        "operator": (Scopes("operator"), {}),
        "admin": (Scopes("admin"), {}),
        "narrowed": (Scopes("operator", ("led/1_01",)), {}),
        "expired": (Scopes("admin"), {"expires": NOW - 1}),
        "elsewhere": (Scopes("admin"), {"networks": ("10.1.0.0/16",)}),
    }

    def __init__(self, tmp_path, local="admin", network="none", proxies=()):
        self.clock = Clock()
        self.rig = Rig(self.clock).start()
        self.file = tmp_path / "tokens.yaml"
        self.texts, self.tokens = {}, {}
        for name, (scopes, more) in self.SORTS.items():
            id, self.texts[name] = fresh(())
            more = {"networks": networks_of(more.get("networks", ())), "expires": more.get("expires")}
            self.tokens[name] = Token(id, name, scopes, created=NOW, digest=digest_of(self.texts[name]), **more)
        self.texts["unknown"], self.texts["none"] = fresh(())[1], None
        self.save()
        self.now = NOW
        self.ring = Keyring(self.file, self.clock, lambda: self.now)
        self.ring.startService()
        access = AccessSettings(anonymous=AnonymousSettings(local=local, network=network))
        self.gate = Gate(access, self.ring, networks_of(proxies))
        self.web = Client(rig=self.rig, gate=self.gate)
        self.came_from(LAN)

    def save(self):
        save(self.file, {token.id: token for token in self.tokens.values()})

    def came_from(self, host, here=None):
        kind = IPv6Address if ":" in host else IPv4Address
        self.web.peer = kind("TCP", host, 50000) if here is None else UNIXAddress(None)
        self.web.host = here or IPv4Address("TCP", "10.0.0.1", 8080)
        return self

    def bearer(self, sort):
        return {} if self.texts[sort] is None else {"Authorization": f"Bearer {self.texts[sort]}"}

    def get(self, path="/rest/led/1_01", **headers):
        return self.web.get(path, **headers)

    def set(self, sort="none", circuit="1_01", body=None, path=None, **headers):
        body = {"value": 1} if body is None else body
        return self.web.post(path or f"/rest/led/{circuit}", body, **self.bearer(sort), **headers)

    @property
    def written(self):
        return bool(self.rig.bus.written)


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


# What each may


VERDICTS = {  # reading, setting led 1_01, setting led 1_02, its alias
    "none": (401, 401, 401, 401),
    "unknown": (401, 401, 401, 401),
    "expired": (401, 401, 401, 401),
    "elsewhere": (401, 401, 401, 401),
    "viewer": (200, 403, 403, 403),
    "narrowed": (200, 200, 403, 403),
    "operator": (200, 200, 200, 403),
    "admin": (200, 200, 200, 200),
}


@pytest.mark.parametrize(("sort", "verdicts"), VERDICTS.items())
def test_what_each_sort_of_token_may_do_over_rest(house, sort, verdicts):
    answers = (
        house.get(**house.bearer(sort)),
        house.set(sort),
        house.set(sort, "1_02"),
        house.set(sort, body={"alias": "lamp"}),
    )
    assert tuple(answer.status for answer in answers) == verdicts
    assert house.written is (200 in verdicts[1:3])
    for answer in answers:
        if answer.status == 401:
            assert "Unauthorized" in answer.json["errors"]
            assert answer.headers["www-authenticate"]
        if answer.status == 403:
            assert "nothing was written" in str(answer.json) or "may not" in str(answer.json)


@pytest.mark.parametrize("sort", VERDICTS)
def test_every_front_gives_the_same_verdict(house, sort):
    """Of a set of led 1_02, by its outcome: 401, 403 or done."""
    rest = house.set(sort, "1_02").status
    as_json = house.set(sort, path="/json/led/1_02").status
    one = {"assignments": None, "individual_assignments": [
        {"device_type": "led", "device_circuit": "1_02", "assigned_values": {"value": 1}}]}  # fmt: skip
    del one["assignments"]
    group = {"group_assignments": [
        {"device_type": "led", "device_circuits": ["1_02"], "assigned_values": {"value": 1}}]}  # fmt: skip
    bulk = [house.set(sort, path="/bulk", body=body).status for body in (one, group)]
    calls = [
        {"jsonrpc": "2.0", "id": 1, "method": "led_set", "params": ["1_02", 1]},
        {"jsonrpc": "2.0", "id": 1, "method": "led_set", "params": {"circuit": "1_02", "value": 1}},
    ]
    codes = []
    for body in (*calls, calls[:1]):
        answer = house.set(sort, path="/rpc", body=body)
        said = answer.json[0] if isinstance(answer.json, list) else answer.json
        failed = said.get("error", {}).get("data", {}).get("code")
        codes.append(answer.status if answer.status == 401 else {"forbidden": 403, None: 200}[failed])
    over = Browser(house.rig, house.clock, gate=house.gate)
    over.transport.peerAddr = IPv4Address("TCP", LAN, 50000)
    head = over.request(extra="".join(f"{name}: {value}\r\n" for name, value in house.bearer(sort).items()))
    if head.startswith(b"HTTP/1.1 101 "):
        over.say({"cmd": "set", "dev": "led", "circuit": "1_02", "value": 1, "id": 1})
        house.clock.pump([0.02] * 3)
        reply = next(one for one in over.messages() if isinstance(one, dict))
        websocket = 200 if reply["success"] else {"forbidden": 403}[reply["error"]["code"]]
    else:
        websocket = int(head.split()[1])
    assert {rest, as_json, *bulk, *codes, websocket} == {VERDICTS[sort][2]}


def test_a_bulk_request_with_one_forbidden_circuit_writes_nothing(house):
    sets = [
        {"device_type": "led", "device_circuit": circuit, "assigned_values": {"value": 1}}
        for circuit in ("1_01", "1_02")
    ]
    answer = house.set("narrowed", path="/bulk", body={"individual_assignments": sets})
    assert (answer.status, house.written) == (403, False)


OPEN = {
    ("/version", "GET"),
    ("/health", "GET"),
    ("/access/whoami", "GET"),
    ("/access/login", "POST"),
    ("/access/logout", "POST"),
}
#: What is read by admins only.
FOR_ADMINS = {"/access/tokens"}


def paths(house):
    """Every path and method that the service has, with parts that are there."""
    for prefix, resource in house.web.tree.items():
        assert isinstance(resource, JsonResource), f"{prefix}: this test is to know of it"
        for template, operations in resource.paths.items():
            path = "/".join(["", prefix.decode(), *([template] if template else [])])
            path = path.format(dev="led", circuit="1_01", property="value", id="0a1b2c3d")
            yield from ((path, method.decode()) for method in operations)


@pytest.mark.parametrize("sort", ["none", "unknown", "expired", "elsewhere"])
def test_nothing_but_what_everybody_may_know_is_open(house, sort):
    found = set()
    for path, method in paths(house):
        house.ring.failures = Failures(house.clock)
        answer = house.web.send(method, path, b"{}" if method == "POST" else b"", **house.bearer(sort)).received
        if answer.status != 401:
            found.add((path, method))
    assert found == (OPEN if sort == "none" else set())
    assert not house.written


@pytest.mark.parametrize("sort", ["viewer", "operator", "narrowed", "admin"])
def test_whoever_may_read_may_read_all(house, sort):
    for path, method in paths(house):
        if method == "GET":
            allowed = (403,) if path in FOR_ADMINS and sort != "admin" else (200, 503)
            assert house.get(path, **house.bearer(sort)).status in allowed, path


def test_of_the_health_everybody_may_know_the_one_word(house):
    assert house.get("/health").json.keys() == {"healthy"}
    assert "buses" in house.get("/health", **house.bearer("viewer")).json


# Ways in


def test_ways_to_show_a_token(house):
    text = house.texts["viewer"]
    basic = base64.b64encode(f"anybody:{text}".encode()).decode()
    for headers in (
        {"Authorization": f"Bearer {text}"},
        {"Authorization": f"bearer  {text} "},
        {"Authorization": f"Basic {basic}"},
    ):
        assert house.get(**headers).status == 200, headers
    assert house.get(f"/rest/led/1_01?token={text}").error == (400, "BadRequest")


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"Authorization": ["Bearer a", "Bearer b"]}, "two Authorization headers"),
        ({"Authorization": "Digest username=x"}, "expected Bearer or Basic"),
        ({"Authorization": "Basic %%%"}, "base64"),
        ({"Authorization": "Basic /w=="}, "base64"),
    ],
)
def test_what_cannot_be_understood_opens_nothing(house, headers, told):
    answer = house.get(**headers)
    assert answer.error == (400, "BadRequest")
    assert told in answer.body.decode()


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Bearer " + "x" * 8000, "Bearer evok_00000000_" + "a" * 43, "Basic "]
)
def test_what_is_no_token_opens_nothing_even_where_anybody_may_read(tmp_path, value):
    house = House(tmp_path, network="operator")
    assert house.get().status == 200
    assert house.get(Authorization=value).status == 401


def test_two_different_tokens_are_none_and_the_same_twice_is_one(house):
    texts = house.texts
    over = Browser(house.rig, house.clock, gate=house.gate)
    extra = f"Authorization: Bearer {texts['viewer']}\r\n"
    assert over.request(f"/ws?token={texts['admin']}", extra).startswith(b"HTTP/1.1 400 ")
    assert over.connect().request(f"/ws?token={texts['viewer']}", extra).startswith(b"HTTP/1.1 101 ")


def test_a_page_of_another_origin_offers_its_token_as_a_subprotocol(house):
    over = Browser(house.rig, house.clock, gate=house.gate)
    head = over.request(extra=f"Sec-WebSocket-Protocol: evok, evok.bearer.{house.texts['viewer']}\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-protocol: evok\r\n" in head.lower()
    assert house.texts["viewer"].encode() not in head


def test_a_page_is_asked_for_a_bearer_only_and_others_for_basic_too(house):
    assert house.get().headers["www-authenticate"].startswith("Basic") or b"Basic" in house.web.transport.value()
    answer = house.get(Sec_Fetch_Mode="cors", Host="plc")
    assert b"Basic" not in house.web.transport.value()
    assert answer.headers["www-authenticate"] == 'Bearer realm="evok"'


def test_wrong_tokens_are_slowed_down(house):
    for _ in range(Failures.most):
        assert house.get(**house.bearer("unknown")).status == 401
    assert house.get(**house.bearer("admin")).error == (429, "TooManyFailures")
    assert house.came_from("192.168.1.21").get(**house.bearer("admin")).status == 200


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("/ws?token=evok_x", "/ws?token=..."),
        ("/ws?a=b&token=evok_x&c=d", "/ws?a=b&token=...&c=d"),
        ("/rest/all", "/rest/all"),
    ],
)
def test_no_log_shows_a_token(uri, shown):
    assert without_token(uri) == shown


def test_a_page_of_another_origin_may_send_a_token_and_see_that_it_is_wrong(house):
    house.web.site.origins = Origins(["https://panel.example"])
    asked = house.web.send("OPTIONS", "/rest/led/1_01", Origin="https://panel.example").received
    assert asked.status == 204
    assert "Authorization" in asked.headers["access-control-allow-headers"]
    answer = house.get(Origin="https://panel.example", **house.bearer("unknown"))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (401, "https://panel.example")


# Local and network


@pytest.mark.parametrize(
    ("host", "headers", "local"),
    [
        ("127.0.0.1", {"Host": "localhost:8080"}, True),
        ("127.0.0.1", {"Host": "127.0.0.1"}, True),
        ("::1", {"Host": "[::1]:8080"}, True),
        ("127.0.0.1", {"Host": ""}, True),
        ("127.0.0.1", {"Host": "plc"}, False),
        ("127.0.0.1", {"Host": "localhost.attacker.example"}, False),
        ("127.0.0.1", {"Host": "localhost", "X_Forwarded_For": "10.0.0.9"}, False),
        ("127.0.0.1", {"Host": "localhost", "Forwarded": "for=10.0.0.9"}, False),
        ("127.0.0.1", {"Host": "localhost", "Via": "1.1 proxy"}, False),
        ("127.0.0.1", {"Host": "localhost", "X_Real_IP": "10.0.0.9"}, False),
        (LAN, {"Host": "localhost"}, False),
        (LAN, {"Host": "127.0.0.1"}, False),
    ],
)
def test_local_is_a_program_on_this_machine_and_nothing_else(house, host, headers, local):
    house.came_from(host)
    assert house.get(**headers).status == (200 if local else 401)


@pytest.mark.parametrize(("path", "local"), [("/run/evok/evok.sock", True), ("/run/evok/proxy.sock", False)])
def test_our_own_socket_is_local_and_that_of_proxies_never_is(house, path, local):
    house.came_from("", here=UNIXAddress(path))
    assert house.get(Host="localhost").status == (200 if local else 401)


def test_what_a_proxy_has_shown_for_itself_counts_for_nobody_behind_it(tmp_path):
    house = House(tmp_path, proxies=("10.1.0.2",)).came_from("10.1.0.2")
    for _ in range(2):
        assert house.get(**house.bearer("elsewhere")).status == 200
        assert house.get(X_Forwarded_For=LAN, **house.bearer("elsewhere")).status == 401


def test_a_token_that_is_known_is_looked_at_again_when_the_file_changes(house):
    for _ in range(3):
        assert house.get(**house.bearer("viewer")).status == 200
    del house.tokens["viewer"]
    house.save()
    house.clock.advance(LOOK)
    assert house.get(**house.bearer("viewer")).status == 401
    assert house.get(**house.bearer("operator")).status == 200


def test_who_comes_through_a_trusted_proxy_has_the_address_that_it_tells(tmp_path):
    house = House(tmp_path, proxies=("192.168.1.0/28", "192.168.1.2"))
    house.came_from("192.168.1.2")
    forwarded = "10.1.2.3, 192.168.1.3"
    assert house.get(X_Forwarded_For=forwarded, **house.bearer("elsewhere")).status == 200
    assert house.get(X_Forwarded_For="10.1.2.3, 172.16.0.1", **house.bearer("elsewhere")).status == 401
    house.came_from("192.168.1.99")  # nobody's proxy says what it likes
    assert house.get(X_Forwarded_For=forwarded, **house.bearer("elsewhere")).status == 401


@pytest.mark.parametrize(
    ("roles", "verdicts"),
    [({"network": "viewer"}, (200, 403)), ({"network": "operator"}, (200, 200)), ({"local": "none"}, (401, 401))],
)
def test_those_without_a_token_have_the_role_that_is_configured(tmp_path, roles, verdicts):
    house = House(tmp_path, **roles)
    if "local" in roles:
        house.came_from("127.0.0.1")
    headers = {"Host": "localhost"} if "local" in roles else {}
    assert (house.get(**headers).status, house.set(**headers).status) == verdicts


def test_without_access_everybody_is_admin():
    web = Client()
    assert web.post("/rest/led/1_01", {"alias": "lamp"}).status == 200


# Sessions of browsers


class Page:
    """A page in a browser, with its cookie."""

    def __init__(self, house, origin="http://plc"):
        self.house, self.origin, self.cookie, self.given = house, origin, None, ""

    def fetch(self, method, path, body=None, **more):
        headers = {"Origin": self.origin, "Cookie": self.cookie and f"evok_session={self.cookie}", **more}
        headers = {name: value for name, value in headers.items() if value is not None}
        data = b"" if body is None else json.dumps(body).encode()
        answer = self.house.web.send(method, path, data, **headers).received
        given = answer.headers.get("set-cookie", "")
        if given:
            self.given = given
            self.cookie = given.partition("=")[2].partition(";")[0] or None
        return answer

    def log_in(self, sort="operator", **more):
        return self.fetch("POST", "/access/login", {"token": self.house.texts[sort]}, **more)


def test_a_page_logs_in_once_and_has_a_session_from_then_on(house):
    page = Page(house)
    assert page.fetch("GET", "/access/whoami").json["role"] == "none"
    assert page.log_in().json["role"] == "operator"
    assert all(word in page.given.lower() for word in ("httponly", "samesite=strict", "path=/", "max-age=2592000"))
    assert "secure" not in page.given.lower()
    assert house.texts["operator"][14:] not in page.given
    assert page.fetch("GET", "/access/whoami").json["name"].startswith("operator(")
    assert page.fetch("POST", "/rest/led/1_01", {"value": 1}).status == 200
    assert page.fetch("POST", "/rest/led/1_01", {"alias": "lamp"}).status == 403
    assert page.fetch("POST", "/access/logout").json["role"] == "none"
    assert page.cookie is None
    assert page.fetch("GET", "/rest/all").status == 401


def linked(house, **more):
    """The code of a link for an operator."""
    id, code = fresh(())
    fields = {"networks": (), "created": NOW, "expires": NOW + 600, "once": True, **more}
    house.tokens["link"] = Token(id, "link", Scopes("operator"), digest=digest_of(code), **fields)
    house.save()
    return code


def test_the_code_of_a_link_logs_one_page_in_and_the_session_outlives_the_link(house, log):
    code, page, second = linked(house), Page(house), Page(house)
    assert page.fetch("POST", "/access/login", {"code": code}).json["role"] == "operator"
    house.now += 3600
    house.clock.advance(LOOK)
    assert page.fetch("POST", "/rest/led/1_01", {"value": 1}).status == 200
    assert second.fetch("POST", "/access/login", {"code": code}).status == 401
    assert second.cookie is None
    assert f"link({code[5:13]}) logged in from {LAN}" in log.texts("info")
    house.now += 365 * 86400
    house.clock.advance(LOOK)
    assert page.fetch("GET", "/rest/all").status == 401


def test_a_link_that_was_used_stays_used_over_a_restart(house):
    code = linked(house)
    Page(house).fetch("POST", "/access/login", {"code": code})
    again = Keyring(house.file, Clock(), lambda: NOW)
    again.look()
    with pytest.raises(Unauthorized):
        again.redeem(code, LAN)


def test_the_code_of_a_link_is_no_token_and_a_token_is_no_code(house):
    code, page = linked(house), Page(house)
    assert house.get(Authorization=f"Bearer {code}").status == 401
    assert page.fetch("POST", "/access/login", {"token": code}).status == 401
    assert page.fetch("POST", "/access/login", {"code": house.texts["admin"]}).status == 401
    assert page.fetch("POST", "/access/login", {"code": code}).status == 200


def test_a_link_ends_after_its_10_minutes(house):
    code = linked(house)
    house.now += 600
    assert Page(house).fetch("POST", "/access/login", {"code": code}).status == 401


def test_a_link_whose_use_cannot_be_kept_opens_nothing_and_is_of_use_later(house, monkeypatch):
    code, page = linked(house), Page(house)
    with monkeypatch.context() as broken:
        broken.setattr("evok_twisted.core.tokens.write_file", full)
        assert page.fetch("POST", "/access/login", {"code": code}).error == (500, "NotSaved")
    assert page.cookie is None
    assert page.fetch("POST", "/access/login", {"code": code}).status == 200


def full(*_):
    raise OSError(28, "No space left on device")


def test_of_two_who_change_the_file_at_once_the_second_is_told(house):
    with changing(house.file, Problems()) as tokens:
        del tokens[house.tokens["admin"].id]
        with pytest.raises(ConfigError, match="by another; try again"), changing(house.file, Problems()):
            pass
    assert house.tokens["admin"].id not in load(house.file, Problems())


@pytest.mark.parametrize("sort", ["unknown", "expired", "elsewhere"])
def test_a_wrong_token_begins_no_session(house, sort):
    page = Page(house)
    assert page.log_in(sort).status == 401
    assert page.cookie is None


@pytest.mark.parametrize("body", [None, {}, {"token": 5}, [], {"token": "a", "code": "a"}, {"token": ""}])
def test_a_login_that_cannot_be_understood_is_said(house, body):
    assert Page(house).fetch("POST", "/access/login", body).error == (400, "BadRequest")


@pytest.mark.parametrize("origin", ["http://plc:1880", "https://plc", None])
def test_a_session_counts_for_our_own_pages_only(house, origin):
    page = Page(house)
    page.log_in()
    page.origin = origin
    assert page.fetch("POST", "/rest/led/1_01", {"value": 1}).status == 401
    assert page.fetch("GET", "/rest/all").status == (200 if origin is None else 401)
    assert not house.written


def test_a_session_is_of_one_token_of_one_service_and_ends_with_it(house, tmp_path):
    page = Page(house)
    page.log_in()
    kept = page.cookie
    for wrong in (kept[:-1] + ("A" if kept[-1] != "A" else "B"), kept.replace(".", ".9", 1), "nonsense", f"x{kept}"):
        page.cookie = wrong
        answer = page.fetch("GET", "/rest/all")
        assert (answer.status, page.cookie) == (401, None), wrong
    page.cookie = kept
    assert page.fetch("GET", "/rest/all").status == 200
    (tmp_path / "other").mkdir()
    other = Page(House(tmp_path / "other"))
    other.cookie = kept
    assert "of another service" in str(other.fetch("GET", "/rest/all").json)
    del house.tokens["operator"]
    house.save()
    house.clock.advance(LOOK)
    assert page.fetch("GET", "/rest/all").status == 401


def test_a_session_that_is_used_is_made_anew_after_a_day_and_ends_30_days_after_the_last_use(house):
    page = Page(house)
    page.log_in()
    first = page.cookie
    house.now += 23 * 3600
    assert page.fetch("GET", "/rest/all").status == 200
    assert page.cookie == first
    house.now += 2 * 3600
    assert page.fetch("GET", "/rest/all").status == 200
    assert page.cookie != first
    house.now += 29 * 86400
    assert page.fetch("GET", "/rest/all").status == 200
    house.now += 30 * 86400
    assert page.fetch("GET", "/rest/all").status == 401


def test_behind_a_proxy_that_takes_tls_off_a_session_is_of_https(tmp_path):
    page = Page(House(tmp_path, proxies=("10.0.0.2",)).came_from("10.0.0.2"), "https://plc")
    told = {"X_Forwarded_For": LAN, "X_Forwarded_Proto": "https"}
    assert page.log_in(**told).status == 200
    assert "secure" in page.given.lower()
    assert page.fetch("POST", "/rest/led/1_01", {"value": 1}, **told).status == 200


# The WebSocket


@pytest.fixture
def over(house):
    return Browser(house.rig, house.clock, gate=house.gate)


def closed_with(over):
    """The code and the reason of the close frame."""
    for opcode, payload in over.frames():
        if opcode == 8:
            return int.from_bytes(payload[:2], "big"), payload[2:].decode()
    return None


def test_a_websocket_without_a_token_is_refused_at_the_handshake(house, over):
    head = over.request()
    assert head.startswith(b"HTTP/1.1 401 ")
    assert b"auth=message" in head


def test_a_token_as_the_first_message(house, over):
    over.open("/ws?auth=message")
    over.change(r0=1)
    assert over.messages() == []
    over.say({"cmd": "auth", "token": house.texts["viewer"], "id": 7})
    (reply,) = over.messages()
    name = f"viewer({house.tokens['viewer'].id})"
    assert (reply["success"], reply["id"], reply["result"]) == (True, 7, {"name": name, "role": "viewer"})
    over.change(r0=0)
    assert len(over.messages()) == 1
    over.say({"cmd": "set", "dev": "led", "circuit": "1_01", "value": 1, "id": 8})
    (reply,) = over.messages()
    assert reply["error"]["code"] == "forbidden"


@pytest.mark.parametrize(
    "first",
    [{"cmd": "all"}, {"cmd": "auth"}, {"cmd": "auth", "token": 5}, b"{", [], {"cmd": "auth", "token": "evok_"}],
)
def test_there_is_one_try_and_nothing_else_is_answered(over, first):
    over.open("/ws?auth=message")
    over.say(first)
    found = over.frames()
    assert [opcode for opcode, _ in found] == [1, 8]
    assert json.loads(found[0][1])["success"] is False
    assert int.from_bytes(found[1][1][:2], "big") == 4401


def test_a_connection_that_shows_no_token_in_10_seconds_is_closed(over):
    over.open("/ws?auth=message")
    over.clock.advance(9.9)
    assert closed_with(over) is None
    over.clock.advance(0.2)
    assert closed_with(over) == (4401, "there was no token in time")


def test_a_connection_that_is_nobodys_may_not_send_much(over):
    over.open("/ws?auth=message")
    for _ in range(20):
        over.say(b"", opcode=9)
    assert 4401 in [int.from_bytes(payload[:2], "big") for opcode, payload in over.frames() if opcode == 8]


@pytest.mark.parametrize("how", ["revoked", "narrowed", "moved"])
def test_a_token_that_is_no_more_what_it_was_ends_its_connections(house, over, how):
    over.open(extra=f"Authorization: Bearer {house.texts['operator']}\r\n")
    other = Browser(house.rig, house.clock, gate=house.gate)
    other.factory = over.factory
    if how == "revoked":
        del house.tokens["operator"]
    elif how == "narrowed":
        house.tokens["operator"] = house.tokens["operator"]._replace(scopes=Scopes("operator", ("ro",)))
    else:
        house.tokens["operator"] = house.tokens["operator"]._replace(networks=networks_of(("10.9.0.0/16",)))
    house.save()
    house.clock.advance(LOOK)
    assert closed_with(over) == (4401, "the token is of no use any more")


# Admins make, narrow and revoke tokens


def asked(house, method, path, body=None, sort="admin"):
    data = b"" if body is None else json.dumps(body).encode()
    return house.web.send(method, path, data, **house.bearer(sort)).received


def test_a_token_that_an_admin_makes_is_of_use_at_once_and_kept_as_a_digest(house):
    wanted = {"name": "anna", "role": "operator", "write": ["led/1_02"], "networks": ["192.168.0.0/16"], "lasts": 3600}
    answer = asked(house, "POST", "/access/tokens", wanted)
    made, text = answer.json["token"], answer.json["text"]
    assert answer.status == 200 and made["expires"] == "2027-01-15T09:00:00.000Z"
    assert text not in house.file.read_text()
    house.texts["anna"] = text
    assert house.set("anna", "1_02").status == 200 and house.set("anna", "1_01").status == 403
    listed = {one["name"]: one for one in asked(house, "GET", "/access/tokens").json["tokens"]}
    assert listed["anna"] == made and "expired" not in listed


def test_a_token_is_narrowed_while_it_is_in_use(house):
    id = house.tokens["operator"].id
    answer = asked(house, "POST", f"/access/tokens/{id}", {"write": ["led/1_02"]})
    assert (answer.status, answer.json["write"], answer.json["role"]) == (200, ["led/1_02"], "operator")
    assert house.set("operator", "1_01").status == 403
    assert asked(house, "POST", f"/access/tokens/{id}", {"role": "viewer", "write": None}).json["write"] is None
    assert house.set("operator", "1_02").status == 403


def test_a_token_that_is_revoked_is_of_no_use(house):
    id = house.tokens["operator"].id
    assert asked(house, "DELETE", f"/access/tokens/{id}").json["name"] == "operator"
    assert house.set("operator").status == 401
    assert asked(house, "DELETE", f"/access/tokens/{id}").error == (404, "NotFound")


def test_a_link_that_an_admin_makes_logs_in_once(house):
    answer = asked(house, "POST", "/access/link", {"role": "viewer"})
    assert answer.json["token"]["link"]
    code = {"code": answer.json["text"]}
    assert asked(house, "POST", "/access/login", code, sort="none").json["role"] == "viewer"
    assert asked(house, "POST", "/access/login", code, sort="none").status == 401


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"name": "x"}, (400, "BadRequest")),
        ({"name": "x", "role": "king"}, (400, "BadRequest")),
        ({"name": "x", "role": "admin", "colour": "red"}, (400, "BadRequest")),
        ({"name": "", "role": "admin"}, (400, "BadValue")),
        ({"name": "x" * 65, "role": "admin"}, (400, "BadValue")),
        ({"name": "viewer", "role": "admin"}, (400, "BadValue")),
        ({"name": "x", "role": "operator", "write": ["lamp"]}, (400, "BadValue")),
        ({"name": "x", "role": "operator", "networks": ["home"]}, (400, "BadValue")),
        ({"name": "x", "role": "operator", "lasts": -1}, (400, "BadRequest")),
    ],
)
def test_a_token_that_cannot_be_is_not_made(house, body, error):
    before = house.file.read_text()
    assert asked(house, "POST", "/access/tokens", body).error == error
    assert house.file.read_text() == before


@pytest.mark.parametrize("sort", ["none", "viewer", "operator", "narrowed"])
def test_tokens_are_for_admins(house, sort):
    before = house.file.read_text()
    for method, path, body in (
        ("GET", "/access/tokens", None),
        ("POST", "/access/tokens", {"name": "x", "role": "viewer"}),
        ("POST", f"/access/tokens/{house.tokens['viewer'].id}", {"role": "admin"}),
        ("DELETE", f"/access/tokens/{house.tokens['viewer'].id}", None),
        ("POST", "/access/link", {"role": "admin"}),
    ):
        assert asked(house, method, path, body, sort).status == (401 if sort == "none" else 403)
    assert house.file.read_text() == before


def test_an_admin_that_is_narrowed_makes_none_that_may_more(house):
    house.tokens["admin"] = house.tokens["admin"]._replace(scopes=Scopes("admin", ("led/1_01",)))
    house.save()
    house.ring.look()
    assert asked(house, "POST", "/access/tokens", {"name": "x", "role": "admin"}).status == 403


def test_a_file_that_cannot_be_written_changes_nothing(house, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("evok_twisted.core.tokens.write_file", full)
    answer = asked(house, "POST", "/access/tokens", {"name": "x", "role": "viewer"})
    assert answer.error == (500, "NotSaved") and "No space left" in answer.json["errors"]["NotSaved"]
    assert "x" not in {one["name"] for one in asked(house, "GET", "/access/tokens").json["tokens"]}


def test_where_nobody_is_asked_there_are_no_tokens():
    web = Client()
    assert web.get("/access/tokens").error == (409, "Conflict")
