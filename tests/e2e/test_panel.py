"""The panel in a real browser: a person sees and operates the unit, and is told no lie."""

from __future__ import annotations

import getpass
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
import qrcode
import requests
from axe_playwright_python.base import AXE_FILE_PATH
from house import CHROMIUM, House, free_port, lost, row, switch
from playwright.sync_api import expect
from witness import Boards

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium (apt install chromium)")


@pytest.fixture(scope="module")
def shared(browser, twistd_of_module, tmp_path_factory):
    return House(browser, twistd_of_module, tmp_path_factory.mktemp("unit"), free_port())


@pytest.fixture
def house(shared):
    """A unit as it was at first, for those who do it no harm."""
    for n in range(1, 6):
        shared.command(cmd="set", dev="ro", circuit=f"2_0{n}", value=0, alias="")
    yield shared
    shared.close()


def test_every_circuit_is_there_by_its_board_and_lives(house):
    page = house.page()
    expect(page.get_by_role("heading", name="Board 1")).to_be_visible()
    expect(page.get_by_role("heading", name="Board 2")).to_be_visible()
    there = house.command(cmd="subscribe")["result"]["states"]
    shown = [one for one in there if one["dev"] not in ("modbus_slave", "device_info")]
    expect(page.locator("circuit-row")).to_have_count(len(shown))
    boards = Boards(house.port)
    expect(row(page, "di/1_01")).to_contain_text("Off")
    boards.write(1, 0, 1)
    expect(row(page, "di/1_01")).to_contain_text("On")
    boards.close()


def test_a_switch_shows_what_the_board_has_acknowledged(house):
    page, boards = house.page(), Boards(house.port)
    relay = switch(page, "Relay 2_01")
    expect(relay).to_have_attribute("aria-checked", "false")
    relay.click()
    expect(relay).to_have_attribute("aria-checked", "true")
    assert boards.read(2, 1) == 1
    house.command(cmd="set", dev="ro", circuit="2_01", value=0)
    expect(relay).to_have_attribute("aria-checked", "false")
    boards.close()


def test_a_switch_is_pending_until_then_and_shows_nothing_that_is_only_wanted(house):
    page = house.page()
    relay = switch(page, "Relay 2_01")
    house.simulator.process.send_signal(signal.SIGSTOP)
    relay.click()
    expect(relay).to_have_attribute("aria-busy", "true")
    expect(relay).to_have_attribute("aria-checked", "false")
    expect(relay).to_be_disabled()
    house.simulator.process.send_signal(signal.SIGCONT)
    expect(relay).to_have_attribute("aria-checked", "true")
    expect(relay).to_have_attribute("aria-busy", "false")


def test_what_is_not_done_is_said_beside_the_switch_and_it_stays(build):
    house = build()
    page = house.page()
    house.simulator.stop(signal.SIGKILL)
    house.service.wait_for("slave 2 .* went offline")
    expect(page.get_by_text("does not answer, last did").first).to_be_visible()
    relay = switch(page, "Relay 2_01")
    relay.click()
    expect(row(page, "ro/2_01").get_by_role("alert")).to_contain_text("nothing was sent")
    expect(relay).to_have_attribute("aria-checked", "false")
    expect(row(page, "ai/2_01")).to_have_attribute("data-old", "")
    expect(row(page, "ai/2_01")).to_contain_text("ago")
    house.begin_boards()
    expect(row(page, "ai/2_01")).not_to_have_attribute("data-old", "", timeout=10000)
    relay.click()
    expect(relay).to_have_attribute("aria-checked", "true")
    expect(row(page, "ro/2_01").get_by_role("alert")).to_be_hidden()


def test_a_newer_command_of_another_is_told(build):
    house = build(timeout=5.0)
    page = house.page()
    house.simulator.process.send_signal(signal.SIGSTOP)

    def meanwhile(**message):
        thread = threading.Thread(target=house.command, kwargs={"cmd": "set", "dev": "ro", **message})
        thread.start()
        return thread

    first = meanwhile(circuit="2_03", value=1)  # what is under way is not superseded: the next one waits behind it
    switch(page, "Relay 2_01").click()
    expect(switch(page, "Relay 2_01")).to_have_attribute("aria-busy", "true")
    newer = meanwhile(circuit="2_01", value=0)
    expect(row(page, "ro/2_01").get_by_role("alert")).to_contain_text("a newer set came")
    house.simulator.process.send_signal(signal.SIGCONT)
    for thread in (first, newer):
        thread.join(10)


