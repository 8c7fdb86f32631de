"""Checks what a client of the WebSocket sends and gets against ``/asyncapi.json``."""

from __future__ import annotations

import json

import jsonschema_rs
from fakes import Rig
from twisted.internet.task import Clock

from evok_twisted.api.asyncapi import COMMANDS, EVENTS, document


class Checked:
    """The messages of one test, as far as they are JSON objects and lists."""

    def __init__(self):
        described = document(Rig(Clock()).start().desk, "127.0.0.1:8080")
        components = {"components": described["components"]}
        self._of = {
            name: jsonschema_rs.validator_for({**one["payload"], **components})
            for name, one in described["components"]["messages"].items()
        }
        self._asked = {}
        self.wrong = []
        self.count = 0

    def sent(self, line, text):
        message = parsed(text)
        if isinstance(message, dict) and isinstance(message.get("id"), str | int | float):
            self._asked[id(line), message["id"]] = message

    def got(self, line, text):
        message = parsed(text)
        if isinstance(message, list):
            self._check(message, "states", "healths")
        elif not isinstance(message, dict):
            self.wrong.append(("is no JSON", text))
        elif "event" in message:
            self._check(message, message["event"] if message["event"] in EVENTS else "change")
        elif message.get("success") is False:
            self._check(message, "failed")
        else:
            asked = self._asked.get((id(line), message["id"]), {})
            command = asked.get("cmd")
            if command in (*COMMANDS, "auth"):
                self._check(message, f"{command}_done")
                self._check(asked, command)

    def _check(self, message, *names):
        self.count += 1
        if not any(self._of[name].is_valid(message) for name in names):
            errors = [error.message for error in self._of[names[0]].iter_errors(message)]
            self.wrong.append((names, message, errors[:3]))


def parsed(text):
    try:
        return json.loads(text)
    except (ValueError, TypeError, UnicodeDecodeError, RecursionError):
        return None
