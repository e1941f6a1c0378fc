"""ALeRCE's tab on a Target's page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client, modify_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries
from tom_targets.models import Target

from alerce_stream.handlers import ingest_classifications, look_up
from alerce_stream.options import AlerceOptions
from alerce_stream.target_page import explorer_url, stream_labels, tab
from tests.unit.alerce_stream.samples import FEATURES, LIGHT_CURVE, SENT, STAMP, of
from tom_alertstreams.alerts import Alert
from tom_alertstreams.ingest.models import Classification, TargetAlert

NAME = "ZTF26aaaaaaa"
NOTHING = "ALeRCE has sent no classification of this target."
STREAM = {"NAME": "alerce_stream.streams.AlerceAlertStream", "OPTIONS": {"USERNAME": "", "TOPIC_HANDLERS": {}}}
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _streams(settings: Any) -> None:
    settings.ALERT_STREAMS = [STREAM]


@pytest.fixture
def target() -> Any:
    return Target.objects.create(name=NAME, type="SIDEREAL", ra=150.0, dec=20.0, permissions="PUBLIC")


@pytest.fixture
def astronomer(client: Client) -> Client:
    client.force_login(User.objects.create_user("astronomer"))
    return client


def stamp(days: float = 0, candid: int = 1, **probabilities: float) -> Alert:
    content = {"objectId": NAME, "candid": candid, "probabilities": probabilities or STAMP}
    return of(content, sent=SENT + timedelta(days=days), offset=candid)


def light_curve(content: Mapping[str, Any] = LIGHT_CURVE, features: Mapping[str, Any] = FEATURES) -> Alert:
    return of({"oid": NAME, "features": features, "lc_classification": content}, "lc_classifier_20261101")


def ingest(*alerts: Alert) -> None:
    options = AlerceOptions()
    outcomes = ingest_classifications(list(alerts), look_up(list(alerts), options=options), options=options)
    assert {outcome.kind for outcome in outcomes} == {"done"}


def page(client: Client, target: Any) -> str:
    return client.get(reverse("targets:detail", kwargs={"pk": target.pk})).content.decode()


def tab_of(html: str) -> str:
    """The tab's part of the page."""
    return html.partition('<div class="tab-pane" id="alerce">')[2].partition('<div class="tab-pane"')[0]


def tab_alone(target: Any) -> str:
    """The tab without its page, which takes its time."""
    return render_to_string("alerce_stream/target_tab.html", tab({"object": target}))


