"""The pages of the alerts in a real browser: what is drawn, what is asked of whom, and that alerts stay text."""

from __future__ import annotations

import random
import time
from datetime import datetime, timezone
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.browser import Browser
from tests.processes import wait_until
from tests.unit.views.rows import EVIL, a_class, a_count, a_rejection, a_target, an_alert
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.views import sky_map

#: The last of it Plotly would make a link of.
LINK = f"{EVIL}<a href=https://example.org>SN</a>"
MAP = "document.getElementById('sky-map')"
#: Of everything that these pages have loaded; AlpineJS is the TOM Toolkit's own.
OTHERS = """return performance.getEntriesByType('resource').map(entry => entry.name)
    .filter(name => !name.startsWith(location.origin) && !name.includes('alpinejs'))"""
STREAM = {"NAME": "tom_alertstreams.alertstreams.kafka.KafkaAlertStream", "OPTIONS": {"BOOTSTRAP_SERVERS": "b:1"}}
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def page(browser: Browser, live_server: Any, client: Client, settings: Any) -> Any:
    """Opens a page as an astronomer."""
    settings.ALERT_STREAMS = [{**STREAM, "LABEL": label} for label in ("ztf", "alerce")]
    client.force_login(User.objects.create_user("astronomer"))
    browser.open(f"{live_server.url}/accounts/login/")
    browser.add_cookie("sessionid", client.cookies["sessionid"].value)

    def go(path: str) -> Browser:
        browser.open(f"{live_server.url}/alertstreams/{path}")
        return browser

    return go


def drawn(browser: Browser) -> None:
    wait_until(lambda: browser.run(f"return {MAP}.dataset.drawn === 'stream'"), "the map", 30)


def test_ten_thousand_points_without_lag_and_nothing_from_elsewhere(page: Any) -> None:
    draw = random.Random(8)
    TargetAlert.objects.bulk_create(
        TargetAlert(
            stream=draw.choice(["ztf", "ztf", "alerce"]), topic="t", partition=0, offset=n, alert_id=str(n), object_id=f"o{n}",
            ra=draw.uniform(0, 360), dec=draw.uniform(-90, 90),
        )
        for n in range(10_000)
    )  # fmt: skip
    browser = page("sky/")
    drawn(browser)
    assert browser.run(f"return {MAP}.data.slice(1).map(trace => trace.x.length).reduce((a, b) => a + b)") == 10_000
    assert browser.run(f"return {MAP}.data.slice(1).map(trace => trace.name)") == ["alerce", "ztf"]
    assert browser.run("return document.getElementById('sky-words').textContent").startswith("10,000 alerts.")
    since = time.monotonic()
    choose(browser, "sky-frame", "galactic")
    zoom = f"Plotly.relayout({MAP}, {{'xaxis.range': [-1, 1]}})"
    took = browser.run(f"const since = performance.now(); return {zoom}.then(() => performance.now() - since)")
    assert took < 1000
    assert time.monotonic() - since < 10
    assert browser.run(OTHERS) == []


def choose(browser: Browser, field: str, value: str) -> None:
    browser.run(
        f"const field = document.getElementById('{field}'); field.value = '{value}';"
        "field.dispatchEvent(new Event('change', {bubbles: true}))"
    )


def point_at(browser: Browser, *events: str) -> None:
    """With the pointer, at the first point."""
    browser.run(f"""
        const map = {MAP}, box = map.querySelector('.nsewdrag').getBoundingClientRect(), layout = map._fullLayout;
        const place = {{
            clientX: box.left + layout.xaxis.d2p(map.data[1].x[0]), clientY: box.top + layout.yaxis.d2p(map.data[1].y[0]),
            bubbles: true, view: window,
        }};
        {list(events)}.forEach(name => map.querySelector('.nsewdrag').dispatchEvent(new MouseEvent(name, place)));
    """)


