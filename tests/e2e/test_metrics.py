"""``/metrics`` of a real service, as Prometheus' own tool sees it; and the rules for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import requests
from brokers import wait_until
from prometheus_client.parser import text_string_to_metric_families
from witness import Boards, Unit

DOCS = Path(__file__).parents[2] / "docs"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="apt-get install prometheus has promtool")


class Scraped(Unit):
    def text(self):
        return requests.get(f"{self.url}/metrics", timeout=5).text

    def one(self, name, **labels):
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@needs_promtool
def test_prometheus_own_tool_has_nothing_to_say_against_it(twistd, tmp_path):
    unit = Scraped(tmp_path, twistd, apis=", metrics: {circuits: [ai]}")
    requests.post(f"http://127.0.0.1:{unit.http}/rest/ro/2_01", data={"value": 1}, timeout=5)
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=unit.text(), capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_promtool
def test_prometheus_takes_the_alert_rules():
    rules = DOCS / "prometheus-alerts.yml"
    done = subprocess.run([PROMTOOL, "check", "rules", rules], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and "SUCCESS" in done.stdout


def test_a_pulled_cable_is_seen_in_the_numbers(twistd, tmp_path):
    unit = Scraped(tmp_path, twistd)
    url = f"http://127.0.0.1:{unit.http}/rest/ro/2_01"
    boards = Boards(unit.modbus)
    requests.post(url, data={"value": 1}, timeout=5)
    assert boards.read(2, 1) == 1 and unit.one("evok_commands_total", via="rest", outcome="done") == 1
    boards.close()
    assert (unit.one("evok_healthy"), unit.one("evok_board_up")) == (1, 2)
    begun = unit.one("evok_scans_total", board="2")
    wait_until(lambda: unit.one("evok_scans_total", board="2") > begun, "scans go on")
    unit.simulator.stop()
    wait_until(lambda: not unit.one("evok_board_up") and not unit.one("evok_bus_up"), "boards and bus are down")
    assert unit.one("evok_healthy") == 0
    answer = requests.post(url, data={"value": 0}, timeout=5)
    assert answer.status_code == 502 and unit.one("evok_commands_total", outcome="offline") == 1


def test_no_label_tells_of_clients_or_aliases(twistd, tmp_path):
    unit = Scraped(tmp_path, twistd)
    requests.post(f"http://127.0.0.1:{unit.http}/rest/ro/2_01", data={"alias": "cellar"}, timeout=5)
    text = unit.text()
    assert "cellar" not in text and "127.0.0.1" not in text and str(tmp_path) not in text
