"""From messages of every year to one normal form."""

from __future__ import annotations

import math
from typing import Any

import pytest

from alerce_stream.messages import HIERARCHY, parse
from alerce_stream.testing import encode
from tests.unit.alerce_stream.samples import (
    CANDID,
    FEATURE_NAMES,
    FEATURES,
    KNOWN,
    LIGHT_CURVE,
    SENT,
    STAMP,
    alert,
    of,
)
from tom_alertstreams.exceptions import PermanentError, RejectAlert


@pytest.mark.parametrize("name", KNOWN)
def test_every_schema_has_one_normal_form(name: str) -> None:
    record, object_id, alert_id, classifier, best = KNOWN[name]
    report = parse(alert(encode(record, name, "schemaless")))
    assert (report.object_id, report.alert_id, report.kind, report.time) == (object_id, alert_id, "survey", SENT)
    first = report.classifications[0]
    assert (first.classifier, first.class_name, first.ranking) == (classifier, best, 1)
    assert [item.ranking for item in report.classifications] == [*range(1, len(report.classifications) + 1)]
    probabilities = [item.probability or 0.0 for item in report.classifications]
    assert probabilities == sorted(probabilities, reverse=True)


def test_the_classifier_is_named_after_the_topic_or_by_the_message() -> None:
    curve = {"oid": "ZTF24aaaaaaa", "features": None, "lc_classification": LIGHT_CURVE}
    assert parse(of(curve, "lc_classifier_ztf_20261101")).classifications[0].classifier == "lc_classifier_ztf"
    assert parse(of(curve, "rubin_stamp_classifier")).classifications[0].classifier == "rubin_stamp_classifier"
    named = parse(of(KNOWN["stamp_classifier_aid"][0])).classifications[0]
    assert (named.classifier, named.version) == ("atlas_stamp", "1.2.3")


def test_features_and_the_hierarchy_are_kept_as_they_came() -> None:
    report = parse(of({"oid": "ZTF24aaaaaaa", "features": FEATURES, "lc_classification": LIGHT_CURVE}))
    first, *others = report.classifications
    assert first.features == {**FEATURES, HIERARCHY: LIGHT_CURVE["hierarchical"]}
    assert not any(item.features for item in others)


def test_features_as_a_record_with_names_that_avro_forbids() -> None:
    raw = encode(KNOWN["lc_classifier_2021"][0], "lc_classifier_2021")
    report = parse(alert(raw, "lc_classifier_20211101"))
    assert report.alert_id == f"lc_classifier:{CANDID}"
    assert len(report.classifications[0].features) == len(FEATURE_NAMES) + 1  # the hierarchy
    features = report.classifications[0].features
    assert {name: features[name] for name in FEATURES} == FEATURES


def test_aid_stands_for_oid() -> None:
    assert parse(of({"aid": "AL23abcdefg", "lc_classification": LIGHT_CURVE})).object_id == "AL23abcdefg"


def test_a_32_bit_float_is_read_as_it_was_meant() -> None:
    record = {"objectId": "ZTF21aaaaaaa", "candid": 1, "probabilities": STAMP}
    report = parse(alert(encode(record, "stamp_classifier_2021")))
    assert {item.class_name: item.probability for item in report.classifications} == STAMP


def test_rubin_brings_its_position() -> None:
    report = parse(of(KNOWN["rubin_stamp_classifier"][0]))
    assert (report.ra, report.dec) == (150.0, -20.0)


@pytest.mark.parametrize(
    ("dia_object", "ss_object", "object_id", "moving"),
    [
        (170055002004914266, 0, "170055002004914266", False),
        (0, 21163611375810943, "21163611375810943", True),
        (None, 21163611375810943, "21163611375810943", True),
        (170055002004914266, None, "170055002004914266", False),
    ],
)
def test_an_asteroid_of_rubin_moves(
    dia_object: int | None, ss_object: int | None, object_id: str, moving: bool
) -> None:
    record = {**KNOWN["rubin_stamp_classifier"][0], "diaObjectId": dia_object, "ssObjectId": ss_object}
    report = parse(of(record, "rubin_stamp_classifier"))
    assert (report.object_id, report.moving) == (object_id, moving)


@pytest.mark.parametrize("candid", [CANDID, str(CANDID)])
def test_a_candid_as_text_is_the_same_alert(candid: int | str) -> None:
    content = {"objectId": "ZTF21aaaaaaa", "candid": candid, "probabilities": STAMP}
    assert parse(of(content)).alert_id == f"stamp_classifier:{CANDID}"


