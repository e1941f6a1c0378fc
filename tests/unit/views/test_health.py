"""What monitors are told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django import db
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from tests.unit.test_status import STREAM, State, run
from tom_alertstreams.views import health

HEALTH = "/alertstreams/health/"


@pytest.mark.django_db
def test_well_is_200_and_anything_else_503(client: Client, settings: Any, django_assert_max_num_queries: Any) -> None:
    settings.ALERT_STREAMS = [STREAM]
    assert client.get(HEALTH).status_code == 503
    living = run(lag=5)
    with django_assert_max_num_queries(3):
        answer = client.get(HEALTH)
    assert answer.status_code == 200
    told = answer.json()
    assert told["healthy"] is True
    assert {**told["streams"][0], "last_heartbeat": None} == {
        "stream": "ztf", "state": "running", "healthy": True, "reason": "", "last_heartbeat": None, "lag": 5,
        "alerts_per_second": None, "last_alert": None, "dead_letters": 0, "waiting": 0,
    }  # fmt: skip
    living.state, living.reason = State.WAITING, "waiting for the broker"
    living.save()
    answer = client.get(HEALTH)
    assert (answer.status_code, answer.json()["streams"][0]["reason"]) == (503, "waiting for the broker")


@pytest.mark.django_db
def test_without_a_stream_nothing_is_well(client: Client, settings: Any) -> None:
    settings.ALERT_STREAMS = []
    answer = client.get(HEALTH)
    assert (answer.status_code, answer.json()["reason"]) == (503, "ALERT_STREAMS has no active stream")


def test_a_database_that_is_away_is_told(client: Client, monkeypatch: Any) -> None:
    """Nothing here may ask the database: the test has none."""

    def away() -> Any:
        raise db.OperationalError("could not connect to server: password=hunter2")

    monkeypatch.setattr(health, "stream_statuses", away)
    answer = client.get(HEALTH)
    assert (answer.status_code, answer.json()["reason"]) == (503, "the database cannot be reached")
    assert b"hunter2" not in answer.content


@pytest.mark.parametrize(
    "error",
    [
        db.ProgrammingError('relation "tom_alertstreams_streamrun" does not exist'),
        db.OperationalError("no such column: x"),
    ],
)
def test_tables_that_are_not_up_to_date_are_told(client: Client, monkeypatch: Any, error: db.Error) -> None:
    """After an upgrade without its migrations the database answers."""

    def missing() -> Any:
        raise error

    monkeypatch.setattr(health, "stream_statuses", missing)
    answer = client.get(HEALTH)
    told = "the tables of tom_alertstreams are not up to date: run ./manage.py migrate"
    assert (answer.status_code, answer.json()["reason"]) == (503, told)


def test_with_atomic_requests_as_well(client: Client, monkeypatch: Any) -> None:
    """Django itself would ask the database before the view is called."""
    monkeypatch.setitem(db.connection.settings_dict, "ATOMIC_REQUESTS", True)
    test_a_database_that_is_away_is_told(client, monkeypatch)


@pytest.mark.django_db
def test_secrets_are_blanked(client: Client, settings: Any) -> None:
    settings.ALERT_STREAMS = [{**STREAM, "OPTIONS": {**STREAM["OPTIONS"], "PASSWORD": "hunter22"}}]
    run(state=State.DOWN, reason="refused: hunter22")
    assert b"hunter22" not in client.get(HEALTH).content


@pytest.mark.django_db
@pytest.mark.parametrize("state", [State.RUNNING, State.DOWN])
def test_machines_and_processes_are_not_told(client: Client, settings: Any, state: str) -> None:
    settings.ALERT_STREAMS = [STREAM]
    long_ago = timezone.now() - timedelta(hours=1)
    run(heard_s=3600, state=state, ended=long_ago if state == State.DOWN else None, host="secret-host", pid=424242)
    answer = client.get(HEALTH)
    assert answer.json()["streams"][0]["state"] == "gone"
    assert b"secret-host" not in answer.content
    assert b"424242" not in answer.content


@pytest.mark.django_db
def test_the_words_of_an_error_are_for_staff(client: Client, settings: Any) -> None:
    """They may tell of an alert, or of a Target that is private."""
    settings.ALERT_STREAMS = [STREAM]
    run(state=State.DOWN, reason="IntegrityError", last_error="IntegrityError: Key (name)=(SN 2026 private) exists")
    for address in (HEALTH, "/alertstreams/"):
        told = client.get(address).content.decode()
        assert "IntegrityError" in told
        assert "private" not in told
    client.force_login(User.objects.create_user("operator", is_staff=True))
    assert "SN 2026 private" in client.get("/alertstreams/").content.decode()


@pytest.mark.django_db
def test_the_page_is_there(client: Client, settings: Any) -> None:
    settings.ALERT_STREAMS = [STREAM]
    client.force_login(User.objects.create_user("astronomer"))
    page = client.get("/alertstreams/")
    assert page.status_code == 200
    assert "never started" in page.content.decode()
    assert 'href="/alertstreams/"' in client.get("/").content.decode()
