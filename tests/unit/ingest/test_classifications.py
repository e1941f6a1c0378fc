"""What classifiers said, the newest first, in a fixed number of queries."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries
from tom_targets.models import Target

from tom_alertstreams.ingest.classifications import classifications_of, features_of, histories, natural_order
from tom_alertstreams.ingest.models import Classification, TargetAlert

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
NOON = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)


@pytest.fixture
def target() -> Any:
    return Target.objects.create(name="ZTF26aaaaaaa", type="SIDEREAL", ra=150.0, dec=20.0)


def classify(
    target: Any, alert_id: str, time: datetime | None = NOON, *, classifier: str = "c", version: str = "", **row: Any
) -> None:
    """One alert of which a classifier says: SN."""
    Classification.objects.create(
        target=target,
        object_id=row.pop("object_id", "ZTF26aaaaaaa"),
        alert_id=alert_id,
        classifier=classifier,
        version=version,
        time=time,
        **{"class_name": "SN", "probability": 0.9, "ranking": 1, **row},
    )


def newest_versions(target: Any) -> list[str]:
    (history,) = histories(classifications_of(target))
    return [item.version for item in history.classified]


@pytest.mark.parametrize(
    "versions",
    [
        ["1.2.1", "1.10.0", "1.9.0"],
        ["hierarchical_rf_1.1.0", "hierarchical_rf_1.10.0", "hierarchical_rf_1.2.0"],
        ["", "1.10.0", "1.2.1"],
    ],
)
@pytest.mark.parametrize("time", [NOON, None])
def test_of_one_moment_the_highest_version_comes_first(target: Any, versions: list[str], time: Any) -> None:
    for version in versions:
        classify(target, "a", time, version=version)
    assert newest_versions(target)[0] == versions[1] or versions[0] == ""
    assert newest_versions(target) == sorted(versions, key=natural_order, reverse=True)


def test_the_latest_comes_first_whatever_its_version_and_undated_ones_last(target: Any) -> None:
    classify(target, "old", NOON - timedelta(days=1), version="2.0.0")
    classify(target, "new", NOON, version="1.0.0")
    classify(target, "undated", None, version="3.0.0")
    assert newest_versions(target) == ["1.0.0", "2.0.0", "3.0.0"]


@pytest.mark.parametrize(
    "ordered",
    [
        ["", "1.2.1", "1.2.10", "1.10.0"],
        ["stamp_rubin_beta", "stamp_rubin_beta_20250912", "stamp_rubin_beta_20251005"],
        ["1.0", "1.0²"],
    ],
)
def test_versions_are_ordered_as_people_do(ordered: list[str]) -> None:
    backwards = list(reversed(ordered))
    assert sorted(backwards, key=natural_order) == ordered


def test_classifiers_and_objects_are_kept_apart(target: Any) -> None:
    classify(target, "a", NOON - timedelta(hours=2), classifier="stamp_classifier")
    classify(target, "b", NOON - timedelta(hours=1), classifier="lc_classifier")
    classify(target, "c", NOON, classifier="lc_classifier", object_id="ZTF26bbbbbbb")
    found = [(history.classifier, history.object_id) for history in histories(classifications_of(target))]
    assert found == [
        ("lc_classifier", "ZTF26bbbbbbb"),
        ("lc_classifier", "ZTF26aaaaaaa"),
        ("stamp_classifier", "ZTF26aaaaaaa"),
    ]


def test_classes_come_by_ranking_and_those_without_one_last(target: Any) -> None:
    for name, probability, ranking in [("AGN", 0.2, 2), ("VS", None, None), ("SN", 0.8, 1)]:
        classify(target, "a", class_name=name, probability=probability, ranking=ranking)
    (history,) = histories(classifications_of(target))
    assert [(item.class_name, item.ranking) for item in history.newest.classes] == [("SN", 1), ("AGN", 2), ("VS", None)]


def test_of_many_the_newest_of_each_classifier_are_read_in_one_query(
    target: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for hour in range(30):
        classify(target, f"{hour}", NOON + timedelta(hours=hour), classifier="busy")
    classify(target, "old", NOON - timedelta(days=9), classifier="quiet")
    with django_assert_num_queries(1):
        busy, quiet = histories(classifications_of(target), per_classifier=10)
    assert (busy.shown, busy.stored, busy.newest.time) == (10, 30, NOON + timedelta(hours=29))
    assert (quiet.shown, quiet.stored) == (1, 1)
    busy, quiet = histories(classifications_of(target), in_all=5)
    assert (busy.shown, busy.stored, quiet.shown) == (4, 30, 1)


def test_those_of_some_streams(target: Any) -> None:
    for alert_id, stream in [("a", "alerce"), ("b", "hopskotch")]:
        classify(target, alert_id, classifier=stream)
        TargetAlert.objects.create(
            stream=stream, topic="t", partition=0, offset=0, alert_id=alert_id, object_id="ZTF26aaaaaaa", target=target
        )
    assert [history.classifier for history in histories(classifications_of(target, ["alerce"]))] == ["alerce"]
    assert len(histories(classifications_of(target))) == 2
    assert histories(classifications_of(target, [])) == []


def test_features_are_read_for_what_is_asked_only(
    target: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    classify(target, "a", NOON - timedelta(days=1), features={"Power_rate_1/2": 1.0})
    classify(target, "b", features={"W1-W2": 0.25})
    classify(target, "b", class_name="AGN", ranking=2)
    (history,) = histories(classifications_of(target))
    with django_assert_num_queries(1):
        assert list(features_of([history.newest]).values()) == [{"W1-W2": 0.25}]
    assert features_of([]) == {}
