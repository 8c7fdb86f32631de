"""What ``evok status`` says to look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from evok_twisted import advice as module
from evok_twisted.advice import advice


def slave(online=True, missed=0, circuit="1"):
    return {"circuit": circuit, "online": online, "scans": 1000, "missed": missed}


def report(*slaves, kind="MODBUSTCP", online=True, reasons=(), **more):
    return {"buses": [{"bus": "LINE", "type": kind, "online": online, "slaves": slaves}], "reasons": reasons, **more}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (report(slave()), []),
        (report(slave(), reasons=["slave 1 (unit 1 on LINE) 3 registers cannot be read"]), [module.REFUSED]),
        (report(slave(False), online=False), ["LINE: " + module.DOWN["MODBUSTCP"]]),
        (report(online=False, kind="OWBUS", reasons=["bus LINE is down"]), ["LINE: " + module.DOWN["OWBUS"]]),
        (report(slave(False), kind="MODBUSRTU"), ["LINE: " + module.ALL_SILENT["MODBUSRTU"]]),
        (report(slave(), slave(False, circuit="2")), ["2: " + module.SOME_SILENT]),
        (report(slave(missed=900)), ["1: " + module.MISSED]),
        (report(slave(missed=9)), []),
        (report(reasons=["config.yaml:3: apis.port: got 0"]), [module.ERRORS]),
        (report(mqtt={"connected": False}), [module.BROKER]),
        (report(history={"problem": "disk full"}), [module.HISTORY]),
        (report(history={"problem": None, "export": {"problem": "connection refused"}}), [module.HISTORY]),
        (report(history={"problem": None, "export": {"problem": None}}), []),
        (report(webhooks=[{"working": True}, {"working": False}]), [module.WEBHOOK]),
    ],
)
def test_each_trouble_leads_to_where_to_look(found, expected):
    assert list(advice(found)) == expected


def test_there_is_a_word_for_each_type_of_bus():
    from evok_twisted.onewiresegment import OneWireSegment
    from evok_twisted.segments import RtuSegment, TcpSegment

    assert set(module.DOWN) == {one.kind for one in (RtuSegment, TcpSegment, OneWireSegment)}


def test_the_page_has_the_same_tree():
    page = (Path(__file__).parents[1] / "docs" / "operating.md").read_text("utf-8")
    for words in ("is the device on", "is the adapter there", "systemctl status owserver", "A and B", "slave-id"):
        assert words in page
