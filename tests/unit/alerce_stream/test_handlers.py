"""Classifications of known Targets are stored; rules decide what becomes a Target."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import stamina
from django.utils import timezone
from tom_targets.models import Target, TargetName

from alerce_stream.handlers import GIVE_UP_AFTER_S, ingest_classifications, look_up
from alerce_stream.options import AlerceOptions
from alerce_stream.resolver import Position
from alerce_stream.testing import StubApi
from tests.unit.alerce_stream.samples import FEATURES, LIGHT_CURVE, STAMP, of
from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.exceptions import LookUpUnavailable
from tom_alertstreams.ingest.classifications import classifications_of, histories
from tom_alertstreams.ingest.detaching import CannotDetach, detach
from tom_alertstreams.ingest.models import Classification, TargetAlert

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]
NAME = "ZTF26aaaaaaa"


@pytest.fixture
def api() -> Iterator[StubApi]:
    with stamina.set_testing(True), StubApi({NAME: Position(150.0, 20.0)}) as running:
        yield running


def stamp(name: str = NAME, candid: int = 1, **probabilities: float) -> Alert:
    return of({"objectId": name, "candid": candid, "probabilities": probabilities or STAMP}, offset=candid)


def handle(alerts: list[Alert], api: StubApi, **options: Any) -> list[Outcome]:
    chosen = AlerceOptions(api_url=api.url, **options)
    return ingest_classifications(alerts, look_up(alerts, options=chosen), options=chosen)


def kinds(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    return [(outcome.kind, outcome.code) for outcome in outcomes]


def test_a_selected_object_becomes_a_target_where_the_api_says(api: StubApi) -> None:
    curve = of({"oid": NAME, "features": FEATURES, "lc_classification": LIGHT_CURVE}, "lc_classifier_20261101")
    assert kinds(handle([curve], api, classes=["SNIa"], min_probability=0.7)) == [("done", "")]
    target = Target.objects.get()
    assert (target.name, target.ra, target.dec) == (NAME, 150.0, 20.0)
    best = Classification.objects.get(class_name="SNIa")
    assert (best.target_id, best.classifier, best.probability, best.ranking) == (target.pk, "lc_classifier", 0.75, 1)
    assert (
        Classification.objects.filter(**{"features__W1-W2__lt": 0.3}, features__has_key="Power_rate_1/2").get() == best
    )
    assert TargetAlert.objects.get().summary == "lc_classifier: SNIa 0.75"


@pytest.mark.parametrize("name", ["ZTF\x00", "ZTF\ud800", "Z" * 101])
def test_a_name_that_no_target_can_have_costs_its_own_alert_only(name: str, api: StubApi) -> None:
    assert kinds(handle([stamp(name), stamp(candid=2)], api, create="always")) == [("failed", ""), ("done", "")]
    assert Target.objects.get().name == NAME


def test_redelivery_adds_no_row(api: StubApi) -> None:
    for alert in (stamp(), stamp(), stamp()):
        assert kinds(handle([alert, alert.fresh()], api, classes=["SN"])) == [("done", ""), ("done", "")]
    assert (Target.objects.count(), TargetAlert.objects.count(), Classification.objects.count()) == (1, 1, 5)


def test_what_a_new_version_of_a_classifier_says_of_the_same_alert_is_kept_too(api: StubApi) -> None:
    said = {"1.9.0": 0.9, "1.10.0": 0.2}
    target = Target.objects.create(name=NAME, type="SIDEREAL", ra=150.0, dec=20.0)
    for version, share in (*said.items(), *said.items()):  # and each once more, which adds nothing
        record = {"oid": NAME, "candid": 7, "classifier_name": "lc_classifier", "classifier_version": version}
        alert = of({**record, "probabilities": {"SNIa": share, "AGN": 1 - share}})
        assert kinds(handle([alert], api)) == [("done", "")]
    stored = Classification.objects.filter(class_name="SNIa").values_list("version", "probability")
    assert dict(stored) == said
    assert (stored.count(), TargetAlert.objects.count()) == (2, 2)
    (history,) = histories(classifications_of(target))
    assert [item.version for item in history.classified] == ["1.10.0", "1.9.0"]


def test_a_packet_of_the_survey_with_the_same_id_does_not_hide_the_classification(api: StubApi) -> None:
    target = Target.objects.create(name=NAME, type="SIDEREAL", ra=150.0, dec=20.0)
    TargetAlert.objects.create(
        stream="ztf", topic="ztf", partition=0, offset=0, alert_id="1", object_id=NAME, target=target
    )
    handle([stamp(candid=1)], api)
    assert Classification.objects.count() == 5


def test_without_rules_known_targets_are_updated_and_nothing_is_created_or_asked(api: StubApi) -> None:
    target = Target.objects.create(name="SN 2026abc", type="SIDEREAL", ra=10.0, dec=20.0)
    TargetName.objects.create(target=target, name=NAME)
    outcomes = handle([stamp(), stamp("ZTF26bbbbbbb", candid=2)], api)
    assert kinds(outcomes) == [("done", ""), ("rejected", "no_rule")]
    assert outcomes[1].object_id == "ZTF26bbbbbbb"
    assert Target.objects.get() == target
    assert set(Classification.objects.values_list("target", flat=True)) == {target.pk}
    assert api.requests == []


def test_a_target_that_somebody_has_renamed_gets_its_classifications(api: StubApi) -> None:
    target = Target.objects.create(name=NAME, type="SIDEREAL", ra=150.0, dec=20.0)
    handle([stamp()], api)
    Target.objects.update(name="SN 2026abc")
    assert kinds(handle([stamp(candid=2)], api, classes=["SN"])) == [("done", "")]
    TargetName.objects.all().delete()
    assert kinds(handle([stamp(candid=3)], api, create="never")) == [("done", "")]
    assert Target.objects.get() == target
    assert (Classification.objects.filter(target=target).count(), api.requests) == (15, [])


@pytest.mark.parametrize("name", ["asteroid", "bogus", "satellite"])
def test_unwanted_classes_create_only_where_they_are_named(api: StubApi, name: str) -> None:
    alert = stamp(**{name: 0.9, "SN": 0.1})
    assert kinds(handle([alert], api, min_probability=0.5)) == [("rejected", "class")]
    assert api.requests == []
    assert kinds(handle([alert], api, classes=[name])) == [("done", "")]
    assert Target.objects.count() == 1


def test_rules_that_need_no_position_come_before_the_look_up(api: StubApi) -> None:
    alerts = [
        stamp("ZTF26lowprob", 1, SN=0.6, AGN=0.4),
        stamp("ZTF26agn0000", 2, SN=0.1, AGN=0.9),
        stamp(NAME, 3, SN=0.95, AGN=0.05),
    ]
    outcomes = handle(alerts, api, classes=["SN"], min_probability=0.9)
    assert kinds(outcomes) == [("rejected", "probability"), ("rejected", "class"), ("done", "")]
    assert api.requests == [[NAME]]
    rules = [{"field": "probabilities.AGN", "op": "<", "value": 0.2}]
    assert kinds(handle(alerts[1:2], api, filters=rules)) == [("rejected", "filter")]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"min_probability": {"SN": 0.95, "VS": 0.9}}, "probability"),
        ({"min_probability": {"AGN": 0.1}}, "class"),
        ({"classifiers": ["lc_classifier*"], "classes": ["SN"]}, "class"),
        ({"min_probability": 0.91, "sky": {"dec": [0, 30]}, "max_age_days": 5}, "probability"),
    ],
)
def test_what_classes_refuse_costs_no_call(api: StubApi, options: dict[str, Any], code: str) -> None:
    assert kinds(handle([stamp()], api, **options)) == [("rejected", code)]
    assert api.requests == []


def test_only_survivors_cost_a_call_and_sky_and_age_are_judged_by_its_answer(api: StubApi) -> None:
    sent_mjd = 61345.5  # SENT
    api.positions = {
        "ZTF26here000": Position(150.0, 20.0, sent_mjd - 3),
        "ZTF26south00": Position(150.0, -20.0, sent_mjd - 3),
        "ZTF26old0000": Position(150.0, 21.0, sent_mjd - 300),
        "ZTF26ageless": Position(150.0, 22.0),
    }
    names = [*api.positions, "ZTF26agn0000"]
    alerts = [stamp(name, n) for n, name in enumerate(names[:-1], start=1)]
    alerts.append(stamp(names[-1], 9, AGN=0.9, SN=0.1))
    outcomes = handle(alerts, api, classes=["SN"], sky={"dec": [0, 30]}, max_age_days=10)
    assert kinds(outcomes) == [
        ("done", ""),
        ("rejected", "sky"),
        ("rejected", "age"),
        ("done", ""),
        ("rejected", "class"),
    ]
    assert api.requests == [sorted(names[:-1])]
    assert outcomes[1].reason == "its declination is -20 degrees, and SKY asks for 0 to 30"
    assert "300.0 days before this alert" in outcomes[2].reason
    assert set(Target.objects.values_list("name", flat=True)) == {"ZTF26here000", "ZTF26ageless"}


def test_a_known_target_costs_no_call_for_sky_and_age(api: StubApi) -> None:
    target = Target.objects.create(name=NAME, type="SIDEREAL", ra=10.0, dec=-20.0)
    rules: dict[str, Any] = {"sky": {"dec": [0, 30]}, "max_age_days": 10}
    assert kinds(handle([stamp()], api, **rules)) == [("done", "")]
    assert kinds(handle([stamp(candid=2)], api, follow_known=False, **rules)) == [("rejected", "sky")]
    assert api.requests == []
    assert Classification.objects.filter(target=target).count() == 5


def test_classifications_of_other_classifiers_are_stored_on_known_targets(api: StubApi) -> None:
    curve = of(
        {"oid": NAME, "features": FEATURES, "lc_classification": LIGHT_CURVE}, "lc_classifier_20261101", offset=9
    )
    assert kinds(handle([curve, stamp()], api, classifiers=["stamp_*"])) == [("rejected", "class"), ("done", "")]
    assert kinds(handle([curve], api, classifiers=["stamp_*"])) == [("done", "")]
    found = set(Classification.objects.values_list("classifier", flat=True))
    assert found == {"lc_classifier", "stamp_classifier"}


def test_a_dated_variant_of_a_classifier(api: StubApi) -> None:
    content = {
        "oid": NAME,
        "candid": 1,
        "probabilities": STAMP,
        "classifier_name": "stamp_classifier_rubin_beta_20260301",
    }
    rubin = of(content)
    assert kinds(handle([rubin], api, classifiers=["stamp_classifier_rubin_beta"])) == [("rejected", "class")]
    assert kinds(handle([rubin], api, classifiers=["stamp_classifier_rubin_beta_*"])) == [("done", "")]


def test_each_class_has_its_list(api: StubApi) -> None:
    api.positions["ZTF26bbbbbbb"] = Position(10.0, 20.0)
    lists = {"SN": "Supernovae", "*": "Others"}
    handle([stamp(), stamp("ZTF26bbbbbbb", 2, AGN=0.9, SN=0.1)], api, min_probability=0.5, target_list=lists)
    members = {t.name: [group.name for group in t.targetlist_set.all()] for t in Target.objects.all()}
    assert members == {NAME: ["Supernovae"], "ZTF26bbbbbbb": ["Others"]}


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ({"SN": 0.9, "AGN": 0.9}, ("rejected", "class")),  # more than 1; of two alike the first in the alphabet
        ({"SN": 0.3, "AGN": 0.1}, ("rejected", "probability")),  # less than 1: the numbers count as they are
        ({"SN": 0.7, "AGN": float("nan")}, ("done", "")),
        ({"SN": float("nan"), "AGN": 0.2}, ("rejected", "class")),
        ({"SN": float("nan"), "AGN": None}, ("rejected", "probability")),
        ({"SN": 0.1, "Kilonova": 0.9}, ("rejected", "class")),
        ({}, ("rejected", "probability")),
        ({"SN": 1.5}, ("failed", "")),
        ({"SN": float("inf")}, ("failed", "")),
    ],
)
def test_probabilities_that_cannot_be(api: StubApi, probabilities: Any, expected: tuple[str, str]) -> None:
    alert = of({"oid": NAME, "candid": 1, "probabilities": probabilities})
    assert kinds(handle([alert], api, min_probability={"SN": 0.6})) == [expected]
    assert Target.objects.count() == (expected == ("done", ""))


def test_an_object_refused_later_in_the_batch_still_updates_the_new_target(api: StubApi) -> None:
    alerts = [stamp(NAME, 1), stamp(NAME, 2, SN=0.2, satellite=0.8)]
    assert kinds(handle(alerts, api, classes=["SN"])) == [("done", ""), ("done", "")]
    assert TargetAlert.objects.count() == 2
    assert kinds(handle([stamp("ZTF26bbbbbbb", 3, SN=0.2, AGN=0.8)], api, classes=["SN"])) == [("rejected", "class")]


def test_a_known_target_needs_no_look_up_and_goes_on_the_list_that_rules_ask_for(api: StubApi) -> None:
    target = Target.objects.create(name=NAME, type="SIDEREAL", ra=10.0, dec=20.0)
    outcomes = handle([stamp()], api, classes=["SN"], follow_known=False, target_list="Supernovae")
    assert kinds(outcomes) == [("done", "")]
    assert api.requests == []
    assert [group.name for group in target.targetlist_set.all()] == ["Supernovae"]


def test_a_ztf_object_is_asked_for_by_its_name_where_the_message_has_its_number(api: StubApi) -> None:
    api.positions["ZTF17yegsjgj"] = Position(10.0, -20.0)
    record = {"oid": 36028941024305561, "measurement_id": 5, "sid": 0, "probabilities": STAMP}
    assert kinds(handle([of(record)], api, classes=["SN"])) == [("done", "")]
    assert api.requests == [["ZTF17yegsjgj"]]
    # And one with the name is of the same Target.
    assert kinds(handle([stamp("ZTF17yegsjgj", candid=6)], api)) == [("done", "")]
    assert Target.objects.get().name == "ZTF17yegsjgj"
    assert Classification.objects.count() == 10


def test_a_moving_target_is_not_waited_for(api: StubApi) -> None:
    Target.objects.create(name=NAME, type="NON_SIDEREAL", scheme="MPC_MINOR_PLANET")
    assert kinds(handle([stamp()], api, classes=["SN"])) == [("done", "")]
    assert kinds(handle([stamp(candid=2)], api, classes=["SN"], follow_known=False)) == [("rejected", "no_position")]


@pytest.mark.parametrize(
    ("age_s", "delay_s"), [(None, 600), (0, 600), (1200, 1200), (10_000, 10_000), (90_000, 21_600)]
)
def test_an_object_that_the_api_does_not_know_waits_longer_and_longer(
    api: StubApi, age_s: float | None, delay_s: float
) -> None:
    sent = None if age_s is None else timezone.now() - timedelta(seconds=age_s)
    alert = of({"objectId": "ZTF26zzzzzzz", "candid": 1, "probabilities": STAMP}, sent=sent)
    outcome = handle([alert], api, classes=["SN"])[0]
    assert outcome.kind == "retry"
    assert outcome.delay_s == pytest.approx(delay_s, rel=0.05)
    assert outcome.give_up_after_s == GIVE_UP_AFTER_S == 48 * 3600
    assert "ZTF26zzzzzzz" in outcome.code
    assert not TargetAlert.objects.exists()


def test_an_api_that_is_down_spends_no_attempt(api: StubApi) -> None:
    api.fail(503)
    with pytest.raises(LookUpUnavailable):
        handle([stamp()], api, classes=["SN"])
    # Nobody is asked about known Targets, so they are updated meanwhile.
    Target.objects.create(name=NAME, type="SIDEREAL", ra=10.0, dec=20.0)
    assert kinds(handle([stamp()], api, classes=["SN"])) == [("done", "")]


def test_many_alerts_of_many_unknown_objects_cost_a_call_for_each_hundred_objects(api: StubApi) -> None:
    names = [f"ZTF26b{number:06d}" for number in range(1000)]
    api.positions = dict.fromkeys(names[::2], Position(150.0, 20.0))
    alerts = [stamp(name, candid) for candid, name in enumerate(names * 2, start=1)]
    found = look_up(alerts, options=AlerceOptions(api_url=api.url, rate=100, classes=["SN"]))
    placed = {
        report.object_id: (report.ra, report.dec)
        for report in (e.report for e in found.judged.entries)
        if report.has_position
    }
    assert placed == dict.fromkeys(names[::2], (150.0, 20.0))
    assert len(api.requests) == 10


def test_a_position_in_the_alert_counts_and_not_the_apis(api: StubApi) -> None:
    content = {"oid": NAME, "candid": 1, "probabilities": STAMP, "ra": 10.0, "dec": -30.0}
    assert kinds(handle([of(content)], api, classes=["SN"])) == [("done", "")]
    target = Target.objects.get()
    assert (target.ra, target.dec) == (10.0, -30.0)
    assert api.requests == []


def test_a_bad_message_fails_alone(api: StubApi) -> None:
    alerts = [
        of({"oid": NAME, "probabilities": {"SN": 7}}), stamp(candid=2), of({"oid": NAME, "error": "no features"}),
        stamp("x" * 101, candid=3), of({"oid": NAME, "probabilities": {}}),
    ]  # fmt: skip
    outcomes = handle(alerts, api, classes=["SN"])
    expected = [("failed", ""), ("done", ""), ("rejected", "unsupported"), ("failed", ""), ("rejected", "probability")]
    assert kinds(outcomes) == expected
    assert "between 0 and 1" in str(outcomes[0].error)


def test_rubin_objects_need_no_look_up(api: StubApi) -> None:
    content = {
        "diaObjectId": 313853499177140359, "ssObjectId": 0, "diaSourceId": 5, "ra": 40.0, "dec": -30.0,
        "midpointMjdTai": 61000.5, "probabilities": {"SN": 0.9, "VS": 0.1},
    }  # fmt: skip
    assert kinds(handle([of(content, "rubin_stamp_classifier")], api, classes=["SN"])) == [("done", "")]
    assert Target.objects.get().name == "313853499177140359"
    assert api.requests == []


def test_a_rejection_says_which_rule_decided(api: StubApi) -> None:
    (outcome,) = handle([stamp()], api, classes=["AGN"])
    assert (outcome.kind, outcome.code) == ("rejected", "class")
    assert "its most probable class is " in outcome.reason
    assert outcome.reason.endswith("; CLASSES is AGN")


@pytest.mark.parametrize("moved_to", [150.01, 150.02])
def test_an_object_that_is_detached_goes_where_it_is_and_not_where_the_wrong_target_is(
    api: StubApi, moved_to: float
) -> None:
    """Alerts of a known object have no position: they are judged by that of the Target they lead to, then and not now."""
    wrong = Target.objects.create(name="SN 2026abc", type="SIDEREAL", ra=150.01, dec=20.0)
    for candid in (1, 2):
        assert kinds(handle([stamp(candid=candid)], api, classes=["SN"], match_radius_arcsec=60)) == [("done", "")]
    assert set(TargetAlert.objects.values_list("target", "match_method")) == {
        (wrong.pk, "position"),
        (wrong.pk, "alias"),
    }
    Target.objects.filter(pk=wrong.pk).update(ra=moved_to)
    detach(NAME)
    made = Target.objects.get(name=NAME)
    assert (made.ra, made.dec) == (150.0, 20.0)


def test_an_object_that_has_no_position_of_its_own_is_detached_to_a_target_that_is_there(api: StubApi) -> None:
    wrong = Target.objects.create(name="SN 2026abc", type="SIDEREAL", ra=150.01, dec=20.0)
    TargetName.objects.create(target=wrong, name=NAME)
    assert kinds(handle([stamp()], api, classes=["SN"])) == [("done", "")]
    with pytest.raises(CannotDetach, match="has a position of its own"):
        detach(NAME)
    Target.objects.create(name="SN 2026abd", type="SIDEREAL", ra=150.0, dec=20.0)
    detach(NAME, to_name="SN 2026abd")
    assert TargetAlert.objects.get().target.name == "SN 2026abd"  # type: ignore[union-attr]
