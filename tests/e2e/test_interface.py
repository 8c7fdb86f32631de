"""The HTTP interface as Evok's documentation shows it: programs with ``requests``, and a webhook receiver."""

from __future__ import annotations

import http.server
import json
import signal
import ssl
import threading
import time

import pytest
import requests
import trustme


@pytest.fixture
def base(demo):
    return demo.url.replace("ws://", "http://").removesuffix("/ws")


@pytest.fixture
def unit(twistd, simulator, config):
    """A service on a simulated board, whose aliases are kept in a file."""

    def start():
        service = twistd("evok", "--config", config, "--port", "0")
        service.wait_for(r"slave xS11 .* answers")
        return service.url.replace("ws://", "http://").removesuffix("/ws"), service

    simulator()
    return start


def answer(response, status=200):
    assert response.status_code == status, response.text
    return response.json()


def rpc(base, method, *params):
    payload = {"method": method, "params": list(params), "jsonrpc": "2.0", "id": 0}
    return answer(requests.post(f"{base}/rpc", data=json.dumps(payload), timeout=5))


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline


def test_the_rest_programs_of_the_documentation(base):
    assert answer(requests.get(f"{base}/rest/all", timeout=5))[0]["dev"] == "input"
    url = f"{base}/rest/relay/2_01"
    set_ = answer(requests.post(url, data={"value": "1"}, timeout=5))
    assert (set_["success"], set_["result"]["value"]) == (True, 1)
    assert answer(requests.get(url, timeout=5))["value"] == 1
    assert answer(requests.get(f"{url}/value", timeout=5)) == {"value": 1}
    assert requests.head(url, timeout=5).headers["content-type"] == "application/json"
    assert "BadValue" in answer(requests.post(url, data={"value": "2"}, timeout=5), 400)["errors"]
    assert "UnknownCircuit" in answer(requests.get(f"{base}/rest/relay/9_09", timeout=5), 404)["errors"]


def test_the_json_programs_of_the_documentation(base):
    url = f"{base}/json/input/1_01"
    assert answer(requests.post(url, json={"debounce": "60"}, timeout=5))["result"]["debounce"] == 60
    assert answer(requests.get(f"{base}/json/input/all", timeout=5))[0]["debounce"] == 60


def test_the_bulk_programs_of_the_documentation(base):
    bulk = {
        "individual_assignments": [
            {"device_type": "output", "device_circuit": "1_01", "assigned_values": {"value": 1}},
            {"device_type": "ao", "device_circuit": "2_01", "assigned_values": {"value": 5.5}},
        ],
        "group_assignments": [
            {"device_type": "relay", "device_circuits": ["2_01", "2_02", "2_03"], "assigned_values": {"value": 1}}
        ],
        "group_queries": [{"device_types": ["relay"], "group": "2"}],
    }
    done = answer(requests.post(f"{base}/bulk", json=bulk, timeout=5))
    assert [one["value"] for one in done["individual_assignments"]] == [1, 5.5]
    assert [one["value"] for one in done["group_assignments"][0]] == [1, 1, 1]
    assert [one["value"] for one in done["group_queries"][0]] == [1, 1, 1, 0, 0]


def test_the_rpc_programs_of_the_documentation(base):
    assert rpc(base, "relay_set", "2_01", 1)["result"] == 1
    assert rpc(base, "relay_get", "2_01")["result"] == [1, False]
    assert rpc(base, "relay_set_for_time", "2_02", 1, 0.1)["result"]["pending"] is True
    wait_until(lambda: rpc(base, "relay_get", "2_02")["result"] == [0, False])
    assert rpc(base, "relay_set", "9_09", 1)["error"]["code"] == -32602


def test_sensors_and_their_bus_have_rpc_methods_too(base):
    wait_until(lambda: sum(map(len, rpc(base, "owbus_list", "OWFS")["result"].values())) == 3)
    sensors = rpc(base, "owbus_list", "OWFS")["result"]
    assert {kind: len(found) for kind, found in sensors.items() if found} == {"DS18B20": 2, "DS2438": 1}
    assert sensors["DS2408"] == []
    assert rpc(base, "owbus_get", "OWFS")["result"] == 60
    assert rpc(base, "owbus_set", "OWFS", 30)["result"] == 30
    assert rpc(base, "owbus_scan", "OWFS")["result"] is False  # it is done, and done once
    for address in (*sensors["DS18B20"], *sensors["DS2438"]):
        circuit = address.replace(".", "")
        value, lost, when, interval = rpc(base, "sensor_get", circuit)["result"]
        assert (lost, interval) == (False, 3)
        assert abs(when - time.time()) < 30
        assert rpc(base, "sensor_get_value", circuit)["result"] == value or circuit.startswith("28")
        assert (value is None) == circuit.startswith("26")  # a battery monitor measures several things
        assert rpc(base, "sensor_set", circuit, 5)["result"] == 5
    assert rpc(base, "sensor_set", circuit, -5)["error"]["code"] == -32602


