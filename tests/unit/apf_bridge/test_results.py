"""Results of a step become Targets."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from tom_targets.models import BaseTarget

from apf_bridge.handlers import run_step
from apf_bridge.options import StepOptions
from apf_bridge.results import write_results
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.reports import TargetReport
from tom_alertstreams.testing import make_alert

pytestmark = pytest.mark.django_db(transaction=True)

HERE = "tests.unit.apf_bridge.test_results"


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


def placed(contents: list[Any], ids: list[str]) -> list[list[int]]:
    """Offsets of the alerts that the results with these ids went to."""
    alerts = [make_alert(content, offset=n) for n, content in enumerate(contents)]
    results = [{"oid": oid, "n": n + 1} for n, oid in enumerate(ids)]
    options = StepOptions(
        "tests.steps.steps.Corrector", {}, result_handler=f"{HERE}.report_of", rules={"CREATE": "always"}
    )
    with transaction.atomic():
        write_results(results, alerts, options)
    return [sorted(TargetAlert.objects.filter(object_id=oid).values_list("offset", flat=True)) for oid in ids]


@pytest.mark.parametrize(
    ("contents", "ids", "offsets"),
    [
        pytest.param([{"oid": "A"}, {"oid": "B"}, {"oid": "C"}], ["C", "A", "B"], [[2], [0], [1]], id="in another order"),
        pytest.param([[{"oid": "A"}, {"oid": "B"}], {"oid": "C"}], ["A", "B", "C"], [[0], [0], [1]], id="container"),
        pytest.param([[{"oid": "A"}, {"oid": "B"}], {"oid": "C"}], ["C", "A"], [[1], [0]], id="fewer of a container"),
        pytest.param([{"n": 7}, {"n": 8}], ["A", "B"], [[0], [1]], id="no alert names it"),
        pytest.param([[{"n": 7}, {"n": 8}], {"n": 9}], ["A", "B", "C"], [[0], [0], [1]], id="nor one of a container"),
    ],
)  # fmt: skip
def test_a_result_belongs_to_the_alert_that_names_its_object(
    contents: list[Any], ids: list[str], offsets: list[list[int]]
) -> None:
    assert placed(contents, ids) == offsets
