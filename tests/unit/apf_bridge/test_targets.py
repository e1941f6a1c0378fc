"""Results of a step become Targets."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from tom_targets.models import BaseTarget

from apf_bridge.handlers import run_step
from apf_bridge.options import StepOptions
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.reports import TargetReport
from tom_alertstreams.testing import make_alert

pytestmark = pytest.mark.django_db(transaction=True)

HERE = "tests.unit.apf_bridge.test_targets"


def report_of(result: dict[str, Any]) -> TargetReport | None:
    """A RESULT_HANDLER."""
    return TargetReport(result["oid"], kind="survey", ra=10.0 * result["n"], dec=-5.0) if result["n"] else None


@pytest.mark.parametrize(
    "options",
    [
        {"result_handler": f"{HERE}.report_of", "rules": {"CREATE": "always"}},
        {"fields": {"object_id": "oid", "ra": "n", "dec": "probability"}, "rules": {"CREATE": "always"}},
    ],
    ids=["RESULT_HANDLER", "FIELDS"],
)
def test_results_become_targets(options: dict[str, Any]) -> None:
    alerts = [make_alert({"oid": f"ZTF{n}", "n": n}, offset=n) for n in range(3)]
    with transaction.atomic():
        outcomes = run_step(
            alerts, options=StepOptions("tests.steps.steps.Corrector", {"CONSUMER_CONFIG": {"x": 1}}, **options)
        )
    assert [outcome.kind for outcome in outcomes] == ["done"] * 3
    expected = {"ZTF0", "ZTF1", "ZTF2"} if "fields" in options else {"ZTF1", "ZTF2"}
    assert set(BaseTarget.objects.values_list("name", flat=True)) == expected
    assert TargetAlert.objects.get(object_id="ZTF2").offset == 2
