"""``seekstream``: what it takes, what it prints, what it refuses. What it does is in tests/contract/test_seek.py."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from tests.brokers import ScriptedBroker
from tests.marks import CORE_TABLES
from tests.streams import entry, next_offset
from tom_alertstreams.alertstreams.kafka import KafkaAlertStream
from tom_alertstreams.delivery import seek
from tom_alertstreams.models import StreamPartition, StreamRun

pytestmark = CORE_TABLES


class Own(KafkaAlertStream):
    """Reads by a listen() of its own."""

    def listen(self) -> None: ...


@pytest.fixture(autouse=True)
def configured(broker: ScriptedBroker, topic: str, group_id: str) -> Iterator[None]:
    broker.create_topic(topic, 3)
    for n in range(12):
        broker.produce(topic, b"{}", partition=n % 2)
    broker.flush()
    streams = [entry(broker.bootstrap_servers, group_id, {topic: "one"}, label="ztf")]
    streams.append({**entry("127.0.0.1:1", "other", {"t": "one"}, label="own"), "NAME": f"{__name__}.Own"})
    with override_settings(ALERT_STREAMS=streams):
        yield


def run(*arguments: Any) -> list[str]:
    out = io.StringIO()
    call_command("seekstream", *map(str, arguments), stdout=out, stderr=out)
    return out.getvalue().splitlines()


def test_what_it_prints(topic: str, group_id: str) -> None:
    run("ztf", "--to", "latest", "--topic", topic, "--partition", 0)
    run("ztf", "--to", 2, "--topic", topic, "--partition", 1)
    assert run("ztf", "--to", "earliest", "--dry-run") == [
        f"ztf, group {group_id}:",
        f"  {topic}[0]: 6 → 0 (up to 6 alerts are read again)",
        f"  {topic}[1]: 2 → 0 (up to 2 alerts are read again)",
        f"  {topic}[2]: not read yet → 0",
        "Alerts that are read again are handled again. The ready-made handlers add nothing twice; whether one of your own "
        "does is in its code.",
        "Nothing was changed.",
    ]
    assert next_offset(group_id, topic) == 6
    assert run("ztf", "--to", "2126-01-01T00:00Z")[1:] == [
        f"  {topic}[0]: 6, as it is",
        f"  {topic}[1]: 2 → 6 (up to 4 alerts are passed over)",
        f"  {topic}[2]: not read yet → 0",
        "Alerts that are passed over are not handled, unless you seek back.",
        "Set. Start readstreams.",
    ]
    assert next_offset(group_id, topic, 1) == 6


def test_refused_while_it_runs(group_id: str) -> None:
    StreamRun.objects.create(stream="ztf", group_id=group_id, host="observatory", pid=4711)
    with pytest.raises(CommandError, match=r"ztf is running on observatory, process 4711.*Stop readstreams there"):
        run("ztf", "--to", "earliest")
    assert not StreamPartition.objects.exists()
    assert "Nothing was changed." in run("ztf", "--to", "earliest", "--dry-run")


def test_an_offset_needs_a_topic(topic: str) -> None:
    with pytest.raises(CommandError, match="--topic"):
        run("ztf", "--to", 3)
    with pytest.raises(CommandError, match="--partition"):
        run("ztf", "--to", 3, "--topic", topic)


@pytest.mark.parametrize("to", ["yesterday", "-3", "2026-11-31", "EARLIEST ", ""])
def test_neither_a_time_nor_an_offset(to: str) -> None:
    with pytest.raises(CommandError, match="2026-11-22T03:12"):
        run("ztf", f"--to={to}")


@pytest.mark.parametrize(
    "to", ["2026-11-22T03:12", "2026-11-22 03:12:00", "2026-11-22T03:12Z", "2026-11-22T00:12-03:00"]
)
def test_times_are_in_utc(to: str, monkeypatch: pytest.MonkeyPatch, topic: str) -> None:
    asked: list[float] = []

    def at(consumer: Any, partitions: Any, moment: Any) -> Any:
        asked.append(moment.timestamp())
        return dict.fromkeys(partitions, 0)

    monkeypatch.setattr(seek, "_at", at)
    run("ztf", "--to", to, "--dry-run")
    assert asked == [1795317120.0]


def test_streams_that_cannot_be_set() -> None:
    with pytest.raises(CommandError, match=r"no active stream tzf in ALERT_STREAMS\. There is ztf, own\."):
        run("tzf", "--to", "earliest")
    with pytest.raises(CommandError, match="own: it reads by a listen"):
        run("own", "--to", "earliest")
