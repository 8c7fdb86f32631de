"""The description of the WebSocket."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema_rs
import pytest
from fakes import Rig
from twisted.internet.task import Clock

from evok_twisted.api.asyncapi import COMMANDS, EVENTS, document
from evok_twisted.api.session import Session

GENERATORS = os.environ.get("EVOK_GENERATORS")
SCHEMA = Path("node_modules", "@asyncapi", "specs", "schemas", "3.0.0-without-$id.json")


@pytest.fixture
def described():
    return document(Rig(Clock()).start().desk, "127.0.0.1:8080")


@pytest.mark.skipif(
    GENERATORS is None, reason=".ci/generators DIRECTORY gets the schema; EVOK_GENERATORS says where it is"
)
def test_it_is_asyncapi_3(described):
    schema = json.loads((Path(GENERATORS) / SCHEMA).read_text())
    jsonschema_rs.validate(schema, described)


def test_it_has_every_command_and_no_other(described):
    assert COMMANDS.keys() == set(Session.commands())
    assert described["operations"].keys() == {*Session.commands(), "auth", "tell"}


def references(node):
    if isinstance(node, dict):
        yield from [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_all_that_it_refers_to_is_there(described):
    for reference in references(described):
        found = described
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
    assert len(set(references(described))) > 20


def test_what_subscribers_hear_is_in_it(described):
    messages = described["components"]["messages"]
    assert EVENTS.keys() <= messages.keys()
    assert {"subscribe", "subscribe_done", "failed", "set", "set_done"} <= messages.keys()
