"""nginx before the service, by the site that we ship."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import websocket

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
SITE = (Path(__file__).parents[2] / "conf" / "nginx.conf").read_text("utf-8")

pytestmark = pytest.mark.skipif(NGINX is None, reason="there is no nginx (apt install nginx-light)")

AROUND = """
daemon off;
user {user};
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {site}
}}
"""


@pytest.fixture
def behind(twistd, tmp_path, port):
    """Where nginx serves: the service listens on its socket, and asks for tokens."""
    (tmp_path / "config.yaml").write_text(f"apis: {{alias_file: '', access: {{tokens: {tmp_path}/tokens.yaml}}}}\n")
    socket_path = tmp_path / "proxy.sock"
    service = twistd("evok", "--config", tmp_path, "--port", f"unix:{socket_path}:mode=666")
    service.wait_for("listening")
    site = SITE.replace("/run/evok/proxy.sock", str(socket_path))
    site = site.replace("listen 80;", f"listen 127.0.0.1:{port};").replace("listen [::]:80;", "")
    assert f"127.0.0.1:{port}" in site and str(socket_path) in site
    (tmp_path / "nginx.conf").write_text(AROUND.format(directory=tmp_path, site=site, user=getpass.getuser()))
    nginx = subprocess.Popen([NGINX, "-p", tmp_path, "-c", tmp_path / "nginx.conf"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert time.monotonic() < deadline and nginx.poll() is None
    yield f"127.0.0.1:{port}"
    nginx.terminate()
    nginx.wait(10)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "plc", "[::1]"])
@pytest.mark.parametrize("claim", [{}, {"X-Forwarded-For": "127.0.0.1"}])
def test_whoever_comes_through_it_is_not_local(behind, host, claim):
    answer = requests.get(f"http://{behind}/rest/all", headers={"Host": host, **claim}, timeout=5)
    assert answer.status_code == 401


def test_a_token_is_passed_on_to_http_and_the_websocket(behind, tmp_path):
    evok = Path(sys.executable).with_name("evok")
    made = subprocess.run(
        [evok, "token", "create", "nodered", "--role", "viewer", "--from", "127.0.0.1", "--config", tmp_path],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    token = made.stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}
    assert requests.get(f"http://{behind}/rest/all", headers=headers, timeout=5).status_code == 200
    over = websocket.create_connection(f"ws://{behind}/ws?token={token}", timeout=5)
    over.send('{"cmd":"all","id":1}')
    assert '"success":true' in over.recv()
    over.close()
