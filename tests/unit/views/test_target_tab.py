"""The tab "Alerts" on a Target's page."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client, modify_settings
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from tests.unit.views.rows import EVIL, a_class, a_target, an_alert
from tom_alertstreams.views import target_tab
from tom_alertstreams.views.target_tab import tab

TIME = datetime(2026, 11, 25, 3, 4, 5, tzinfo=timezone.utc)
pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> Any:
    return User.objects.create_user("astronomer")


def shown(target: Any, user: Any) -> str:
    """The tab without its page, which takes its time."""
    return render_to_string(
        "tom_alertstreams/target_tab.html", tab({"object": target, "request": SimpleNamespace(user=user)})
    )


def cells(html: str) -> list[list[str]]:
    """The rows of the tables, as text."""
    found = [
        re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)
        for row in re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    ]
    return [[" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in row] for row in found]


def test_what_streams_said_the_newest_first(client: Client, user: Any) -> None:
    target, near = a_target("SN 2026abc"), a_target("SN 2026near")
    first = an_alert("ZTF1", target, time=TIME, summary="g = 19.2", points=3)
    an_alert("AT1", target, time=TIME + timedelta(hours=1), match_method="position", separation_arcsec=1.234, stream="hop",
             topic="hermes", second_candidate_id=near.pk)  # fmt: skip
    an_alert("AT1", target, time=TIME + timedelta(hours=2), match_method="event", retraction=True)
    a_class(first, "SNIa", 0.4, time=TIME)
    a_class(an_alert("ZTF1", target), "SNII", 0.75, time=TIME + timedelta(days=1))
    client.force_login(user)
    page = client.get(f"/targets/{target.pk}/").content.decode()
    assert page.count('href="#alerts"') == 1
    html = page.partition('id="alerts">')[2].partition('<div class="tab-pane"')[0]
    rows = cells(html)
    assert rows[1] == ["lc_classifier 1", "ZTF1", "SNII", "0.750", "2026-11-26 03:04:05"]
    assert rows[3:] == [
        ["2026-11-25 05:04:05", "ztf ztf_1", "AT1", "Retraction: Same event", "0", ""],
        ["2026-11-25 04:04:05", "hop hermes", "AT1", "Same position, 1.23″; also near SN 2026near", "0", ""],
        ["2026-11-25 03:04:05", "ztf ztf_1", "ZTF1", "New Target", "3", "g = 19.2"],
        ["", "ztf ztf_1", "ZTF1", "New Target", "0", ""],
    ]
    assert f'href="/targets/{near.pk}/">SN 2026near' in html
    # One line for each classifier: how probable its most probable class was.
    assert '"text":["SNIa","SNII"]' in html
    assert '"y":[0.4,0.75]' in html
    assert html.count("Plotly.newPlot(") == 1


def test_a_target_without_alerts(user: Any) -> None:
    html = shown(a_target("by hand"), user)
    assert "No stream has sent a classification of this target." in html
    assert "This target did not come from an alert" in html
    assert "Plotly" not in html


def test_a_class_without_a_time_or_a_probability_is_shown_and_not_plotted(user: Any) -> None:
    target = a_target("T")
    a_class(an_alert("a", target), "SN", None)
    a_class(an_alert("b", target), "AGN", 0.5, time=None)
    html = shown(target, user)
    assert [row[2] for row in cells(html)[1:3]] == ["SN", "AGN"]
    assert "Plotly" not in html


def test_older_ones_are_on_the_list(client: Client, user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_tab, "SHOWN", 3)
    target = a_target("SN & 2026")
    for number in range(3):
        an_alert(f"o{number}", target, time=TIME + timedelta(hours=number))
    assert "All alerts of this target" not in shown(target, user)
    an_alert("o3", target, time=TIME + timedelta(hours=3))
    html = shown(target, user)
    assert re.findall(r">(o\d)<", html) == ["o3", "o2", "o1"]
    address = re.search(r'href="([^"]*)">All alerts of this target', html)
    assert address
    client.force_login(user)
    assert ">o0<" in client.get(address[1]).content.decode()


def test_what_alerts_say_is_text(user: Any) -> None:
    target = a_target("T")
    alert = an_alert(EVIL, target, topic=EVIL, stream=EVIL, summary=EVIL, second_candidate_id=a_target(EVIL[:90]).pk)
    a_class(alert, "</script>" + EVIL, classifier=EVIL, version=EVIL[:50])
    html = shown(target, user)
    assert html.count(escape(EVIL)) >= 6
    for raw in ("<script>alert", "<img", "</script><"):
        assert raw not in html
    # Plotly takes them for HTML once more.
    assert r'"text":["&lt;\u002fscript&gt;&lt;script&gt;alert(1)' in html
    assert r'"name":"&lt;script&gt;alert(1)' in html


@pytest.mark.both_databases
@pytest.mark.parametrize("stored", [5, 500])
def test_queries_do_not_grow(user: Any, stored: int, django_assert_max_num_queries: Any) -> None:
    target, near = a_target("T"), a_target("near")
    for number in range(stored):
        a_class(an_alert(f"o{number}", target, second_candidate_id=near.pk), "SN")
    with django_assert_max_num_queries(6):
        html = shown(target, user)
    assert len(cells(html)) <= 2 + stored + 101


def test_the_page_asks_for_the_tab_once(client: Client, user: Any) -> None:
    target = a_target("T")
    an_alert("o1", target)
    client.force_login(user)
    with CaptureQueriesContext(connection) as queries:
        client.get(f"/targets/{target.pk}/")
    assert len([query for query in queries if 'FROM "tom_alertstreams_ingest_targetalert"' in query["sql"]]) == 1


def test_without_the_core_app_there_is_no_tab() -> None:
    config: Any = apps.get_app_config("tom_alertstreams_ingest")
    assert [each["label"] for each in config.target_detail_tabs()] == ["Alerts"]
    with modify_settings(INSTALLED_APPS={"remove": "tom_alertstreams"}):
        assert config.target_detail_tabs() == []
