"""The log where systemd keeps it: priorities, and what each line is about."""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from brokers import wait_until
from fakes import Rig
from twisted.internet.task import Clock
from twisted.logger import LogLevel, LogPublisher
from twisted.python.failure import Failure

from evok_twisted.journald import LONGEST, Journal, Prefixed, observer
from evok_twisted.logs import Logger


class Named:
    """A journal in a socket of its own."""

    def __init__(self, directory):
        self.path = directory / "socket"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(5)

    def read(self):
        """The fields of the next entry, as sd-journal(3) has them."""
        data, found = self.socket.recv(1 << 20), {}
        while data:
            line, _, rest = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                (size,) = struct.unpack_from("<Q", rest)
                value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
            found[name.decode()] = value.decode()
            data = rest
        return found


@pytest.fixture
def journal(tmp_path):
    journal = Named(tmp_path)
    yield journal
    journal.socket.close()


@pytest.fixture
def said(journal):
    """Logs to the journal."""
    logger = Logger()
    logger.observer = LogPublisher(Journal(journal.path))
    return logger


@pytest.mark.parametrize(
    ("level", "number"), [("debug", "7"), ("info", "6"), ("warn", "4"), ("error", "3"), ("critical", "2")]
)
def test_each_level_has_its_priority(journal, said, level, number, monkeypatch):
    monkeypatch.setattr(Logger, "least", LogLevel.debug)
    getattr(said, level)("{what} happened", what="it")
    entry = journal.read()
    assert (entry["MESSAGE"], entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) == ("it happened", number, "evok")


def test_what_a_line_is_about_can_be_asked_for(journal, said):
    rig = Rig(Clock())
    said.warn("{slave!r} went offline", slave=rig.slave)
    entry = journal.read()
    assert (entry["EVOK_BOARD"], entry["EVOK_BUS"]) == ("1", "FAKE")
    said.warn("{device!r}: a command failed", device=rig.device("led", "1_02"))
    entry = journal.read()
    assert (entry["EVOK_CIRCUIT"], entry["EVOK_BOARD"]) == ("led 1_02", "1")
    said.info("{bus} is down", bus="LOCAL")
    assert journal.read()["EVOK_BUS"] == "LOCAL"


def test_several_lines_are_one_entry_and_a_failure_has_where_it_came_from(journal, said):
    said.info("one\ntwo = 2")
    assert journal.read()["MESSAGE"] == "one\ntwo = 2"
    said.failure("it failed", Failure(ValueError("why")))
    entry = journal.read()
    assert entry["PRIORITY"] == "2" and entry["MESSAGE"].startswith("it failed\n")
    assert "ValueError: why" in entry["MESSAGE"]


def test_a_line_that_is_too_long_is_cut_and_a_journal_that_is_gone_costs_nothing(journal, said):
    said.info("x" * 200_000)
    assert len(journal.read()["MESSAGE"]) == LONGEST
    journal.socket.close()
    said.info("nobody hears this")


def test_without_a_socket_of_the_journal_lines_have_their_priorities(tmp_path):
    out = (tmp_path / "out").open("w+")
    found = os.fstat(out.fileno())
    stream = f"{found.st_dev}:{found.st_ino}"
    writes = observer({"JOURNAL_STREAM": stream}, tmp_path / "none", out)
    assert isinstance(writes, Prefixed)
    logger = Logger()
    logger.observer = LogPublisher(writes)
    logger.warn("a\nb")
    out.seek(0)
    assert [line[:3] for line in out.read().splitlines()] == ["<4>", "<4>"]
    out.close()


def test_without_systemd_lines_are_as_ever(tmp_path):
    out = io.StringIO()
    writes = observer({}, tmp_path / "none", out)
    logger = Logger()
    logger.observer = LogPublisher(writes)
    logger.warn("it")
    assert out.getvalue().rstrip().endswith("it") and not out.getvalue().startswith("<")


def test_the_service_of_a_process_writes_so(tmp_path):
    out = tmp_path / "out"
    twistd = Path(sys.executable).with_name("twistd")
    options = ["--nodaemon", "--pidfile=", "--logger=evok_twisted.journald.observer"]
    with out.open("w") as file:
        found = os.fstat(file.fileno())
        environ = {**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        process = subprocess.Popen(
            [twistd, *options, "evok", "--demo", "--port", "0"], stdout=file, cwd=tmp_path, env=environ
        )
        try:
            wait_until(lambda: "listening: ws" in out.read_text(), "the service")
        finally:
            process.kill()
            process.wait(5)
    lines = out.read_text().splitlines()
    assert all(line.startswith(("<6>", "<4>")) for line in lines)