def test_frames_colours_and_the_way_to_the_target(page: Any) -> None:
    target = a_target("T")
    a_class(an_alert("ZTF1", target, ra=266.405, dec=-28.936), "SNIa")
    browser = page("sky/")
    drawn(browser)
    assert browser.run(f"return Math.hypot({MAP}.data[1].x[0], {MAP}.data[1].y[0])") > 1
    choose(browser, "sky-frame", "galactic")
    wait_until(
        lambda: browser.run(f"return Math.hypot({MAP}.data[1].x[0], {MAP}.data[1].y[0])") < 0.001, "the switch", 10
    )
    assert "Galactic longitude" in browser.run("return document.getElementById('sky-words').textContent")
    choose(browser, "sky-colour", "class")
    wait_until(lambda: browser.run(f"return {MAP}.data[1].name") == "SNIa", "the colours", 10)
    assert browser.run(f"return {MAP}.data[1].text[0]").startswith("ZTF1<br>")
    point_at(browser, "mousemove")
    wait_until(lambda: browser.run(f"return {MAP}.querySelectorAll('.hovertext').length") == 1, "the label", 10)
    point_at(browser, "mousedown", "mouseup", "click")
    wait_until(
        lambda: browser.run("return location.pathname") == f"/targets/{target.pk}/", "the page of the Target", 20
    )


def test_what_alerts_say_is_text_in_the_map(page: Any) -> None:
    a_class(an_alert(LINK, a_target("T"), stream=LINK), LINK)
    browser = page("sky/")
    drawn(browser)
    for colour in ("stream", "class"):
        choose(browser, "sky-colour", colour)
        wait_until(lambda: browser.run(f"return {MAP}.querySelectorAll('.legendtext').length") == 1, "the legend", 10)
        assert browser.run(f"return {MAP}.querySelector('.legendtext').textContent") == LINK
    # The label at the pointer.
    point_at(browser, "mousemove")
    wait_until(lambda: browser.run(f"return {MAP}.querySelectorAll('.hovertext').length") == 1, "the label", 10)
    assert browser.run(f"return {MAP}.querySelector('.hovertext').textContent").startswith(LINK)
    assert browser.run(f"return {MAP}.querySelectorAll('img, script, a[href*=example]').length") == 0
    assert browser.run(f"return [...{MAP}.querySelectorAll('a')].filter(link => link.textContent === 'SN').length") == 0


def test_without_webgl_points_are_drawn_all_the_same(page: Any, browser: Browser) -> None:
    an_alert("o1")
    page("sky/")
    drawn(browser)
    kinds = browser.run(f"return {MAP}.data.map(trace => trace.type)")
    has_webgl = browser.run("return document.createElement('canvas').getContext('webgl') !== null")
    assert kinds == ["scattergl" if has_webgl else "scatter"] * 2


def test_the_list_is_filtered_in_place(page: Any) -> None:
    an_alert("o1", a_target("T"))
    a_rejection("o2", "class")
    browser = page("alerts/")
    browser.run("document.getElementById('id_topic').focus(); window.stays = true")
    choose(browser, "id_outcome", "rejected")
    rows = "return [...document.querySelectorAll('#came tbody tr')].map(row => row.cells[2].textContent.trim())"
    wait_until(lambda: browser.run(rows) == ["o2"], "the rejections", 10)
    assert browser.run("return window.stays === true && document.activeElement.id") == "id_topic"
    assert "outcome=rejected" in browser.run("return location.search")


def told(browser: Browser) -> str:
    return str(browser.run("return document.getElementById('unheard').innerText"))


@pytest.mark.parametrize(
    ("path", "field", "value", "told_by", "asked"),
    [
        (
            "alerts/",
            "id_outcome",
            "rejected",
            "the alerts below are not those of the filters above",
            "outcome=rejected",
        ),
        ("rates/", "rates-scale", "month", "the numbers below are not those of what is chosen above", "scale=month"),
    ],
    ids=["alerts", "rates"],
)
def test_old_rows_under_a_new_filter_are_told(
    page: Any, path: str, field: str, value: str, told_by: str, asked: str
) -> None:
    an_alert("o1", a_target("T"))
    browser = page(path)
    assert told(browser) == ""
    browser.disconnect(True)
    choose(browser, field, value)
    words = f"The server does not answer; {told_by}. Press “Show” to try again."
    wait_until(lambda: told(browser) == words, "the line", 10)
    assert browser.run("return document.querySelector('[role=status]').checkVisibility()")
    assert asked not in browser.run("return location.search")
    browser.disconnect(False)
    browser.click(".alertstreams form button")
    wait_until(lambda: told(browser) == "", "the line to go", 10)
    wait_until(lambda: asked in browser.run("return location.search"), "what was chosen", 10)
    # The way back leads to rows of their own filter again.
    browser.run("history.back()")
    wait_until(lambda: asked not in browser.run("return location.search"), "the way back", 10)
    wait_until(lambda: told(browser) == "", "the line to go", 10)


