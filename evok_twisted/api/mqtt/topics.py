"""What topics are called, and what the names of circuits are in them."""

from __future__ import annotations

import re
from urllib.parse import unquote

from evok_twisted.core.desk import Desk
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import KINDS

#: What may not be in a level of a topic, and what stands for it.
_SPECIAL = re.compile(r"[/+#%\x00-\x1f\x7f]")

#: The last levels of topics that are for us.
SET, GET = "set", "get"
BULK = "bulk"


def level(name: str) -> str:
    """A name as a level of a topic: what cannot stand in one is percent-encoded."""
    return _SPECIAL.sub(lambda found: f"%{ord(found[0]):02X}", name)


def name_of(level: str) -> str:
    """The name that a level of a topic stands for."""
    return unquote(level)


class Topics:
    """The topics of one unit.

    :param base: what those of all units begin with.
    :param unit: what it is called.
    :ivar root: what all of its topics begin with.
    """

    def __init__(self, base: str, unit: str) -> None:
        self.base = base
        self.unit = unit
        self.root = f"{base}/{unit}/"
        self.status = self.root + "status"
        self.info = self.root + "info"
        self.reply = self.root + "reply"

    def device(self, desk: Desk, device: Device) -> str:
        """Where a device's state is."""
        kind = KINDS[device.kind].dev(desk.dialect)
        return f"{self.root}{kind}/{level(device.circuit_in(desk.dialect))}"

    def field(self, desk: Desk, device: Device, field: str) -> str:
        """Where one field of it is."""
        return f"{self.device(desk, device)}/{field}"

    def event(self, desk: Desk, device: Device) -> str:
        """Where the edges of an input are told."""
        kind = KINDS[device.kind].dev(desk.dialect)
        return f"{self.root}events/{kind}/{level(device.circuit_in(desk.dialect))}"

    def board(self, name: str) -> str:
        """Where it is told whether a board answers."""
        return f"{self.root}boards/{level(name)}/status"

    def bus(self, name: str) -> str:
        """Where it is told whether a bus can be reached."""
        return f"{self.root}buses/{level(name)}/status"

    def commands(self) -> list[str]:
        """What commands come in by."""
        return [self.root + tail for tail in ("+/+/set", "+/+/+/set", "+/+/get", "all/get", BULK)]

    def may_respond_on(self, topic: str, discovery: str) -> str:
        """Why an answer may not go to ``topic``; nothing where it may.

        Whoever may set could otherwise make us publish commands for others, which we may and they may not.

        :param discovery: what the topics begin with by which Home Assistant is told of devices.
        """
        if not topic or len(topic.encode()) > LONGEST_RESPONSE:
            return f"expected at most {LONGEST_RESPONSE} bytes"
        if re.search(r"[+#\x00]", topic):
            return "there are wildcards in it"
        if topic.startswith("$") or topic.startswith(f"{discovery}/"):
            return f"it begins with $ or {discovery}/"
        if topic.endswith(("/set", "/get")):
            return "it is one of commands"
        if topic.startswith(f"{self.base}/") and topic.removeprefix(f"{self.base}/").split("/")[1:2] != ["reply"]:
            return f"of the topics of units ({self.base}/...), only reply, and those below it, are for answers"
        return ""


#: Bytes of a topic for an answer, at most.
LONGEST_RESPONSE = 1024