def cells(html: str) -> list[list[str]]:
    """The rows of the tables."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [found for row in rows if (found := re.findall(r"<td>(.*?)</td>", row, re.DOTALL))]


def test_a_target_shows_what_the_classifiers_say(astronomer: Client, target: Any) -> None:
    ingest(stamp(-2, 1, SN=0.4, AGN=0.6), stamp(-1, 2, SN=0.9, AGN=0.1), light_curve())
    html = page(astronomer, target)
    assert 'href="#alerce"' in html
    shown = tab_of(html)
    assert re.findall("<h4>(.*?)</h4>", shown) == ["lc_classifier", "stamp_classifier"]
    assert f'href="https://alerce.online/object/{NAME}"' in shown
    rows = cells(shown)
    assert rows[:3] == [["1", "SNIa", "0.750"], ["2", "QSO", "0.250"], ["3", "RRL", "0.000"]]
    assert rows[-2:] == [["1", "SN", "0.900"], ["2", "AGN", "0.100"]]  # of the newest alert alone
    assert "2026-10-31 12:00:00 UTC" in shown
    assert shown.count("Plotly.newPlot(") == 2
    assert '"x":["2026-10-30 12:00:00.000000","2026-10-31 12:00:00.000000"],"y":[0.4,0.9]' in shown
    assert NOTHING not in shown


def test_hierarchy_and_features_are_shown_as_they_came(target: Any) -> None:
    features = {**FEATURES, "items": 7.0, "keys": True, "nested": {"a": [1]}}
    ingest(light_curve(features=features))
    shown = tab_alone(target)
    words = " ".join(re.sub("<[^>]*>", " ", shown.partition("Step by step")[2].partition("feature")[0]).split())
    assert words.startswith("Transient 0.750 SNIa 1.000 Stochastic 0.250 QSO 1.000 Periodic 0.000")
    rows = dict(row for row in cells(shown) if len(row) == 2)
    assert rows == {
        "Power_rate_1/2": "1.5",
        "W1-W2": "0.25",
        "g-r_max_corr": "null",
        "MHPS_ratio_1": "2.0",
        "items": "7.0",
        "keys": "true",
        "nested": "{&quot;a&quot;: [1]}",
    }


@pytest.mark.parametrize("hierarchy", ["no", {"top": 1}, {"top": {"Transient": "x", "Periodic": None}, "children": []}])
def test_a_hierarchy_that_is_none_is_left_out(target: Any, hierarchy: Any) -> None:
    ingest(light_curve({**LIGHT_CURVE, "hierarchical": hierarchy}))
    shown = tab_alone(target)
    assert "Step by step" not in shown
    assert "SNIa" in shown


def test_what_alerts_say_is_text(astronomer: Client, target: Any) -> None:
    evil = "<script>alert(1)</script>"
    ingest(
        light_curve(
            {
                "probabilities": {evil: 0.75, "</script><img src=x>": 0.25},
                "class": evil,
                "hierarchical": {"top": {evil: 0.75}, "children": {evil: {evil: 1.0}}},
            },
            {evil: evil},
        )
    )
    Classification.objects.update(classifier="<b>lc</b>", version="<i>1</i>")
    html = page(astronomer, target)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in tab_of(html)
    for raw in (evil, "</script><img", "<img src=x>", "<b>lc</b>", "<i>1</i>"):
        assert raw not in html
    # Plotly takes names for HTML once more.
    assert r'"name":"&lt;script&gt;alert(1)&lt;\u002fscript&gt;"' in html
    assert '"text":["&lt;i&gt;1&lt;\\u002fi&gt;"]' in html


@pytest.mark.parametrize("stored", [10, 10_000])
@pytest.mark.both_databases
def test_a_tab_costs_two_queries_and_is_bounded(
    target: Any, stored: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    moments = [SENT + timedelta(minutes=number) for number in range(stored)]
    names = [f"stamp_classifier:{number}" for number in range(stored)]
    TargetAlert.objects.bulk_create(
        TargetAlert(
            stream="alerce", topic="t", partition=0, offset=0, alert_id=name, object_id=NAME, target=target, time=moment
        )
        for name, moment in zip(names, moments, strict=True)
    )
    Classification.objects.bulk_create(
        Classification(
            target=target,
            object_id=NAME,
            alert_id=name,
            classifier=f"classifier-{place % 2}",
            class_name="SN",
            probability=0.5,
            ranking=1,
            time=moment,
            features={"SNR": 1.0},
        )
        for place, (name, moment) in enumerate(zip(names, moments, strict=True))
    )
    with django_assert_num_queries(2):
        shown = tab_alone(target)
    assert f"{moments[-1]:%Y-%m-%d %H:%M:%S} UTC" in shown
    assert shown.count('"2026-11-') == min(stored, 2_000)  # points
    assert shown.count("The newest 1000 of 5000 probabilities are plotted.") == (2 if stored > 2_000 else 0)


def test_the_page_asks_for_the_tab_once(astronomer: Client, target: Any) -> None:
    ingest(stamp())
    with CaptureQueriesContext(connection) as queries:
        assert "stamp_classifier" in tab_of(page(astronomer, target))
    histories = [query["sql"] for query in queries if "ROW_NUMBER" in query["sql"]]
    assert len([sql for sql in histories if "EXISTS" in sql]) == 1


def test_other_providers_classifications_are_not_alerces(astronomer: Client, target: Any) -> None:
    assert NOTHING in tab_of(page(astronomer, target))
    TargetAlert.objects.create(
        stream="gcn", topic="t", partition=0, offset=0, alert_id="a", object_id="GRB 1", target=target
    )
    Classification.objects.create(target=target, object_id="GRB 1", alert_id="a", classifier="Fermi", class_name="GRB")
    assert NOTHING in tab_of(page(astronomer, target))


def test_who_may_not_view_the_target_does_not_see_it(astronomer: Client, target: Any) -> None:
    ingest(stamp())
    Target.objects.update(permissions="PRIVATE")
    answer = astronomer.get(reverse("targets:detail", kwargs={"pk": target.pk}))
    assert answer.status_code in (302, 403)
    assert b"stamp_classifier" not in answer.content
    astronomer.force_login(User.objects.create_superuser("admin"))
    assert "stamp_classifier" in page(astronomer, target)


@pytest.mark.both_databases
def test_a_classification_that_comes_again_is_one_though_its_alert_is_forgotten(target: Any) -> None:
    ingest(stamp(), light_curve())
    before = Classification.objects.count()
    ingest(stamp(), light_curve())
    TargetAlert.objects.all().delete()
    ingest(stamp(), light_curve())
    assert Classification.objects.count() == before


def test_streams_of_alerce_are_those_of_its_class_or_with_its_handlers(settings: Any) -> None:
    kafka = "tom_alertstreams.alertstreams.kafka.KafkaAlertStream"
    handler = "alerce_stream.handlers.ingest_classifications"
    settings.ALERT_STREAMS = [
        STREAM,
        {**STREAM, "LABEL": "off", "ACTIVE": False},
        {"NAME": kafka, "LABEL": "mirror", "OPTIONS": {"TOPIC_HANDLERS": {"t": {"HANDLER": handler}}}},
        {"NAME": kafka, "LABEL": "ztf", "OPTIONS": {"TOPIC_HANDLERS": {"t": "mytom.alerts.on_alert"}}},
        {"NAME": kafka, "LABEL": "broken", "OPTIONS": 3},
        "no entry",
    ]
    assert stream_labels() == ["alerce", "off", "mirror"]
    settings.ALERT_STREAMS = None
    assert stream_labels() == []


@pytest.mark.parametrize(
    ("object_id", "url"),
    [
        (NAME, f"https://alerce.online/object/{NAME}"),
        ("170059286935240883", "https://lsst.alerce.online/object/170059286935240883?survey=lsst"),
        ("AL21abcdefg", "https://alerce.online/?oid=AL21abcdefg"),
        ('x"/?&y=<', "https://alerce.online/?oid=x%22%2F%3F%26y%3D%3C"),
    ],
)
def test_the_explorers_address(object_id: str, url: str) -> None:
    assert explorer_url(object_id) == url


def test_without_ingest_there_is_no_tab() -> None:
    config: Any = apps.get_app_config("alerce_stream")
    assert [tab["label"] for tab in config.target_detail_tabs()] == ["ALeRCE"]
    with modify_settings(INSTALLED_APPS={"remove": "tom_alertstreams.ingest"}):
        assert config.target_detail_tabs() == []
