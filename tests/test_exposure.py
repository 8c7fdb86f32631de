"""What an owner is warned of: who reaches the service, and may do more there than they should."""

from __future__ import annotations

import pytest
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactorClock

from evok_twisted import exposure
from evok_twisted.config import AccessSettings, AnonymousSettings, Apis
from evok_twisted.problems import Problems

#: As it came with versions before there was access.
OLD_SITE = """
upstream evok {
    server 127.0.0.1:8080;
    # server unix:/run/evok/evok.sock;
}
server {
    listen 80;
    location / {
        proxy_pass http://evok;
        # proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header Host $http_host;
    }
}
"""
NEW_LINE = "proxy_set_header X-Forwarded-For $remote_addr;\n        proxy_set_header Host"


def warnings(site, listen, **anonymous):
    problems = Problems()
    apis = Apis(access=AccessSettings(anonymous=AnonymousSettings(**anonymous)))
    endpoints = [("ws", serverFromString(MemoryReactorClock(), one)) for one in listen]
    exposure.Exposure(apis, endpoints).notice(problems)
    return [str(problem) for problem in problems.found if str(site) in str(problem)]


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(exposure, "NGINX", tmp_path)
    (tmp_path / "sites-enabled").mkdir()
    return tmp_path / "sites-enabled" / "evok"


HERE, SOCKET = "tcp:8080:interface=127.0.0.1", "unix:/run/evok/evok.sock"


@pytest.mark.parametrize(
    ("change", "listen", "warned"),
    [
        (("", ""), [HERE], True),
        (("127.0.0.1:8080", "localhost:8080"), [HERE], True),
        (("127.0.0.1:8080", "[::1]:8080"), ["tcp:8080"], True),
        (("# server unix", "server unix"), [SOCKET], True),
        (("", ""), [SOCKET], False),
        (("127.0.0.1:8080", "127.0.0.1:80801"), [HERE], False),
        (("127.0.0.1:8080", "127.0.0.1:1880"), [HERE], False),
        (("proxy_set_header Host", NEW_LINE), [HERE], False),
        (("127.0.0.1:8080", "unix:/run/evok/proxy.sock"), [HERE, "unix:/run/evok/proxy.sock"], False),
    ],
)
def test_a_site_of_nginx_that_makes_everybody_local_is_warned_of(site, change, listen, warned):
    site.write_text(OLD_SITE.replace(*change) if change[0] else OLD_SITE)
    told = warnings(site, listen)
    assert len(told) == warned
    if warned:
        assert "has the role admin" in told[0] and "X-Forwarded-For" in told[0]


def test_where_those_on_this_machine_may_do_no_more_than_others_it_is_no_matter(site):
    site.write_text(OLD_SITE)
    assert warnings(site, [HERE], local="viewer", network="viewer") == []
    assert len(warnings(site, [HERE], local="viewer", network="none")) == 1
