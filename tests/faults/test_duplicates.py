"""A broker sends alerts again, and in any order: the TOM ends as if each had come once, in order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import Target

from tests.unit.ingest.samples import alert_of, notice, ztf_packet
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.options import IngestOptions

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

_CANDID = 3300000000000000000


def _packets(object_id: str, ra: float, first: int) -> list[dict[str, Any]]:
    """Three detections of one object; each brings those before it as its history."""
    detections = [
        {"jd": 2461000.5 + n, "fid": 1 + n % 2, "candid": _CANDID + first + n, "magpsf": 18.0 + n / 10, "sigmapsf": 0.1}
        for n in range(3)
    ]
    packets = []
    for n, detection in enumerate(detections):
        packet = ztf_packet(object_id, ra=ra, **detection)
        packet["prv_candidates"] = [{**earlier, "isdiffpos": "t"} for earlier in detections[:n]] or None
        packets.append(packet)
    return packets


#: As a broker may send them; each number is one alert.
ALERTS = [
    json.dumps(content).encode()
    for content in (
        *_packets("ZTF26aaaaaaa", 150.0, 0),
        *_packets("ZTF26bbbbbbb", 200.0, 10),
        *(
            notice(alert_datetime=f"2026-10-01T00:00:0{n}Z", ra=100.0 + n / 100, ra_dec_error=0.05 / (n + 1))
            for n in range(3)
        ),
    )
]
TOPICS = ["ztf"] * 6 + ["gcn.notices.swift.bat.guano"] * 3


def ingest(batches: Sequence[Sequence[int]]) -> Any:
    """What there is afterwards, beside what was there before this call, which is undone."""
    with transaction.atomic():
        for numbers in batches:
            alerts = [alert_of(ALERTS[number], topic=TOPICS[number]) for number in numbers]
            outcomes = ingest_targets(alerts, options=IngestOptions(create="always"))
            assert {outcome.kind for outcome in outcomes} <= {"done"}
        found = (
            sorted(Target.objects.values_list("name", "ra", "dec")),
            sorted(PhotometryReducedDatum.objects.values_list("target__name", "timestamp", "bandpass", "brightness")),
            sorted(TargetAlert.objects.values_list("target__name", "alert_id")),
        )
        transaction.set_rollback(True)
    return found


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    again=st.lists(st.sampled_from(range(len(ALERTS))), max_size=10),
    order=st.randoms(use_true_random=False),
    cuts=st.lists(st.integers(1, 5), max_size=8),
)
def test_again_and_in_any_order(again: list[int], order: Any, cuts: list[int]) -> None:
    numbers = [*range(len(ALERTS)), *again]
    order.shuffle(numbers)
    batches = []
    for size in [*cuts, len(numbers)]:
        batches.append(numbers[:size])
        numbers = numbers[size:]
    assert ingest([batch for batch in batches if batch]) == ingest([[number] for number in range(len(ALERTS))])
