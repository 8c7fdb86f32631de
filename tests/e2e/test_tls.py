"""TLS (``ssl:``), as clients of several makes speak it."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess

import pytest
import requests
import trustme
import websocket


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate authority; ``pem`` is its certificate, ``key`` and ``certificate`` are of a server on localhost."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
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
