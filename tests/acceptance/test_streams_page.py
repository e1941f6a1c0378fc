"""The streams page in a real browser: it follows a stream that runs, and leaves its reader in peace."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from tests import busy_night, services
from tests.barriers import assert_no_barriers, barriers
from tests.brokers import ScriptedBroker
from tests.browser import Browser
from tests.busy_streams import STREAMS
from tests.our_pages import pages
from tests.processes import Tom, running, wait_until
from tests.streams import entry, send
from tests.unit.test_status import STREAM, State, run
from tom_alertstreams.models import StreamRun

pytestmark = pytest.mark.django_db(transaction=True)

#: A refresh is there in 5 s; a machine that does other things has longer.
PATIENCE_S = 30

Visit = Callable[..., None]


@pytest.fixture
def visit(browser: Browser, live_server: Any, client: Client) -> Visit:
    """Log in and open a page."""

    def go(path: str = "/alertstreams/", **account: Any) -> None:
        if "sessionid" not in client.cookies:
            client.force_login(User.objects.create_user("astronomer", **account))
            browser.open(f"{live_server.url}/accounts/login/")
            browser.add_cookie("sessionid", client.cookies["sessionid"].value)
        browser.open(live_server.url + path)

    return go


@pytest.fixture
def tom(tmp_path: Path) -> Tom:
    """Programs on the database of this test."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "postgresql":
        return Tom(tmp_path, urlsplit(os.environ[services.DATABASE])._replace(path=f"/{name}").geturl())
    (tmp_path / "tom.sqlite3").symlink_to(name)
    return Tom(tmp_path)


def texts(browser: Browser, css: str) -> list[str]:
    found: list[str] = browser.run(f"return [...document.querySelectorAll({css!r})].map(found => found.innerText)")
    return found


def wait_for(browser: Browser, css: str, expected: list[str]) -> None:
    wait_until(lambda: texts(browser, css) == expected, f"{css} to say {expected}", PATIENCE_S)


def test_the_card_follows_the_stream(
    browser: Browser, visit: Visit, tom: Tom, settings: Any, broker: ScriptedBroker, topic: str, group_id: str
) -> None:
    broker.create_topic(topic)
    tom.streams = settings.ALERT_STREAMS = [entry(broker.bootstrap_servers, group_id, {topic: "one"})]
    visit()
    assert texts(browser, ".stream-state") == ["never started"]
    assert "Start it: ./manage.py readstreams" in texts(browser, "#stream-1-why")[0]
    browser.run("window.neverLeft = true")

    with running(tom, "readstreams") as process:
        wait_for(browser, ".stream-state", ["running"])
        send(broker, topic, range(3))
        wait_for(browser, "#stream-1-topics tbody td:nth-child(6)", ["3"])
        assert texts(browser, "#stream-1-topics tbody th") == [topic]
        assert "tests.effects.handlers.one" in texts(browser, "#stream-1-topics")[0]
        process.send_signal(signal.SIGTERM)
        wait_for(browser, ".stream-state", ["stopped"])
    for of in ("#stream-1-numbers", "#stream-1-topics"):
        told = browser.run(f"return document.querySelector('{of} .sparkline').ariaLabel")
        assert "3 alerts in the last 24 hours" in told
    assert browser.run("return window.neverLeft"), "the page was loaded again"