def test_a_circuit_that_is_marked_asks_first(house):
    page = house.page()
    relay = switch(page, "Relay 2_02")
    relay.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Switch RO 2.02 on?")
    dialog.get_by_role("button", name="Cancel").click()
    expect(relay).to_have_attribute("aria-checked", "false")
    relay.click()
    page.get_by_role("dialog").get_by_role("button", name="Set").click()
    expect(relay).to_have_attribute("aria-checked", "true")


def test_a_service_that_begins_again_is_taken_up_where_it_was(build):
    house = build()
    page, boards = house.page(), Boards(house.port)
    house.service.stop(signal.SIGKILL)
    expect(page.get_by_role("status").filter(has_text="No connection to the unit")).to_be_visible()
    expect(switch(page, "Relay 2_01")).to_be_disabled()
    boards.write(2, 1, 1)
    house.begin()
    expect(switch(page, "Relay 2_01")).to_have_attribute("aria-checked", "true", timeout=15000)
    expect(switch(page, "Relay 2_01")).to_be_enabled()
    expect(page.locator("#banner")).to_be_hidden()
    boards.close()
    lost(house)


def test_levels_are_set_by_slider_and_number(house):
    page = house.page()
    level = page.get_by_role("spinbutton", name="Analog output 2_01")
    level.fill("5.5")
    level.press("Enter")
    expect(page.get_by_role("slider", name="Analog output 2_01")).to_have_js_property("value", "5.5")
    assert house.command(cmd="full", dev="ao", circuit="2_01")["result"]["value"] == 5.5


def test_an_alias_is_given_in_place_and_markup_in_it_is_text(house):
    page = house.page()
    row(page, "ro/2_01").get_by_role("button", name="Alias of Relay 2_01").click()
    field = page.get_by_role("textbox", name="Alias of Relay 2_01")
    field.fill("boiler_1")
    field.press("Enter")
    expect(row(page, "ro/2_01").get_by_role("link", name="boiler_1")).to_be_visible()
    expect(switch(page, "Relay 2_01 boiler_1")).to_be_visible()
    page.evaluate(
        """async () => {
            const { live } = await import("./live.js");
            const one = live.circuits.get("ro/2_02");
            live._take({ ...one.state, alias: "<img src=x onerror=alert(1)><b>x</b>" });
        }"""
    )
    expect(row(page, "ro/2_02").get_by_role("link", name="<img src=x onerror=alert(1)><b>x</b>")).to_be_visible()
    assert page.locator("circuit-row img, circuit-row b").count() == 0


def test_what_is_looked_for_stands_in_the_address(house):
    page = house.page()
    page.get_by_role("searchbox").fill("relay")
    expect(page.locator("circuit-row:visible")).to_have_count(5)
    page.get_by_role("searchbox").fill("")
    page.get_by_label("Kind").select_option("ai")
    page.get_by_label("Order").select_option("name")
    expect(page.locator("circuit-row")).to_have_count(5)
    assert "kind=ai" in page.url and "sort=name" in page.url
    page.reload()
    expect(page.locator("circuit-row")).to_have_count(5)
    page.get_by_role("searchbox").fill("nothing of this name")
    expect(page.get_by_text("There is nothing here that fits.")).to_be_visible()


def test_several_are_switched_together(house):
    page, boards = house.page(), Boards(house.port)
    page.get_by_role("button", name="Select several").click()
    for n in (1, 3, 4):
        page.get_by_role("checkbox", name=f"Relay 2_0{n}").check()
    expect(page.get_by_text("3 selected")).to_be_visible()
    page.locator(".actions").get_by_role("button", name="On", exact=True).click()
    expect(switch(page, "Relay 2_04")).to_have_attribute("aria-checked", "true")
    assert boards.read(2, 1) == 0b1101
    boards.close()


def test_a_keyboard_is_enough(house):
    page = house.page("?q=relay")
    expect(page.locator("circuit-row")).to_have_count(5)
    page.get_by_role("searchbox").focus()
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "switch":
            break
    name = page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Space")
    expect(switch(page, name)).to_have_attribute("aria-checked", "true")
    row(page, "ro/2_01").get_by_role("link").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="RO 2.01", level=1)).to_be_visible()


