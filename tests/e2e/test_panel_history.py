"""The plots of the panel: hours to months of a circuit, from the history of a real service, in a real browser."""

from __future__ import annotations

import csv
import io
import math
import re
import sqlite3
import time

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from house import CHROMIUM, House, free_port, lost
from playwright.sync_api import expect

from evok_twisted.history import schema, store, tiers
from evok_twisted.history.batch import Batch, Series
from evok_twisted.history.store import HOUR

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium (apt install chromium)")

MINUTE, DAY = 60_000, 24 * HOUR
KEPT = {1: Series("ai", "1_01", "value"), 2: Series("ro", "2_01", "value"), 3: Series("ao", "1_01", "value")}
APIS = "  history: {{enabled: true, file: '{file}', write_every: 1s, devices: [ai, ao, ro]}}\n"


def a_month(file, now):
    """A month of three circuits, up to a minute ago, of which between 36 and 30 hours ago nothing is known."""
    db = sqlite3.connect(file)
    schema.prepare(db, 64 << 20)
    new = KEPT
    for begin, end in ((now - 32 * DAY, now - 36 * HOUR), (now - 30 * HOUR, now - MINUTE)):
        run = store.begin_run(db, begin)
        for flush in range(0, end - begin, HOUR):
            until = min(flush + HOUR, end - begin)
            batch = Batch(flush, begin, whole=True)
            for time_ in range(flush, until, 5 * MINUTE):
                batch.add(1, time_, round(5 + 4 * math.sin((begin + time_) / DAY * 6.283), 3))
                batch.add(3, time_, round(2 + math.sin((begin + time_) / DAY * 31), 3))
            for time_, value in ((flush, 0), (min(flush + 20 * MINUTE, until), 1)):
                batch.add(2, time_, value, "ada (rest)")
            batch.until = until
            store.write(db, run, [batch], new)
            new = {}
    for _ in tiers.roll_up(db, now):
        pass
    db.commit()
    db.close()


@pytest.fixture(scope="module")
def shared(browser, twistd_of_module, tmp_path_factory):
    directory = tmp_path_factory.mktemp("unit")
    a_month(directory / "history.sqlite", round(1000 * time.time()))
    apis = APIS.format(file=directory / "history.sqlite")
    return House(browser, twistd_of_module, directory, free_port(), apis=apis)


@pytest.fixture
def house(shared):
    yield shared
    shared.close()


def plotted(house, circuit, span, more="", **context):
    """The page of a circuit, when its plot is there."""
    page = house.page(f"?view=circuit&id={circuit}&span={span}{more}", ready="figure.plot:not([hidden])", **context)
    page.get_by_text("Values as a table").click()
    page.wait_for_selector("figure.plot tbody tr")
    return page


def rows(page):
    """What the table of the plot has, the oldest first."""
    return page.evaluate(
        """[...document.querySelectorAll('figure.plot tbody tr')]
            .map((row) => [...row.cells].map((one) => one.textContent))"""
    )[::-1]


def painted(page, part):
    """Whether the plot shows anything of its first circuit at a part of its time."""
    return page.evaluate(
        """(part) => {
            const canvas = document.querySelector('figure.plot canvas');
            const colour = getComputedStyle(canvas).color.match(/\\d+/g).map(Number);
            const x = 56 + Math.round(part * (canvas.width - 8 - 56));
            const { data } = canvas.getContext('2d').getImageData(x, 0, 1, canvas.height);
            for (let n = 0; n < data.length; n += 4)
                if (colour.every((one, k) => Math.abs(data[n + k] - one) < 10)) return true;
            return false;
        }""",
        part,
    )


@pytest.mark.parametrize(
    ("span", "step", "least"),
    [("hour", 7.2, 450), ("day", 180, 450), ("week", 1260, 430), ("month", 7200, 340)],
)
def test_hour_day_week_and_month_come_from_the_history(house, span, step, least):
    page = plotted(house, "ai/1_01", span)
    there = rows(page)
    assert least < len(there) <= 501
    values = [float(value.split(" ")[0]) for _, value in there]
    if span in ("week", "month"):
        assert 0.9 < min(values) < 2
        assert 8 < max(values) < 9.1
    expect(page.get_by_role("button", name=span.capitalize(), exact=True)).to_have_attribute("aria-pressed", "true")


def test_a_bucket_of_many_values_tells_its_least_and_greatest(house):
    page = plotted(house, "ai/1_01", "month")
    _, value = rows(page)[100]
    mean, low, _, high = value.replace("(", "").replace(")", "").split(" ")
    assert float(low) < float(mean) < float(high)


def test_where_nothing_is_known_nothing_is_drawn(house):
    page = plotted(house, "ai/1_01", "week")
    hours_ago = 33
    assert not painted(page, 1 - hours_ago / 168)
    assert painted(page, 1 - (hours_ago + 12) / 168)
    page.get_by_role("img", name="Over time").hover(position={"x": 300, "y": 100})
    expect(page.locator(".cross")).to_contain_text(" V (")


