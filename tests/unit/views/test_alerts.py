"""The list of recent alerts."""

from __future__ import annotations

import csv
import random
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.html import escape
from tom_targets.models import TargetName

from tests.unit.views.rows import EVIL, a_rejection, a_target, ago, an_alert
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.models import Rejection
from tom_alertstreams.views import alerts as page
from tom_alertstreams.views import entries
from tom_alertstreams.views.entries import Alerts, Place, Rejections, read_page

ALERTS = "/alertstreams/alerts/"
STREAM = {"NAME": "tom_alertstreams.alertstreams.kafka.KafkaAlertStream", "OPTIONS": {"BOOTSTRAP_SERVERS": "b:1"}}
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _streams(settings: Any) -> None:
    settings.ALERT_STREAMS = [{**STREAM, "LABEL": label} for label in ("ztf", "alerce")]


@pytest.fixture
def astronomer(client: Client) -> Client:
    client.force_login(User.objects.create_user("astronomer"))
    return client


def rows(client: Client, **query: str) -> list[list[str]]:
    """The cells of the table, as text."""
    html = client.get(ALERTS, query).content.decode().partition("<tbody")[2].partition("</tbody")[0]
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr.*?</tr>", html, re.DOTALL)]
    return [[" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in row] for row in found]


def objects(client: Client, **query: str) -> list[str]:
    return [row[2] for row in rows(client, **query) if len(row) > 2]


def test_what_became_of_an_alert_the_newest_first(astronomer: Client) -> None:
    target = a_target("SN 2026abc")
    came = datetime(2026, 11, 25, 3, 4, 5, tzinfo=timezone.utc)
    an_alert("ZTF1", target, came=came, ra=150.1, dec=-2.5, summary="g = 19.2")
    an_alert("ZTF2", target, came=came + timedelta(hours=2), match_method="position", separation_arcsec=1.234)
    a_rejection("ZTF3", "class", time=came + timedelta(hours=1))
    an_alert("GRB 1", came=came + timedelta(hours=3), retraction=True, ra=None, dec=None)
    assert rows(astronomer) == [
        ["2026-11-25 06:04:05", "ztf ztf_1", "GRB 1", "—", "Retraction, before its event", "—", "—"],
        ["2026-11-25 05:04:05", "ztf ztf_1", "ZTF2", "150.00000 +20.00000", "Same position, 1.23″", "SN 2026abc", "—"],
        ["2026-11-25 04:04:05", "ztf ztf_1", "ZTF3", "—", "Rejected: it has no class that is wanted (class)", "—", "—"],
        ["2026-11-25 03:04:05", "ztf ztf_1", "ZTF1", "150.10000 -2.50000", "New Target", "SN 2026abc", "g = 19.2"],
    ]
    assert f'href="/targets/{target.pk}/"' in astronomer.get(ALERTS).content.decode()


def test_times_are_in_utc_wherever_the_tom_is(astronomer: Client, settings: Any) -> None:
    settings.TIME_ZONE = "America/Santiago"
    came = datetime(2026, 11, 25, 3, 4, 5, tzinfo=timezone.utc)
    an_alert("ZTF1", came=came)
    assert rows(astronomer)[0][0] == "2026-11-25 03:04:05"
    assert objects(astronomer, since="2026-11-25 03:04:05", until="2026-11-25 03:04:06") == ["ZTF1"]
    assert objects(astronomer, since="2026-11-25 03:04:06") == []


@pytest.mark.both_databases
def test_filters(astronomer: Client) -> None:
    target, other = a_target("SN 2026abc"), a_target("other")
    TargetName.objects.create(target=target, name="AT 2026abc")
    an_alert("o1", target, stream="alerce", topic="lc", came=ago(days=3))
    an_alert("o2", other, match_method="name", came=ago(days=2))
    an_alert("o3", target, match_method="event", retraction=True, came=ago(days=1))
    a_rejection("o4", "class", time=ago(hours=1))
    a_rejection("o5", "no_rule", topic="lc")
    every = ["o5", "o4", "o3", "o2", "o1"]
    for query, expected in [
        ({}, every),
        ({"stream": "alerce"}, ["o1"]),
        ({"topic": "lc"}, ["o5", "o1"]),
        ({"outcome": "created"}, ["o1"]),
        ({"outcome": "name"}, ["o2"]),
        ({"outcome": "event"}, []),
        ({"outcome": "retraction"}, ["o3"]),
        ({"outcome": "rejected"}, ["o5", "o4"]),
        ({"code": "class"}, ["o4"]),
        ({"object": "o2"}, ["o2"]),
        ({"object": "o4"}, ["o4"]),
        ({"target": "SN 2026abc"}, ["o3", "o1"]),
        ({"target": "AT 2026abc"}, ["o3", "o1"]),
        ({"target": "nobody"}, []),
        ({"since": f"{ago(days=1.5):%Y-%m-%d %H:%M:%S}"}, ["o5", "o4", "o3"]),
        ({"until": f"{ago(days=1.5):%Y-%m-%d %H:%M:%S}"}, ["o2", "o1"]),
        ({"stream": "ztf", "outcome": "created"}, []),
    ]:
        assert objects(astronomer, **query) == expected, query


@pytest.mark.parametrize("query", [{"since": "yesterday"}, {"stream": "none"}, {"object": "a\0b"}, {"topic": "\0"}])
def test_what_cannot_be_asked_is_told(astronomer: Client, query: dict[str, str]) -> None:
    an_alert("o1")
    answer = astronomer.get(ALERTS, query)
    assert answer.status_code == 200
    assert "alert-warning" in answer.content.decode()
    assert objects(astronomer, **query) == []


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("year", ["0001", "1999", "9000", "9999"])
def test_years_that_no_alert_has_are_told(astronomer: Client, name: str, year: str) -> None:
    an_alert("o1")
    query = {name: f"{year}-12-31 23:59", "topic": "none"}
    answer = astronomer.get(ALERTS, query)
    assert answer.status_code == 200
    assert "A year from 2000 to 8999 is needed." in answer.content.decode()
    assert astronomer.get("/alertstreams/alerts.csv", query).status_code == 400


@pytest.mark.parametrize("place", ["x", "1-", "-1-2", "999999999999999999999-1", "1-2-3", "\0"])
def test_a_place_that_is_none_is_the_beginning(astronomer: Client, place: str) -> None:
    an_alert("o1")
    assert objects(astronomer, before=place) == ["o1"]


def pages(client: Client, **query: str) -> list[list[str]]:
    """All pages, by the link to older ones."""
    found = []
    for _ in range(100):
        html = client.get(ALERTS, query).content.decode()
        found.append(objects(client, **query))
        older = re.search(r'id="older" href="\?([^"]*)"', html)
        if older is None:
            return found
        query = {**query, "before": re.search(r"before=([0-9-]+)", older[1])[1]}  # type: ignore[index]
    raise AssertionError("there is no end")


@pytest.mark.both_databases
def test_pages_show_every_row_once(astronomer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PER_PAGE", 7)
    for number in range(20):
        (an_alert if number % 3 else a_rejection)(f"o{number}")
    found = pages(astronomer)
    assert [name for shown in found for name in shown] == [f"o{number}" for number in reversed(range(20))]
    assert [len(shown) for shown in found] == [7, 7, 6]


@pytest.mark.both_databases
@pytest.mark.parametrize("seed", range(4))
def test_a_bounded_search_loses_nothing_and_keeps_the_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few rows of the one table a filter lets through, and however much faster the other grows."""
    monkeypatch.setattr(entries, "AT_MOST", 10)
    draw = random.Random(seed)
    time = ago(days=30)
    expected = []
    for number in range(120):
        time += timedelta(minutes=30)
        wanted = draw.random() < 0.1
        if draw.random() < (0.85 if 30 < number < 90 else 0.3):
            an_alert(f"o{number}", topic="wanted" if wanted else "other", came=time)
        else:
            a_rejection(f"o{number}", topic="wanted" if wanted else "other", time=time)
        expected += [f"o{number}"] if wanted else []
    TargetAlert.objects.filter(object_id__in=[f"o{number}" for number in range(40, 60)], topic="other").delete()
    found, place = [], Place()
    for _ in range(60):
        alerts, rejections = TargetAlert.objects.filter(topic="wanted"), Rejection.objects.filter(topic="wanted")
        read = read_page(Alerts(alerts), Rejections(rejections), place, 5)
        found += [entry.object_id for entry in read.entries]
        assert len(read.entries) <= 5
        if read.older is None:
            break
        assert str(read.older) != str(place)
        place = Place.read(str(read.older))
    assert found == expected[::-1]
    assert read.older is None


@pytest.mark.both_databases
@pytest.mark.parametrize("seed", range(6))
def test_a_bounded_search_comes_to_its_end_though_clocks_differ(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two readers whose clocks are minutes apart write the rows."""
    monkeypatch.setattr(entries, "AT_MOST", 3 + seed % 3 * 2)
    draw = random.Random(seed)
    expected = set()
    for number in range(60):
        came = ago(minutes=200 - 2 * number - draw.choice((0, 7)))
        wanted = draw.random() < 0.4
        if draw.random() < 0.5:
            an_alert(f"o{number}", topic="wanted" if wanted else "other", came=came)
        else:
            a_rejection(f"o{number}", topic="wanted" if wanted else "other", time=came)
        expected |= {f"o{number}"} if wanted else set()
    found: list[str] = []
    places, place = set(), Place()
    while True:
        alerts, rejections = TargetAlert.objects.filter(topic="wanted"), Rejection.objects.filter(topic="wanted")
        read = read_page(Alerts(alerts), Rejections(rejections), place, 2)
        found += [entry.object_id for entry in read.entries]
        if read.older is None:
            break
        assert str(read.older) not in places, "older alerts lead to a page that was there before"
        places.add(str(read.older))
        place = read.older
    assert sorted(found) == sorted(expected)


def test_a_page_says_how_far_it_has_looked(astronomer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "AT_MOST", 5)
    an_alert("wanted", topic="rare", came=datetime(2026, 11, 1, tzinfo=timezone.utc))
    for number in range(10):
        an_alert(f"o{number}", came=datetime(2026, 11, 2, number, tzinfo=timezone.utc))
    html = astronomer.get(ALERTS, {"topic": "rare"}).content.decode()
    assert "No such alert." in html
    assert "Searched back to 2026-11-02 04:00:00 UTC." in html
    assert [name for shown in pages(astronomer, topic="rare") for name in shown if name] == ["wanted"]
    # Where an index leads to the rows nothing is looked through in vain.
    assert objects(astronomer, object="wanted") == ["wanted"]
    # A time in the past is gone to at once.
    assert objects(astronomer, topic="rare", until="2026-11-01 00:00:00") == ["wanted"]


def test_what_alerts_say_is_text(astronomer: Client) -> None:
    target = a_target(EVIL[:90])
    an_alert(EVIL, target, topic=EVIL, stream=EVIL, summary=EVIL)
    a_rejection(EVIL, EVIL[:32], topic=EVIL)
    html = astronomer.get(ALERTS).content.decode()
    assert html.count(escape(EVIL)) >= 6
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    html = astronomer.get(ALERTS, {"object": EVIL, "topic": EVIL}).content.decode()
    assert "<script>alert" not in html


def test_the_list_as_a_file(astronomer: Client) -> None:
    target = a_target("SN 2026abc")
    an_alert("ZTF1", target, ra=150.123456789, dec=-2.5, points=3, summary='=HYPERLINK("x")')
    a_rejection("@SUM(1)", "class")
    an_alert("other", topic="other")
    html = astronomer.get(ALERTS, {"topic": "ztf_1", "before": "1-1"}).content.decode()
    answer = astronomer.get("/alertstreams/alerts.csv", {"topic": "ztf_1"})
    assert 'href="/alertstreams/alerts.csv?topic=ztf_1"' in html
    assert answer["Content-Type"] == "text/csv"
    head, *lines = csv.reader(b"".join(answer.streaming_content).decode().splitlines())  # type: ignore[arg-type]
    second, first = (dict(zip(head, line, strict=True)) for line in lines)
    assert (first["object_id"], first["ra_deg"], first["dec_deg"]) == ("ZTF1", "150.123456789", "-2.5")
    assert (first["target"], first["outcome"], first["points"]) == ("SN 2026abc", "New Target", "3")
    # A spreadsheet would run these.
    assert first["summary"] == '\'=HYPERLINK("x")'
    assert second["object_id"] == "'@SUM(1)"
    assert datetime.fromisoformat(first["came_utc"]).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("since=yesterday", "Since (UTC): Enter a valid date/time."),
        ("stream=old&since=now", "Stream: Select a valid choice. old is not one of the available choices."),
        ("strem=ztf", "There is no filter strem."),
        ("object=o1&before=1-1", "There is no filter before."),
    ],
)
def test_no_file_is_made_of_what_cannot_be_read(astronomer: Client, query: str, words: str) -> None:
    """Whoever loads it with a program would take it for all that was asked for."""
    an_alert("o1")
    answer = astronomer.get(f"/alertstreams/alerts.csv?{query}")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert words in answer.content.decode().splitlines()


def test_a_file_has_what_no_page_would_look_for(astronomer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "AT_MOST", 5)
    monkeypatch.setattr(page, "PER_FILE", 2)
    for number in range(40):
        an_alert(f"o{number}", topic="other" if number % 13 else "rare")
    answer = astronomer.get("/alertstreams/alerts.csv", {"topic": "rare"})
    text = b"".join(answer.streaming_content).decode()  # type: ignore[arg-type]
    assert [row["object_id"] for row in csv.DictReader(text.splitlines())] == ["o39", "o26"]


@pytest.mark.parametrize(("rows", "given_up"), [(49, False), (60, True)])
def test_a_file_gives_up_and_says_where(
    astronomer: Client, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any, rows: int, given_up: bool
) -> None:
    """Whoever asks for what is nowhere does not have the whole tables read."""
    monkeypatch.setattr(entries, "AT_MOST", 5)
    last = datetime(2026, 11, 2, tzinfo=timezone.utc)
    for number in reversed(range(rows)):
        an_alert(f"o{number}", came=last - timedelta(hours=number))
    with django_assert_max_num_queries(10 + 4 * page.PAGES_PER_FILE):
        answer = astronomer.get("/alertstreams/alerts.csv", {"topic": "nothing"})
        text = b"".join(answer.streaming_content).decode()  # type: ignore[arg-type]
    lines = [(line["came_utc"], line["outcome"]) for line in csv.DictReader(text.splitlines())]
    there = "2026-10-30 22:00:00"
    words = f"Searched back to {there} UTC. Ask for older ones with Until"
    assert lines == ([(f"{there.replace(' ', 'T')}+00:00", words)] if given_up else [])


@pytest.mark.both_databases
def test_no_page_counts_and_ten_queries_are_enough(
    astronomer: Client, django_assert_max_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "AT_MOST", 5)
    for number in range(20):
        an_alert(f"o{number}", a_target(f"T{number}", "PRIVATE" if number % 2 else "PUBLIC"))
        a_rejection(f"r{number}")
    for query in (
        {},
        {"topic": "none"},
        {"target": "T2"},
        {"object": "o1"},
        {"since": "2026-01-01", "until": "2026-01-02"},
    ):
        with django_assert_max_num_queries(10) as queries:
            astronomer.get(ALERTS, query)
        assert not [query for query in queries if "COUNT(" in query["sql"]]