# One circuit


def test_one_circuit_shows_all_and_can_be_set_in_all(house):
    page = house.page("?view=circuit&id=di/1_01", ready=".parameter input")
    expect(page.get_by_text("For how long a level has to last, to count. 0 to 65535 ms")).to_be_visible()
    field = page.get_by_label("debounce", exact=True)
    field.fill("70")
    field.press("Enter")
    expect(page.locator(".parameter", has_text="debounce").locator(".value")).to_have_text("70 ms")
    assert house.command(cmd="full", dev="di", circuit="1_01")["result"]["debounce"] == 70
    page.get_by_label("counter_mode", exact=True).select_option("Disabled")
    page.locator(".parameter", has_text="counter_mode").get_by_role("button").first.click()
    expect(page.locator("pre")).to_contain_text('"counter_mode": "Disabled"')


def test_a_pulse_goes_back_by_itself(house):
    page = house.page("?view=circuit&id=ro/2_01")
    page.get_by_label("Seconds").fill("1")
    page.get_by_role("button", name="On, then back").click()
    expect(switch(page, "Relay 2_01")).to_have_attribute("aria-checked", "true")
    expect(switch(page, "Relay 2_01")).to_have_attribute("aria-checked", "false")


def test_its_last_minutes_are_plotted_and_can_be_read(house):
    page, boards = house.page("?view=circuit&id=ai/1_01"), Boards(house.port)
    for n in range(5):
        boards.write(1, 3003, 0x4080 + n * 8)
        page.wait_for_function(f"document.querySelectorAll('circuit-row .value').length && {n + 1}")
        time.sleep(0.15)
    page.get_by_text("Values as a table").click()
    expect(page.locator("figure table tbody tr").nth(1)).to_be_visible(timeout=6000)
    plot = page.get_by_role("img", name="Over time")
    plot.focus()
    page.keyboard.press("Home")
    expect(page.locator(".cross")).to_contain_text("·")
    boards.close()


