"""What Prometheus is told, and that the table of the names is right."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
import yaml
from django.utils import timezone
from prometheus_client import CollectorRegistry

from tests.acceptance.documents import DOCS
from tom_alertstreams.alerts import Alert
from tom_alertstreams.delivery.ledger import OTHER_CODES, Tally
from tom_alertstreams.delivery.measures import Histogram
from tom_alertstreams.delivery.runs import State, Status
from tom_alertstreams.metrics import StreamCollector, metrics_server

DOCUMENT = DOCS / "reference" / "metrics.md"


def alert(age_s: float | None) -> Alert:
    sent = None if age_s is None else timezone.now() - timedelta(seconds=age_s)
    return Alert("ztf", "t", 0, 0, None, (), sent, b"")


@pytest.fixture
def status() -> Status:
    """A stream of which everything is known."""
    status = Status(
        "ztf", state=State.RUNNING, lags={("t", 0): 5, ("t", 1): 0}, beat_at=0.0, moved_at=0.0, fuse_blown=True
    )
    status.tally.update({"received": 9, "done": 4, "rejected": 3, "dead": 2, "waiting": 6})
    status.tally.note_codes(Counter({"limit": 2, "sky": 1}))
    status.measures.called(0.2)
    status.measures.called(0.3)
    status.measures.committed("my.handler", 0.6, [alert(2), alert(9000), alert(50)])
    return status


def value(status: Status, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(StreamCollector([status, Status("idle")]))
    return registry.get_sample_value(name, {"stream": "ztf", **labels})


def test_what_is_told(status: Status) -> None:
    assert value(status, "alertstreams_received_total") == 9
    assert value(status, "alertstreams_done_total") == 4
    assert value(status, "alertstreams_rejected_total", code="limit") == 2
    assert value(status, "alertstreams_dead_total") == 2
    assert value(status, "alertstreams_retries_total") == 6
    assert value(status, "alertstreams_lag", topic="t", partition="0") == 5
    assert value(status, "alertstreams_state", state="running") == 1
    assert value(status, "alertstreams_state", state="fuse") == 0
    assert value(status, "alertstreams_fuse_blown") == 1
    assert (value(status, "alertstreams_heartbeat_age_seconds") or 0) > 1
    assert (value(status, "alertstreams_turn_age_seconds") or 0) > 1


def test_a_stuck_stream_is_in_no_other_state(status: Status) -> None:
    status.stuck = "has not moved for 602 s"
    assert value(status, "alertstreams_state", state="stuck") == 1
    assert value(status, "alertstreams_state", state="running") == 0


def test_a_transaction_is_one_value_however_many_calls(status: Status) -> None:
    labels = {"handler": "my.handler"}
    assert value(status, "alertstreams_handler_seconds_count", **labels) == 1
    assert value(status, "alertstreams_handler_seconds_sum", **labels) == 0.5
    assert value(status, "alertstreams_handler_seconds_bucket", **labels, le="0.3") == 0
    assert value(status, "alertstreams_handler_seconds_bucket", **labels, le="1.0") == 1
    assert value(status, "alertstreams_batch_seconds_sum") == 0.6


def test_the_first_and_the_last_alert_tell_the_age(status: Status) -> None:
    assert value(status, "alertstreams_alert_age_seconds_count") == 2
    assert value(status, "alertstreams_alert_age_seconds_sum") == pytest.approx(52, abs=2)
    status.measures.committed("my.handler", 0.1, [alert(-5)])  # sent by a clock that is fast
    assert value(status, "alertstreams_alert_age_seconds_sum") == pytest.approx(52, abs=2)
    status.measures.committed("my.handler", 0.1, [alert(None)])
    assert value(status, "alertstreams_alert_age_seconds_count") == 3


def test_bounds_include_their_value() -> None:
    histogram = Histogram((1.0, 2.0))
    for seconds in (1.0, 1.5, 2.0, 9.0):
        histogram.note(seconds)
    assert histogram.counts == [1, 2, 1]


def test_codes_are_bounded() -> None:
    tally = Tally()
    for number in range(150):
        tally.note_codes(Counter({str(number): 2}))
    assert len(tally.codes) == 101
    assert tally.codes[OTHER_CODES] == 100


def test_names_types_and_labels_are_documented(status: Status) -> None:
    rows = re.findall(r"^\| `(alertstreams_\w+)` \| (\w+) \| ([^|]+) \|", DOCUMENT.read_text(), re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    found: dict[str, Any] = {}
    for family in StreamCollector([status]).collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, labels)
    assert documented == found


def test_states_and_rules_are_documented() -> None:
    text = DOCUMENT.read_text()
    row = next(line for line in text.splitlines() if "`alertstreams_state`" in line)
    assert set(re.findall(r"`(\w+)`", row.rpartition("|")[0].rpartition("|")[2])) == set(State.values)
    [block] = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    [group] = yaml.safe_load(block)["groups"]
    names = {name for rule in group["rules"] for name in re.findall(r"alertstreams_\w+", rule["expr"])}
    assert names <= set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))


def test_the_server_ends_with_the_block(status: Status) -> None:
    with metrics_server([status], 0, "127.0.0.1") as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        with pytest.raises(OSError, match="in use"), metrics_server([status], port, "127.0.0.1"):
            pass
    assert 'alertstreams_lag{partition="0",stream="ztf",topic="t"} 5.0' in text
    assert "process_resident_memory_bytes" in text
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10)