@pytest.mark.parametrize("candid", [0, "0", "", None])
def test_an_id_of_zero_is_none(candid: int | str | None) -> None:
    assert parse(of({"objectId": "ZTF21aaaaaaa", "candid": candid, "probabilities": STAMP})).alert_id == ""


@pytest.mark.parametrize("probabilities", [{"SN": 0.25, "AGN": 0.25}, {"SN": 0.75, "AGN": 0.75}])
def test_probabilities_that_do_not_add_up_are_kept_as_they_are(probabilities: dict[str, float]) -> None:
    report = parse(of({"oid": "ZTF24aaaaaaa", "probabilities": probabilities}))
    assert {item.class_name: item.probability for item in report.classifications} == probabilities


def test_a_class_that_nobody_has_heard_of_is_kept() -> None:
    report = parse(of({"oid": "ZTF24aaaaaaa", "probabilities": {"Kilonova": 0.75, "SN": 0.25}}))
    assert report.classifications[0].class_name == "Kilonova"


@pytest.mark.parametrize("content", [
    {"oid": "ZTF24aaaaaaa", "error": "no features"},
    {"oid": "ZTF24aaaaaaa", "probabilities": {"error": "no stamps"}},
    {"oid": "ZTF24aaaaaaa"},
    {"diaObjectId": 0, "ssObjectId": 0, "probabilities": STAMP},
    {"probabilities": STAMP},
    {"alertId": 7, "diaSourceId": 8, "classifications": [{"classId": 111, "probability": 1.0}]},
])  # fmt: skip
def test_what_classifies_no_object_is_unsupported(content: Any) -> None:
    with pytest.raises(RejectAlert) as caught:
        parse(of(content))
    assert (caught.value.code, caught.value.object_id) == ("unsupported", content.get("oid", ""))


@pytest.mark.parametrize("probabilities", [{}, {"SN": math.nan, "AGN": None}, []])
def test_without_any_probability_nothing_is_said(probabilities: Any) -> None:
    with pytest.raises(RejectAlert) as caught:
        parse(of({"oid": "ZTF24aaaaaaa", "probabilities": probabilities}))
    assert caught.value.code == "probability"


def test_a_class_without_probabilities_is_kept() -> None:
    report = parse(of({"oid": "ZTF24aaaaaaa", "lc_classification": {"probabilities": {}, "class": "SNIa"}}))
    assert [(item.class_name, item.probability, item.ranking) for item in report.classifications] == [("SNIa", None, 1)]


def test_nan_is_no_probability_and_ranks_nowhere() -> None:
    report = parse(of({"oid": "ZTF24aaaaaaa", "probabilities": {"AGN": math.nan, "SN": 0.5}}))
    found = [(item.class_name, item.probability, item.ranking) for item in report.classifications]
    assert found == [("SN", 0.5, 1), ("AGN", None, None)]


def test_ties_are_decided_by_the_classifier() -> None:
    given = {"probabilities": {"QSO": 0.5, "SNIa": 0.5}, "class": "SNIa"}
    report = parse(of({"oid": "ZTF24aaaaaaa", "lc_classification": given}))
    assert [item.class_name for item in report.classifications] == ["SNIa", "QSO"]


@pytest.mark.parametrize("content", [
    {"oid": "ZTF24aaaaaaa", "probabilities": {"SN": 3.5}},
    {"oid": "ZTF24aaaaaaa", "probabilities": {"SN": -1}},
    {"oid": "ZTF24aaaaaaa", "probabilities": {"SN": math.inf}},
    {"oid": "ZTF24aaaaaaa", "probabilities": {"SN": "high"}},
    {"oid": "ZTF24aaaaaaa", "probabilities": {"SN": True}},
    {"oid": "ZTF24aaaaaaa", "classifications": [{"class_name": "SN"}]},
    {"oid": "ZTF24aaaaaaa", "classifications": [{"probability": 0.5}]},
    {"oid": "ZTF24aaaaaaa", "classifications": [0.5]},
    [{"oid": "ZTF24aaaaaaa", "probabilities": STAMP}, {"oid": "ZTF24bbbbbbb", "probabilities": STAMP}],
    "a text",
    [],
])  # fmt: skip
def test_what_contradicts_itself_is_an_error(content: Any) -> None:
    with pytest.raises(PermanentError):
        parse(of(content))