def test_what_programs_say_can_be_copied(house):
    page = house.page("?view=circuit&id=ro/2_01", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    command = page.evaluate("navigator.clipboard.readText()")
    done = subprocess.run(command.replace("value=0", "value=1"), shell=True, capture_output=True, text=True, timeout=10)
    assert json.loads(done.stdout)["result"]["value"] == 1


# Health, log


def test_health_says_what_does_not_work_and_what_helps(build):
    house = build()
    page = house.page("?view=health", ready=".well")
    expect(page.get_by_text("Everything works.")).to_be_visible()
    house.simulator.stop(signal.SIGKILL)
    expect(page.get_by_text("Something does not work:")).to_be_visible(timeout=10000)
    expect(page.get_by_text("bus LOCAL is down")).to_be_visible(timeout=10000)
    expect(page.get_by_text("What helps:")).to_be_visible()


def test_the_log_comes_as_it_is_written(house):
    page = house.page("?view=log", ready=".log li")
    page.get_by_role("searchbox").fill("ro 2_01")
    house.command(cmd="set", dev="ro", circuit="2_01", value=1)
    expect(page.locator(".log li", has_text="ro 2_01").first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save").click()
    assert "ro 2_01" in open(download.value.path()).read()


# Who may


def test_who_is_not_known_is_asked_for_a_token_and_sees_nothing(build):
    house = build(local="none")
    text, id = house.token("operator")
    page = house.page(ready="form")
    assert page.locator("circuit-row").count() == 0
    page.get_by_label("Token").fill("evok_00000000_" + "x" * 43)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("no token of this service")
    page.get_by_label("Token").fill(text)
    page.get_by_role("button", name="Log in").click()
    expect(switch(page, "Relay 2_01")).to_be_enabled()
    assert page.get_by_role("link", name="Log").count() == 0  # which is for admins
    house.revoke(id)
    expect(page.get_by_role("heading", name="Log in")).to_be_visible(timeout=15000)
    assert page.locator("circuit-row").count() == 0
    house.complaints = [one for one in house.complaints if "401" not in one]
    lost(house)


def test_a_viewer_has_nothing_to_switch_with(build):
    house = build(local="viewer")
    page = house.page()
    expect(row(page, "ro/2_01")).to_contain_text("Off")
    assert page.locator("main").get_by_role("switch").count() == 0
    assert page.locator("main input[type=range], main input[type=number]").count() == 0


def test_a_narrowed_token_has_what_it_may_and_no_more(build):
    house = build(local="none")
    text, _ = house.token("operator", ("ro/2_0[12]",))
    page = house.page(ready="form")
    page.get_by_label("Token").fill(text)
    page.get_by_role("button", name="Log in").click()
    expect(switch(page, "Relay 2_01")).to_be_enabled()
    assert [one.get_attribute("aria-label") for one in page.get_by_role("switch").all()] == ["Relay 2_01", "Relay 2_02"]


def test_tokens_are_made_narrowed_and_revoked(house):
    page = house.page("?view=access", ready="form")
    page.get_by_label("Name", exact=True).fill("anna")
    page.get_by_label("May set only").fill("ro/2_*")
    page.get_by_role("button", name="Create").click()
    text = page.locator("dialog .secret").inner_text()
    host = {"Authorization": f"Bearer {text}", "X-Forwarded-For": "10.1.1.1"}
    url = f"http://127.0.0.1:{house.http}"
    assert requests.get(f"{url}/access/whoami", headers=host, timeout=5).json()["write"] == ["ro/2_*"]
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Narrow anna").click()
    page.locator("dialog").get_by_label("Role").select_option("viewer")
    page.locator("dialog").get_by_role("button", name="Set").click()
    expect(page.locator("tbody tr", has_text="anna").locator("td").first).to_have_text("viewer")
    assert requests.get(f"{url}/access/whoami", headers=host, timeout=5).json()["role"] == "viewer"
    page.get_by_role("button", name="Revoke anna").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.locator("tbody tr", has_text="anna")).to_have_count(0)
    assert requests.get(f"{url}/access/whoami", headers=host, timeout=5).status_code == 401


def test_a_link_logs_another_device_in_once_and_its_code_is_one(build):
    house = build()
    page = house.page("?view=access", ready="form")
    page.get_by_role("button", name="Make a link").click()
    url = page.locator(".qr .secret").inner_text()
    assert "#code=evok_" in url
    fresh_one = house.page(url=url.split("#")[0], query="#" + url.split("#")[1])
    assert "code" not in fresh_one.url
    expect(switch(fresh_one, "Relay 2_01")).to_be_enabled()
    fresh_one.goto(house.url + "?view=access")
    expect(fresh_one.locator("dl")).to_contain_text("operator")


def test_codes_of_every_size_are_those_that_others_make(house):
    page = house.page()
    text = "http://plc1:8080/panel/#code=" + "aB3_" * 80

    def made(size, mask):
        code = qrcode.QRCode(border=0, error_correction=qrcode.constants.ERROR_CORRECT_L, mask_pattern=mask)
        code.add_data(qrcode.util.QRData(text[:size].encode(), mode=qrcode.util.MODE_8BIT_BYTE), optimize=0)
        code.make(fit=True)
        return [[int(dark) for dark in line] for line in code.get_matrix()]

    for size in (20, 60, 100, 150, 200, 260):
        drawn = page.evaluate(
            "async (t) => (await import('./qr.js')).modules(t).map((r) => r.map(Number))", text[:size]
        )
        assert any(made(size, mask) == drawn for mask in range(8)), size


# Everywhere, for everybody


@pytest.mark.parametrize(
    "how",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}],
    ids=["light", "dark", "narrow"],
)
def test_axe_finds_nothing(house, how):
    found = {}
    views = ("health", "log", "access", "circuit&id=do/1_01", "circuit&id=ai/1_01")
    page = house.page(**how)
    for query in ("", *(f"?view={view}" for view in views)):
        page.goto(house.url + query)
        page.wait_for_selector("circuit-row, .well, .log li, form")
        page.wait_for_timeout(200)
        page.evaluate(AXE_FILE_PATH.read_text())
        for one in page.evaluate("axe.run()")["violations"]:
            found[query, one["id"]] = [node["html"][:150] for node in one["nodes"][:3]]
        if "viewport" in how:
            assert page.evaluate("document.documentElement.scrollWidth") <= how["viewport"]["width"], query
    assert found == {}


