"""Bare Avro of one schema is never taken for another one's, whatever it says."""

from __future__ import annotations

import math
import random
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerce_stream.decoding import _fitting
from alerce_stream.messages import parse
from alerce_stream.testing import BRANCHES, encode
from alerce_stream.versions import shipped_versions
from tests.unit.alerce_stream.samples import ELASTICC, FEATURE_NAMES, RECORDS, SAME_BYTES, of
from tests.unit.alerce_stream.samples import STAMP as STAMP_SHARES
from tom_alertstreams.exceptions import RejectAlert

STAMP: Final = ("SN", "AGN", "VS", "asteroid", "bogus")
LONGS: Final = st.integers(10**9, 2**63 - 1)
CANDIDS: Final = st.integers(10**14, 2**63 - 1)
ZTF_NAMES: Final = st.from_regex(r"\AZTF[12][0-9][a-z]{7}\Z")
AIDS: Final = st.from_regex(r"\AAL[12][0-9][a-z]{5,14}\Z")


def probabilities(names: Any) -> st.SearchStrategy[dict[str, float]]:
    """Of these classes, or of some of them; they add up to 1."""
    weights = st.lists(st.integers(0, 10**6), min_size=len(names), max_size=len(names)).filter(any)
    return weights.map(lambda given: dict(zip(names, [weight / sum(given) for weight in given], strict=True)))


def some(names: Any) -> st.SearchStrategy[dict[str, float]]:
    return st.lists(st.sampled_from(names), min_size=1, unique=True).flatmap(probabilities)


@st.composite
def light_curves(draw: st.DrawFn, *, record: bool) -> dict[str, Any]:
    """Features as a record or a map, and classes with their hierarchy."""
    values = random.Random(draw(st.integers(0, 10**6)))  # 178 draws of hypothesis would take their time
    names = FEATURE_NAMES if record else draw(st.lists(st.sampled_from(FEATURE_NAMES), max_size=20, unique=True))
    features = {name: values.choice((None, 0.0, 1.0, values.gauss(0, 1), values.gauss(0, 1e6))) for name in names}
    classes = draw(some(list(BRANCHES)))
    return {
        "features": features if record or draw(st.booleans()) else None,
        "lc_classification": {
            "probabilities": classes,
            "class": max(classes, key=lambda name: classes[name]),
            "hierarchical": {
                "top": draw(probabilities(("Transient", "Stochastic", "Periodic"))),
                "children": {"Transient": draw(some(["SNIa", "SNII"])), "Periodic": {}},
            },
        },
    }


@st.composite
def rubin(draw: st.DrawFn) -> dict[str, Any]:
    ids = (draw(LONGS), 0) if draw(st.booleans()) else (0, draw(LONGS))
    return {
        "diaObjectId": ids[0], "ssObjectId": ids[1], "diaSourceId": draw(CANDIDS), "probabilities": draw(some(STAMP)),
        "midpointMjdTai": draw(st.floats(50_000, 70_000)), "ra": draw(st.floats(0, 360)), "dec": draw(st.floats(-90, 90)),
    }  # fmt: skip


@st.composite
def listed(draw: st.DrawFn, key: str, name: st.SearchStrategy[Any]) -> list[dict[str, Any]]:
    shares = draw(probabilities(STAMP))
    return [{key: draw(name), "probability": share} for share in shares.values()]


def stamps(
    object_id: str, ids: Any, alert_id: str, alerts: Any, classes: Any, **more: Any
) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({object_id: ids, alert_id: alerts, **more, "probabilities": probabilities(classes)})


@st.composite
def curves(draw: st.DrawFn, key: str, *, record: bool, candid: bool) -> dict[str, Any]:
    head = {key: draw(ZTF_NAMES if key == "oid" else AIDS)}
    return head | ({"candid": draw(CANDIDS)} if candid else {}) | draw(light_curves(record=record))


