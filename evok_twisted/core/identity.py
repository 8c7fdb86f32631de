"""Who wants something, and what they may do: the one place that says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from evok_twisted.errors import Forbidden
from evok_twisted.model.device import Device

Role = Literal["none", "viewer", "operator", "admin"]
#: Each may do all that those before it may: nothing; read; operate; configure.
ROLES: tuple[Role, ...] = ("none", "viewer", "operator", "admin")

#: What operating is. Every other parameter configures.
OPERATING = frozenset({"value", "timeout", "then", "pwm_duty", "pio", "do_scan"})
#: Kinds of which every set configures: raw registers reach every output, and the others how a board behaves.
CONFIGURING = frozenset({"register", "nv_save", "wd", "owpower", "run"})

#: The name of whoever has not said who they are.
ANONYMOUS = "anonymous"


class Scopes(NamedTuple):
    """What somebody may do.

    :ivar write: what of it they may set, as patterns of kinds and circuits such as ``ro`` or ``do/2_*`` (kinds by their
        names in v3); None is all that the role may. Aliases count for nothing here, or whoever names may write.
    """

    role: Role
    write: tuple[str, ...] | None = None

    @property
    def may_read(self) -> bool:
        """Whether they may see anything; who may, may see all."""
        return self.role != "none"

    def objection(self, device: Device, parameters: Iterable[str]) -> str:
        """Why ``parameters`` of ``device`` may not be set, in words; nothing where they may be."""
        if self.role not in ("operator", "admin"):
            return f"the role {self.role} may not set anything"
        if self.role == "operator":
            if device.kind in CONFIGURING:
                return f"to set {device.kind} takes the role admin"
            beyond = [name for name in parameters if name not in OPERATING]
            if beyond:
                return f"to set {', '.join(sorted(beyond))} takes the role admin"
        if self.write is not None and not any(_fits(pattern, device) for pattern in self.write):
            return f"{device!r} is not among what may be set: {', '.join(self.write) or 'nothing'}"
        return ""


def _fits(pattern: str, device: Device) -> bool:
    kind, _, circuit = pattern.partition("/")
    return kind == device.kind and fnmatchcase(device.circuit, circuit or "*")


#: What the service itself may do, and everybody where nothing else is configured.
EVERYTHING = Scopes("admin")
NOTHING = Scopes("none")
#: What webhooks, which only tell of changes, may do.
VIEWER = Scopes("viewer")


class Identity(NamedTuple):
    """Who asks, or has caused a change.

    :ivar name: of a client, or of the part of the service that acts on its own.
    :ivar via: the door that it came through: websocket, rest, bulk, rpc, webhook, pulse, ...
    :ivar scopes: what they may do.
    :ivar address: of a client; empty where there is none.
    :ivar proof: what they have shown to be who they are: a token.
    :ivar token: its id.
    :ivar command: what they call the command that they give, for themselves to know it by.
    """

    name: str
    via: str
    scopes: Scopes
    address: str = ""
    proof: object = None
    token: str = ""
    command: str | int | float | None = None

    def __str__(self) -> str:
        return f"{self.name}({self.token})" if self.token else self.name

    def check(self, device: Device, parameters: Mapping[str, Any]) -> None:
        """Whether they may set ``parameters`` of ``device``.

        :raises Forbidden: they may not.
        """
        why = self.scopes.objection(device, parameters)
        if why:
            raise Forbidden(f"{device!r}: {self} may not do this: {why}")


#: What ends pulses, and what switches the power of 1-Wire buses for their resets.
PULSES = Identity("evok", "pulse", EVERYTHING)
RESETS = Identity("evok", "reset", EVERYTHING)
