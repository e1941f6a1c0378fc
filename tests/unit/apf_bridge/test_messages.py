"""Alerts as dicts of the step's own."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from apf_bridge.messages import messages_of
from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import PermanentError

SENT = datetime(2026, 11, 1, tzinfo=timezone.utc)


def alert(content: Any, sent: datetime | None = SENT) -> Alert:
    return Alert("s", "alerts", 0, 0, None, (), sent, b"", _content=content)


def test_the_time_of_kafka_is_added_in_milliseconds() -> None:
    assert messages_of([alert({"n": 1}), alert({"n": 2}, None)]) == [[{"n": 1, "timestamp": 1793491200000}], [{"n": 2}]]


def test_a_field_timestamp_of_the_alert_is_kept() -> None:
    assert messages_of([alert({"timestamp": "mine"})]) == [[{"timestamp": "mine"}]]


def test_the_topic_is_added_where_it_is_asked_for() -> None:
    [[message]] = messages_of([alert({}, None)], add_topic=True)
    assert message == {"topic": "alerts"}


def test_every_record_of_a_container_is_a_message() -> None:
    assert messages_of([alert([{"n": 1}, {"n": 2}], None), alert({"n": 3}, None)]) == [
        [{"n": 1}, {"n": 2}],
        [{"n": 3}],
    ]
    assert messages_of([alert(SimpleNamespace(content=[{"n": 1}]), None)]) == [[{"n": 1}]]  # as hop's models


def test_a_step_may_change_what_it_gets() -> None:
    content = {"n": 1}
    [[message]] = messages_of([alert(content)])
    message["n"] = 2
    assert content == {"n": 1}


@pytest.mark.parametrize("content", ["a circular", b"", [], [1, {}], 7])
def test_what_is_no_record_is_a_failure_of_that_alert(content: Any) -> None:
    first, second = messages_of([alert(content), alert({"n": 1}, None)])
    assert isinstance(first, PermanentError)
    assert "a step takes dicts" in str(first)
    assert second == [{"n": 1}]
