"""What Home Assistant is told of a unit: a device for it, for each board, and for each 1-Wire sensor."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from evok_twisted.api.messages import encode
from evok_twisted.api.mqtt.about import Info
from evok_twisted.api.mqtt.components import DIAGNOSTIC, HIDDEN, Component, Components, slug
from evok_twisted.api.mqtt.outbox import Outbox
from evok_twisted.api.mqtt.topics import Topics
from evok_twisted.conditions import Timer, breathe
from evok_twisted.core.desk import Desk
from evok_twisted.logs import Logger
from evok_twisted.model.device import Device
from evok_twisted.model.system import ModbusSlave

#: Bytes of one message, at most: brokers of the cloud take little more.
LARGEST = 64_000
#: Seconds for which a change is held back: of two messages soon after each other, Home Assistant loses the second.
HELD_BACK = 2.0

_SENSORS = ("temp", "1wdevice")


class Describer:
    """Makes the discovery messages.

    :param prefix: what their topics begin with.
    """

    def __init__(self, desk: Desk, topics: Topics, components: Components, unit: Info, prefix: str, area: str) -> None:
        self._desk = desk
        self._topics = topics
        self._components = components
        self._unit = unit
        self._area = area
        self._id = f"evok_{topics.unit}"
        #: what the topics of all of ours begin with
        self.root = f"{prefix}/device/{self._id}/"

    @property
    def pattern(self) -> str:
        """The topics of all of ours."""
        return f"{self.root}+/config"

    async def messages(self, devices: Iterable[Device], largest: int) -> dict[str, bytes]:
        """By topic, what Home Assistant is to be told.

        :param largest: bytes of one message; more becomes several.
        """
        groups: dict[str, list[Device]] = defaultdict(list)
        boards = {one.circuit: one for one in self._desk if isinstance(one, ModbusSlave)}
        found = self._parted("unit", self._unit_device(), self._unit_entities(), largest)
        for device in devices:
            if device.group in boards:
                groups[device.group].append(device)
            elif device.kind in _SENSORS:
                name = f"{device.kind}_{_safe(device.circuit)}"
                found |= self._parted(name, self._sensor(device), self._components.of(device), largest)
        for name, group in zip(_distinct(groups), groups, strict=True):
            entities = {key: one for device in groups[group] for key, one in self._components.of(device).items()}
            found |= self._parted(name, self._board(boards[group], name), entities, largest)
            await breathe(self._desk.clock)  # a board is some milliseconds of work
        return found

    def _parted(
        self, name: str, head: dict[str, Any], entities: dict[str, Component], largest: int
    ) -> dict[str, bytes]:
        """The message of a device, or several where one would be too large."""
        room = largest - len(encode(head)) - 64
        parts: list[dict[str, Component]] = [{}]
        used = 0
        for key, one in entities.items():
            size = len(encode({key: one}))
            if used + size > room and parts[-1]:
                parts.append({})
                used = 0
            parts[-1][key] = one
            used += size
        return {
            f"{self.root}{name if not n else f'{name}_{_letters(n)}'}/config": encode({**head, "cmps": part})
            for n, part in enumerate(parts)
            if part
        }

    def _head(self, device: dict[str, Any], available: Iterable[dict[str, str]]) -> dict[str, Any]:
        origin = {"name": "evok-twisted", "sw": self._unit.version}
        if self._area:
            device["sa"] = self._area
        if self._unit.url:
            device["cu"] = self._unit.url
        sources = list(available)
        shared = {"avty": sources, "avty_mode": "all"} if sources else {}
        return {"dev": {"mf": "Unipi", **device, "sw": self._unit.version}, "o": origin, "qos": 1, **shared}

    def _unit_device(self) -> dict[str, Any]:
        of = self._unit
        known = {"mdl": f"{of.family} {of.model}".strip(), "sn": str(of.sn) if of.sn else ""}
        device = {"ids": [self._id], "name": self._topics.unit, **{key: one for key, one in known.items() if one}}
        return self._head(device, ())

    def _unit_entities(self) -> dict[str, Component]:
        status, info = self._topics.status, self._topics.info
        available = {"avty": [{"t": status}], "avty_mode": "all", **DIAGNOSTIC}
        connection = {"stat_t": status, "pl_on": "online", "pl_off": "offline", "dev_cla": "connectivity", **DIAGNOSTIC}
        version = {"stat_t": info, "val_tpl": "{{ value_json.version }}", **available, **HIDDEN}
        started = {"stat_t": info, "val_tpl": "{{ value_json.started }}", "dev_cla": "timestamp", **available}
        kinds = (
            ("connection", "connection", "binary_sensor", connection),
            ("version", "version", "sensor", version),
            ("uptime", "running since", "sensor", started),
        )
        return {
            key: {
                "p": platform,
                "unique_id": f"{self._id}_{key}",
                "def_ent_id": f"{platform}.{slug(self._topics.unit)}_{key}",
                "name": name,
                **keys,
            }
            for key, name, platform, keys in kinds
        }

    def _board(self, board: ModbusSlave, name: str) -> dict[str, Any]:
        device = {
            "ids": [f"{self._id}_{name}"],
            "name": f"{self._topics.unit} board {board.circuit}",
            **({"mdl": board.model} if board.model else {}),
            "via_device": self._id,
        }
        return self._head(device, ({"t": self._topics.status}, {"t": self._topics.board(board.circuit)}))

    def _sensor(self, device: Device) -> dict[str, Any]:
        state: Any = device.state
        about = {
            "ids": [f"{self._id}_{device.kind}_{_safe(device.circuit)}"],
            "name": device.alias or f"{self._topics.unit} {state.type} {device.circuit}",
            "mf": "Maxim",
            "mdl": str(state.type),
            "via_device": self._id,
        }
        lost = {
            "t": self._topics.device(self._desk, device),
            "val_tpl": "{{ 'offline' if value_json.lost else 'online' }}",
        }
        return self._head(about, ({"t": self._topics.status}, {"t": self._topics.bus(device.group)}, lost))


class Discovery:
    """Keeps what the broker retains for Home Assistant as it is to be: what is no more goes, in two steps."""

    _log = Logger()

    def __init__(self, desk: Desk, describer: Describer, devices: Callable[[], list[Device]], *, enabled: bool) -> None:
        self.describer = describer
        self._devices = devices
        self._enabled = enabled
        self._outbox: Outbox | None = None
        self._largest = LARGEST
        self._later = Timer(desk.clock, self._due)
        self._refreshing = False
        #: of each device, what its entities are made from that may change
        self._looks: dict[Device, tuple[object, ...]] = {}

    async def begin(self, outbox: Outbox, largest: int) -> None:
        """There is a connection to tell on, and what the broker retains is known.

        :param largest: bytes of one message.
        """
        self._outbox = outbox
        self._largest = min(LARGEST, largest)
        await self._refresh()

    def end(self) -> None:
        """It is gone."""
        self._outbox = None
        self._later.stop()

    def notice(self, device: Device) -> None:
        """A device has changed: if its entities are others now, let that be told soon."""
        looks = _looks(device)
        before = self._looks.get(device)
        self._looks[device] = looks
        if before != looks:
            self.refresh_later()

    def forget(self, device: Device) -> None:
        """A device is gone."""
        self._looks.pop(device, None)
        self.refresh_later()

    def refresh_later(self) -> None:
        """Tell what has changed when it will have settled."""
        if self._outbox is not None and not self._later.running:
            self._later.start(HELD_BACK)

    def _due(self) -> None:
        done = Deferred.fromCoroutine(self._refresh())
        done.addErrback(lambda failure: self._log.failure("MQTT: discovery", failure))

    async def _refresh(self) -> None:
        """Tell what is not known yet."""
        outbox = self._outbox
        if outbox is None:
            return
        if self._refreshing:
            self.refresh_later()
            return
        self._refreshing = True
        try:
            devices = self._devices() if self._enabled else []
            self._looks = {device: _looks(device) for device in devices}
            wanted = await self.describer.messages(devices, self._largest) if self._enabled else {}
        finally:
            self._refreshing = False
        if self._outbox is not outbox:
            return
        for topic, payload in wanted.items():
            between = _without_removed(outbox.known.get(topic, b""), payload)
            if between is not None:
                self.refresh_later()
            outbox.put_one(topic, between or payload)
        for topic in [one for one, payload in outbox.known.items() if payload and one.startswith(self.describer.root)]:
            if topic not in wanted:
                outbox.put_one(topic, b"")


def _looks(device: Device) -> tuple[object, ...]:
    """What of a device its entities are made from: its name, and what depends on its mode."""
    state: Any = device.state
    return device.alias, getattr(state, "mode", None), getattr(state, "unit", None), getattr(state, "type", None)


def _without_removed(before: bytes, wanted: bytes) -> bytes | None:
    """What is to be told first where entities are to go: that they are nothing but their platform now.

    :returns: None where none is to go.
    """
    if not before or before == wanted:
        return None
    try:
        old = msgspec.json.decode(before)["cmps"]
        platforms = {key: one["p"] for key, one in old.items() if len(one) > 1}
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
        return None
    message = msgspec.json.decode(wanted)
    new = {key: one["p"] for key, one in message["cmps"].items()}
    removed = {key: {"p": platform} for key, platform in platforms.items() if new.get(key) != platform}
    return encode({**message, "cmps": {**message["cmps"], **removed}}) if removed else None


def _safe(name: str) -> str:
    """A name as it may stand in the id of a device."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)


def _distinct(groups: Iterable[str]) -> list[str]:
    """The names of boards as they may stand in ids: no two are the same."""
    names: list[str] = []
    for group in groups:
        name = f"board_{_safe(group)}"
        while name in names:
            name += "_"
        names.append(name)
    return names


def _letters(n: int) -> str:
    """The name of the ``n``-th more: b, c, ..., z, and so on."""
    return chr(ord("a") + n) if n < 26 else f"z{n}"
