"""Inputs, outputs, relays and LEDs: from registers to values, and from a set to writes."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from evok_twisted.definitions import DigitalInputs, DigitalOutputs, Leds, Relays
from evok_twisted.errors import BadParameter, BadValue, Conflict
from evok_twisted.model.device import Pulse
from evok_twisted.model.digitaloutput import pwm_timing
from evok_twisted.model.registers import WriteCoil, WriteRegister, WriteRegisters

# Board 00: 4 DI and 4 DO.
DI_VALUE, DO_VALUE, LED_VALUE = 0, 1, 20
COUNTER, DEBOUNCE, DIRECT, POLAR, TOGGLE = 8, 1010, 1014, 1015, 1016
DUTY, PRESCALE, CYCLE = 16, 1017, 1018


@pytest.fixture
def main(board):
    """A board 00 whose PWM runs at 4800 Hz in 10000 steps, with all duties 0."""
    main = board("00")
    main.put({CYCLE: 9999, PRESCALE: 0})
    return main


# Inputs


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_an_input_is_one_bit(main, n):
    main.put({DI_VALUE: 1 << n - 1})
    assert [main.state(f"di 1_{other:02}").value for other in (1, 2, 3, 4)] == [
        int(other == n) for other in (1, 2, 3, 4)
    ]


def test_the_sixteenth_input_is_the_highest_bit(board):
    inputs = board("08")
    inputs.put({0: 0x8000})
    assert (inputs.state("di 1_15").value, inputs.state("di 1_16").value) == (0, 1)


def test_a_second_half_with_a_start_index_has_its_own_bits_counters_and_debounces(board):
    inputs = board("0A")
    inputs.put({0: 0, 1: 0b1, 35: 7, 36: 1, 1026: 50})
    state = inputs.state("di 1_17")
    assert (state.value, state.counter, state.debounce) == (1, 0x10007, 50)


def test_more_than_sixteen_inputs_share_their_one_register(board):
    inputs = board(DigitalInputs(count=20, val_reg=0, counter_reg=100, deboun_reg=200))
    inputs.put({0: 0b10})
    assert [inputs.state(f"di 1_{n:02}").value for n in (1, 2, 17, 18)] == [0, 1, 0, 1]


@pytest.mark.parametrize("n", [1, 4])
def test_a_counter_has_its_low_word_first(main, n):
    main.put({COUNTER + 2 * (n - 1): 0x0002, COUNTER + 2 * (n - 1) + 1: 0x0001})
    assert main.state(f"di 1_{n:02}").counter == 0x10002


def test_each_input_has_its_debounce(main):
    main.put({DEBOUNCE + 2: 65535})
    assert [main.state(f"di 1_{n:02}").debounce for n in (1, 2, 3, 4)] == [0, 0, 65535, 0]


def test_a_disabled_counter_is_0_and_counts_on_unseen(main):
    main.put({COUNTER: 5})
    shown = [main.set("di 1_01", counter_mode=mode).counter for mode in ("Disabled", "Enabled")]
    assert shown == [0, 5]


@pytest.mark.parametrize(
    ("polar", "toggle", "ds_mode"),
    [
        (0, 0, "Simple"),
        (0b10, 0, "Inverted"),
        (0, 0b10, "Toggle"),
        (0b10, 0b10, "Inverted"),
        (0b1101, 0b1101, "Simple"),
    ],
)
def test_the_ds_mode_is_a_bit_in_each_of_two_registers(main, polar, toggle, ds_mode):
    main.put({DIRECT: 0b10, POLAR: polar, TOGGLE: toggle})
    state = main.state("di 1_02")
    assert (state.mode, state.ds_mode, state.ds_modes) == ("DirectSwitch", ds_mode, ("Simple", "Inverted", "Toggle"))


def test_an_input_without_direct_switch_shows_no_ds_mode(main):
    main.put({DIRECT: 0b1101, POLAR: 0b10, TOGGLE: 0b10})
    state = main.state("di 1_02")
    assert (state.mode, state.ds_mode, state.ds_modes) == ("Simple", UNSET, UNSET)


def test_the_modes_of_an_input_are_those_that_its_board_has(main, board):
    assert (main.state("di 1_01").modes, board("0A").state("di 1_01").modes) == (
        ("Simple", "DirectSwitch"),
        ("Simple",),
    )


@pytest.mark.parametrize(
    ("given", "modes"),
    [
        ({"direct_reg": 300, "polar_reg": 301, "toggle_reg": 302}, ("Simple", "DirectSwitch")),
        ({"direct_reg": 300, "polar_reg": 301, "toggle_reg": 302, "modes": ("Simple",)}, ("Simple",)),
        ({"direct_reg": 300, "polar_reg": 301}, ("Simple",)),
        ({"modes": ("Simple", "DirectSwitch")}, ("Simple",)),
    ],
)
def test_direct_switch_takes_all_its_registers_and_the_mode(board, given, modes):
    inputs = board(DigitalInputs(val_reg=0, counter_reg=100, deboun_reg=200, **given))
    assert inputs.state("di 1_01").modes == modes


@pytest.mark.parametrize("name", ["ds_mode", "value", "timeout"])
def test_an_input_without_direct_switch_has_no_such_parameter(board, name):
    with pytest.raises(BadParameter, match="allowed are debounce, counter, counter_mode, mode"):
        board("0A").plan("di 1_01", **{name: "Simple"})


def test_an_input_without_direct_switch_cannot_be_put_into_it(board):
    with pytest.raises(BadValue, match="expected one of Simple"):
        board("0A").plan("di 1_01", mode="DirectSwitch")


def test_an_input_without_direct_switch_may_be_told_that_it_is_simple(board):
    assert board("0A").writes("di 1_01", mode="Simple") == []


@pytest.mark.parametrize(
    ("given", "writes"),
    [
        ({"debounce": 50}, [WriteRegister(DEBOUNCE + 1, 50)]),
        ({"debounce": "50"}, [WriteRegister(DEBOUNCE + 1, 50)]),
        ({"counter": 0}, [WriteRegisters(COUNTER + 2, (0, 0))]),
        ({"counter": 0x12345678}, [WriteRegisters(COUNTER + 2, (0x5678, 0x1234))]),
        ({"counter_mode": "Disabled"}, []),
        ({"mode": "Simple"}, []),
        ({"mode": "DirectSwitch"}, [WriteRegister(DIRECT, 0b0111)]),
        (
            {"mode": "DirectSwitch", "ds_mode": "Toggle"},
            [WriteRegister(DIRECT, 0b0111), WriteRegister(POLAR, 0b1000), WriteRegister(TOGGLE, 0b0010)],
        ),
        (
            {"ds_mode": "Inverted", "counter": 1, "mode": "DirectSwitch", "debounce": 7},
            [
                WriteRegister(DEBOUNCE + 1, 7),
                WriteRegisters(COUNTER + 2, (1, 0)),
                WriteRegister(DIRECT, 0b0111),
                WriteRegister(POLAR, 0b1010),
                WriteRegister(TOGGLE, 0b0000),
            ],
        ),
        ({}, []),
    ],
)
def test_what_a_set_of_an_input_writes(main, given, writes):
    main.put({DIRECT: 0b0101, POLAR: 0b1010, TOGGLE: 0b0000})
    assert main.writes("di 1_02", **given) == writes


@pytest.mark.parametrize(
    ("given", "writes"),
    [
        ({"mode": "DirectSwitch"}, []),
        ({"mode": "Simple"}, [WriteRegister(DIRECT, 0b0101)]),
        ({"ds_mode": "Simple"}, [WriteRegister(POLAR, 0b1000), WriteRegister(TOGGLE, 0b0000)]),
        ({"ds_mode": "Toggle"}, [WriteRegister(POLAR, 0b1000), WriteRegister(TOGGLE, 0b0010)]),
    ],
)
def test_what_a_set_of_an_input_in_direct_switch_writes(main, given, writes):
    main.put({DIRECT: 0b0111, POLAR: 0b1010, TOGGLE: 0b0000})
    assert main.writes("di 1_02", **given) == writes


@pytest.mark.parametrize(
    ("direct", "given"), [(0, {"ds_mode": "Toggle"}), (0b10, {"ds_mode": "Toggle", "mode": "Simple"})]
)
def test_a_ds_mode_contradicts_mode_simple(main, direct, given):
    main.put({DIRECT: direct})
    with pytest.raises(Conflict, match="di 1_02: ds_mode"):
        main.plan("di 1_02", **given)


def test_a_form_with_every_field_of_an_input_writes_what_it_says(main):
    form = {"debounce": "50", "mode": "Simple", "counter_mode": "Enabled", "counter": "0"}
    plan = main.plan("di 1_01", **form)
    assert (plan.writes, plan.local) == (
        (WriteRegister(DEBOUNCE, 50), WriteRegisters(COUNTER, (0, 0))),
        {"counter_mode": "Enabled"},
    )


@pytest.mark.parametrize("given", [{"debounce": 0}, {"debounce": 65535}, {"counter": 0}, {"counter": 2**32 - 1}])
def test_the_limits_of_an_input_are_within(main, given):
    ((name, value),) = given.items()
    assert getattr(main.set("di 1_01", **given), name) == value


@pytest.mark.parametrize("given", [{"debounce": 65536}, {"counter": 2**32}, {"counter_mode": "On"}, {"mode": "simple"}])
def test_a_set_of_an_input_that_does_not_fit_is_refused(main, given):
    with pytest.raises(BadValue):
        main.plan("di 1_01", **given)


def test_before_the_first_read_an_input_shows_what_is_known_of_it(main):
    state = main["di 1_01"].state
    assert (state.value, state.counter, state.modes, state.ds_mode) == (None, None, ("Simple", "DirectSwitch"), UNSET)


# Outputs, relays and LEDs as switches


@pytest.fixture(params=["do", "ro", "led"])
def switches(request, board):
    """A board with sixteen outputs of one kind, their register 5 and their coils from 100 on."""
    feature = {"do": DigitalOutputs, "ro": Relays, "led": Leds}[request.param]
    made = board(feature(count=16, val_reg=5, val_coil=100))
    made.kind = request.param
    return made


def test_a_switch_is_one_bit(switches):
    switches.put({5: 0x8002})
    assert [n for n in range(1, 17) if switches.state(f"{switches.kind} 1_{n:02}").value] == [2, 16]


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("n", [1, 2, 16])
def test_a_switch_is_set_by_its_coil_even_if_it_is_so_already(switches, n, value):
    switches.put({5: 0b10})
    assert switches.writes(f"{switches.kind} 1_{n:02}", value=value) == [WriteCoil(99 + n, value, (5, n - 1))]


def test_setting_a_switch_leaves_the_others(switches):
    switches.put({5: 0x5555})
    assert switches.set(f"{switches.kind} 1_02", value=1).value == 1
    assert switches.registers[5] == 0x5557


@pytest.mark.parametrize(("feature", "kind"), [(DigitalOutputs, "do"), (Relays, "ro"), (Leds, "led")])
def test_more_than_sixteen_switches_share_their_one_register(board, feature, kind):
    switches = board(feature(count=20, val_reg=5, val_coil=100))
    switches.put({5: 0b10})
    shown = [switches.state(f"{kind} 1_{n:02}").value for n in (1, 2, 17, 18)]
    assert (shown, switches.writes(f"{kind} 1_18", value=0)) == ([0, 1, 0, 1], [WriteCoil(117, 0, (5, 1))])


def test_a_switch_that_is_told_nothing_does_nothing(switches):
    assert switches.writes(f"{switches.kind} 1_01") == []


def test_relays_with_a_start_index_count_coils_and_bits_from_their_own_first(board):
    assert board("07").writes("ro 1_17", value=1) == [WriteCoil(16, 1, (1, 0))]


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("ro 1_01", "value, timeout, then, mode"),
        ("led 1_01", "value, timeout, then"),
        ("do 1_01", "value, timeout, then, mode"),
    ],
)
def test_a_switch_takes_no_other_parameters(board, name, allowed):
    switches = board(Relays(val_reg=0, val_coil=0), Leds(val_reg=1, val_coil=1), DigitalOutputs(val_reg=2, val_coil=2))
    with pytest.raises(BadParameter, match=f"allowed are {allowed}$"):
        switches.plan(name, pwm_duty=50)


@pytest.fixture(params=["do with PWM", "do", "ro"])
def output(request, board):
    """A board with one output, and the name of that."""
    feature = {
        "do with PWM": DigitalOutputs(val_reg=0, val_coil=0, pwm_reg=1, pwm_ps_reg=2, pwm_c_reg=3),
        "do": DigitalOutputs(val_reg=0, val_coil=0),
        "ro": Relays(val_reg=0, val_coil=0),
    }[request.param]
    made = board(feature)
    return made, f"{request.param[:2]} 1_01"


def test_before_the_first_read_an_output_has_no_value_and_is_not_pending(output):
    made, name = output
    assert (made[name].state.value, made[name].state.pending) == (None, False)


def test_an_output_is_pending_while_its_pulse_runs(output):
    made, name = output
    before = made.state(name).pending
    made[name].local["pending"] = True
    assert (before, made.state(name).pending) == (False, True)


@pytest.mark.parametrize(
    ("value", "timeout", "pulse"),
    [
        (1, 2, Pulse(2.0, 0, 1)),
        (0, "0.5", Pulse(0.5, 1, 0)),
        ("0", 0.05, Pulse(0.05, 1, 0)),
        (True, "1e3", Pulse(1000.0, 0, 1)),
    ],
)
def test_after_the_timeout_an_output_goes_to_the_opposite(output, value, timeout, pulse):
    made, name = output
    plan = made.plan(name, value=value, timeout=timeout)
    assert ([write.value for write in plan.writes], plan.pulse) == ([1 - pulse.value], pulse)


@pytest.mark.parametrize(("value", "then"), [(1, 1), (0, "0"), (1, 0)])
def test_after_the_timeout_an_output_goes_to_what_the_set_says(output, value, then):
    made, name = output
    assert made.plan(name, value=value, timeout=1, then=then).pulse == Pulse(1.0, int(then), value)


def test_a_led_goes_back_too(board):
    leds = board(Leds(val_reg=1, val_coil=1))
    assert leds.plan("led 1_01", value=1, timeout=2).pulse == Pulse(2.0, 0, 1)


def test_what_it_goes_back_to_without_a_timeout_is_refused(output):
    made, name = output
    with pytest.raises(BadParameter, match=f"{name}: then goes with timeout"):
        made.plan(name, value=1, then=0)


def test_a_timeout_without_a_value_is_refused(output):
    made, name = output
    with pytest.raises(BadParameter, match=f"{name}: timeout goes with value"):
        made.plan(name, timeout=1)


@pytest.mark.parametrize("timeout", [0, -1, "never", 2_000_001, None])
def test_a_timeout_is_a_time_that_can_be_waited_for(main, timeout):
    with pytest.raises(BadValue, match="timeout: got .*, expected a number more than 0 and at most 2000000 seconds"):
        main.plan("do 1_01", value=1, timeout=timeout)


def test_a_set_without_timeout_ends_no_pulse_later(main):
    assert main.plan("do 1_01", value=1).pulse is None


# PWM


@pytest.mark.parametrize(
    ("frequency", "prescale", "cycle"),
    [
        (0.5, 1920, 50000),
        (1000, 48, 1000),
        (4800, 1, 10000),
        (9600, 1, 5000),
        (960, 1, 50000),
        (480, 2, 50000),
        (48_000_000 / 48000.9, 48, 1000),
        (333, 380, 380),
        (100_000, 22, 22),
        (1_000_000, 7, 7),
        (0.012, 63246, 63246),
        # the quotient is under 65535, or the next cycle is tried; none has a smaller one
        (48e6 / (65534 * 50000 + 0.5), 65534, 50000),
        (48e6 / (65535 * 50000 + 0.5), 57243, 57243),
    ],
)
def test_prescaler_and_cycle_of_a_frequency(frequency, prescale, cycle):
    assert pwm_timing(frequency) == (prescale, cycle)


@pytest.mark.parametrize(
    ("cycle", "prescale", "frequency"), [(9999, 0, 4800.0), (999, 47, 1000.0), (0, 0, 48e6), (379, 379, 48e6 / 144400)]
)
def test_the_frequency_is_that_of_the_boards_clock_divided_twice(main, cycle, prescale, frequency):
    main.put({CYCLE: cycle, PRESCALE: prescale})
    assert main.state("do 1_01").pwm_freq == frequency


@pytest.mark.parametrize(
    ("cycle", "duty", "percent", "mode"),
    [
        (9999, 0, 0, "Simple"),
        (9999, 2500, 25.0, "PWM"),
        (9999, 1234, 12.3, "PWM"),
        (9999, 4, 0.0, "PWM"),
        (999, 1000, 100.0, "PWM"),
        (65535, 65535, 100.0, "PWM"),
    ],
)
def test_the_duty_is_a_share_of_the_cycle_to_one_decimal(main, cycle, duty, percent, mode):
    main.put({CYCLE: cycle, DUTY + 2: duty})
    state = main.state("do 1_03")
    assert (state.pwm_duty, state.mode) == (percent, mode)


def test_no_duty_is_a_whole_0_on_the_wire(main):
    assert type(main.state("do 1_01").pwm_duty) is int


def test_each_output_has_its_own_duty(main):
    main.put({DUTY: 100, DUTY + 3: 200})
    assert [main.state(f"do 1_{n:02}").pwm_duty for n in (1, 2, 3, 4)] == [1.0, 0, 0, 2.0]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"pwm_reg": 20, "pwm_ps_reg": 21},
        {"pwm_reg": 20, "pwm_ps_reg": 21, "pwm_c_reg": 22, "modes": ("Simple",)},
        {"modes": ("Simple", "PWM")},
    ],
)
def test_pwm_takes_all_its_registers_and_the_mode(board, given):
    outputs = board(DigitalOutputs(val_reg=0, val_coil=0, **given))
    state = outputs.state("do 1_01")
    assert (state.modes, state.pwm_freq, state.pwm_duty) == (("Simple",), UNSET, UNSET)


def test_before_the_first_read_an_output_with_pwm_shows_that_it_has_it(main):
    state = main["do 1_01"].state
    assert (state.modes, state.pwm_freq, state.pwm_duty) == (("Simple", "PWM"), None, None)


def test_the_modes_of_an_output_with_pwm_are_both(main):
    assert main.state("do 1_01").modes == ("Simple", "PWM")


COIL_ON, COIL_OFF = WriteCoil(1, 1, (DO_VALUE, 1)), WriteCoil(1, 0, (DO_VALUE, 1))


@pytest.mark.parametrize(
    ("value", "duty", "given", "writes"),
    [
        # switching
        (0, 0, {"value": 1}, [COIL_ON]),
        (1, 0, {"value": 0}, [COIL_OFF]),
        (0, 5000, {"value": 1}, [COIL_ON, WriteRegister(DUTY + 1, 0)]),
        (0, 5000, {"value": 0}, [COIL_OFF, WriteRegister(DUTY + 1, 0)]),
        # duty
        (0, 0, {"pwm_duty": 25}, [WriteRegister(DUTY + 1, 2500)]),
        (0, 0, {"pwm_duty": "33.333"}, [WriteRegister(DUTY + 1, 3333)]),
        (0, 0, {"pwm_duty": 100}, [WriteRegister(DUTY + 1, 10000)]),
        (1, 0, {"pwm_duty": 25}, [COIL_OFF, WriteRegister(DUTY + 1, 2500)]),
        (0, 2500, {"pwm_duty": 0}, [WriteRegister(DUTY + 1, 0)]),
        (1, 0, {"pwm_duty": 0}, [COIL_OFF, WriteRegister(DUTY + 1, 0)]),
        # what a form with all fields says
        (0, 0, {"value": 0, "pwm_duty": 25}, [WriteRegister(DUTY + 1, 2500)]),
        (1, 0, {"value": 1, "pwm_duty": 0}, [COIL_ON]),
        (0, 2500, {"value": 1, "pwm_duty": 0}, [COIL_ON, WriteRegister(DUTY + 1, 0)]),
        (0, 2500, {"value": 0, "pwm_duty": 0}, [COIL_OFF, WriteRegister(DUTY + 1, 0)]),
        # frequency
        (0, 0, {"pwm_freq": 1000}, [WriteRegister(CYCLE, 999), WriteRegister(PRESCALE, 47)]),
        (
            0,
            2500,
            {"pwm_freq": 1000},
            [WriteRegister(CYCLE, 999), WriteRegister(PRESCALE, 47), WriteRegister(DUTY + 1, 250)],
        ),
        (
            1,
            0,
            {"pwm_freq": "1000", "pwm_duty": 50},
            [WriteRegister(CYCLE, 999), WriteRegister(PRESCALE, 47), COIL_OFF, WriteRegister(DUTY + 1, 500)],
        ),
        (
            0,
            2500,
            {"pwm_freq": 0.5, "value": 1},
            [WriteRegister(CYCLE, 49999), WriteRegister(PRESCALE, 1919), COIL_ON, WriteRegister(DUTY + 1, 0)],
        ),
        (0, 0, {}, []),
    ],
)
def test_what_a_set_of_an_output_writes(main, value, duty, given, writes):
    main.put({DO_VALUE: value << 1, DUTY + 1: duty})
    assert main.writes("do 1_02", **given) == writes


def test_a_new_frequency_keeps_the_duty_of_the_other_outputs_in_pwm(main):
    main.put({DUTY: 5000, DUTY + 1: 0, DUTY + 2: 0, DUTY + 3: 1234})
    assert main.writes("do 1_03", pwm_freq=1000) == [
        WriteRegister(CYCLE, 999),
        WriteRegister(PRESCALE, 47),
        WriteRegister(DUTY, 500),
        WriteRegister(DUTY + 3, 123),
    ]


def test_a_duty_that_a_coarser_cycle_cannot_show_becomes_the_least_instead_of_ending_the_pwm(main):
    main.put({DUTY: 1})
    assert main.writes("do 1_02", pwm_freq=1000)[2:] == [WriteRegister(DUTY, 1)]


def test_a_duty_beyond_the_cycle_stays_within_its_register(main):
    main.put({CYCLE: 999, DUTY: 2000})
    assert main.writes("do 1_02", pwm_freq=0.5)[2:] == [WriteRegister(DUTY, 65535)]


def test_a_full_duty_of_the_longest_cycle_stays_within_its_register(main):
    main.put({CYCLE: 65535})
    assert main.writes("do 1_01", pwm_duty=100) == [WriteRegister(DUTY, 65535)]


def test_a_new_duty_counts_in_steps_of_the_new_frequency(main):
    assert main.set("do 1_01", pwm_freq=1000, pwm_duty=12.5).pwm_duty == 12.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"value": 1, "pwm_duty": 50}, "do 1_01: value 1 contradicts pwm_duty 50"),
        ({"value": "1", "pwm_duty": "0.1"}, "do 1_01: value 1 contradicts pwm_duty 0.1"),
        ({"value": 0, "timeout": 1, "pwm_duty": 5}, "do 1_01: timeout contradicts pwm_duty 5"),
    ],
)
def test_a_value_that_contradicts_the_duty_is_a_conflict(main, given, message):
    with pytest.raises(Conflict, match=f"^{message}: "):
        main.plan("do 1_01", **given)


@pytest.mark.parametrize("given", [{"pwm_duty": 0}, {"pwm_duty": 100}, {"pwm_freq": 0.012}, {"pwm_freq": 1_000_000}])
def test_the_limits_of_pwm_are_within(main, given):
    assert main.plan("do 1_01", **given).writes


@pytest.mark.parametrize(
    "given", [{"pwm_duty": 100.1}, {"pwm_duty": -0.1}, {"pwm_freq": 0}, {"pwm_freq": 0.0119}, {"pwm_freq": 1_000_000.5}]
)
def test_a_pwm_that_cannot_be_made_is_refused(main, given):
    with pytest.raises(BadValue):
        main.plan("do 1_01", **given)


# PWM by software: the frequency by its number, duties in percent


@pytest.fixture
def soft(board):
    """Two outputs: duties in 10 and 11, preset in 12, custom prescaler in 13."""
    feature = DigitalOutputs(val_reg=0, val_coil=5, pwm_reg=10, pwm_preset_reg=12, pwm_cpres_reg=13, count=2)
    made = board(feature)
    made.fill([0] * made.size)
    return made


@pytest.mark.parametrize(
    ("preset", "custom", "frequency"),
    [(0, 7, 1000), (1, 7, 100), (2, 0, 1000), (2, 1, 500), (2, 999, 1), (2, 65535, 1000 / 65536)],
)
def test_a_frequency_has_a_number_or_a_prescaler_of_its_own(soft, preset, custom, frequency):
    soft.registers.write_through(12, (preset, custom))
    assert soft.state("do 1_01").pwm_freq == frequency


@pytest.mark.parametrize(
    ("frequency", "writes"),
    [
        (1000, [WriteRegister(12, 0)]),
        ("100", [WriteRegister(12, 1)]),
        (500, [WriteRegister(13, 1), WriteRegister(12, 2)]),
        (1, [WriteRegister(13, 999), WriteRegister(12, 2)]),
        (0.016, [WriteRegister(13, 62499), WriteRegister(12, 2)]),
    ],
)
def test_the_nearest_frequency_that_there_is_is_chosen(soft, frequency, writes):
    assert soft.writes("do 1_01", pwm_freq=frequency) == writes


def test_duties_are_in_percent_whatever_the_frequency(soft):
    soft.registers.write_through(10, (25, 50))
    assert [soft.state(f"do 1_0{n}").pwm_duty for n in (1, 2)] == [25, 50]
    assert soft.state("do 1_01").mode == "PWM"
    assert soft.writes("do 1_02", pwm_duty=75, pwm_freq=100) == [WriteRegister(12, 1), WriteRegister(11, 75)]
    assert soft.writes("do 1_02", value=1) == [WriteCoil(6, 1, (0, 1)), WriteRegister(11, 0)]


@pytest.mark.parametrize("frequency", [0.01, 1001, 48_000_000])
def test_a_frequency_that_there_is_not_is_a_bad_value(soft, frequency):
    with pytest.raises(BadValue, match="pwm_freq: got .*, expected a number from 0.016 to 1000 Hz"):
        soft.plan("do 1_01", pwm_freq=frequency)


def test_the_modes_of_a_direct_switch_are_those_of_the_definition(board):
    registers = {"val_reg": 0, "counter_reg": 1, "deboun_reg": 3, "direct_reg": 4, "polar_reg": 5, "toggle_reg": 6}
    made = board(DigitalInputs(**registers, ds_modes=("Simple", "Toggle")))
    made.put({4: 1})
    assert made.state("di 1_01").ds_modes == ("Simple", "Toggle")
    with pytest.raises(BadValue, match="expected one of Simple, Toggle"):
        made.plan("di 1_01", ds_mode="Inverted")