@pytest.mark.parametrize(
    ("path", "field", "rows"),
    [
        (
            "alerts/",
            "id_stream",
            "[...document.querySelectorAll('#came tbody tr')].map(row => row.cells[2].textContent)",
        ),
        ("rates/", "rates-stream", "[document.querySelector('#rates tbody tr').cells[1].textContent]"),
    ],
    ids=["alerts", "rates"],
)
def test_the_way_back_brings_the_filters_of_the_rows(page: Any, path: str, field: str, rows: str) -> None:
    an_alert("3", stream="ztf")
    an_alert("5", stream="alerce")
    for stream, number in (("ztf", 3), ("alerce", 5)):
        a_count(number, hour=datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0), stream=stream)
    browser = page(f"{path}?stream=ztf")

    def shown(stream: str, *numbers: str) -> None:
        look = f"""return [new URLSearchParams(location.search).get('stream'),
            document.getElementById('{field}').value, ...{rows}]"""
        wait_until(lambda: browser.run(look) == [stream, stream, *numbers], f"the rows of {stream or 'all'}", 10)

    shown("ztf", "3")
    choose(browser, field, "alerce")
    shown("alerce", "5")
    choose(browser, field, "")
    shown("", *(["5", "3"] if path == "alerts/" else ["8"]))
    for _ in range(2):
        browser.run("history.back()")
        shown("alerce", "5")
        browser.run("history.back()")
        shown("ztf", "3")
        browser.run("history.forward()")
        shown("alerce", "5")
        browser.run("history.forward()")
        shown("", *(["5", "3"] if path == "alerts/" else ["8"]))


def test_enter_in_a_filter_is_one_step_of_the_way_back(page: Any) -> None:
    """The browser tells of a change and of a submission."""
    an_alert("o1")
    an_alert("o2")
    browser = page("alerts/")
    rows = "return document.querySelectorAll('#came tbody tr').length"
    browser.run("""
        window.answers = 0;
        document.addEventListener('htmx:afterRequest', () => { window.answers += 1 });
        document.getElementById('id_object').focus()
    """)
    steps = browser.run("return history.length")
    browser.press("o", "1", "Enter")
    wait_until(lambda: browser.run("return window.answers") == 2, "both answers", 10)
    assert browser.run(rows) == 1
    assert browser.run("return history.length") == steps + 1
    browser.run("history.back()")
    wait_until(lambda: browser.run(rows) == 2, "all alerts", 10)


def test_a_click_leads_to_the_target_though_the_map_came_late(page: Any, monkeypatch: Any) -> None:
    def away(*arguments: Any) -> Any:
        raise RuntimeError("as where the database is away")

    target = a_target("T")
    a_class(an_alert("ZTF1", target, ra=200, dec=-28.936), "SNIa")
    columns = sky_map._columns
    monkeypatch.setattr(sky_map, "_columns", away)
    browser = page("sky/")
    words = "return document.getElementById('sky-words').textContent"
    wait_until(lambda: "The alerts cannot be read: the server answers 500" in browser.run(words), "the trouble", 20)
    monkeypatch.setattr(sky_map, "_columns", columns)
    choose(browser, "sky-colour", "class")
    wait_until(lambda: browser.run(f"return {MAP}.dataset.drawn") == "class", "the map", 20)
    point_at(browser, "mousemove", "mousedown", "mouseup", "click")
    wait_until(
        lambda: browser.run("return location.pathname") == f"/targets/{target.pk}/", "the page of the Target", 20
    )


def test_the_bars_are_drawn_anew_for_another_scale(page: Any) -> None:
    now = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
    a_count(5, hour=now)
    a_count(3, "rejected", "class", hour=now)
    browser = page("rates/")
    plot = "document.querySelector('[data-figure]')"
    wait_until(lambda: browser.run(f"return {plot}.querySelectorAll('.bars .point').length") > 0, "the plot", 30)
    assert browser.run(f"return {plot}.data.map(bar => bar.y.reduce((a, b) => a + b))") == [5, 3, 0, 0]
    choose(browser, "rates-scale", "month")
    wait_until(lambda: browser.run(f"return {plot}.data && {plot}.data[0].x.length") == 24, "the months", 20)
    assert browser.run(f"return {plot}.data.map(bar => bar.y.reduce((a, b) => a + b))") == [5, 3, 0, 0]
    assert browser.run(OTHERS) == []
