"""What makes a Target."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from tom_targets.models import BaseTarget, TargetList

from tests.brokers import ScriptedBroker
from tests.streams import counts, make, run_once
from tests.unit.ingest.samples import json_alert, notice, ztf_packet
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.handlers import resolve
from tom_alertstreams.ingest.handlers import ingest_reports, ingest_targets
from tom_alertstreams.ingest.models import Classification, TargetAlert
from tom_alertstreams.ingest.options import Filter, IngestOptions
from tom_alertstreams.ingest.reports import ClassificationReport, TargetReport
from tom_alertstreams.ingest.rules import verdict, verdict_of_alert

HANDLER = "tom_alertstreams.ingest.handlers.ingest_targets"


def classified(*classes: tuple[str, str, float], object_id: str = "ZTF26aaaaaaa") -> TargetReport:
    items = tuple(ClassificationReport(classifier, name, p) for classifier, name, p in classes)
    return TargetReport(object_id, "survey", ra=float(ord(object_id[0])), dec=20.0, classifications=items)


class TestVerdict:
    SN = (("stamp", "SN", 0.8), ("stamp", "bogus", 0.2))
    BOGUS = (("stamp", "SN", 0.2), ("stamp", "bogus", 0.8))
    SATELLITE = (("stamp", "SN", 0.2), ("stamp", "satellite", 0.8))
    AGN = (("stamp", "SN", 0.2), ("stamp", "AGN", 0.8))
    BOTH = (("lc", "AGN", 0.9), ("stamp", "SN", 0.6))
    PER_CLASS: Any = {"SN": 0.6, "AGN": 0.9}

    @pytest.mark.parametrize(
        ("classes", "options", "code"),
        [
            (SN, {}, "no_rule"),
            (SN, {"create": "never", "classes": ["SN"]}, "no_rule"),
            (SN, {"create": "always"}, None),
            (BOGUS, {"create": "always"}, "class"),
            (BOGUS, {"classes": ["SN", "bogus"]}, None),
            (SN, {"classes": ["SN"]}, None),
            (SN, {"classes": ["AGN"]}, "class"),
            (SN, {"min_probability": 0.8}, None),
            (SN, {"min_probability": 0.81}, "probability"),
            (BOGUS, {"min_probability": 0.1}, "class"),
            ((), {"classes": ["SN"]}, "class"),
            ((), {"min_probability": 0.1}, "class"),
            (BOTH, {"classes": ["SN"]}, None),
            # asteroid, bogus and satellite
            (SATELLITE, {"create": "always"}, "class"),
            (SATELLITE, {"min_probability": 0.1}, "class"),
            (SATELLITE, {"classifiers": ["stamp"]}, "class"),
            (SATELLITE, {"classes": ["satellite"]}, None),
            (SATELLITE, {"min_probability": {"satellite": 0.5}}, None),
            # MIN_PROBABILITY class by class
            (SN, {"min_probability": PER_CLASS}, None),
            (AGN, {"min_probability": PER_CLASS}, "probability"),
            (BOGUS, {"min_probability": PER_CLASS}, "class"),
            ((("stamp", "never heard of", 1.0),), {"min_probability": PER_CLASS}, "class"),
            ((("stamp", "SN", None),), {"min_probability": PER_CLASS}, "probability"),
            (AGN, {"classes": ["SN", "AGN"], "min_probability": {"SN": 0.9}}, None),
            (SN, {"classes": ["SN", "AGN"], "min_probability": {"SN": 0.9}}, "probability"),
            ((("stamp", "AGN", None),), {"classes": ["SN", "AGN"], "min_probability": {"SN": 0.9}}, None),
            ((("lc", "AGN", 0.8), ("stamp", "SN", 0.6)), {"min_probability": PER_CLASS}, None),
            # CLASSIFIERS
            (SN, {"classifiers": ["stamp"]}, None),
            (SN, {"classifiers": ["lc", "sta*"]}, None),
            (SN, {"classifiers": ["lc", "Stamp", "stam", "stamp_*"]}, "class"),
            (BOTH, {"classifiers": ["lc"], "classes": ["SN"]}, "class"),
            (BOTH, {"classifiers": ["stamp"], "classes": ["SN"], "min_probability": 0.7}, "probability"),
            ((), {"classifiers": ["stamp"]}, "class"),
            (
                (("stamp_classifier_rubin_beta_20260301", "SN", 0.9),),
                {"classifiers": ["stamp_classifier_rubin_beta_*"]},
                None,
            ),
            (
                (("stamp_classifier_rubin_beta", "SN", 0.9),),
                {"classifiers": ["stamp_classifier_rubin_beta_*"]},
                "class",
            ),
        ],
    )
    def test_classes(self, classes: Any, options: dict[str, Any], code: str | None) -> None:
        assert verdict(classified(*classes), {}, IngestOptions(**options)) == code

    @pytest.mark.parametrize(
        ("field", "op", "value", "holds"),
        [
            ("candidate.rb", ">=", 0.9, True),
            ("candidate.rb", ">", 0.9, False),
            ("candidate.fid", "in", [1, 3], True),
            ("candidate.isdiffpos", "not in", ["f", "0"], True),
            ("candidate.missing", "!=", 3, False),
            ("candidate.rb", "<", "text", False),
            ("objectId", "contains", "ZTF26", True),
            ("prv.0.jd", "==", 5, True),
            ("prv.3.jd", "==", 5, False),
        ],
    )
    def test_filters(self, field: str, op: str, value: Any, holds: bool) -> None:
        content = ztf_packet() | {"prv": [{"jd": 5}]}
        options = IngestOptions(filters=[{"field": field, "op": op, "value": value}])
        assert verdict(classified(), content, options) == (None if holds else "filter")

    def test_min_rb_is_a_filter(self) -> None:
        assert verdict(classified(), ztf_packet(rb=0.5), IngestOptions(min_rb=0.6)) == "filter"
        assert verdict(classified(), ztf_packet(rb=0.7), IngestOptions(min_rb=0.6)) is None

    def test_the_first_filter_that_refuses_is_counted(self) -> None:
        options = IngestOptions(
            min_rb=0.6,
            filters=[
                {"field": "candidate.magpsf", "op": "<", "value": 18, "code": "faint"},
                {"field": "candidate.fid", "op": "==", "value": 1},
                {"field": "candidate.isdiffpos", "op": "==", "value": "t", "code": "negative"},
            ],
        )
        found = [
            verdict(classified(), ztf_packet(**candidate), options)
            for candidate in (
                {"magpsf": 17.0},
                {"magpsf": 19.0, "fid": 2},
                {"magpsf": 17.0, "fid": 2, "isdiffpos": "f"},
                {"magpsf": 17.0, "isdiffpos": "f", "rb": 0.1},
                {"magpsf": 17.0, "rb": 0.1},
            )
        ]
        assert found == [None, "faint", "filter", "negative", "filter"]


class TestMaxAge:
    ALERT = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)

    @pytest.mark.parametrize(
        ("days", "code"), [(0, None), (9.99, None), (10, None), (10.01, "age"), (3000, "age"), (-1, None), (None, None)]
    )
    def test_the_first_detection_is_no_older(self, days: float | None, code: str | None) -> None:
        first = None if days is None else self.ALERT - timedelta(days=days)
        report = replace(classified(), time=self.ALERT, first_seen=first)
        assert verdict(report, {}, IngestOptions(max_age_days=10)) == code
        assert verdict(report, {}, IngestOptions(create="always")) is None

    def test_an_alert_without_a_time_is_not_refused(self) -> None:
        report = replace(classified(), first_seen=self.ALERT)
        assert verdict(report, {}, IngestOptions(max_age_days=10)) is None

    def test_rules_that_need_neither_position_nor_age_come_first(self) -> None:
        options = IngestOptions(max_age_days=10, sky={"dec": [50, 60]}, classes=["SN"])
        old = replace(classified(("stamp", "AGN", 0.9)), time=self.ALERT, first_seen=self.ALERT - timedelta(days=20))
        assert verdict(old, {}, options) == verdict(replace(old, ra=None), {}, options) == "class"
        sn = replace(old, classifications=classified(("stamp", "SN", 0.9)).classifications)
        assert verdict_of_alert(sn, {}, options) is None
        assert verdict(replace(sn, ra=None), {}, options) == "no_position"
        assert verdict(sn, {}, options) == "age"
        assert verdict(replace(sn, first_seen=None), {}, options) == "sky"


class TestOptions:
    @pytest.mark.parametrize(
        "options",
        [
            {"CREATE": "sometimes"},
            {"FILTERS": [{"field": "a", "op": "~", "value": 1}]},
            {"FILTERS": [{"field": "a", "op": "in", "value": 1}]},
            {"FILTERS": [{"field": "a"}]},
            {"FILTERS": "candidate.rb > 0.5"},
            *({"FILTERS": [{"field": "a", "op": "==", "value": 1, "code": code}]}
              for code in ("", "a b", "x" * 33, None, "class", "error", "f\n")),
            {"CLASSES": "SN"},
            {"CLASSES": [1]},
            *({"CLASSIFIERS": wrong} for wrong in ("stamp*", [1], [""], {"stamp": 1}, None)),
            *({"MIN_PROBABILITY": wrong} for wrong in (60, -0.1, float("nan"), "0.5", True, [0.5], {}, {"SN": 60},
              {"SN": None}, {"SN": float("nan")}, {"SN": "0.5"}, {"SN": True}, {1: 0.5}, {"": 0.5}, {"*": 0.5})),
            *({"MAX_AGE_DAYS": wrong} for wrong in (-1, "10", float("nan"), float("inf"), True, [10])),
            {"MIN_RB": "0.5"},
            {"MATCH_RADIUS_ARCSEC": -1},
            {"MATCH_RADIUS_ARCSEC": None},
            {"MAX_ERROR_DEG": None},
            {"MAX_NEW_PER_DAY": 1.5},
            {"NAME": "{nothing}"},
            {"NAME": "the same for all"},
            {"PERMISSIONS": "public"},
            {"GROUPS": "Everybody"},
            *({"TARGET_LIST": wrong} for wrong in (None, ["a"], "x" * 201, {}, {"SN": ""}, {"SN": None}, {1: "a"},
              {"SN": "x" * 201})),
            {"FOLLOW_KNOWN": "yes"},
            *({"KEEP_EXTRAS": wrong} for wrong in ("redshift", [1], [""], ["x" * 201], ["a\x00"], {"a": "b"})),
            {"UNKNOWN": 1},
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_said_at_the_start(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError) as caught:
            resolve(HANDLER, options)
        (name,) = options
        assert name in str(caught.value) or name == "FILTERS"

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (
                {"CLASSES": ["SN"], "MIN_PROBABILITY": {"SNIa": 0.5}},
                "MIN_PROBABILITY names SNIa, which selects nothing",
            ),
            (
                {"CLASSES": ["SN"], "TARGET_LIST": {"SNIa": "a", "*": "b"}},
                "TARGET_LIST names SNIa, which selects nothing",
            ),
            ({"MIN_PROBABILITY": {"SN": 0.5}, "TARGET_LIST": {"AGN": "a"}}, "wanted are SN"),
            ({"MAX_AGE_DAYS": 5, "FIELDS": {"object_id": "a"}}, "MAX_AGE_DAYS does nothing with FIELDS"),
        ],
    )
    def test_options_that_do_not_go_together(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigurationError, match=re.escape(words)):
            resolve(HANDLER, options)

    @pytest.mark.parametrize(
        "rule",
        [
            {"classifiers": ["a"]}, {"min_probability": {"SN": 0.5}}, {"sky": {"dec": [0, 1]}}, {"max_age_days": 0},
            {"min_probability": 0},
        ],
    )  # fmt: skip
    def test_each_of_them_is_a_rule(self, rule: dict[str, Any]) -> None:
        assert IngestOptions(**rule).has_rules

    def test_a_list_alone_is_no_rule(self) -> None:
        assert not IngestOptions(target_list={"SN": "Supernovae", "*": "Others"}).has_rules

    def test_what_is_right(self) -> None:
        given = {"MIN_RB": 0.6, "CLASSES": ["SN"], "FILTERS": [{"field": "a.b", "op": ">", "value": 3}]}
        options = resolve(HANDLER, given).options
        assert options.all_filters == (Filter("a.b", ">", 3), Filter("candidate.rb", ">=", 0.6))

    def test_what_may_surprise_is_said(self, settings: Any) -> None:
        settings.TARGET_DEFAULT_PERMISSION = "PRIVATE"
        assert [text.split()[0] for text in IngestOptions().findings()] == ["Survey", "New"]
        assert IngestOptions(min_rb=0.5, groups=["Observers"]).findings() == []
        assert IngestOptions(create="always", permissions="OPEN").findings() == []


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("fresh_handlers")
def test_refusals_are_counted_by_filter(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    filters = [
        {"field": "candidate.magpsf", "op": "<", "value": 18, "code": "faint"},
        {"field": "candidate.fid", "op": "==", "value": 1, "code": "x" * 32},
        {"field": "candidate.isdiffpos", "op": "==", "value": "t"},
    ]
    faint, other_band, negative = {"magpsf": 19.0}, {"magpsf": 17.0, "fid": 2}, {"magpsf": 17.0, "isdiffpos": "f"}
    broker.create_topic(topic)
    for n, candidate in enumerate([{"magpsf": 17.0}, faint, other_band, negative, faint, other_band, faint]):
        packet = ztf_packet(f"ZTF{n}", n + 1, ra=10.0 * n, **candidate)
        broker.produce(topic, json.dumps(packet).encode(), partition=0)
    broker.flush()
    run_once(make(broker.bootstrap_servers, group_id, {topic: {"HANDLER": HANDLER, "OPTIONS": {"FILTERS": filters}}}))
    assert counts() == {"done": 1, "rejected:faint": 3, f"rejected:{'x' * 32}": 2, "rejected:filter": 1}


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("fresh_handlers")
def test_refusals_by_place_and_age_are_counted(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    options = {"SKY": {"dec": [0, 30]}, "MAX_AGE_DAYS": 5}
    south, old = {"dec": -20.0}, {"jdstarthist": 2460900.75}
    broker.create_topic(topic)
    for n, candidate in enumerate([{}, south, old, south, south | old]):
        packet = ztf_packet(f"ZTF{n}", n + 1, ra=10.0 * n, **candidate)
        broker.produce(topic, json.dumps(packet).encode(), partition=0)
    broker.flush()
    run_once(make(broker.bootstrap_servers, group_id, {topic: {"HANDLER": HANDLER, "OPTIONS": options}}))
    assert counts() == {"done": 1, "rejected:sky": 2, "rejected:age": 2}


@pytest.mark.both_databases
@pytest.mark.django_db
class TestCreating:
    def test_without_rules_known_targets_are_updated(self) -> None:
        BaseTarget.objects.create(name="ZTF26aaaaaaa", type="SIDEREAL", ra=150.0, dec=20.0)
        known, unknown = ingest_targets(
            [json_alert(ztf_packet()), json_alert(ztf_packet("ZTF26bbbbbbb", 2, ra=3.0))], options=IngestOptions()
        )
        assert known.kind == "done"
        assert (unknown.kind, unknown.code, unknown.object_id) == ("rejected", "no_rule", "ZTF26bbbbbbb")

    def test_follow_known_can_be_off(self) -> None:
        BaseTarget.objects.create(name="ZTF26aaaaaaa", type="SIDEREAL", ra=150.0, dec=20.0)
        options = IngestOptions(follow_known=False, min_rb=0.95)
        assert ingest_targets([json_alert(ztf_packet())], options=options)[0].code == "filter"
        assert ingest_targets([json_alert(ztf_packet(rb=0.99))], options=options)[0].kind == "done"

    def test_no_more_than_so_many_new_targets_a_day(self) -> None:
        options = IngestOptions(create="always", max_new_per_day=2)
        alerts = [json_alert(ztf_packet(f"ZTF{n}", n + 1, ra=10.0 * n)) for n in range(4)]
        again = json_alert(ztf_packet("ZTF0", 10, jd=2461009.75))
        outcomes = ingest_targets([*alerts[:3], again], options=options)
        assert [outcome.code for outcome in outcomes] == ["", "", "limit", ""]
        assert ingest_targets([alerts[3]], options=options)[0].code == "limit"
        elsewhere = json_alert(ztf_packet("ZTF5", 20, ra=200.0), stream="another")
        assert ingest_targets([elsewhere], options=options)[0].kind == "done"

    def test_notices_need_no_rule(self) -> None:
        assert ingest_targets([json_alert(notice())], options=IngestOptions())[0].kind == "done"
        never = IngestOptions(create="never")
        assert ingest_targets([json_alert(notice(id="2"))], options=never)[0].code == "no_rule"

    def test_reports_of_ones_own(self) -> None:
        alerts = [json_alert({"oid": name}) for name in ("a", "b")]
        reports = [[classified(("lc", "SN", 0.9), object_id="a")], [classified(("lc", "AGN", 0.9), object_id="b")]]
        outcomes = ingest_reports(reports, alerts, IngestOptions(classes=["SN"]))
        assert [(o.kind, o.code) for o in outcomes] == [("done", ""), ("rejected", "class")]
        assert Classification.objects.get().target.name == "a"  # type: ignore[union-attr]
        assert TargetAlert.objects.get().alert_id == alerts[0].digest

    def test_classifications_of_other_classifiers_are_stored_on_known_targets(self) -> None:
        options = IngestOptions(classifiers=["stamp*"], classes=["SN"])
        sn, curve = classified(("stamp_2026", "SN", 0.9)), classified(("lc", "SN", 0.9))
        outcomes = ingest_reports([[curve]], [json_alert({"n": 1})], options)
        assert [(o.kind, o.code) for o in outcomes] == [("rejected", "class")]
        outcomes = ingest_reports([[sn], [curve]], [json_alert({"n": 2}), json_alert({"n": 3})], options)
        assert [o.kind for o in outcomes] == ["done", "done"]
        assert set(Classification.objects.values_list("classifier", flat=True)) == {"stamp_2026", "lc"}

    def test_each_class_has_its_list(self) -> None:
        lists = {"SN": "Supernovae", "AGN": "Active", "*": "Others"}
        found = {
            "sn": classified(("stamp", "SN", 0.9), object_id="sn"),
            "both": classified(("stamp", "SN", 0.9), ("lc", "AGN", 0.8), ("old", "VS", 0.1), object_id="both"),
            "vs": classified(("stamp", "VS", 0.9), object_id="vs"),
            "known": replace(classified(("stamp", "AGN", 0.1), object_id="known"), ra=300.0),
            "unwanted": replace(classified(("stamp", "bogus", 0.9), object_id="unwanted"), ra=310.0),
        }
        for name in ("known", "unwanted"):
            BaseTarget.objects.create(name=name, type="SIDEREAL", ra=found[name].ra, dec=20.0)
        alerts = [json_alert({"name": name}) for name in found]
        options = IngestOptions(min_probability=0.5, target_list=lists, match_radius_arcsec=0)
        assert {o.kind for o in ingest_reports([[r] for r in found.values()], alerts, options)} == {"done"}
        members = {group.name: sorted(t.name for t in group.targets.all()) for group in TargetList.objects.all()}
        assert members == {"Supernovae": ["both", "sn"], "Active": ["both"], "Others": ["vs"]}

    def test_a_class_without_a_list_is_on_none(self) -> None:
        reports = [[classified(("stamp", name, 0.9), object_id=name)] for name in ("SN", "AGN")]
        options = IngestOptions(create="always", target_list={"SN": "Supernovae"})
        ingest_reports(reports, [json_alert({"n": n}) for n in range(2)], options)
        assert [(t.name, t.targets.count()) for t in TargetList.objects.all()] == [("Supernovae", 1)]

    def test_what_no_class_selects_is_among_the_others(self) -> None:
        options = IngestOptions(min_rb=0.5, target_list={"SN": "Supernovae", "*": "ZTF"})
        assert ingest_targets([json_alert(ztf_packet())], options=options)[0].kind == "done"
        assert TargetList.objects.get().name == "ZTF"

    def test_the_age_of_objects_in_packets(self) -> None:
        options = IngestOptions(max_age_days=5)
        young, old, unknown = (
            json_alert(ztf_packet(f"ZTF{n}", n + 1, ra=10.0 * n, jdstarthist=first))
            for n, first in enumerate((2460996.0, 2460900.75, None))
        )
        outcomes = ingest_targets([young, old, unknown], options=options)
        assert [(o.kind, o.code) for o in outcomes] == [("done", ""), ("rejected", "age"), ("done", "")]
        assert outcomes[1].reason == (
            "it was first seen on 2025-08-13 06:00 UTC, 100.0 days before this alert, and MAX_AGE_DAYS is 5"
        )
