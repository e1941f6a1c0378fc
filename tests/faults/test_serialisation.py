"""PostgreSQL cannot serialise two transactions (40001), in a TOM that asks for more isolation than Django's default."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections
from psycopg import IsolationLevel

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.effects.models import OnlyOnce
from tests.marks import CORE_TABLES
from tests.streams import counts, effects, make, run_once, send
from tom_alertstreams.alerts import Alert
from tom_alertstreams.delivery.ledger import Ledger
from tom_alertstreams.models import DeadLetter, OutcomeCount

pytestmark = [
    pytest.mark.postgres,
    CORE_TABLES,
    pytest.mark.usefixtures("fresh_handlers", "repeatable_read"),
]

STYLES = ["write_then_trouble", "each", "many"]


@pytest.fixture
def repeatable_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What our transactions read is as it was at their first statement."""
    options = connections.databases[DEFAULT_DB_ALIAS]["OPTIONS"]
    monkeypatch.setitem(options, "isolation_level", IsolationLevel.REPEATABLE_READ)
    connection.close()
    yield
    connection.close()


def rival(sql: str, *parameters: object) -> None:
    """Another session commits a change."""
    settings = connection.settings_dict
    address = f"host={settings['HOST']} port={settings['PORT']} user={settings['USER']} dbname={settings['NAME']}"
    with psycopg.connect(address) as session:
        assert session.execute(sql, parameters).rowcount >= 1


@pytest.mark.parametrize(
    ("handler", "times", "spent"), [("write_then_trouble", 1, {"waiting": 1}), ("each", 2, {}), ("many", 2, {})]
)
def test_of_the_handler(
    broker: ScriptedBroker, topic: str, group_id: str, handler: str, times: int, spent: dict[str, int]
) -> None:
    """As a deadlock: an alert of a group is tried alone before that costs an attempt."""
    met = []

    def meet(alert: Alert) -> None:
        if alert.offset == 2 and len(met) < times:
            met.append(alert)
            rival(f"UPDATE {OnlyOnce._meta.db_table} SET name = name")
            OnlyOnce.objects.update(name="changed")

    OnlyOnce.objects.create(name="a row")
    broker.create_topic(topic)
    send(broker, topic, range(5))
    handlers.trouble.append(meet)
    run_once(make(broker.bootstrap_servers, group_id, {topic: handler}))
    assert len(met) == times
    assert effects(topic) == [0, 1, 2, 3, 4]
    assert not DeadLetter.objects.exists()
    assert counts() == {"done": 5, **spent}


@pytest.mark.parametrize("handler", STYLES)
def test_of_the_counts(
    broker: ScriptedBroker, topic: str, group_id: str, handler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process counts alerts of the topic at the same time, more often than there are attempts: no alert is at fault."""
    record, met = Ledger.record, []

    def record_beside_a_rival(*arguments: object) -> None:
        if handlers.calls and len(met) < 6:
            met.append(True)
            rival(f"UPDATE {OutcomeCount._meta.db_table} SET n = n + 1")
        record(*arguments)  # type: ignore[arg-type]

    broker.create_topic(topic)
    send(broker, topic, range(2))
    stream = (broker.bootstrap_servers, group_id, {topic: handler})
    run_once(make(*stream))
    handlers.calls.clear()
    send(broker, topic, range(2, 5))
    monkeypatch.setattr(Ledger, "record", record_beside_a_rival)
    run_once(make(*stream))
    assert len(met) == 6
    assert effects(topic) == [0, 1, 2, 3, 4]
    assert not DeadLetter.objects.exists()
    assert counts() == {"done": 5 + 6}