ANY_OF: Final[dict[str, st.SearchStrategy[dict[str, Any]]]] = {
    "stamp_classifier_2021": stamps("objectId", ZTF_NAMES, "candid", CANDIDS, STAMP),
    "stamp_classifier_2021_candid_text": stamps("objectId", ZTF_NAMES, "candid", CANDIDS.map(str), STAMP),
    "stamp_classifier_2025": stamps("objectId", ZTF_NAMES, "candid", CANDIDS, (*STAMP, "satellite")),
    "stamp_classifier_2026_multisurvey": stamps(
        "oid", LONGS, "measurement_id", LONGS, (*STAMP, "satellite"), sid=st.integers(0, 9)
    ),
    "stamp_classifier_aid": st.fixed_dictionaries(
        {
            "aid": AIDS,
            "classifications": listed("class_name", st.sampled_from(STAMP)),
            "classifier_name": st.sampled_from(["stamp_classifier", "atlas_stamp"]),
            "classifier_version": st.from_regex(r"\A[0-9]{1,2}\.[0-9]{1,2}\.[0-9]\Z"),
            "brokerPublishTimestamp": st.none(),
        }
    ),
    "rubin_stamp_classifier": rubin(),
    "lc_classifier_2021": curves("oid", record=True, candid=True),
    "lc_classifier_2023_04_aid": curves("aid", record=True, candid=True),
    "lc_classifier_2023_05_aid": curves("aid", record=True, candid=False),
    "lc_classifier_2023_12_aid": curves("aid", record=False, candid=False),
    "lc_classifier_2024": curves("oid", record=False, candid=False),
    "elasticc_classification": st.fixed_dictionaries(
        {
            **{key: st.just(value) for key, value in ELASTICC.items()},
            "alertId": st.integers(1, 2**40),
            "diaSourceId": st.integers(1, 2**40),
            "classifications": listed("classId", st.integers(111, 335)),
        }
    ),
}


def test_every_version_is_tried() -> None:
    assert set(ANY_OF) == set(shipped_versions()) == set(RECORDS)


@pytest.mark.parametrize("name", ANY_OF)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_message_fits_no_other_schema(name: str, data: st.DataObject) -> None:
    """So the order in which schemas are tried does not matter. Confluent's framing is not taken for bare Avro either."""
    record = data.draw(ANY_OF[name])
    raw, framed = (
        encode(record, name, "schemaless"),
        encode(record, name, "confluent", data.draw(st.integers(1, 10**5))),
    )
    versions = shipped_versions()
    assert _fitting(raw, versions[name]) is not None
    assert {other for other, version in versions.items() if _fitting(raw, version)} <= {name, SAME_BYTES.get(name)}
    assert not {other for other, version in versions.items() if _fitting(framed, version)}


@pytest.mark.parametrize(("name", "other"), SAME_BYTES.items())
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_versions_that_share_their_bytes_say_the_same(name: str, other: str, data: st.DataObject) -> None:
    """Only the name of the object id differs, and that is read under both."""
    raw = encode(data.draw(ANY_OF[name]), name, "schemaless")
    mine, theirs = (_fitting(raw, shipped_versions()[version]) for version in (name, other))
    assert mine is not None
    assert theirs is not None
    assert list(mine.values()) == list(theirs.values())
    assert set(mine) ^ set(theirs) == {"oid", "aid"}
    assert parse(of(mine)) == parse(of(theirs))


@pytest.mark.parametrize("candid", range(12))
def test_a_small_alert_id_is_not_read_as_the_length_of_a_text(candid: int) -> None:
    """The candid of September 2021 was a text: its length, then its letters. Four bytes of digits may be a probability."""
    names = (*STAMP, "satellite")
    digits = 1.6900259942747653e-04  # the bytes "1119"
    record = {"objectId": "ZTF25aaaaaaa", "candid": candid, "probabilities": dict.fromkeys(names, 0.2) | {"SN": digits}}
    raw = encode(record, "stamp_classifier_2025", "schemaless")
    assert _fitting(raw, shipped_versions()["stamp_classifier_2021_candid_text"]) is None


@pytest.mark.parametrize("missing", [{"bogus"}, {"SN", "AGN", "VS", "asteroid", "bogus"}])
def test_nan_speaks_against_no_schema(missing: set[str]) -> None:
    """It means that the classifier gives no probability: the others, where there are any, still add up."""
    shares = {name: math.nan if name in missing else share for name, share in STAMP_SHARES.items()}
    record = {**RECORDS["stamp_classifier_2021"], "probabilities": shares}
    raw = encode(record, "stamp_classifier_2021", "schemaless")
    assert _fitting(raw, shipped_versions()["stamp_classifier_2021"]) is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"ra": 361.0}, {"dec": -91.0}, {"midpointMjdTai": 1e-73}, {"diaSourceId": -5}, {"diaObjectId": 0, "ssObjectId": 0,
         "diaSourceId": 0}, {"probabilities": {"SN": 3.0}}, {"probabilities": {"SN": 0.1}}, {"probabilities": {"\x01": 1.0}},
    ],
)  # fmt: skip
def test_what_cannot_be_true_is_of_another_schema(wrong: dict[str, Any]) -> None:
    name = "rubin_stamp_classifier"
    version = shipped_versions()[name]
    assert _fitting(encode(RECORDS[name], name, "schemaless"), version) is not None
    assert _fitting(encode({**RECORDS[name], **wrong}, name, "schemaless"), version) is None


def test_what_names_nothing_is_not_stored() -> None:
    """Of ELAsTiCC's simulated alerts there is no object to keep anything of."""
    with pytest.raises(RejectAlert) as caught:
        parse(of(ELASTICC, "elasticc_test_20221101"))
    assert caught.value.code == "unsupported"
