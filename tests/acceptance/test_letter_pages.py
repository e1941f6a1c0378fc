"""Dead letters in a real browser: a handler breaks, its group appears; it is mended, replayed from the page, and gone."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from tom_targets.models import Target

from tests.acceptance import letter_handlers
from tests.brokers import ScriptedBroker
from tests.browser import Browser
from tests.processes import wait_until
from tests.streams import entry, run_once
from tom_alertstreams.alertstreams.alertstream import get_alert_streams
from tom_alertstreams.delivery.letter_actions import begin, work_on
from tom_alertstreams.delivery.letters import LetterFilter
from tom_alertstreams.models import DeadLetter, LetterAction
from tom_alertstreams.views import letter_actions

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"
ROOT = "/alertstreams/deadletters/"
COUNT = 30

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def broken(broker: ScriptedBroker, topic: str, group_id: str, settings: Any, monkeypatch: Any) -> None:
    """A stream has brought alerts, and its handler looked for a field that they do not have."""
    handlers = {topic: "tests.acceptance.letter_handlers.on_alert"}
    settings.ALERT_STREAMS = [
        entry(broker.bootstrap_servers, group_id, handlers, label="ztf", delivery={"RETRY": {"TOTAL": 1}})
    ]
    settings.ALERT_STREAMS[0]["DELIVERY"]["MAX_CONSECUTIVE_FAILURES"] = 0
    monkeypatch.setattr(letter_handlers, "FIELD", ["oid"])
    broker.create_topic(topic, 1)
    for number in range(COUNT):
        content = {"objectId": f"ZTF26{number:07}", "ra": 150.0 + number, "dec": 20.0, EVIL: [EVIL]}
        broker.produce(topic, json.dumps(content).encode(), partition=0)
    broker.flush()
    run_once(get_alert_streams(settings.ALERT_STREAMS)[0])
    assert DeadLetter.objects.filter(state="open").count() == COUNT
    assert not Target.objects.exists()


@pytest.fixture
def visit(browser: Browser, live_server: Any, client: Client) -> Any:
    client.force_login(User.objects.create_user("dr.lee", is_staff=True))
    browser.open(f"{live_server.url}/accounts/login/")
    browser.add_cookie("sessionid", client.cookies["sessionid"].value)

    def go(path: str) -> None:
        browser.open(live_server.url + path)
        # A page that still glides to its place cannot be clicked on.
        browser.run("document.documentElement.style.scrollBehavior = 'auto'")

    return go


def words(browser: Browser, css: str = ".letters") -> str:
    return str(browser.run(f"return (document.querySelector('{css}') || {{innerText: ''}}).innerText"))


def test_mended_and_replayed(browser: Browser, visit: Any, broken: None) -> None:
    visit(ROOT)
    cause = words(browser, "article h2")
    assert cause.startswith(f"{COUNT} times since ")
    assert "KeyError: 'oid' in tests.acceptance.letter_handlers.on_alert" in cause

    letter_handlers.FIELD[0] = "objectId"
    browser.click("article .letter-buttons button[value=replay]")
    wait_until(lambda: "Finished at" in words(browser, "#letter-finished"), "the end of the replay", 30)
    assert words(browser, "#letter-outcome") == f"{COUNT} done"
    assert browser.run("return document.querySelector('#letter-bar').value") == COUNT
    assert Target.objects.count() == COUNT

    visit(ROOT)
    shown = words(browser)
    assert "No dead letter matches." in shown
    assert f"dr.lee replayed {COUNT} at " in shown
    target = Target.objects.get(name="ZTF260000007")
    visit(f"/targets/{target.pk}/")
    assert "ZTF260000007" in words(browser, "body")


def test_closing_the_page_stops_it_and_it_can_be_gone_on_with(
    browser: Browser, visit: Any, broken: None, monkeypatch: Any
) -> None:
    letter_handlers.FIELD[0] = "objectId"
    on_alert = letter_handlers.on_alert

    def slow(alert: Any) -> None:
        time.sleep(0.2)
        on_alert(alert)

    monkeypatch.setattr(letter_handlers, "on_alert", slow)
    visit(ROOT)
    browser.click("article .letter-buttons button[value=replay]")
    wait_until(lambda: browser.run("return document.querySelector('#letter-bar').value") > 0, "some progress", 30)
    visit(f"{ROOT}actions/")
    time.sleep(3)  # the step in hand comes to its end
    done = LetterAction.objects.get().done
    assert 0 < done < COUNT
    assert "not finished" in words(browser)
    browser.click(".letter-journal a")
    assert "does not go on by itself" in words(browser)
    time.sleep(1)
    assert LetterAction.objects.get().done == done

    monkeypatch.setattr(letter_handlers, "on_alert", on_alert)
    browser.click("#letter-action button")
    wait_until(lambda: "Finished at" in words(browser, "#letter-finished"), "the end of the replay", 30)
    assert words(browser, "#letter-outcome") == f"{COUNT} done"
    assert Target.objects.count() == COUNT


def test_it_goes_on_after_the_server_was_away(browser: Browser, visit: Any, broken: None, monkeypatch: Any) -> None:
    letter_handlers.FIELD[0] = "objectId"
    calls: list[int] = []

    def restarted(*arguments: Any) -> bool:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("as while a web server starts again")
        return work_on(*arguments)

    monkeypatch.setattr(letter_actions, "work_on", restarted)
    visit(ROOT)
    browser.click("article .letter-buttons button[value=replay]")
    wait_until(lambda: "Finished at" in words(browser, "#letter-finished"), "the end of the replay", 40)
    assert Target.objects.count() == COUNT


def test_a_server_that_is_away_is_told(browser: Browser, visit: Any, broken: None, monkeypatch: Any) -> None:
    letter_handlers.FIELD[0] = "objectId"
    troubles: list[int] = []

    def troubled(*arguments: Any) -> bool:
        troubles.append(1)
        raise RuntimeError("as where the database is away")

    monkeypatch.setattr(letter_actions, "work_on", troubled)
    visit(ROOT)
    browser.click("article .letter-buttons button[value=replay]")
    fails = "The server answers with an error (500); it is tried again every 5 s."
    wait_until(lambda: words(browser, "[role=status]") == fails, "the line", 30)
    browser.disconnect(True)
    silent = "The server does not answer; it is tried again every 5 s."
    wait_until(lambda: words(browser, "[role=status]") == silent, "the other line", 30)
    assert browser.run("return document.querySelector('[role=status]').checkVisibility()")
    assert words(browser, "#letter-outcome") == "nothing yet"
    monkeypatch.setattr(letter_actions, "work_on", work_on)
    browser.disconnect(False)
    wait_until(lambda: "Finished at" in words(browser, "#letter-finished"), "the end of the replay", 40)
    wait_until(lambda: words(browser, "[role=status]") == "", "the line to go", 10)
    assert Target.objects.count() == COUNT
    assert troubles


def test_what_is_gone_on_with_by_hand_is_tried_again_by_hand(
    browser: Browser, visit: Any, broken: None, client: Client
) -> None:
    action = begin(LetterAction.Kind.DISMISS, "dr.kim", LetterFilter())
    visit(f"{ROOT}actions/{action.pk}/")
    browser.disconnect(True)
    browser.click("#letter-action button")
    wait_until(lambda: "press “Go on” to try again" in words(browser, "[role=status]"), "the line", 10)
    browser.disconnect(False)
    browser.click("#letter-action button")
    wait_until(lambda: "Finished at" in words(browser, "#letter-finished"), "the end", 30)
    wait_until(lambda: words(browser, "[role=status]") == "", "the line to go", 10)
    assert set(DeadLetter.objects.values_list("state", flat=True)) == {"dismissed"}


def test_a_letter_and_its_content(browser: Browser, visit: Any, broken: None) -> None:
    row = DeadLetter.objects.earliest("pk")
    visit(f"{ROOT}{row.pk}/")
    assert "KeyError: 'oid'" in words(browser)
    browser.click("#letter-content button")
    wait_until(lambda: "ZTF260000000" in words(browser, ".letter-tree"), "the content", 20)
    assert words(browser, ".letter-tree").count(EVIL) == 2
    assert browser.run("return document.querySelectorAll('.letters img, .letter-tree script').length") == 0
    # Branches fold, by the keyboard's own element.
    inner = "return document.querySelector('.letter-tree details details .inside').checkVisibility()"
    assert browser.run(inner)
    browser.click(".letter-tree details details summary")
    assert not browser.run(inner)


def test_dismissed_only_when_it_is_meant(browser: Browser, visit: Any, broken: None) -> None:
    visit(f"{ROOT}each/")
    assert not browser.run("return document.querySelector('button[value=dismiss]').checkVisibility()")
    browser.click(".letter-buttons summary")
    browser.click("button[value=dismiss]")
    wait_until(lambda: "Finished at" in words(browser, "#letter-finished"), "the end", 30)
    assert words(browser, "#letter-outcome") == f"{COUNT} dismissed"
    assert set(DeadLetter.objects.values_list("state", flat=True)) == {"dismissed"}


def test_on_a_phone_nothing_is_wider_than_the_screen(
    browser: Browser, visit: Any, broken: None, live_server: Any
) -> None:
    row = DeadLetter.objects.earliest("pk")
    action = LetterAction.objects.create(kind="replay", who="dr.lee", total=3, left={"x" * 300: 3})
    for path in ("", "each/", f"{row.pk}/", "actions/", f"actions/{action.pk}/"):
        visit(ROOT + path)
        # In a frame of the width of a phone; the page itself must not scroll sideways.
        browser.run("""
            const frame = document.createElement('iframe');
            frame.style.cssText = 'position: fixed; left: 0; top: 0; width: 360px; height: 800px';
            window.wide = null;
            frame.onload = () => { const page = frame.contentDocument.querySelector('.letters');
                                   window.wide = [page.scrollWidth, page.clientWidth]; };
            frame.srcdoc = document.documentElement.outerHTML;
            document.body.append(frame);
        """)
        wait_until(lambda: browser.run("return window.wide") is not None, "the frame", 20)
        scrolled, seen = browser.run("return window.wide")
        assert scrolled <= seen <= 360, path
