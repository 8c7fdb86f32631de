"""What holds for every shipped board, whatever is in its registers and whatever a client sends."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evok_twisted.definitions import load_definition
from evok_twisted.errors import BadParameter, BadValue, Conflict
from evok_twisted.model.boards import build
from evok_twisted.model.digitaloutput import pwm_timing
from evok_twisted.model.registers import Registers, WriteCoil, WriteRegisters
from evok_twisted.problems import Problems

DEFINITIONS = Path(__file__).parents[2] / "conf" / "hw_definitions"
MODELS = sorted(file.stem for file in DEFINITIONS.glob("*.yaml"))


def kinds_of(model):
    devices = build(load_definition(DEFINITIONS / f"{model}.yaml", Problems()), "1", 2, Problems())
    return list(dict.fromkeys(device.kind for device in devices if device.parameters))


#: The cycle register of board 00, the only one with PWM, and the coil of all watchdogs that nothing shows.
PWM_CYCLE, WATCHDOG_RESET = 1018, 1002

#: Each kind of each model that can be set.
SETTABLE = [(model, kind) for model in MODELS for kind in kinds_of(model)]


def for_any(check, examples):
    """Run ``check`` on that many data.

    From within a test, for pytest-twisted wraps a parametrized test of hypothesis anew with each parameter.
    """
    settings(derandomize=True, deadline=None, max_examples=examples)(given(st.data())(check))()


def enough(model):
    """How many examples a kind of a model takes: two boards have every kind there is, the others repeat them."""
    return 60 if model in ("00", "xS51") else 8


@st.composite
def contents(draw, count):
    """``count`` words: any, or all of them one of those with a meaning of their own as floats."""
    if draw(st.booleans()):
        return [draw(st.sampled_from([0, 1, 0x7F80, 0x7FC0, 0xFF80, 0xFFFF]))] * count
    raw = draw(st.binary(min_size=2 * count, max_size=2 * count))
    return struct.unpack(f">{count}H", raw)


def numbers(shown):
    """Every number in what is to be JSON."""
    if isinstance(shown, dict | list | tuple):
        for part in shown.values() if isinstance(shown, dict) else shown:
            yield from numbers(part)
    elif isinstance(shown, int | float):
        yield shown


@pytest.mark.parametrize("model", MODELS)
def test_any_content_of_the_registers_is_shown_as_json_without_nan(model, board):
    made = board(model)

    def shown(data):
        made.fill(data.draw(contents(made.size)))
        for device in made.devices.values():
            state = device.decode(made.registers)
            msgspec.json.encode(state)
            assert all(map(math.isfinite, numbers(msgspec.to_builtins(state))))

    for_any(shown, 20)


@pytest.mark.parametrize("model", MODELS)
def test_a_device_needs_every_register_that_it_decodes_or_plans_from(model, board):
    for device in board(model).devices.values():
        known = Registers()
        for key in device.needs:
            known.write_through(key, (0,))
        device.decode(known)
        device.plan({}, known)


@pytest.mark.parametrize("model", MODELS)
def test_decoding_depends_on_the_registers_and_on_nothing_else(model, board):
    made = board(model)

    def repeated(data):
        made.fill(data.draw(contents(made.size)))
        states = [[device.decode(made.registers) for device in made.devices.values()] for _ in range(2)]
        assert states[0] == states[1]

    for_any(repeated, 5)


# Sets that are valid


def valid(parameter):
    """Values that a parameter takes, by its schema; numbers sometimes as text, as forms send them."""
    schema = parameter.schema
    if "enum" in schema:
        values = st.sampled_from(schema["enum"])
    elif schema["type"] == "integer":
        values = st.integers(schema["minimum"], schema["maximum"])
    else:
        low, above = schema.get("minimum", schema.get("exclusiveMinimum")), "exclusiveMinimum" in schema
        high = schema["maximum"]
        near = st.floats(max(low, -30), min(high, 30), exclude_min=above)
        values = st.one_of(near, st.floats(low, high, exclude_min=above))
    return st.one_of(values, values.map(str))


@st.composite
def sets(draw, device):
    """Parameters of which each is allowed and valid by itself."""
    names = [name for name in device.parameters if draw(st.booleans())]
    if device.pulsed:
        for name, goes_with in (("timeout", "value"), ("then", "timeout")):
            if goes_with not in names and name in names:
                names.remove(name)
    return {name: draw(valid(device.parameters[name])) for name in names}


def contradictory(device, wanted, before):
    """Whether a set asks for two things at once that cannot be, as the wire's description has it."""
    if device.kind == "di":
        return "ds_mode" in wanted and wanted.get("mode", before.mode) == "Simple"
    if device.kind == "do":
        switched = wanted.get("value") in (1, "1") or "timeout" in wanted
        duty = float(wanted.get("pwm_duty", 0))
        mode = before.mode if not wanted.keys() & {"value", "pwm_duty"} else "PWM" if duty else "Simple"
        return (duty > 0 and switched) or wanted.get("mode", mode) != mode
    if device.kind == "ao":
        return "value" in wanted and wanted.get("mode", before.mode) == "Resistance"
    return False


