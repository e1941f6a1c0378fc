"""What was rejected and why, and what is known of one object."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from html import unescape
from typing import Any, get_args

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.html import escape
from tom_targets.models import TargetName

from tests.unit.views.rows import EVIL, a_count, a_rejection, a_target, an_alert
from tom_alertstreams.ingest.reasons import MEANINGS, in_words
from tom_alertstreams.ingest.reports import RejectCode
from tom_alertstreams.models import DeadLetter
from tom_alertstreams.views import rejections, why_not

PAGE = "/alertstreams/rejections/"
STREAM = {
    "NAME": "tom_alertstreams.alertstreams.kafka.KafkaAlertStream",
    "LABEL": "ztf",
    "OPTIONS": {"BOOTSTRAP_SERVERS": "b:1", "TOPIC_HANDLERS": {"a": "my.handler"}},
}
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=timezone.utc)
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _setting(settings: Any) -> None:
    settings.ALERT_STREAMS = [STREAM]


@pytest.fixture
def astronomer(client: Client) -> Client:
    client.force_login(User.objects.create_user("astronomer"))
    return client


@pytest.fixture
def staff() -> Client:
    client = Client()
    client.force_login(User.objects.create_user("staff", is_staff=True))
    return client


def words(client: Client, object_id: str) -> str:
    """What the search answers."""
    html = client.get(PAGE, {"object": object_id}).content.decode()
    answer = html.partition('id="known"')[2].partition("</section>")[0].partition(">")[2]
    return re.sub(r" ([.,])", r"\1", " ".join(re.sub(r"<[^>]*>", " ", answer).split()))


def a_letter(raw: bytes | None, **fields: Any) -> DeadLetter:
    given = {"stream": "ztf", "cluster": "c", "group_id": "g", "topic": "a", "partition": 0, "handler": "h"}
    offset = DeadLetter.objects.count()
    return DeadLetter.objects.create(**{**given, "offset": offset, "raw": raw, "error_class": "KeyError", **fields})


def test_every_code_has_its_words() -> None:
    assert set(MEANINGS) == set(get_args(RejectCode))
    assert in_words("no_rule") == MEANINGS["no_rule"]
    assert "ON_ERROR" in in_words("error")
    assert in_words("faint") == "its handler says 'faint'"
    assert in_words("") == "its handler gives no reason"


@pytest.mark.both_databases
def test_counts_of_a_week_by_stream_topic_code_and_day(
    astronomer: Client, monkeypatch: pytest.MonkeyPatch, settings: Any, django_assert_max_num_queries: Any
) -> None:
    settings.TIME_ZONE = "America/Santiago"
    monkeypatch.setattr(rejections.django_timezone, "now", lambda: NOW)
    day = NOW.replace(hour=0, minute=0)
    a_count(1, "rejected", "class", hour=day)
    a_count(2, "rejected", "class", hour=day + timedelta(hours=9))
    a_count(4, "rejected", "class", hour=day - timedelta(hours=1))
    a_count(8, "rejected", "no_rule", topic="ztf_2", hour=day - timedelta(days=6))
    a_count(16, "rejected", "class", hour=day - timedelta(days=6, hours=1))
    a_count(32, "done", hour=day)
    with django_assert_max_num_queries(3):
        shown = astronomer.get(PAGE).context
    assert [(line["topic"], line["code"], line["total"], line["by_day"]) for line in shown["lines"]] == [
        ("ztf_2", "no_rule", 8, [0, 0, 0, 0, 0, 0, 8]),
        ("ztf_1", "class", 7, [3, 4, 0, 0, 0, 0, 0]),
    ]
    assert shown["later"] is None
    earlier = astronomer.get(PAGE, {"until": shown["earlier"].isoformat()}).context
    assert [(line["total"], line["by_day"]) for line in earlier["lines"]] == [(16, [16, 0, 0, 0, 0, 0, 0])]
    assert earlier["later"] == day.date()
    for nonsense in ("x", "2026-02-30", "0001-01-01", "9999-12-31", "\0"):
        assert astronomer.get(PAGE, {"until": nonsense}).context["days"][0] == day.date()


def test_the_page_says_what_a_code_means(astronomer: Client) -> None:
    a_count(1, "rejected", "no_rule", hour=datetime.now(timezone.utc))
    html = astronomer.get(PAGE).content.decode()
    assert "it is of an unknown object, and no rule makes a Target of it" in html
    assert 'href="/alertstreams/alerts/?outcome=rejected&amp;stream=ztf&amp;topic=ztf_1&amp;code=no_rule"' in html


def test_a_code_leads_to_the_alerts_of_its_stream(astronomer: Client, settings: Any) -> None:
    settings.ALERT_STREAMS = [STREAM, {**STREAM, "LABEL": "my fink&"}]
    for stream in ("ztf", "my fink&", "no longer in settings.py"):
        a_count(1, "rejected", "class", stream=stream, hour=datetime.now(timezone.utc))
        a_rejection(f"of {stream}", "class", stream=stream)
    html = astronomer.get(PAGE).content.decode()
    found = []
    for link in re.findall(r'href="(/alertstreams/alerts/\?[^"]*)"', html):
        listed = astronomer.get(unescape(link)).context
        assert listed["chosen"].form.is_valid()
        found.append(sorted(entry.object_id for entry in listed["table"].data))
    # The list cannot be asked for a stream that is gone.
    assert found == [["of my fink&"], ["of my fink&", "of no longer in settings.py", "of ztf"], ["of ztf"]]


def test_large_numbers_can_be_read(astronomer: Client) -> None:
    a_count(86_400, "rejected", "class", hour=datetime.now(timezone.utc))
    assert astronomer.get(PAGE).content.decode().count('<td class="text-end">86,400</td>') == 2


def test_lines_are_bounded(astronomer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejections, "LINES", 2)
    for number in range(5):
        a_count(number + 1, "rejected", f"code-{number}", hour=datetime.now(timezone.utc))
    html = astronomer.get(PAGE).content.decode()
    assert "3 lines with fewer rejections are left out." in html
    assert "code-4" in html
    assert "code-1" not in html


@pytest.mark.both_databases
def test_what_is_known_of_an_object_in_words(astronomer: Client) -> None:
    target = a_target("SN 2026abc")
    TargetName.objects.create(target=target, name="ZTF1")
    came = datetime(2026, 11, 25, 3, 4, 5, tzinfo=timezone.utc)
    an_alert("ZTF1", target, came=came)
    a_rejection("ZTF1", "probability", time=came - timedelta(hours=1))
    a_rejection("ZTF2", "class", time=came)
    assert words(astronomer, " ZTF1 ") == (
        "ZTF1 is the Target SN 2026abc. "
        "Alerts of it were ingested: 2026-11-25 03:04:05 UTC, ztf, ztf_1: New Target, SN 2026abc "
        "Alerts of it were rejected: 2026-11-25 02:04:05 UTC, ztf, ztf_1. "
        "Rejected: its probability is below MIN_PROBABILITY, or it has none (probability). All of them in the list"
    )
    assert "it has no class that is wanted" in words(astronomer, "ZTF2")


@pytest.mark.both_databases
@pytest.mark.parametrize("raw", [b'{"objectId": "ZTF1"}', b"Obj\x01\x00ZTF1\xff\x00"])
def test_dead_letters_are_searched_for_staff_alone(astronomer: Client, staff: Client, raw: bytes) -> None:
    letter = a_letter(raw)
    for other in (None, b"ZTF2", b""):
        a_letter(other)
    assert f"KeyError. Dead letter {letter.pk}, given up." in words(staff, "ZTF1")
    assert words(staff, "ZTF1").count("Dead letter") == 1
    assert "KeyError" not in words(astronomer, "ZTF1")
    assert "dead letters are searched for staff only" in words(astronomer, "ZTF1")


def test_staff_are_told_which_dead_letters_were_searched(astronomer: Client, staff: Client) -> None:
    told = "No dead letter was found: of the newest 500, those of at most 200 kB were searched for it as text."
    link = 'href="/alertstreams/deadletters/?text=ZTF%201%26"'
    a_letter(b"ZTF2")
    assert told in words(staff, "ZTF 1&")
    assert link in staff.get(PAGE, {"object": "ZTF 1&"}).content.decode()
    an_alert("ZTF 1&", a_target("ZTF 1&"))
    assert told in words(staff, "ZTF 1&")
    assert "No dead letter" not in words(staff, "ZTF2")
    page = astronomer.get(PAGE, {"object": "ZTF 1&"}).content.decode()
    assert "dead letter" not in page.lower()
    assert "deadletters" not in page


@pytest.mark.both_databases
def test_dead_letters_are_searched_as_far_as_is_cheap(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why_not, "LETTERS", 2)
    monkeypatch.setattr(why_not, "_LARGEST", 10)
    found = [a_letter(b"ZTF1"), a_letter(b"ZTF1" * 100), a_letter(b"ZTF1")]
    assert f"Dead letter {found[2].pk}" in words(staff, "ZTF1")
    assert words(staff, "ZTF1").count("Dead letter") == 1


@pytest.mark.both_databases
def test_dead_letters_are_counted_and_not_their_numbers(staff: Client) -> None:
    """A waiting letter that is handled after all leaves no row."""
    old = a_letter(b"ZTF1")
    a_letter(b"ZTF2").delete()
    DeadLetter.objects.create(
        pk=old.pk + 10_000, stream="ztf", cluster="c", group_id="g", topic="t", partition=0, offset=9
    )
    assert f"Dead letter {old.pk}" in words(staff, "ZTF1")


def test_where_nothing_is_known_it_says_why_that_may_be(astronomer: Client, settings: Any) -> None:
    assert "This database has not counted any alert yet." in words(astronomer, "ZTF1")
    a_count(1, hour=datetime(2026, 11, 1, 10, tzinfo=timezone.utc))
    told = words(astronomer, "ZTF1")
    assert told.startswith("No alert of ZTF1 is known. This database has counted alerts since 2026-11-01 10:00:00 UTC.")
    assert "Rejections older than 7 days are forgotten (REJECTIONS_DAYS)." in told
    settings.ALERT_STREAMS = [STREAM, {**STREAM, "LABEL": "b", "DELIVERY": {"REJECTIONS_DAYS": 30}}]
    assert "older than 7 to 30 days" in words(astronomer, "ZTF1")
    settings.ALERT_STREAMS = [STREAM, {**STREAM, "LABEL": "b", "DELIVERY": {"REJECTIONS_DAYS": 0}}]
    assert "and some topics remember none" in words(astronomer, "ZTF1")
    settings.ALERT_STREAMS = [{**STREAM, "DELIVERY": {"REJECTIONS_DAYS": 0}}]
    assert "No stream remembers rejections (REJECTIONS_DAYS is 0)." in words(astronomer, "ZTF1")


def test_what_alerts_say_is_text(staff: Client) -> None:
    an_alert(EVIL, a_target(EVIL[:90]), topic=EVIL, stream=EVIL)
    a_rejection(EVIL, EVIL[:32], topic=EVIL, stream=EVIL)
    a_letter(EVIL.encode(), topic=EVIL, error_class=EVIL)
    a_count(3, "rejected", EVIL[:32], topic=EVIL, stream=EVIL, hour=datetime.now(timezone.utc))
    for query in ({}, {"object": EVIL}):
        html = staff.get(PAGE, query).content.decode()
        assert escape(EVIL) in html
        assert "<script>alert" not in html
        assert "<img src=x" not in html


@pytest.mark.parametrize("object_id", ["\0", "x" * 5000, "a\0b", "'; DROP TABLE", "%", " "])
def test_any_text_may_be_searched_for(staff: Client, object_id: str) -> None:
    a_letter(b"something")
    assert staff.get(PAGE, {"object": object_id}).status_code == 200


@pytest.mark.both_databases
def test_ten_queries_are_enough(staff: Client, django_assert_max_num_queries: Any) -> None:
    for object_id in ("", "unknown"):
        with django_assert_max_num_queries(10):
            assert staff.get(PAGE, {"object": object_id}).status_code == 200
