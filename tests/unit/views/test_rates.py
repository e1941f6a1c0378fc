"""How many alerts came, by the hour, the night or the month."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.unit.views.rows import a_count
from tom_alertstreams.views import rate_plot
from tom_alertstreams.views.rate_plot import OUTCOMES, SCALES

RATES = "/alertstreams/rates/"
STREAM = {"NAME": "tom_alertstreams.alertstreams.kafka.KafkaAlertStream", "OPTIONS": {"BOOTSTRAP_SERVERS": "b:1"}}
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=timezone.utc)
pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _setting(settings: Any, monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    settings.ALERT_STREAMS = [{**STREAM, "LABEL": label} for label in ("ztf", "alerce")]
    settings.TIME_ZONE = "America/Santiago"
    monkeypatch.setattr(rate_plot.django_timezone, "now", lambda: NOW)
    client.force_login(User.objects.create_user("astronomer"))


def counts(client: Client, **query: str) -> dict[str, dict[str, int]]:
    """Outcome → bar → alerts, without what is 0."""
    figure = client.get(RATES, query).context["figure"]
    return {
        bar["name"]: found
        for bar in figure["data"]
        if (found := {when: n for when, n in zip(bar["x"], bar["y"], strict=True) if n})
    }


def at(day: int, hour: int, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=timezone.utc)


def test_a_night_is_from_noon_to_noon_and_has_the_date_of_its_evening(client: Client) -> None:
    a_count(1, hour=at(1, 11))
    a_count(2, hour=at(1, 12))
    a_count(4, hour=at(2, 0))
    a_count(8, hour=at(2, 9))
    a_count(16, "rejected", "class", hour=at(1, 23))
    a_count(32, "rejected", "no_rule", hour=at(1, 23))
    a_count(64, "waiting", hour=at(1, 23))
    a_count(128, "dead", hour=at(1, 23))
    assert counts(client) == {
        "done": {"2026-02-28": 1, "2026-03-01": 14},
        "rejected": {"2026-03-01": 48},
        "tried again": {"2026-03-01": 64},
        "dead letters": {"2026-03-01": 128},
    }
    # The first night that is shown is whole.
    first = SCALES["night"].starts(NOW)[0]
    a_count(5, hour=first.replace(hour=11))
    assert counts(client)["done"] == {"2026-02-28": 1, "2026-03-01": 14}
    a_count(7, hour=first.replace(hour=12))
    assert counts(client)["done"][f"{first:%Y-%m-%d}"] == 7


def test_hours_and_months_are_of_utc(client: Client) -> None:
    a_count(1, hour=at(2, 9))
    a_count(2, hour=at(2, 0))
    a_count(4, hour=at(28, 23, 2))
    a_count(8, hour=at(1, 0, 2))
    assert counts(client, scale="hour")["done"] == {"2026-03-02 09:00": 1, "2026-03-02 00:00": 2, "2026-02-28 23:00": 4}
    assert counts(client, scale="month")["done"] == {"2026-03": 3, "2026-02": 12}


def test_one_stream(client: Client) -> None:
    a_count(1, hour=at(2, 9))
    a_count(2, stream="alerce", hour=at(2, 9))
    assert counts(client, stream="alerce")["done"] == {"2026-03-01": 2}
    for unknown in ("none", "\0", "<script>"):
        answer = client.get(RATES, {"stream": unknown, "scale": unknown})
        assert answer.status_code == 200
        assert "<script>" not in answer.content.decode().partition("<main")[2]
        assert counts(client, stream=unknown, scale=unknown)["done"] == {"2026-03-01": 3}


@pytest.mark.parametrize("name", SCALES)
def test_heartbeats_are_no_alerts(client: Client, name: str) -> None:
    a_count(3, hour=at(2, 9))
    a_count(86_400, topic="gcn.heartbeat", hour=at(2, 9))
    for query in ({}, {"stream": "ztf"}):
        [bars] = counts(client, scale=name, **query).values()
        assert list(bars.values()) == [3]


@pytest.mark.parametrize("name", SCALES)
def test_bars_follow_one_another(name: str) -> None:
    starts = SCALES[name].starts(NOW)
    assert len(set(starts)) == SCALES[name].bars
    assert starts == sorted(starts)
    assert len({start.strftime(SCALES[name].form) for start in starts}) == len(starts)
    assert starts[-1] <= NOW


def test_numbers_are_there_for_who_cannot_see_the_plot(client: Client) -> None:
    a_count(1234, hour=at(2, 9))
    html = client.get(RATES).content.decode()
    assert re.search(r'<th scope="row">2026-03-01</th>\s*<td class="text-end">1,234</td>', html)


def test_three_queries(client: Client, django_assert_max_num_queries: Any) -> None:
    for name in SCALES:
        with django_assert_max_num_queries(3):
            assert client.get(RATES, {"scale": name}).status_code == 200


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_outcomes_are_told_apart_without_colour() -> None:
    shades = sorted(luminance(colour) for _, _, colour, _ in OUTCOMES)
    assert len({pattern for *_, pattern in OUTCOMES}) == len(OUTCOMES)
    for page in ("#ffffff", "#313232"):  # light, and the TOM Toolkit's dark theme
        for shade in shades:
            light, dark = max(luminance(page), shade), min(luminance(page), shade)
            assert (light + 0.05) / (dark + 0.05) > 2
