"""What each circuit is to Home Assistant: its entities, in the short keys of MQTT discovery."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from evok_twisted.api.mqtt.topics import Topics
from evok_twisted.api.mqtt.units import measured
from evok_twisted.core.desk import Desk
from evok_twisted.core.filters import Filter
from evok_twisted.model.device import Device
from evok_twisted.model.kinds import KINDS
from evok_twisted.model.meaning import Meaning, meanings
from evok_twisted.model.sensors import Switch

Component = dict[str, Any]

#: Seconds after which a command that did not get through is meant no more.
EXPIRY = 5
#: What is not for everyday use is there, and has to be asked for.
HIDDEN = {"en": False}
DIAGNOSTIC = {"ent_cat": "diagnostic"}
CONFIG = {"ent_cat": "config"}

#: What a switch is by its state; it is set by ON and OFF.
_SHOWN = {"stat_on": "1", "stat_off": "0"}


class Choices(NamedTuple):
    """What the settings say of entities.

    :ivar lights: outputs that are lights; ``fans`` fans; ``events`` inputs whose presses are of use from the start.
    :ivar commands: whether anything may be set at all.
    """

    lights: Filter
    fans: Filter
    events: Filter
    commands: bool


def slug(text: str) -> str:
    """A text as it may stand in the id of an entity."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