def shows(device, name, asked, state, plan):
    """Whether ``state`` has what was asked for, as near as the board can have it."""
    shown = getattr(state, name, None)
    if name == "reset":  # nothing shows that coil
        return (WriteCoil(WATCHDOG_RESET, 1) in plan.writes) == bool(int(asked))
    if isinstance(asked, str) and name not in ("mode", "ds_mode", "counter_mode"):
        asked = float(asked)
    if name == "timeout" and device.pulsed:
        return plan.pulse.seconds == asked
    if name == "then" and device.kind != "ao":
        return plan.pulse.value == asked
    if name == "then":
        low, high = state.modes[state.mode].range if isinstance(plan.writes[-1], WriteRegisters) else (0, 4095 * 0.0025)
        return abs(plan.pulse.value - min(max(asked, low), high)) <= 0.0025 / 2 + 0.0005001
    if name == "pwm_freq":
        prescale, cycle = pwm_timing(asked)
        near = 1 / (48e6 / asked) if prescale != cycle else 1.1 / math.sqrt(48e6 / asked)
        return shown == 48e6 / (prescale * cycle) and math.isclose(shown, asked, rel_tol=near)
    if name == "value" and device.kind == "ao":
        if isinstance(plan.writes[-1], WriteRegisters):
            reach = state.modes[state.mode].range
            best = min(max(asked, reach[0]), reach[1])
            return math.isclose(shown, best, rel_tol=1e-6, abs_tol=0.0005001)
        return abs(shown - min(max(asked, 0), 4095 * 0.0025)) <= 0.0025 / 2 + 0.0005001
    if name == "value" and device.kind == "wd":
        return shown == asked and state.was_wd_reset == 0
    return shown == asked


@pytest.mark.parametrize(("model", "kind"), SETTABLE)
def test_what_was_acknowledged_is_what_was_asked_for(model, kind, board):
    made = board(model)
    names = [name for name, device in made.devices.items() if device.kind == kind]

    def acknowledged(data):
        made.fill(data.draw(contents(made.size)))
        name = data.draw(st.sampled_from(names))
        device = made[name]
        wanted = data.draw(sets(device))
        if contradictory(device, wanted, made.state(name)):
            with pytest.raises(Conflict):
                made.plan(name, **wanted)
            return
        plan = made.plan(name, **wanted)
        state = made.set(name, **wanted)
        for parameter, asked in wanted.items():
            if parameter == "value" and float(wanted.get("pwm_duty", 0)) > 0:
                assert state.value == 0
            elif parameter == "pwm_duty":
                steps = made.registers[PWM_CYCLE] + 1
                assert abs(min(state.pwm_duty, 100) - float(asked)) <= 0.05 + 100 / steps
            elif parameter == "mode" and 0 < float(wanted.get("pwm_duty", 0)) <= 50 / (made.registers[PWM_CYCLE] + 1):
                pass  # a duty of less than half a step is none
            elif parameter == "counter" and state.counter_mode == "Disabled":
                assert state.counter == 0
            else:
                assert shows(device, parameter, asked, state, plan), (parameter, asked, state)

    for_any(acknowledged, enough(model))


@pytest.mark.parametrize(("model", "kind"), SETTABLE)
def test_a_set_leaves_other_circuits_of_its_kind_as_they_are(model, kind, board):
    made = board(model)
    names = [name for name, device in made.devices.items() if device.kind == kind]
    shared = {"pwm_freq"}  # the board has one for all

    def left_alone(data):
        made.fill(data.draw(contents(made.size)))
        name = data.draw(st.sampled_from(names))
        wanted = {key: value for key, value in data.draw(sets(made[name])).items() if key not in shared}
        if contradictory(made[name], wanted, made.state(name)):
            return
        others = [other for other in names if other != name]
        before = [made.state(other) for other in others]
        made.set(name, **wanted)
        assert [made.state(other) for other in others] == before

    for_any(left_alone, enough(model))


def test_a_new_frequency_keeps_every_duty_as_near_as_its_cycle_allows(board):
    made = board("00")
    names = [name for name, device in made.devices.items() if device.kind == "do"]

    def kept(data):
        made.fill(data.draw(contents(made.size)))
        before = [made.state(name).pwm_duty for name in names]
        made.set(data.draw(st.sampled_from(names)), pwm_freq=data.draw(valid(made[names[0]].parameters["pwm_freq"])))
        near = 0.1 + 100 / (made.registers[PWM_CYCLE] + 1)
        for name, duty in zip(names, before, strict=True):
            assert abs(min(made.state(name).pwm_duty, 100) - min(duty, 100)) <= near

    for_any(kept, 100)


# Sets that are not


ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(0, 1),
        st.floats(),
        st.floats(0, 100),
        st.text(max_size=8),
        st.sampled_from(["0", "1", "1e5", "nan", "Simple", "DirectSwitch", "Toggle", "Voltage", "Resistance"]),
        st.sampled_from([10**400, -(10**400), "9" * 400]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=3,
)


def words_of(write):
    return getattr(write, "values", None) or (write.value,)


@pytest.mark.parametrize(("model", "kind"), SETTABLE)
def test_junk_is_refused_by_name_and_what_passes_fits_modbus(model, kind, board):
    made = board(model)
    names = [name for name, device in made.devices.items() if device.kind == kind]
    known = sorted(made[names[0]].parameters)
    junk = st.dictionaries(st.one_of(st.sampled_from(known), st.text(max_size=5)), ANYTHING, max_size=4)

    def survived(data):
        made.fill(data.draw(contents(made.size)))
        try:
            device = made[data.draw(st.sampled_from(names))]
            plan = device.plan(device.checked(data.draw(junk)), made.registers)
        except (BadParameter, BadValue, Conflict) as error:
            assert str(error)
            return
        for write in plan.writes:
            assert 0 <= write.address <= 65535
            assert all(0 <= word <= 65535 and isinstance(word, int) for word in words_of(write))

    for_any(survived, enough(model))
