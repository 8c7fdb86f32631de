"""The client of the package, against a real service: the program of its documentation, breaks, and refusals."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import time

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import TimeoutError as Late
from twisted.internet.task import deferLater
from witness import TWO_BOARDS, Boards

from evok_twisted import client as module
from evok_twisted.client import Client, CommandFailed, connect

CONFIG = "apis: {{alias_file: ''}}" + TWO_BOARDS


@pytest.fixture
def boards(twistd, tmp_path, port):
    (tmp_path / "config.yaml").write_text(CONFIG.format(port=port))
    twistd("evok-simulator", "--config", tmp_path, "--port", port).wait_for("listening")
    boards = Boards(port)
    yield boards
    boards.close()


@pytest.fixture
def start(twistd, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        http = free.getsockname()[1]

    def start():
        service = twistd("evok", "--config", tmp_path, "--port", f"tcp:{http}:interface=127.0.0.1")
        service.wait_for("slave 2 .* answers")
        return service

    start.url = f"ws://127.0.0.1:{http}/ws"
    return start


async def until(condition, seconds=10.0):
    deadline = reactor.seconds() + seconds
    while not condition():
        assert reactor.seconds() < deadline, "it did not come about"
        await deferLater(reactor, 0.01)


def test_the_program_of_the_documentation_runs(boards, start):
    start()
    lines = module.__doc__.partition("\n\n")[2].rpartition("react(main)")
    program = textwrap.dedent(lines[0] + lines[1]).replace("ws://127.0.0.1:8080/ws", start.url)
    running = subprocess.Popen([sys.executable, "-c", program], env=os.environ)
    try:
        for level in (1, 0, 1):
            boards.write(1, 0, level)  # the first input
            deadline = time.monotonic() + 10
            while boards.read(2, 1) & 1 != level:
                assert time.monotonic() < deadline and running.poll() is None
    finally:
        running.terminate()
        running.wait(10)


@pytest_twisted.ensureDeferred
async def test_it_knows_all_and_is_told_and_sets_and_says_what_went_wrong(boards, start):
    start()
    client = await connect(start.url, ["led", "di"], reactor=reactor)
    heard = []
    client.watch(heard.extend)
    assert {dev for dev, _ in client.states} == {"led", "di"}
    assert (await client.set("led", "1_02", 1))["value"] == 1
    boards.write(1, 0, 0b10)
    await until(lambda: client.states["di", "1_02"]["value"] == 1)
    assert {(state["dev"], state["circuit"]) for state in heard} == {("led", "1_02"), ("di", "1_02")}
    with pytest.raises(CommandFailed, match="got 7, expected 0 or 1") as refused:
        await client.set("led", "1_02", 7)
    assert (refused.value.code, refused.value.sent) == ("bad_value", False)
    await client.stop()
    with pytest.raises(CommandFailed, match="no connection"):
        await client.set("led", "1_02", 1)


@pytest_twisted.ensureDeferred
async def test_after_a_break_its_picture_is_the_units(boards, start):
    service = start()
    client = await connect(start.url, ["led"], reactor=reactor)
    turns = []
    client.watch_live(turns.append)
    service.stop()
    await until(lambda: turns == [False])
    boards.write(1, 20, 0b1001)  # meanwhile
    start()
    await until(lambda: turns == [False, True], 20)
    await until(lambda: [client.states["led", f"1_0{n}"]["value"] for n in range(1, 5)] == [1, 0, 0, 1])
    await client.stop()


@pytest_twisted.ensureDeferred
async def test_changes_are_what_there_is_and_then_each_change(boards, start):
    start()
    client = await connect(start.url, ["led"], reactor=reactor)
    changes = client.changes()
    first = [await anext(changes) for _ in range(4)]
    assert [state["circuit"] for state in first] == ["1_01", "1_02", "1_03", "1_04"]
    await client.set("led", "1_03", 1)
    state = await anext(changes)
    assert (state["circuit"], state["value"]) == ("1_03", 1)
    await changes.aclose()
    await client.stop()


@pytest_twisted.ensureDeferred
async def test_a_service_that_is_not_there_is_told_of_in_time(start, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    with pytest.raises(Late):
        await connect(start.url, reactor=reactor)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ws://", "127.0.0.1:8080"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(ValueError, match="expected an address such as ws://"):
        Client(url, reactor=reactor)
