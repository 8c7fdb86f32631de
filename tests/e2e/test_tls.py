"""TLS (``ssl:``), as clients of several makes speak it."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import queue
import shutil
import socket
import ssl
import subprocess
import threading

import pytest
import requests
import trustme
import websocket
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PAGE = """<script>
const say = text => fetch("/said/" + text);
fetch("https://{served}/rest/relay/2_01", {method: "POST", body: '{"value":1}'}).then(answer => {
  const socket = new WebSocket("wss://{served}/ws");
  socket.onopen = () => socket.send('{"cmd":"set","dev":"relay","circuit":"2_02","value":1,"id":7}');
  socket.onmessage = event => {
    const message = JSON.parse(event.data);
    if (message.id === 7) say(`${answer.status},${message.success}`);
  };
  socket.onerror = () => say("no-websocket");
}).catch(error => say(error));
</script>"""


def fingerprint(authority):
    """The SHA-256 of the server's public key, by which Chromium is told to trust it."""
    certificate = x509.load_pem_x509_certificate(authority.certificate.read_bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority; ``pem`` is its certificate, ``key`` and ``certificate`` are of a server on localhost."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1", "plc.example")
    authority.pem, authority.key, authority.certificate = (
        directory / name for name in ("ca.pem", "key.pem", "crt.pem")
    )
    authority.cert_pem.write_to_path(authority.pem)
    server.private_key_pem.write_to_path(authority.key)
    server.cert_chain_pems[0].write_to_path(authority.certificate)
    return authority


@pytest.fixture
def served(twistd, authority):
    """Where the demo is served with TLS: host and port."""
    endpoint = f"ssl:0:privateKey={authority.key}:certKey={authority.certificate}:interface=127.0.0.1"
    service = twistd("evok", "--demo", "--port", endpoint)
    place = service.wait_for(r"listening: wss://127\.0\.0\.1:(\d+)/ws")[1]
    service.wait_for(r"slave 2 .* answers")
    yield f"localhost:{place}"
    assert service.stop() == 0
    assert not [line for line in service.lines if "Traceback" in line or "Unhandled" in line]


def test_curl_negotiates_http_1_1_and_gets_its_answer(served, authority):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl")
    done = subprocess.run(
        [curl, "-sv", "--cacert", authority.pem, f"https://{served}/version"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert done.stdout.startswith("v")
    assert "ALPN: server accepted http/1.1" in done.stderr


def test_a_client_that_negotiates_nothing_is_served(served, authority):
    assert requests.get(f"https://{served}/version", verify=authority.pem, timeout=10).status_code == 200


def test_fetch_of_node_and_its_websocket_work(served, authority):
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    program = f"""
        const answer = await fetch("https://{served}/rest/relay/2_01", {{method: "POST", body: '{{"value":1}}'}});
        console.log(answer.status, (await answer.json()).result.value);
    """
    done = subprocess.run(
        [node, "--input-type=module", "-e", program],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={"NODE_EXTRA_CA_CERTS": str(authority.pem)},
    )
    assert (done.stdout, done.stderr) == ("200 1\n", "")


def test_a_websocket_is_opened_and_answers(served, authority):
    ws = websocket.create_connection(f"wss://{served}/ws", timeout=10, sslopt={"ca_certs": authority.pem})
    ws.send('{"cmd":"set","dev":"relay","circuit":"2_02","value":1,"id":1}')
    while not isinstance(answer := json.loads(ws.recv()), dict):
        pass
    assert answer["result"]["value"] == 1
    ws.send("x" * 70000)  # larger than a message may be
    with pytest.raises(websocket.WebSocketException):
        while True:
            opcode, _ = ws.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                raise websocket.WebSocketException
    ws.close()


@pytest.mark.parametrize(("host", "status"), [("plc.example", 200), ("attacker.example", 403)])
def test_a_browser_may_use_the_names_in_the_certificate(served, authority, host, status):
    headers = {"Host": host, "User-Agent": "Mozilla/5.0"}
    assert (
        requests.get(f"https://{served}/version", verify=authority.pem, headers=headers, timeout=10).status_code
        == status
    )


def test_a_browser_opens_the_websocket(served, authority, tmp_path):
    """A page of a server of its own, on another port of the same host, as people write them."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium")
    said = queue.Queue()

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/said/"):
                said.put(self.path.removeprefix("/said/"))
            body = PAGE.replace("{served}", served).encode() if self.path == "/" else b""
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        browser = subprocess.Popen(
            [
                *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                f"--ignore-certificate-errors-spki-list={fingerprint(authority)}",
                *(f"--user-data-dir={tmp_path / 'profile'}", "--remote-debugging-port=0"),
                f"http://localhost:{pages.server_port}/",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert said.get(timeout=60) == "200,true"
        finally:
            browser.kill()
            browser.wait(10)
            pages.shutdown()


def test_files_in_a_description_are_relative_to_the_configuration(twistd, authority, tmp_path):
    place = tmp_path / "etc"
    place.mkdir()
    shutil.copy(authority.key, place / "key.pem")
    shutil.copy(authority.certificate, place / "crt.pem")
    listen = '["ssl:0:privateKey=key.pem:certKey=crt.pem:interface=127.0.0.1", "unix:evok.sock"]'
    (place / "config.yaml").write_text(f"apis: {{alias_file: '', listen: {listen}}}")
    service = twistd("evok", "--config", place)
    port = service.wait_for(r"listening: wss://127\.0\.0\.1:(\d+)/ws")[1]
    assert requests.get(f"https://localhost:{port}/version", verify=authority.pem, timeout=10).status_code == 200
    assert (place / "evok.sock").is_socket()


@pytest.mark.parametrize(
    ("key", "certificate", "told"),
    [
        ("nowhere.pem", "crt.pem", "of which privateKey, {place}/nowhere.pem, cannot be read: No such file"),
        ("key.pem", "nowhere.pem", "of which certKey, {place}/nowhere.pem, cannot be read: No such file"),
        ("key.pem", "config.yaml", "of which {place}/key.pem or {place}/config.yaml is not in PEM format"),
    ],
)
def test_a_key_that_cannot_be_used_is_told_with_its_file(run, authority, tmp_path, key, certificate, told):
    shutil.copy(authority.key, tmp_path / "key.pem")
    shutil.copy(authority.certificate, tmp_path / "crt.pem")
    (tmp_path / "config.yaml").write_text(f"apis:\n  listen: ssl:0:privateKey={key}:certKey={certificate}\n")
    done = run("evok", "--config", tmp_path)
    assert done.returncode == 78
    assert f"{tmp_path}/config.yaml:2: apis.listen: got " in done.stderr
    assert told.format(place=tmp_path) in done.stderr


def test_who_speaks_no_tls_costs_nothing(served):
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get(f"http://{served}/version", timeout=5)


def test_alpn_is_http_1_1_whatever_else_is_offered(served, authority):
    host, port = served.split(":")
    context = ssl.create_default_context(cafile=authority.pem)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection((host, int(port)), timeout=5) as plain:
        with context.wrap_socket(plain, server_hostname=host) as secure:
            assert secure.selected_alpn_protocol() == "http/1.1"
