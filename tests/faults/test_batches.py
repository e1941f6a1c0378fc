"""Trouble in the middle of a batch that is being halved to find the alert at fault."""

from __future__ import annotations

import pytest

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.marks import CORE_TABLES
from tests.streams import counts, effects, make, publish, run_once
from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import LookUpUnavailable

pytestmark = [CORE_TABLES, pytest.mark.usefixtures("fresh_handlers")]


def test_what_is_not_finished_is_not_passed_over(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    """A service is away for the second quarter of the batch, and back for the second half."""
    away: list[int] = []

    def do(alert: Alert) -> None:
        if alert.offset in (0, 6):
            raise ValueError("bad alert")
        if alert.offset == 3 and not away:
            away.append(alert.offset)
            raise LookUpUnavailable

    publish(broker, topic, 8)
    handlers.trouble.append(do)
    run_once(make(broker.bootstrap_servers, group_id, {topic: "many"}))
    assert away
    assert effects(topic) == [1, 2, 3, 4, 5, 7]
    assert counts() == {"done": 6, "waiting": 4, "dead": 2}
