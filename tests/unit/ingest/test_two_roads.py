"""What statements that take columns write to PostgreSQL is what is written row by row elsewhere."""

from __future__ import annotations

import random
from typing import Any

import pytest
from django.db import transaction
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import BaseTarget, TargetExtra, TargetList, TargetName

from tests.unit.ingest.samples import json_alert, lsst_packet, lsst_source, notice, ztf_packet
from tom_alertstreams.alerts import Alert
from tom_alertstreams.ingest import bulk, photometry, positions, targets, writer
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import Classification, TargetAlert, TargetPosition
from tom_alertstreams.ingest.options import IngestOptions

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

#: Names of rows are the same on both roads, their numbers and the moment of writing are not.
_PASSING = {"id", "created", "modified", "target", "target_id", "second_candidate", "second_candidate_id"}


def alerts(count: int, seed: int) -> list[Alert]:
    """Of one object for five alerts: new, known, close together, with histories that overlap; asteroids, and notices."""
    dice = random.Random(seed)
    made = []
    for n in range(count):
        number = dice.randrange(count // 5)
        place = number % (count // 6)  # some have two names
        ra, dec = (place * 7.3) % 360, (place * 1.7) % 178 - 89
        history = [
            {"jd": 2460000.5 + day, "fid": 1 + day % 3, "magpsf": 17.5 + day / 8, "sigmapsf": 0.1, "isdiffpos": "tf"[day % 2],
             "diffmaglim": 20.0} for day in range(dice.randrange(4))
        ]  # fmt: skip
        packet = ztf_packet(f"ZTF{number}", n + 1, ra=ra, dec=dec + dice.uniform(0, 2) / 3600, jd=2460100.5 + n / 7)
        made.append(json_alert(packet | {"prv_candidates": history}))
        if n % 100 == 7:
            orbit = {"designation": f"2026 A{n}", "a": 2.7, "q": 1.9, "e": 0.3, "i": 7.5, "node": 205.0, "argperi": 103.0,
                     "peri_time": 61733.1, "mean_anomaly": 202.0, "epoch_mjd": 61000.0}  # fmt: skip
            source = lsst_source(diaSourceId=10**9 + n, ssObjectId=n, diaObjectId=None)
            made.append(
                json_alert(lsst_packet(diaSourceId=10**9 + n, diaSource=source, diaObject=None, mpc_orbits=orbit))
            )
        if n % 50 == 0:
            made.append(json_alert(notice(id=[str(n)], ra=float(n % 360), classification={"BNS": 0.5, "NSBH": 0.25})))
    return made


def tables() -> dict[str, list[Any]]:
    """All that was written, with the names of Targets in place of their numbers."""
    found: dict[str, list[Any]] = {}
    for model in (
        BaseTarget,
        TargetName,
        TargetExtra,
        PhotometryReducedDatum,
        TargetAlert,
        Classification,
        TargetPosition,
    ):
        rows = []
        for row in model._default_manager.select_related():
            values = {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields if f.name not in _PASSING}
            values["of"] = row.name if model is BaseTarget else row.target and row.target.name
            rows.append(sorted(values.items()))
        found[model.__name__] = sorted(rows, key=repr)
    found["members"] = sorted(TargetList.objects.values_list("name", "targets__name"))
    return found


@pytest.mark.timeout(300)
def test_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    options = IngestOptions(create="always", target_list="All", max_new_per_day=10**6)
    sent = alerts(4000, seed=11)
    written = []
    for columns in (True, False):
        for module in (bulk, photometry, positions, targets, writer):
            monkeypatch.setattr(module, "on_postgresql", lambda columns=columns: columns)
        with transaction.atomic():
            for start in range(0, len(sent), 500):
                ingest_targets([alert.fresh() for alert in sent[start : start + 1000]], options=options)
            written.append(tables())
            transaction.set_rollback(True)
    by_columns, by_rows = written
    assert {name: len(rows) for name, rows in by_columns.items()} == {name: len(rows) for name, rows in by_rows.items()}
    # Row by row: where pytest shows all that differs between two long texts, as it does on CI, it takes hours.
    for name, rows in by_columns.items():
        different = [pair for pair in zip(rows, by_rows[name], strict=True) if pair[0] != pair[1]]
        assert not different[:3], f"{name}: {len(different)} of {len(rows)} rows differ, by columns and by rows"
    assert len(by_columns["TargetAlert"]) == len(sent)
    assert all(by_columns.values())
    assert BaseTarget.objects.count() == 0
