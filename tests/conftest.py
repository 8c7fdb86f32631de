"""What every test gets: an error that nobody handled fails it, and so does a token in a log."""

from __future__ import annotations

import gc

import pytest
from twisted.logger import globalLogPublisher
from witness import SECRET


class Log(list):
    """The events that were logged while the test ran."""

    def texts(self, level=None):
        from twisted.logger import formatEvent

        return [formatEvent(event) for event in self if level is None or event["log_level"].name == level]

    def expected(self, text):
        """Say that a failure whose message has ``text`` in it was meant to be logged."""
        found = [event for event in self if "log_failure" in event and text in event["log_failure"].getErrorMessage()]
        assert found, f"no failure with {text!r} was logged"
        for event in found:
            self.remove(event)


@pytest.fixture(autouse=True)
def _nothing_by_chance(monkeypatch):
    monkeypatch.setattr("evok_twisted.conditions.JITTER", 0.0)


@pytest.fixture(autouse=True)
def log():
    events = Log()
    globalLogPublisher.addObserver(events.append)
    yield events
    gc.collect(1)  # a Deferred tells of its unhandled error when it goes
    globalLogPublisher.removeObserver(events.append)
    failures = [event["log_failure"].getTraceback() for event in events if "log_failure" in event]
    assert not failures, "errors that nobody handled:\n" + "\n".join(failures)
    assert not [text for text in events.texts() if SECRET.search(text)], "a log shows a secret"
