"""What is counted, and how it is written."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from evok_twisted.meters import BusMeter, Histogram, Meters


def samples(meters):
    """What Prometheus' own parser makes of it: the number by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(meters.text())
        for sample in family.samples
    }


def test_counters_are_told_by_their_labels():
    meters = Meters()
    counts = meters.counter("sets_total", "Sets", ("via", "outcome"))
    counts["rest", "done"] += 2
    counts["rpc", "busy"] += 1
    assert samples(meters) == {("evok_sets_total", "rest", "done"): 2, ("evok_sets_total", "rpc", "busy"): 1}


def test_a_label_may_have_any_text():
    meters = Meters()
    text = 'a "quoted"\\ name\nin two lines'
    meters.ask("bus_up", "gauge", "Up", ("bus",), lambda: [((text,), True)])
    assert samples(meters) == {("evok_bus_up", text): 1}


def test_a_family_without_numbers_is_not_there():
    meters = Meters()
    meters.counter("sets_total", "Sets", ("via",))
    assert meters.text() == ""


def test_a_histogram_counts_what_is_not_above_each_bound():
    histogram = Histogram((0.001, 0.01))
    for value in (0.0005, 0.001, 0.002, 5.0):
        histogram.observe(value)
    assert list(histogram.cumulative()) == [("0.001", 2), ("0.01", 3), ("+Inf", 4)]
    meters = Meters()
    meters.histograms("seconds", "Time", ("bus",), lambda: [(("A",), histogram)])
    found = samples(meters)
    assert found["evok_seconds_bucket", "A", "+Inf"] == found["evok_seconds_count", "A"] == 4
    assert found["evok_seconds_sum", "A"] == 5.0035


def test_time_in_which_several_requests_are_under_way_counts_once():
    meter = BusMeter()
    for begun, end in ((0.0, 2.0), (1.0, 3.0), (1.5, 3.0), (5.0, 6.0)):
        meter.occupied(begun, end)
    assert meter.busy == 4.0