def test_an_alias_survives_the_end_of_the_service_and_the_loss_of_power(unit, tmp_path):
    base, service = unit()
    requests.post(f"{base}/rest/relay/xS11_01", data={"alias": "door"}, timeout=5).raise_for_status()
    assert service.stop(signal.SIGTERM) == 0
    base, service = unit()
    assert answer(requests.get(f"{base}/rest/relay/door", timeout=5))["circuit"] == "xS11_01"
    requests.post(f"{base}/rest/relay/xS11_02", data={"alias": "gate"}, timeout=5).raise_for_status()
    assert answer(requests.post(f"{base}/rest/run/alias", data={"save": "1"}, timeout=5))["result"]["aliases"] == {
        "door": "relay_xS11_01",
        "gate": "relay_xS11_02",
    }
    service.stop(signal.SIGKILL)
    base, service = unit()
    assert answer(requests.get(f"{base}/rest/relay/gate", timeout=5))["circuit"] == "xS11_02"


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes webhooks, and keeps what they told."""

    def do_POST(self):
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        self.server.told.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture
def receiver():
    running = []

    def start(context=None, port=0):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Receiver)
        server.told = []
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def hooked(config, address, **options):
    """Let the service of ``config`` call a webhook."""
    file = config / "config.yaml"
    webhook = {"enabled": True, "address": address, "device_mask": ["relay"], "complex_events": True, **options}
    file.write_text(file.read_text().replace("apis:\n", f"apis:\n  webhook: {json.dumps(webhook)}\n"))


def test_a_webhook_is_told_of_changes(unit, config, receiver):
    server = receiver()
    hooked(config, [f"http://127.0.0.1:{server.server_port}/hook"])
    base, service = unit()
    wait_until(lambda: server.told)  # the boards were read
    requests.post(f"{base}/rest/relay/xS11_03", data={"value": 1}, timeout=5).raise_for_status()
    wait_until(lambda: any(one["circuit"] == "xS11_03" and one["value"] == 1 for one in server.told[-1]))
    assert [line for line in service.lines if "HTTP11" in line] == []
    assert {one["dev"] for told in server.told for one in told} == {"relay"}


def test_a_webhook_without_complex_events_is_a_get(unit, config, receiver):
    server = receiver()
    hooked(config, f"http://127.0.0.1:{server.server_port}/changed?unit=1", complex_events=False)
    unit()
    wait_until(lambda: server.told)
    assert server.told[0] == "/changed?unit=1"


def test_a_receiver_that_comes_later_is_told_the_latest_states(unit, config, receiver):
    server = receiver()
    port = server.server_port
    server.shutdown()
    server.server_close()
    hooked(config, f"http://127.0.0.1:{port}/")
    base, service = unit()
    service.wait_for(rf"webhook http://127.0.0.1:{port}/ fails: .*refused")
    requests.post(f"{base}/rest/relay/xS11_03", data={"value": 1}, timeout=5).raise_for_status()
    server = receiver(port=port)
    service.wait_for("takes events again, after", seconds=15)
    assert {one["circuit"]: one["value"] for one in server.told[0]}["xS11_03"] == 1


@pytest.mark.parametrize(("name", "works"), [("localhost", True), ("other.example", False)])
def test_the_name_of_an_https_receiver_is_verified(unit, config, receiver, tmp_path, monkeypatch, name, works):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    server = receiver(context)
    hooked(config, f"https://localhost:{server.server_port}/")
    _, service = unit()
    if works:
        wait_until(lambda: server.told)
    else:
        service.wait_for(r"webhook https://localhost:\d+/ fails: ")
        assert server.told == []


def test_a_receiver_whose_certificate_nobody_vouches_for_is_told_nothing(unit, config, receiver):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    server = receiver(context)
    hooked(config, f"https://localhost:{server.server_port}/")
    _, service = unit()
    service.wait_for(r"webhook https://localhost:\d+/ fails: .*certificate verify failed")
    assert server.told == []


@pytest.mark.parametrize(("mask", "level"), [(["lamp"], "error"), (["relay", "lamp"], "warning")])
def test_a_mask_of_unknown_kinds_is_told_with_its_place(run, twistd, config, mask, level):
    hooked(config, "http://127.0.0.1:9/", device_mask=mask)
    checked = run("evok", "--config", config, "--check")
    assert f"{level}: {config}/config.yaml:3: apis.webhook.device_mask: " in checked.stderr
    assert checked.returncode == (1 if level == "error" else 0)
    service = twistd("evok", "--config", config, "--port", "0")
    service.wait_for(f"{level}: {config}/config.yaml:3: apis.webhook.device_mask: ")
    service.wait_for("listening")
