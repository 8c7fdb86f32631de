"""What a unit tells of its circuits: their states, as often as is of use, and the edges of inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from evok_twisted.api.messages import encode
from evok_twisted.api.mqtt.outbox import Outbox, Retained
from evok_twisted.api.mqtt.settings import MqttSettings
from evok_twisted.api.mqtt.topics import Topics
from evok_twisted.conditions import Timer
from evok_twisted.core.desk import Desk
from evok_twisted.core.events import ChangeSet
from evok_twisted.core.filters import Filter
from evok_twisted.model.device import Device, State
from evok_twisted.model.digitalinput import DigitalInputState

#: Kinds whose values move by themselves: they are told of once in a while.
MEASURED = frozenset({"ai", "temp", "1wdevice", "data_point", "modbus_slave", "register"})
#: What is never told: an age is old before it is read, and would be news each time.
AGES = "last_comm"
#: A counter's values; after the last it begins anew.
_COUNTER = 1 << 32
#: Seconds for which a counter waits for its input: they are read one after the other.
SETTLING = 0.2
#: More edges between two scans than there can be: then somebody has set the counter.
_MOST_EDGES = 1 << 16


class InputEvent(msgspec.Struct):
    """An edge of an input: ``press`` or ``release``, of which there were ``count`` since the last one."""

    event_type: str
    count: int
    counter: int | None
    time: float


#: Takes what is told once and then forgotten.
Tell = Callable[[str, bytes], None]


class States:
    """The states of the devices that are to be told of.

    :param tell: takes the edges of inputs.
    """

    def __init__(self, desk: Desk, wanted: Filter, settings: MqttSettings, topics: Topics, tell: Tell) -> None:
        self._desk = desk
        self._wanted = wanted
        self._topics = topics
        self._tell = tell
        self._every = settings.every
        self._repeat = settings.repeat
        self._qos = settings.qos
        self._json = settings.values != "plain" or settings.home_assistant.enabled
        self._plain = settings.values != "json"
        self._outbox: Outbox | None = None
        #: of what moves by itself, when it was told of last, and what is to be when it may again
        self._told: dict[Device, float] = {}
        self._held: dict[Device, float] = {}
        self._release = Timer(desk.clock, self._let_go)
        self._repetition = Timer(desk.clock, self._tell_again)
        #: of inputs, what they showed last, and up to what their edges were told
        self._inputs: dict[Device, DigitalInputState] = {}
        self._edges_told: dict[Device, DigitalInputState] = {}
        self._owed: dict[Device, int] = {}
        self._wall = 0.0

    def devices(self) -> list[Device]:
        """All that are to be told of."""
        return self._desk.snapshot(self._wanted).devices

    def begin(self, outbox: Outbox) -> None:
        """There is a connection to tell on: of everything, first."""
        self._outbox = outbox
        shown = ((device, device.state) for device in self.devices())
        self._inputs = {device: state for device, state in shown if isinstance(state, DigitalInputState)}
        self._edges_told = dict(self._inputs)  # what nobody could hear is over
        self.put_all()
        if self._repeat:
            self._repetition.start(self._repeat)

    def end(self) -> None:
        """There is none any more."""
        self._outbox = None
        self._held.clear()
        self._release.stop()
        self._repetition.stop()

    def put_all(self, *, again: bool = False) -> int:
        """Tell of everything; how much that is."""
        devices = self.devices()
        for device in devices:
            self.put(device, again=again)
        return len(devices)

    def put(self, device: Device, *, again: bool = False) -> None:
        """Tell of a device.

        :param again: also if the broker has its state already.
        """
        if self._outbox is not None:
            self._told[device] = self._desk.clock.seconds()
            self._held.pop(device, None)
            self._tell_edges(device)
            self._outbox.put(device, lambda: self.messages(device), again=again)

    def _tell_again(self) -> None:
        self.put_all(again=True)
        self._repetition.start(self._repeat)

    def messages(self, device: Device) -> Iterator[Retained]:
        """What the broker is to retain of a device."""
        of_slave = device.kind == "modbus_slave"
        state = self._desk.state(device) if of_slave or self._plain else {}
        state.pop(AGES, None)
        if self._json:
            payload = encode(state) if of_slave else self._desk.fragment(device)
            yield Retained(self._topics.device(self._desk, device), payload, self._qos)
        if self._plain:
            for field, value in state.items():
                if field not in ("dev", "circuit") and not isinstance(value, dict | list | tuple):
                    yield Retained(self._topics.field(self._desk, device, field), plain(value), self._qos)

    def hear(self, changes: ChangeSet) -> None:
        """Something has changed, of what is to be told of."""
        self._wall = changes.wall
        for device, state in changes.changes:
            if isinstance(state, DigitalInputState):
                urgent = self._input_changed(device, state, by_command=changes.cause is not None)
            else:
                urgent = changes.cause is not None or device.kind not in MEASURED
            if self._outbox is None:
                continue
            if urgent:
                self.put(device)
            else:
                self._hold(device)
        for device in changes.gone:
            self._told.pop(device, None)
            self._held.pop(device, None)
            self._inputs.pop(device, None)
            self._edges_told.pop(device, None)
            self._owed.pop(device, None)
            if self._outbox is not None:
                self._outbox.put(device, lambda device=device: self._nothing_of(device))  # type: ignore[misc]

    def _hold(self, device: Device) -> None:
        """Tell of a device when it may be told of again."""
        if device not in self._held:
            now = self._desk.clock.seconds()
            soonest = now + SETTLING if device in self._inputs else now
            self._held[device] = due = max(soonest, self._told.get(device, now - self._every) + self._every)
            if due <= now:
                self.put(device)
            else:
                self._release.start_by(due)

    def _let_go(self) -> None:
        """Tell of what was held back, as far as it may be by now."""
        now = self._desk.clock.seconds()
        for device in [device for device, due in self._held.items() if due <= now]:
            self.put(device)
        if self._held:
            self._release.start_by(min(self._held.values()))

    def _nothing_of(self, device: Device) -> Iterator[Retained]:
        return (Retained(one.topic, b"", one.qos) for one in self.messages(device))

    # Edges of inputs

    def _input_changed(self, device: Device, state: DigitalInputState, *, by_command: bool) -> bool:
        """Note what an input shows; whether it is more than its counter that has changed."""
        before = self._inputs.get(device)
        self._inputs[device] = state
        known = before is not None and before.value is not None
        if self._outbox is None or by_command or not known:
            self._edges_told[device] = state
            self._owed.pop(device, None)
        return by_command or before is None or _but_counter(before) != _but_counter(state)

    def _tell_edges(self, device: Device) -> None:
        """Tell of what has happened at an input, if it is one, since that was told last."""
        before, now = self._edges_told.get(device), self._inputs.get(device)
        if before is not None and now is not None and before is not now:
            self._edges_told[device] = now
            found, self._owed[device] = edges(before, now, self._owed.get(device, 0))
            for event, count in found:
                told = InputEvent(event, count, now.counter, round(self._wall, 3))
                self._tell(self._topics.event(self._desk, device), encode(told))


def _but_counter(state: State) -> State:
    return msgspec.structs.replace(state, counter=0)


def edges(before: DigitalInputState, now: DigitalInputState, owed: int) -> tuple[list[tuple[str, int]], int]:
    """What has happened at an input between two of its states.

    A press that is shorter than the time between two scans shows in the counter only. The counter may be read later
    than the input itself.

    :param owed: presses that were told of, and that the counter has not shown yet.
    :returns: the edges, the last of them last, each with its number; and the presses that are owed now.
    """
    counts = "Disabled" not in (before.counter_mode, now.counter_mode)
    counted = (now.counter - before.counter) % _COUNTER if now.counter is not None and before.counter is not None else 0
    if not counts or counted >= _MOST_EDGES:
        counted = owed = 0
    if now.value and not before.value:
        presses = max(1, counted - owed)
        found = [("release", presses - 1), ("press", presses)]
        owed = max(0, owed + 1 - counted) if counts else 0
    else:
        presses = max(0, counted - owed)
        owed = 0 if counted else owed
        if now.value:
            found = [("release", presses), ("press", presses)]
        else:
            found = [("press", presses), ("release", presses + (1 if before.value else 0))]
    return [(event, count) for event, count in found if count], owed


def plain(value: Any) -> bytes:
    """A value as text: nothing for null."""
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else encode(value)
