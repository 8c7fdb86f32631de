"""Access as an owner sets it up: ``evok token``, the service, and what its log says."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import websocket

EVOK = Path(sys.executable).with_name("evok")

CONFIG = """
apis:
  alias_file: ""
  access_log: true
  access:
    tokens: {directory}/tokens.yaml
comm_channels:
  LOCAL:
    type: MODBUSTCP
    port: {port}
    devices:
      1: {{model: 00}}
"""

#: Not local: a program on this machine names it so.
ELSEWHERE = {"Host": "plc"}


@pytest.fixture
def config(tmp_path, port):
    (tmp_path / "config.yaml").write_text(CONFIG.format(directory=tmp_path, port=port))
    return tmp_path


@pytest.fixture
def evok(config):
    def run(*arguments):
        return subprocess.run(
            [EVOK, *arguments, "--config", config], capture_output=True, text=True, timeout=30, check=False
        )

    return run


@pytest.fixture
def service(twistd, config, port):
    twistd("evok-simulator", "--config", config, "--port", port).wait_for("listening")
    service = twistd("evok", "--config", config, "--port", "tcp:0:interface=127.0.0.1")
    service.wait_for("slave 1 .* answers")
    return service


def status(service, token=None, method="GET", path="/rest/led/1_01", **more):
    url = service.url.replace("ws://", "http://").removesuffix("/ws")
    headers = {**ELSEWHERE, **({} if token is None else {"Authorization": f"Bearer {token}"})}
    return requests.request(method, f"{url}{path}", headers=headers, timeout=5, **more).status_code


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline


def test_a_token_from_its_making_to_its_end(evok, service):
    assert status(service) == 401
    made = evok("token", "create", "nodered", "--role", "operator", "--write", "led/1_0*", "--expires", "1y")
    token = made.stdout.strip()
    assert (made.returncode, len(token)) == (0, 57)
    assert "not shown again" in made.stderr and token not in made.stderr
    assert status(service, token) == 200
    assert status(service, token, "POST", json={"value": 1}) == 200
    assert status(service, token, "POST", json={"alias": "lamp"}) == 403
    assert status(service, token, "POST", "/rest/ro/1_01", json={"value": 1}) in (403, 404)
    over = websocket.create_connection(f"{service.url}?token={token}", host="plc", suppress_origin=True, timeout=10)
    listed = evok("token", "list").stdout
    assert token[5:13] in listed and token[14:] not in listed
    assert ["nodered", "operator", "led/1_0*", "anywhere"] == listed.splitlines()[1].split()[1:5]
    revoked = evok("token", "revoke", "nodered")
    assert (revoked.returncode, revoked.stdout) == (0, "")
    until(lambda: status(service, token) == 401)
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        while over.recv_data(control_frame=True)[0] != websocket.ABNF.OPCODE_CLOSE:
            pass
        raise websocket.WebSocketConnectionClosedException
    service.wait_for(rf"set led 1_01 value=1 by nodered\({token[5:13]}\) from 127.0.0.1 over rest: done in \d+ ms")
    service.wait_for(r"set led 1_01 alias='?lamp'? by .*: forbidden")
    assert status(service, path=f"/rest/all?token={token}") == 400
    service.wait_for(r"GET /rest/all\?token=\.\.\. 400")
    assert service.stop() == 0
    assert token[14:] not in "\n".join(service.lines)


def test_a_link_logs_a_browser_in_once(evok, service):
    made = evok("link", "--role", "operator")
    assert "it logs one browser in as operator, until" in made.stderr
    address, _, code = made.stdout.strip().partition("/panel/#code=")
    assert address == "http://127.0.0.1:8080"
    page = requests.Session()
    page.headers["Origin"] = "http://plc"
    url = service.url.replace("ws://", "http://").removesuffix("/ws")

    def log_in():
        return page.post(f"{url}/access/login", json={"code": code}, headers=ELSEWHERE, timeout=5)

    assert log_in().json()["role"] == "operator"
    cookie = {"Cookie": f"evok_session={page.cookies['evok_session']}"}
    assert page.get(f"{url}/access/whoami", headers=ELSEWHERE | cookie, timeout=5).json()["name"].startswith("link(")
    assert log_in().status_code == 401
    assert "link" in evok("token", "list").stdout
    assert evok("token", "revoke", "link").returncode == 0
    until(lambda: page.get(f"{url}/rest/all", headers=ELSEWHERE | cookie, timeout=5).status_code == 401)
    assert service.stop() == 0
    assert code[14:] not in "\n".join(service.lines)


@pytest.mark.parametrize(
    ("apis", "more", "address"),
    [
        ("listen: ['tcp:8081']", (), f"http://{socket.gethostname()}:8081"),
        ("address: 0.0.0.0", (), f"http://{socket.gethostname()}:8080"),
        (r"listen: ['unix:/x', 'tcp:80:interface=\:\:1']", (), "http://[::1]:80"),
        ("tls: {}", (), f"https://{socket.gethostname()}:8443"),
        ("listen: ['unix:/x']", ("--url", "https://plc.example/"), "https://plc.example"),
    ],
)
def test_a_link_leads_to_where_the_service_is(evok, config, apis, more, address):
    (config / "config.yaml").write_text(f"apis: {{access: {{tokens: {config}/tokens.yaml}}, {apis}}}\n")
    assert evok("link", *more).stdout.startswith(f"{address}/panel/#code=evok_")


@pytest.mark.parametrize("arguments", [("token", "create", "x", "--role", "viewer"), ("token", "list"), ("link",)])
def test_of_a_configuration_that_cannot_be_used_no_tokens_are_guessed(evok, config, arguments):
    (config / "config.yaml").write_text(f"apis:\n  port: eighty\n  access: {{tokens: {config}/tokens.yaml}}\n")
    done = evok(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"evok: {config}/config.yaml:2: apis.port: got 'eighty'" in done.stderr
    assert not (config / "tokens.yaml").exists()


def test_a_link_of_which_nobody_knows_where_it_leads_is_not_made(evok, config):
    (config / "config.yaml").write_text(f"apis: {{listen: ['unix:/x'], access: {{tokens: {config}/tokens.yaml}}}}\n")
    made = evok("link")
    assert (made.returncode, made.stdout) == (1, "")
    assert "--url" in made.stderr
    assert not (config / "tokens.yaml").exists()


def test_a_program_on_this_machine_needs_no_token(service):
    url = service.url.replace("ws://", "http://").removesuffix("/ws")
    assert requests.post(f"{url}/rest/led/1_01", json={"value": 1}, timeout=5).status_code == 200


def test_the_check_says_who_may_do_what(evok, run, config):
    evok("token", "create", "panel", "--role", "viewer", "--from", "192.168.1.0/24")
    said = run("evok", "--check", "--config", config, "--port", "tcp:8080", "--port", "tcp:8081:interface=127.0.0.1")
    assert "listener every address, port 8080: reached by the network\n    without a token: none\n" in said.stdout
    assert "port 8081: reached by this machine\n    without a token, programs on this machine: admin" in said.stdout
    assert "panel: viewer, from 192.168.1.0/24" in said.stdout
    assert "tokens can be read on the way to every address, port 8080" in said.stderr


def test_without_access_the_network_is_warned_of(run, tmp_path):
    (tmp_path / "config.yaml").write_text("apis: {alias_file: ''}\n")
    said = run("evok", "--check", "--config", tmp_path, "--port", "tcp:8080")
    assert said.returncode == 0
    assert "everybody who reaches every address, port 8080 may set every output" in said.stderr
    assert "apis.access" not in run("evok", "--check", "--config", tmp_path).stderr


def test_a_proxy_that_can_be_none_is_an_error_of_the_configuration(run, tmp_path):
    (tmp_path / "config.yaml").write_text("apis: {trusted_proxies: [192.168.1.300], access: {}}\n")
    said = run("evok", "--check", "--config", tmp_path)
    assert said.returncode == 1
    assert "config.yaml:1: apis.trusted_proxies: got '192.168.1.300', expected an address or a network" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("token", "create", "x", "--role", "operator", "--write", "lamp"), 1, "'lamp', expected a kind"),
        (("token", "create", "x", "--role", "viewer", "--from", "home"), 1, "expected an address or a network"),
        (("token", "create", "x", "--role", "viewer", "--expires", "soon"), 2, "expected a number and h, d, w or y"),
        (("token", "create", "x", "--role", "boss"), 2, "invalid choice"),
        (("token", "create", "x" * 65, "--role", "viewer"), 1, "1 to 64 characters"),
        (("link", "--url", "plc"), 2, "expected an address such as https://"),
        (("token", "revoke", "x"), 1, "there is no token x; there are none"),
        (("token",), 2, "COMMAND"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(evok, config, arguments, status, told):
    done = evok(*arguments) if arguments != ("token",) else subprocess.run(
        [EVOK, "token"], capture_output=True, text=True, timeout=30, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (status, "")
    assert told in done.stderr
    assert not (config / "tokens.yaml").exists()


def test_a_certificate_that_is_made_is_served_and_renewed(evok, twistd, config, port):
    with socket.create_server(("127.0.0.1", 0)) as free:
        plain = free.getsockname()[1]
    tls = f"tls: {{certificate: tls/cert.pem, key: tls/key.pem, listen: ['ssl:{port}:interface=127.0.0.1']}}"
    (config / "config.yaml").write_text(f"apis: {{alias_file: '', port: {plain}, {tls}}}\n")
    assert evok("certificate", "--name", "plc.example").returncode == 0
    assert "already" in evok("certificate").stderr
    service = twistd("evok", "--config", config)
    service.wait_for(f"listening: wss://127.0.0.1:{port}/ws")
    first = (config / "tls" / "cert.pem").read_text()
    assert served_by(port) == first
    assert requests.get(f"https://127.0.0.1:{port}/version", timeout=5, verify=config / "tls" / "cert.pem").ok
    assert evok("certificate", "--force").returncode == 0
    until(lambda: served_by(port) == (config / "tls" / "cert.pem").read_text() != first)
    service.wait_for("a new certificate is served")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", port), 5) as plain, pytest.raises((ssl.SSLError, OSError)):
        old.wrap_socket(plain)


def served_by(port):
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=5)
