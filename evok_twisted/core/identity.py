"""Who wants something."""

from __future__ import annotations

from typing import NamedTuple

#: The name of whoever has not said who they are.
ANONYMOUS = "anonymous"


class Identity(NamedTuple):
    """Who asks, or has caused a change.

    :ivar name: of a client, or of the part of the service that acts on its own.
    :ivar via: the door that it came through: websocket, rest, bulk, rpc, webhook, pulse, ...
    """

    name: str
    via: str


#: What ends pulses, and what switches the power of 1-Wire buses for their resets.
PULSES = Identity("evok", "pulse")
RESETS = Identity("evok", "reset")