def test_what_is_switched_is_drawn_as_bars_and_told_by_whom(house):
    page = plotted(house, "ro/2_01", "day")
    words = {value.rstrip("0123456789 %") for _, value in rows(page)}
    assert words >= {"On", "Off"}
    assert words <= {"On", "Off", "on for"}
    page.get_by_text("Switched, and by whom").click()
    assert page.locator("td", has_text="ada (rest)").count() > 20


def test_two_circuits_are_in_one_plot_and_each_has_its_csv(house):
    page = plotted(house, "ai/1_01", "day")
    page.get_by_label("Together with").select_option("ro/2_01")
    expect(page.locator(".legend span")).to_have_count(2)
    assert "with=ro%2F2_01" in page.url
    assert len(rows(page)[-10]) == 3
    page.get_by_role("img", name="Over time").focus()
    page.keyboard.press("PageUp")
    expect(page.locator(".cross")).to_contain_text("AI 1.01: ")
    expect(page.locator(".cross")).to_contain_text(re.compile("RO 2.01: (On|Off|on for)"))
    for name, file in (("CSV of AI 1.01", "ai-1_01.csv"), ("CSV of RO 2.01", "ro-2_01.csv")):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        assert download.value.suggested_filename == file
        table = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
        assert len(table) > 450
        assert {"time", "min", "mean", "max", "on"} < set(table[0])


def test_lines_of_different_units_have_a_scale_each(house):
    house.command(cmd="set", dev="ai", circuit="1_01", mode="Current")
    page = plotted(house, "ai/1_01", "day", "&with=ao/1_01")
    expect(page.locator(".legend")).to_contain_text("(mA)")
    expect(page.locator(".legend")).to_contain_text("(V)")
    house.command(cmd="set", dev="ai", circuit="1_01", mode="Voltage")


def test_what_was_earlier_is_gone_to_and_kept_in_the_address(house):
    page = plotted(house, "ai/1_01", "day")
    later = page.get_by_role("button", name="Later")
    expect(later).to_be_disabled()
    last = rows(page)[-1][0]
    page.get_by_role("button", name="Earlier").click()
    expect(later).to_be_enabled()
    expect(page.locator("figure.plot tbody tr").first.locator("td").first).not_to_have_text(last)
    assert "until=" in page.url
    before = rows(page)
    page.reload()
    page.wait_for_selector("figure.plot:not([hidden])")
    page.get_by_text("Values as a table").click()
    page.wait_for_selector("figure.plot tbody tr")
    assert rows(page) == before
    page.get_by_role("button", name="Later").click()
    expect(later).to_be_disabled()
    assert "until=" not in page.url


def test_a_time_of_which_nothing_is_known_says_so(house):
    page = house.page("?view=circuit&id=ai/1_01&span=day&until=2020-01-01T00:00:00Z")
    expect(page.get_by_text("Nothing is known of that time.")).to_be_visible()


def test_what_cannot_be_read_is_said_and_tried_again(house):
    page = house.page("?view=circuit&id=led/1_01&span=hour")
    expect(page.get_by_role("alert").filter(has_text="nothing is kept of led 1_01")).to_be_visible()
    house.complaints.clear()  # a browser logs each answer that is a refusal
    page.get_by_role("button", name="Minutes").click()
    expect(page.get_by_role("alert").filter(has_text="nothing is kept")).to_be_hidden()


def test_without_a_history_there_are_the_last_minutes_alone(build):
    house = build()
    page = house.page("?view=circuit&id=ai/1_01&span=week", ready="figure.plot:not([hidden])")
    expect(page.get_by_role("button", name="Week")).to_be_hidden()
    expect(page.get_by_role("link", name="CSV")).to_be_hidden()
    assert page.get_by_label("Together with").locator("option").count() > 5


def test_a_service_that_comes_again_goes_on_with_the_plot(build, tmp_path):
    a_month(tmp_path / "history.sqlite", round(1000 * time.time()))
    house = build(apis=APIS.format(file=tmp_path / "history.sqlite"))
    page = plotted(house, "ai/1_01", "hour")
    house.service.stop()
    expect(page.get_by_role("alert").filter(has_text="That did not work")).to_be_visible(timeout=15000)
    assert rows(page)
    house.begin()
    expect(page.get_by_role("alert").filter(has_text="That did not work")).to_be_hidden(timeout=20000)
    house.complaints = [one for one in house.complaints if "503" not in one]  # the file is not open yet
    lost(house)


@pytest.mark.parametrize(
    "how",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}],
    ids=["light", "dark", "narrow"],
)
def test_axe_finds_nothing_in_the_plots(house, how):
    page = house.page("?view=circuit&id=ro/2_01&span=day&with=ai/1_01", ready="figure.plot:not([hidden])", **how)
    page.get_by_text("Switched, and by whom").click()
    page.evaluate(AXE_FILE_PATH.read_text())
    found = page.evaluate("axe.run()")["violations"]
    assert [(one["id"], [node["html"][:150] for node in one["nodes"][:3]]) for one in found] == []
    if "viewport" in how:
        assert page.evaluate("document.documentElement.scrollWidth") <= how["viewport"]["width"]