class TestRefresh:
    @pytest.fixture(autouse=True)
    def _streams(self, settings: Any) -> None:
        settings.ALERT_STREAMS = [{**STREAM, "LABEL": f"stream {number}"} for number in range(8)]
        for number in range(8):
            topics = {f"topic_{day}": {"handler": "my.on_alert", "lag": 0} for day in range(20261101, 20261121)}
            run(stream=f"stream {number}", topics=topics)

    def test_focus_scroll_selection_and_what_is_unfolded_stay(self, browser: Browser, visit: Visit) -> None:
        visit(is_staff=True)
        browser.resize(900, 600)
        for folded in ("more", "runs"):
            browser.run(f"document.querySelector('#stream-5-{folded} summary').focus()")
            browser.press("Enter")
        browser.run("""
            window.focused = document.activeElement;
            window.row = document.querySelector("#stream-5-run-table tbody tr");
            getSelection().selectAllChildren(document.getElementById("stream-4-name"));
            document.getElementById("stream-5-topics").scrollLeft = 40;
            scrollTo({ top: document.getElementById("stream-5").offsetTop + 30, behavior: "instant" });
        """)
        before = browser.run("return scrollY")
        assert before > 300
        # The card gets a reason above all that is in use, another run and another topic.
        changed = StreamRun.objects.get(stream="stream 4")
        changed.topics = {"topic_20261130": {"handler": "my.on_alert", "lag": 3}, **changed.topics}
        changed.state, changed.reason = State.WAITING, "waiting for the broker"
        changed.save()
        run(stream="stream 4", ended=timezone.now(), state=State.STOPPED)
        wait_until(lambda: "waiting for the broker" in texts(browser, "#stream-5-why")[0], "a refresh", PATIENCE_S)

        assert texts(browser, "#stream-5-runs summary") == ["2 runs in the last 7 days"]
        assert texts(browser, "#stream-5-topics tbody th")[0] == "topic_20261130"
        assert browser.run(
            "return document.activeElement === window.focused && focused.matches('#stream-5-runs summary')"
        )
        assert browser.run("return [...document.querySelectorAll('details[open]')].map(found => found.id)") == [
            "stream-5-more",
            "stream-5-runs",
        ]
        assert browser.run("return window.row.isConnected")
        assert browser.run("return getSelection().toString()") == "stream 3"
        assert browser.run("return document.getElementById('stream-5-topics').scrollLeft") > 0
        moved = browser.run("return scrollY") - before
        assert 0 <= moved < 100, "the page follows what was in sight, past the lines that came above it"

    def test_a_server_that_is_away_is_told(self, browser: Browser, visit: Visit) -> None:
        visit()
        shown = "return document.getElementById('streams-age').checkVisibility()"
        assert not browser.run(shown)
        browser.disconnect(True)
        wait_until(lambda: browser.run(shown), "the line", PATIENCE_S)
        age = int(texts(browser, "#streams-age span")[0])
        assert 15 <= age < 15 + PATIENCE_S
        assert "The server does not answer" in texts(browser, "[role=status]")[0]
        browser.disconnect(False)
        wait_until(lambda: not browser.run(shown), "the line to go", PATIENCE_S)

    def test_a_hidden_tab_asks_for_nothing(self, browser: Browser, visit: Visit) -> None:
        visit()
        browser.run("""
            window.asked = 0;
            document.body.addEventListener("htmx:beforeSend", () => { asked += 1; });
        """)
        wait_until(lambda: browser.run("return asked") == 1, "a refresh", PATIENCE_S)
        with browser.behind_another_tab():
            began = timezone.now()
            wait_until(lambda: timezone.now() - began > timedelta(seconds=11), "two refreshes that must not be", 20)
        assert browser.run("return document.visibilityState") == "visible"
        wait_until(lambda: browser.run("return asked") == 2, "a refresh at once", 3)


def test_by_keyboard(browser: Browser, visit: Visit, settings: Any) -> None:
    settings.ALERT_STREAMS = [STREAM]
    run(topics={"a": {"handler": "h", "lag": 0}})
    visit(is_staff=True)
    seen = []
    for _ in range(40):
        browser.press("Tab")
        seen.append(
            browser.run("return document.activeElement.closest('.alertstreams') && document.activeElement.outerHTML")
        )
        if seen[-1] and "runs" in browser.run("return document.activeElement.parentElement.id"):
            break
        if seen[-1]:
            assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid", seen[-1]
    reached = [html for html in seen if html]
    assert "Streams" in reached[0]
    assert "<summary" in reached[-1]
    unfolded = "return document.getElementById('stream-1-runs').open"
    browser.press("Enter")
    assert browser.run(unfolded)
    browser.press("Space")
    assert not browser.run(unfolded)
    browser.press("Tab", "Tab", "Tab")
    assert not browser.run("return document.activeElement.closest('details')"), "no way out of the cards"


@pytest.mark.parametrize("theme", [None, "dark"])
@pytest.mark.timeout(300)
def test_no_page_has_barriers(browser: Browser, visit: Visit, client: Client, settings: Any, theme: str | None) -> None:
    """All pages that urls.py has, also those of one row, on a wide window; and none is wider than a phone."""
    busy_night.fill(timezone.now())
    settings.ALERT_STREAMS = STREAMS
    settings.CSS_THEME = theme
    visit(is_staff=True)
    found: dict[str, list[str]] = {}
    for page in pages(client):
        browser.resize(1400, 1000)
        visit(page.path)
        wait_until(lambda: browser.run("return document.querySelectorAll('.htmx-request').length === 0"), page.path)
        browser.run("document.querySelectorAll('.alertstreams details').forEach(folded => { folded.open = true; })")
        found[page.path] = barriers(browser, page.ours)
        if theme is not None:
            continue  # colours are no wider
        browser.resize(360, 700)
        visit(page.path)
        if wide := browser.run(_TOO_WIDE.format(css=page.ours)):
            found[page.path].append(f"wider than a phone: {wide}")
        if page.ours == ".alertstreams":
            assert browser.run("return document.documentElement.scrollWidth") <= 360, page.path
    assert "/alertstreams/" in found
    assert {path: faults for path, faults in found.items() if faults} == {}


#: What of a part of a page makes it wider than the window, though it scrolls in no box of its own.
_TOO_WIDE = """
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll('{css}, {css} *')]
        .filter(part => part.getBoundingClientRect().right > width + 1)
        .filter(part => !part.ownerSVGElement && !part.closest('.scroll, .table-responsive, .table-container'))
        .map(part => part.cloneNode(false).outerHTML).slice(0, 5);
"""


@pytest.mark.parametrize("theme", [None, "dark"])
def test_without_streams_the_page_has_no_barriers_either(
    browser: Browser, visit: Visit, settings: Any, theme: str | None
) -> None:
    settings.ALERT_STREAMS, settings.CSS_THEME = [], theme
    visit()
    assert_no_barriers(browser)
    browser.resize(360, 700)
    assert browser.run("return document.documentElement.scrollWidth") <= 360
