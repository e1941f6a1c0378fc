"""A copy that is read before the original does not make an old classification the newest."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from tom_targets.models import Target

from alerce_stream.handlers import ingest_classifications, look_up
from alerce_stream.options import AlerceOptions
from tests.unit.alerce_stream.samples import LIGHT_CURVE, SENT, of
from tom_alertstreams.alerts import Alert
from tom_alertstreams.ingest.models import Classification, TargetAlert

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
NAME = "ZTF26aaaaaaa"
TOPIC, COPY = "lc_classifier_20261101", "lc_classifier_20261025"


def said(class_name: str, sent: datetime, topic: str = TOPIC) -> Alert:
    probabilities = {"SNIa": 0.125, "AGN": 0.125, class_name: 0.875}
    content = {"oid": NAME, "features": {}, "lc_classification": {**LIGHT_CURVE, "probabilities": probabilities}}
    return of(content, topic, sent)


FIRST, LAST = said("SNIa", SENT), said("AGN", SENT + timedelta(hours=1))
FIRST_AGAIN = said("SNIa", SENT + timedelta(hours=2), COPY)


def handle(*alerts: Alert) -> None:
    options = AlerceOptions()
    outcomes = ingest_classifications(list(alerts), look_up(list(alerts), options=options), options=options)
    assert [outcome.kind for outcome in outcomes] == ["done"] * len(alerts)


def newest() -> str:
    return str(Classification.objects.filter(ranking=1).order_by("-time")[0].class_name)


@pytest.mark.parametrize(
    "batches",
    [
        [(FIRST, LAST), (FIRST_AGAIN,)],
        [(FIRST_AGAIN,), (FIRST,), (LAST,)],
        [(FIRST_AGAIN, LAST), (FIRST,)],
        [(FIRST_AGAIN, LAST, FIRST)],
    ],
    ids=["original first", "copy first", "copy first, the last word between", "all at once"],
)
def test_the_last_word_stays_the_last(batches: list[tuple[Alert, ...]]) -> None:
    Target.objects.create(name=NAME, type="SIDEREAL", ra=150.0, dec=20.0)
    for batch in batches:
        handle(*batch)
    assert newest() == "AGN"
    assert sorted(TargetAlert.objects.values_list("time", flat=True)) == [FIRST.timestamp, LAST.timestamp]
    assert Classification.objects.count() == 4
    assert set(Classification.objects.values_list("time", flat=True)) == {FIRST.timestamp, LAST.timestamp}


def test_an_id_that_no_database_stores_costs_nobody_anything() -> None:
    Target.objects.create(name=NAME, type="SIDEREAL", ra=150.0, dec=20.0)
    probabilities = {"SN": 0.5, "AGN": 0.5}
    for candid, hours in (("1\x00", 2), ("1\x00", 1), ("2" * 300, 2), ("2" * 300, 1)):
        content = {"objectId": NAME, "candid": candid, "probabilities": probabilities}
        handle(of(content, "stamp_classifier_20261101", SENT + timedelta(hours=hours)))
    assert list(TargetAlert.objects.values_list("time", flat=True)) == [SENT + timedelta(hours=1)] * 2
