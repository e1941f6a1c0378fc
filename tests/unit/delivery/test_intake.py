"""What the Kafka client is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.marks import CORE_TABLES
from tests.streams import make, run_once
from tom_alertstreams.delivery.broker_errors import ErrorMemory
from tom_alertstreams.delivery.failures import public_text_of, text_of
from tom_alertstreams.delivery.intake import Intake
from tom_alertstreams.delivery.runs import Status
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.models import StreamRun

NOBODY = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("handler_timeout_s", "prepare_timeout_s", "config", "interval_ms"),
    [
        (300, 30, {}, 662_000),
        (300, 90, {}, 782_000),
        (10, 10, {"session.timeout.ms": None}, 45_000),
        (10, 10, {"session.timeout.ms": "50000"}, 50_000),
        (10, 10, {"session.timeout.ms": 6000}, 42_000),
        (50_000, 30, {}, 86_400_000),
        (20, 30, {"max.poll.interval.ms": 60_000}, 60_000),
    ],
)
def test_a_member_may_be_silent_for_as_long_as_handlers_take_and_a_session_lasts(
    handler_timeout_s: float, prepare_timeout_s: float, config: dict[str, Any], interval_ms: int
) -> None:
    """The client takes no interval that is shorter than a session or longer than a day."""
    topic = {"HANDLER": "tests.effects.handlers.one", "PREPARE_TIMEOUT_S": prepare_timeout_s}
    delivery = {"HANDLER_TIMEOUT_S": handler_timeout_s, "PREPARE_TIMEOUT_S": 1}
    stream: Any = make(NOBODY, "g", {"t": topic}, delivery=delivery, CONFIG=config)
    if config.get("session.timeout.ms", 0) is None:  # as where CONFIG says nothing
        del stream.config["session.timeout.ms"], stream.config["heartbeat.interval.ms"]
    status = Status("test")
    intake = Intake(stream, ErrorMemory(status), status, note_ends=False)
    intake.consumer.close()
    assert intake._config()["max.poll.interval.ms"] == interval_ms


@CORE_TABLES
def test_a_client_that_cannot_be_made_is_told_with_the_next_step() -> None:
    """And the life that was over at once says so in its row."""
    config = {"security.protocol": "SSL", "ssl.ca.location": "/gone/ca.pem"}
    with pytest.raises(ConfigurationError) as raised:
        run_once(make(NOBODY, "g", {"t": "one"}, CONFIG=config))
    told = public_text_of(raised.value)
    assert "the Kafka client does not take these settings. Correct CONFIG in the OPTIONS of the stream." in told
    assert "/gone/ca.pem" not in told
    assert "ssl.ca.location failed" in text_of(raised.value)
    life = StreamRun.objects.get()
    assert (life.state, life.reason, life.ended is not None) == ("down", told, True)