@pytest.mark.skipif(NGINX is None, reason="there is no nginx (apt install nginx-light)")
def test_a_prefix_that_only_its_proxy_knows_is_no_matter(build, tmp_path):
    house, served = build(), free_port()
    (tmp_path / "nginx.conf").write_text(f"""
daemon off; user {getpass.getuser()}; pid {tmp_path}/nginx.pid; error_log {tmp_path}/error.log; events {{}}
http {{
    access_log off; client_body_temp_path {tmp_path}/b; proxy_temp_path {tmp_path}/p; fastcgi_temp_path {tmp_path}/f;
    uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;
    map $http_upgrade $upgrade {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{served};
        location /cellar/ {{
            proxy_pass http://127.0.0.1:{house.http}/;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upgrade;
            proxy_redirect off;
        }}
    }}
}}""")
    nginx = subprocess.Popen([NGINX, "-p", tmp_path, "-c", tmp_path / "nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", served), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline and nginx.poll() is None
        page = house.page(url=f"http://127.0.0.1:{served}/cellar/")
        assert page.url == f"http://127.0.0.1:{served}/cellar/panel/"
        switch(page, "Relay 2_01").click()
        expect(switch(page, "Relay 2_01")).to_have_attribute("aria-checked", "true")
        page.context.close()
    finally:
        nginx.terminate()
        nginx.wait(5)


def test_two_thousand_circuits_do_not_hold_the_page_up(build):
    devices = "".join(f"      {n}: {{slave-id: {n}, model: 13, scan_frequency: 10}}\n" for n in range(1, 116))
    house = build(devices=devices)
    page = house.page(ready=None)
    expect(page.locator("circuit-row")).to_have_count(115 * 18, timeout=30000)
    page.evaluate(
        """() => {
            window.long = [];
            new PerformanceObserver((list) => { for (const one of list.getEntries()) window.long.push(one.duration); })
                .observe({ type: "longtask" });
        }"""
    )
    before = page.evaluate(
        """async () => {
            const { live } = await import("./live.js");
            const take = live._take.bind(live);
            window.heard = 0;
            live._take = (state) => { window.heard++; take(state); };
            return live.drawn;
        }"""
    )
    boards, begun, n = Boards(house.port), time.monotonic(), 0
    while time.monotonic() < begun + 4:
        n += 1
        for unit in range(1, 6):
            boards.write(unit, 0, 0b1111 * (n % 2))
        time.sleep(0.1)
    page.wait_for_timeout(500)
    drawn, heard, long = page.evaluate(
        "import('./live.js').then(({ live }) => [live.drawn, window.heard, window.long])"
    )
    assert heard > 100
    assert drawn - before <= heard * 2
    assert [one for one in long if one > 50] == []
    boards.close()


@pytest.mark.skipif("EVOK_PICTURES" not in os.environ, reason="EVOK_PICTURES=docs makes the pictures of the documents")
def test_the_pictures_of_the_documents(build):
    house = build()
    boards = Boards(house.port)
    for circuit, alias in (("2_01", "boiler"), ("2_02", "garage_door"), ("2_03", "hall"), ("2_04", "pump")):
        house.command(cmd="set", dev="ro", circuit=circuit, value=int(circuit in ("2_01", "2_04")), alias=alias)
    house.command(cmd="set", dev="do", circuit="1_02", pwm_duty=40, alias="stairs")
    house.command(cmd="set", dev="ao", circuit="1_01", value=6.5, alias="valve")
    wide = house.page(viewport={"width": 1000, "height": 640})
    phone = house.page("?view=circuit&id=ai/1_01", viewport={"width": 390, "height": 620}, color_scheme="dark")
    for n in range(60):
        boards.write(1, 3003, 0x40A0 + round(40 * math.sin(n / 8)))
        boards.write(1, 0, 0b0101 if n % 9 < 4 else 0b0001)
        wide.wait_for_timeout(500)
    wide.evaluate("scrollTo(0, document.querySelectorAll('section')[1].offsetTop - 240)")
    for page, name in ((wide, "panel.png"), (phone, "panel-phone.png")):
        page.screenshot(path=f"{os.environ['EVOK_PICTURES']}/{name}")
    boards.close()
