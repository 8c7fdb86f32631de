"""``/reload``: lets the service read its configuration again, for admins."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred
from twisted.web.server import Request

from evok_twisted.api.http import JsonResource, Operation, for_admins, identity_of, json, schema_of
from evok_twisted.api.messages import encode
from evok_twisted.errors import Busy, ConfigError, Forbidden


class Reloaded(msgspec.Struct):
    """What has changed, in words; nothing, where the configuration is as it was."""

    changed: list[str]


class Reload(JsonResource):
    """``/reload``.

    :param reload: does it, and returns what has changed.
    """

    paths = {
        "": {
            b"POST": Operation(
                "reload",
                "Read the configuration again, and take it over whole, or not at all",
                schema_of("Reloaded"),
                errors=(Busy, ConfigError, Forbidden),
            )
        }
    }

    def __init__(self, reload: Callable[[], Deferred[list[str]]]) -> None:
        super().__init__()
        self._reload = reload

    def post(self, request: Request) -> int:
        for_admins(identity_of(request, "rest"), "the configuration is")
        return self.later(request, self._reload().addCallback(lambda changed: json(request, encode(Reloaded(changed)))))
