"""The points of the sky map, and plotly.js."""

from __future__ import annotations

import gzip
import importlib
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.template.loader import render_to_string
from django.test import Client, modify_settings
from django.utils import timezone

import tom_alertstreams.urls
from tests.unit.views.rows import EVIL, a_class, a_target, an_alert
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.views import sky_map
from tom_alertstreams.views.mollweide import galactic, mollweide
from tom_alertstreams.views.plotly_js import plotly_url
from tom_alertstreams.views.tables import utc

POINTS = "/alertstreams/sky/points.json"
pytestmark = pytest.mark.django_db


@pytest.fixture
def astronomer(client: Client) -> Client:
    client.force_login(User.objects.create_user("astronomer"))
    return client


@pytest.mark.both_databases
def test_the_newest_alerts_with_a_position(astronomer: Client) -> None:
    target = a_target("T")
    first = an_alert("ZTF1", target, ra=266.40499, dec=-28.93617)
    a_class(first, "QSO", 0.3, ranking=2)
    a_class(first, "SNIa", 0.7, ranking=1)
    a_class(an_alert("ZTF2", target, ra=10.0, dec=45.0, stream="alerce"), "SNII", ranking=None)
    an_alert("GRB 1", ra=200.0, dec=-45.0)
    an_alert("GW 1", ra=None, dec=None)
    sky = astronomer.get(POINTS).json()
    assert sky["object"] == ["GRB 1", "ZTF2", "ZTF1"]
    assert sky["target"] == [None, target.pk, target.pk]
    assert sky["groups"] == {"names": ["ztf", "alerce"], "of": [0, 1, 0]}
    assert astronomer.get(POINTS, {"colour": "class"}).json()["groups"] == {
        "names": ["SNII", "SNIa", "no class"],
        "of": [2, 0, 1],
    }
    for row, (ra, dec) in enumerate([(200.0, -45.0), (10.0, 45.0), (266.40499, -28.93617)]):
        for frame, expected in (("equatorial", mollweide(ra, dec)), ("galactic", mollweide(*galactic(ra, dec)))):
            found = (sky[frame]["x"][row], sky[frame]["y"][row])
            assert found == pytest.approx([float(axis) for axis in expected], abs=1e-4)


@pytest.mark.both_databases
def test_times_are_utc_wherever_the_tom_is(astronomer: Client) -> None:
    came = an_alert("ZTF1").created
    with timezone.override("America/Santiago"):
        assert astronomer.get(POINTS).json()["time"] == [utc(came)]


def test_no_more_than_the_newest(astronomer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        an_alert(f"o{number}")
    monkeypatch.setattr(sky_map, "POINTS", 4)
    assert astronomer.get(POINTS).json()["object"] == ["o5", "o4", "o3", "o2"]
    monkeypatch.setattr(sky_map, "_AT_MOST", 2)
    assert astronomer.get(POINTS).json()["object"] == ["o5", "o4"]


def test_rare_classes_share_a_colour(astronomer: Client) -> None:
    for number in range(10):
        for _ in range(10 - number):
            a_class(an_alert(f"o{number}"), f"class-{number}")
    an_alert("unclassified")
    of = astronomer.get(POINTS, {"colour": "class"}).json()["groups"]
    assert of["names"] == [*(f"class-{number}" for number in range(7)), "others"]
    assert max(of["of"]) == 7


def test_without_an_alert_there_is_an_empty_map(astronomer: Client) -> None:
    sky = astronomer.get(POINTS).json()
    assert (sky["object"], sky["equatorial"], sky["groups"]) == ([], {"x": [], "y": []}, {"names": [], "of": []})
    assert astronomer.get("/alertstreams/sky/").status_code == 200


def test_what_alerts_say_is_no_page(astronomer: Client) -> None:
    """It is text for the script of the page, which escapes it once more for Plotly (tests/acceptance/test_alert_pages.py)."""
    a_class(an_alert(EVIL, stream=EVIL), EVIL)
    answer = astronomer.get(POINTS, {"colour": "class"})
    assert (answer["Content-Type"], answer["X-Content-Type-Options"]) == ("application/json", "nosniff")
    assert answer.json()["object"] == [EVIL]


@pytest.mark.both_databases
def test_ten_queries_are_enough(astronomer: Client, django_assert_max_num_queries: Any) -> None:
    TargetAlert.objects.bulk_create(
        TargetAlert(
            stream="ztf", topic="t", partition=0, offset=n, alert_id=str(n), object_id=str(n), ra=n / 10, dec=0.0
        )
        for n in range(3000)
    )
    for colour in ("stream", "class"):
        with django_assert_max_num_queries(10):
            assert len(astronomer.get(POINTS, {"colour": colour}).json()["object"]) == 3000


def test_plotly_is_served_from_here_and_kept_for_ever(astronomer: Client) -> None:
    assert f'src="{plotly_url()}"' in astronomer.get("/alertstreams/sky/").content.decode()
    answer = astronomer.get(plotly_url(), headers={"Accept-Encoding": "gzip"})
    assert answer["Content-Type"].startswith("text/javascript")
    assert answer["Cache-Control"] == "public, max-age=31536000, immutable"
    assert len(answer.content) < 2_000_000
    assert b"plotly.js v" in gzip.decompress(answer.content)[:200]
    assert astronomer.get("/alertstreams/plotly-1.0.min.js").status_code == 404
    assert astronomer.post(plotly_url()).status_code == 405


def test_without_ingest_these_pages_are_not_there() -> None:
    def names() -> set[str]:
        return {str(pattern.name) for pattern in importlib.reload(tom_alertstreams.urls).urlpatterns}

    ours = {"alerts", "alerts_csv", "sky", "sky_points", "rates", "rejections", "plotly"}
    assert ours <= names()
    with modify_settings(INSTALLED_APPS={"remove": "tom_alertstreams.ingest"}):
        left = names()
    assert not ours & left
    assert {"streams", "health"} <= left
    names()
    link = {"name": "tom_alertstreams:not-there", "words": "Sky"}
    assert render_to_string("tom_alertstreams/partials/page_link.html", link).strip() == ""
