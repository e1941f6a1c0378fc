"""How often the Kafka client is heard."""

from __future__ import annotations

import logging

import pytest

from tom_alertstreams.delivery import broker_errors
from tom_alertstreams.delivery.broker_errors import ClientLog
from tom_alertstreams.redaction import remember_secrets

_FORM = "%s [%s] %s"
_REFUSED = (
    "[thrd:10.0.0.%d:9092/%d]: Connect to ipv4#10.0.0.%d:9092 failed: Connection refused (after %dms in state CONNECT)"
)


class Clock:
    """Seconds, as a test says."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(broker_errors, "time", clock)
    return clock


def refuse(log: ClientLog, number: int) -> None:
    log.log(logging.ERROR, _FORM, "FAIL", "rdkafka#consumer-1", _REFUSED % (number, number, number, number))


def test_a_broker_that_is_away_is_one_line_an_hour(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    log = ClientLog("ztf")
    for second in range(3600):
        clock.now = float(second)
        refuse(log, second)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("ztf: FAIL [rdkafka#consumer-1] [thrd:10.0.0.0:9092/0]")
    clock.now = 3600.0
    refuse(log, 1)
    assert len(caplog.messages) == 2


def test_other_lines_and_other_streams_are_heard(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    log = ClientLog("ztf")
    refuse(log, 1)
    log.log(logging.WARNING, _FORM, "SESSTMOUT", "rdkafka#consumer-1", "timed out after 1500 ms")
    refuse(ClientLog("gcn"), 1)
    assert [message.split()[:2] for message in caplog.messages] == [
        ["ztf:", "FAIL"],
        ["ztf:", "SESSTMOUT"],
        ["gcn:", "FAIL"],
    ]


def test_debug_lines_are_all_passed_on(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    log = ClientLog("ztf")
    for _ in range(3):
        log.log(logging.DEBUG, _FORM, "FETCH", "rdkafka#consumer-1", "fetch 500 bytes")
    assert len(caplog.messages) == 3


def test_what_is_remembered_is_bounded(clock: Clock) -> None:
    log = ClientLog("ztf")
    for number in range(500):
        log.log(logging.WARNING, _FORM, "PARTCNT", "rdkafka#consumer-1", f"topic {'x' * number}")
    assert len(log._told) <= 200


def test_secrets_are_blanked(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    remember_secrets({"PASSWORD": "only-we-know-this"})
    ClientLog("ztf").log(logging.ERROR, _FORM, "CONFWARN", "rdkafka#consumer-1", "password only-we-know-this is odd")
    assert "only-we-know-this" not in caplog.text