class Components:
    """Makes the entities of circuits."""

    def __init__(self, desk: Desk, topics: Topics, choices: Choices) -> None:
        self._desk = desk
        self._topics = topics
        self._choices = choices

    def of(self, device: Device) -> dict[str, Component]:
        """The entities of a circuit, by their keys in a discovery message."""
        make = _KINDS.get(device.kind)
        return {} if make is None else {key: one for key, one in make(self, device) if one}

    # What entities have in common

    def entity(
        self, device: Device, platform: str, part: str = "", *, name: str = "", **keys: Any
    ) -> tuple[str, Component]:
        """One entity, with its key.

        :param part: which of several of the circuit it is.
        :param name: of the part, after that of the circuit.
        """
        dev, circuit = KINDS[device.kind].dev(self._desk.dialect), device.circuit_in(self._desk.dialect)
        key = "_".join(filter(None, (dev, circuit, part)))
        shown = device.alias or f"{dev.replace('_', ' ').upper()} {circuit.replace('_', '.')}"
        made: Component = {
            "p": platform,
            "unique_id": f"evok_{self._topics.unit}_{key}",
            "def_ent_id": f"{platform}.{slug(self._topics.unit)}_{slug(key)}",
            "name": f"{shown} {name}" if name else shown,
        }
        for given, value in keys.items():
            if value is not None:
                made[given] = value
        return re.sub(r"[^a-zA-Z0-9_-]", "_", key), made

    def state(self, device: Device, field: str = "value") -> Component:
        """Where its state is, and where in that."""
        return {
            "stat_t": self._topics.device(self._desk, device),
            "val_tpl": f"{{{{ value_json.{field} }}}}",
        }

    def command(self, device: Device, field: str = "") -> Component:
        """Where commands for it go."""
        place = self._topics.field(self._desk, device, field) if field else self._topics.device(self._desk, device)
        return {"cmd_t": f"{place}/set", "msg_exp_int": EXPIRY}

    def may(self, device: Device, *parameters: str) -> bool:
        """Whether these may be set through the broker; what may not be set is shown only."""
        if not self._choices.commands or not all(one in device.parameters for one in parameters):
            return False
        return not self._desk.identity.scopes.objection(device, parameters)

    def switch(self, device: Device, part: str = "", field: str = "value", **keys: Any) -> tuple[str, Component]:
        """A switch, or what shows it where it may not be set."""
        if self.may(device, field):
            command = self.command(device, "" if field == "value" else field)
            return self.entity(device, "switch", part, **self.state(device, field), **command, **_SHOWN, **keys)
        keys = _but(keys, "ent_cat")  # what only shows something cannot configure
        return self.entity(device, "binary_sensor", part, **self.state(device, field), pl_on="1", pl_off="0", **keys)

    def number(self, device: Device, part: str, field: str, **keys: Any) -> tuple[str, Component]:
        """A number that may be set, or a sensor where it may not."""
        if self.may(device, field):
            command = self.command(device, "" if field == "value" else field)
            keys = _but(keys, "stat_cla", "sug_dsp_prc")
            return self.entity(device, "number", part, **self.state(device, field), **command, **keys)
        keys = _but(keys, "min", "max", "step", "mode", "ent_cat")
        return self.entity(device, "sensor", part, **self.state(device, field), **keys)

    # Kinds

    def _input(self, device: Device) -> Iterator[tuple[str, Component]]:
        yield self.entity(device, "binary_sensor", **self.state(device), pl_on="1", pl_off="0")
        counter = {"stat_cla": "total_increasing", **DIAGNOSTIC, **HIDDEN}
        yield self.entity(device, "sensor", "counter", name="counter", **self.state(device, "counter"), **counter)
        yield self.entity(
            device,
            "event",
            "press",
            name="button",
            stat_t=self._topics.event(self._desk, device),
            evt_typ=["press", "release"],
            dev_cla="button",
            **({} if self._choices.events.accepts(device) else HIDDEN),
        )

    def _output(self, device: Device) -> Iterator[tuple[str, Component]]:
        has_pwm = "pwm_duty" in device.parameters
        if self._choices.lights.accepts(device) and self.may(device, "value"):
            yield self._light(device, dims=has_pwm)
        elif self._choices.fans.accepts(device) and self.may(device, "value"):
            states = {"pl_on": "1", "pl_off": "0"}
            state = {"stat_t": self.state(device)["stat_t"], "stat_val_tpl": self.state(device)["val_tpl"]}
            yield self.entity(device, "fan", "fan", **state, **self.command(device), **states)
        else:
            yield self.switch(device)
            if has_pwm:
                duty = {"unit_of_meas": "%", "min": 0, "max": 100, "step": 0.1, **CONFIG}
                yield self.number(device, "pwm_duty", "pwm_duty", name="PWM duty", **duty)

    def _light(self, device: Device, *, dims: bool) -> tuple[str, Component]:
        topic = self.state(device)["stat_t"]
        keys: Component = {"stat_t": topic, **self.command(device)}
        if not dims:
            states = {"pl_on": "1", "pl_off": "0"}
            return self.entity(device, "light", "light", **keys, stat_val_tpl="{{ value_json.value }}", **states)
        return self.entity(
            device,
            "light",
            "light",
            **keys,
            stat_val_tpl="{{ 'ON' if value_json.value or value_json.pwm_duty else 'OFF' }}",
            bri_cmd_t=f"{self._topics.field(self._desk, device, 'pwm_duty')}/set",
            bri_stat_t=topic,
            bri_val_tpl="{{ 100 if value_json.value else value_json.pwm_duty }}",
            bri_scl=100,
            on_cmd_type="brightness",
        )

    def _analog_input(self, device: Device) -> Iterator[tuple[str, Component]]:
        state: Any = device.state
        yield self.entity(device, "sensor", **self.state(device), **measured(state.unit))
        yield from self._modes(device)

    def _analog_output(self, device: Device) -> Iterator[tuple[str, Component]]:
        state: Any = device.state
        keys = measured(state.unit)
        reach = state.range or ()
        if state.mode is not None and not reach:
            shown = state.modes.get(state.mode)
            reach = getattr(shown, "range", None) or ()
        if state.mode == "Resistance":
            yield self.entity(device, "sensor", **self.state(device), **keys)
        else:
            low, high = (reach[0], reach[-1]) if reach else (0, 10)
            yield self.number(device, "", "value", min=low, max=high, step=0.01, mode="slider", **keys)
        yield from self._modes(device)

    def _modes(self, device: Device) -> Iterator[tuple[str, Component]]:
        state: Any = device.state
        if len(state.modes) > 1 and self.may(device, "mode"):
            keys = {**self.state(device, "mode"), **self.command(device, "mode"), **CONFIG, **HIDDEN}
            yield self.entity(device, "select", "mode", name="mode", **keys, ops=list(state.modes))

    def _hidden_switch(self, device: Device) -> Iterator[tuple[str, Component]]:
        hidden: Component = {**CONFIG, **HIDDEN}
        yield self.switch(device, **hidden)

    def _watchdog(self, device: Device) -> Iterator[tuple[str, Component]]:
        fields = meanings(device.shows)
        if self.may(device, "value"):
            # 2 is that it has reset the board, and 1 that it may
            on = {"val_tpl": "{{ value_json.value % 2 if value_json.value is number else None }}"}
            keys = {**self.state(device), **on, **self.command(device), **_SHOWN, **CONFIG, **HIDDEN}
            yield self.entity(device, "switch", **keys)
        if self.may(device, "timeout"):
            timeout = fields["timeout"]
            keys = {**_span(timeout), **measured(timeout.unit), **CONFIG, **HIDDEN}
            yield self.number(device, "timeout", "timeout", name="timeout", step=1, mode="box", **keys)
        problem = {"dev_cla": "problem", "pl_on": "1", "pl_off": "0", **DIAGNOSTIC}
        yield self.entity(
            device,
            "binary_sensor",
            "reset",
            name="has reset the board",
            **self.state(device, "was_wd_reset"),
            **problem,
        )

    def _sensor(self, device: Device) -> Iterator[tuple[str, Component]]:
        fields = meanings(device.shows)
        if isinstance(device, Switch):
            yield from self._pins(device)
            return
        for field, meaning in fields.items():
            if field in ("address", "type", "interval", "lost", "time"):
                continue
            if meaning.unit is None:
                presence = {"pl_on": "1", "pl_off": "0", "dev_cla": "presence"}
                yield self.entity(device, "binary_sensor", **self.state(device, field), **presence)
                continue
            part = "" if field == "value" else field
            keys = measured(meaning.unit, measures=meaning.measures)
            yield self.entity(device, "sensor", part, name=part, **self.state(device, field), **keys)

    def _pins(self, device: Switch) -> Iterator[tuple[str, Component]]:
        for pin, name in enumerate(device.names):
            level = {"val_tpl": f"{{{{ value_json.value[{pin}] if value_json.value else None }}}}"}
            shown = {"stat_t": self.state(device)["stat_t"], **level, "pl_on": "1", "pl_off": "0"}
            yield self.entity(device, "binary_sensor", f"pin_{pin}", name=f"pin {name}", **shown)
            if self.may(device, "pio", "value"):
                on, off = (f'{{"pio":{pin},"value":{value}}}' for value in (1, 0))
                conducts = {"val_tpl": f"{{{{ value_json.pio[{pin}] if value_json.pio else None }}}}"}
                keys = {**self.state(device), **conducts, **self.command(device), "pl_on": on, "pl_off": off, **_SHOWN}
                yield self.entity(device, "switch", f"pio_{pin}", name=f"output {name}", **keys)

    def _data_point(self, device: Device) -> Iterator[tuple[str, Component]]:
        state: Any = device.state
        template = "{{ None if value_json.valid in (false, 'false') else value_json.value }}"
        name = (state.name or "").replace("_", " ")
        keys = {**self.state(device), "val_tpl": template, **measured(state.unit, state.name or "")}
        yield self.entity(device, "sensor", name=name if not device.alias else "", **keys)

    def _save(self, device: Device) -> Iterator[tuple[str, Component]]:
        if self.may(device, "value"):
            keys = {**self.command(device), "pl_prs": "1", **CONFIG, **HIDDEN}
            yield self.entity(device, "button", name="keep settings", **keys)

    def _slave(self, device: Device) -> Iterator[tuple[str, Component]]:
        name = device.circuit
        # whether it answers is not for it alone to say
        own = {"avty": [{"t": self._topics.status}], "avty_mode": "all"}
        keys = {"stat_t": self._topics.board(name), "pl_on": "online", "pl_off": "offline", "dev_cla": "connectivity"}
        yield self._named(device, "binary_sensor", "online", "connection", **keys, **own, **DIAGNOSTIC)
        for field in ("errors", "timeouts"):
            counts = {"stat_cla": "total_increasing", **DIAGNOSTIC, **HIDDEN}
            yield self._named(device, "sensor", field, field, **self.state(device, field), **counts)

    def _named(self, device: Device, platform: str, part: str, name: str, **keys: Any) -> tuple[str, Component]:
        """An entity of the board as a whole, which the board's own name is before."""
        key, made = self.entity(device, platform, part, **keys)
        return key, {**made, "name": name}


def _but(keys: Component, *left_out: str) -> Component:
    return {key: value for key, value in keys.items() if key not in left_out}


def _span(meaning: Meaning) -> Component:
    return {"min": meaning.low, "max": meaning.high}


#: By the kinds that are entities; registers are none, and the rest tells of the unit.
_KINDS: Mapping[str, Callable[[Components, Any], Iterator[tuple[str, Component]]]] = {
    "di": Components._input,
    "ro": Components._output,
    "do": Components._output,
    "ai": Components._analog_input,
    "ao": Components._analog_output,
    "temp": Components._sensor,
    "1wdevice": Components._sensor,
    "led": Components._hidden_switch,
    "wd": Components._watchdog,
    "modbus_slave": Components._slave,
    "owpower": Components._hidden_switch,
    "data_point": Components._data_point,
    "nv_save": Components._save,
}
