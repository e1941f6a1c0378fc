"""A bad alert fails alone, and its neighbours are ingested."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import BaseTarget, TargetExtra, TargetName

from tests.unit.ingest.samples import HERMES, alert_of, json_alert, notice, ztf_packet
from tom_alertstreams.exceptions import DecodeError, LookUpUnavailable, PermanentError
from tom_alertstreams.ingest.handlers import ingest_reports, ingest_targets
from tom_alertstreams.ingest.models import Classification, TargetAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import ClassificationReport, PhotometryPoint, TargetReport
from tom_alertstreams.ingest.times import from_mjd

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

ALWAYS = IngestOptions(create="always")


def raw(content: Any) -> bytes:
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("value", "kind", "code"),
    [
        (None, "failed", ""),
        (b"", "failed", ""),
        (b'{"objectId": ', "failed", ""),
        (b"Obj\x01 truncated", "failed", ""),
        (b"<voe:VOEvent", "failed", ""),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', "failed", ""),
        (raw(ztf_packet(ra=float("nan"))), "rejected", "no_position"),
        (raw(ztf_packet(dec=float("inf"))), "rejected", "no_position"),
        (raw(ztf_packet(ra=None)), "rejected", "no_position"),
        (raw(ztf_packet(ra=361.0)), "failed", ""),
        (raw(ztf_packet(dec=-90.1)), "failed", ""),
        (raw(ztf_packet(ra=-1)), "failed", ""),
        (raw(ztf_packet("Z" * 101)), "failed", ""),
        (raw(ztf_packet("ZTF\x00")), "failed", ""),
        (raw(ztf_packet("")), "failed", ""),
        (raw(ztf_packet("\ud800")), "failed", ""),
        (raw(ztf_packet(jd=1e300)), "done", ""),
        (raw(ztf_packet(fid=[1], ra=5.0) | {"prv_candidates": "no list"}), "done", ""),
        (raw(notice(id={"a": 1}, trigger_time=None)), "rejected", "unsupported"),
        (raw(notice(ra="100d", dec=[1])), "rejected", "no_position"),
        (b"[" * 5000, "failed", ""),
    ],
)  # fmt: skip
def test_bad_alerts_do_not_disturb_their_neighbours(value: bytes | None, kind: str, code: str) -> None:
    before, after = json_alert(ztf_packet("ZTF1", 1)), json_alert(ztf_packet("ZTF2", 2, ra=9.0))
    outcomes = ingest_targets([before, alert_of(value), after], options=ALWAYS)
    assert [outcome.kind for outcome in outcomes] == ["done", kind, "done"]
    assert outcomes[1].code == code
    if kind == "failed":
        assert isinstance(outcomes[1].error, PermanentError)
        assert str(outcomes[1].error)
    assert set(BaseTarget.objects.values_list("name", flat=True)) >= {"ZTF1", "ZTF2"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"dec": 91}, "Dec 91.0"), ({"ra": 400}, "RA 400.0"), ({"name": "N" * 101}, "101 characters")],
)
def test_a_bad_target_of_a_message_is_left_out(
    change: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = json.loads(json.dumps(HERMES))
    message["data"]["targets"][1].update(change)
    alert = json_alert(message)
    assert ingest_targets([alert], options=ALWAYS)[0].kind == "done"
    assert list(BaseTarget.objects.values_list("name", flat=True)) == ["GRB 230409B"]
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "tom_alertstreams.ingest.handlers")
    assert f"{alert.stream}, {alert.topic} partition {alert.partition} offset {alert.offset}" in record.getMessage()
    assert reason in record.getMessage()


def test_a_message_without_a_good_target_fails(caplog: pytest.LogCaptureFixture) -> None:
    message = json.loads(json.dumps(HERMES))
    for target in message["data"]["targets"]:
        target["dec"] = 91
    (outcome,) = ingest_targets([json_alert(message)], options=ALWAYS)
    assert outcome.kind == "failed"
    assert isinstance(outcome.error, PermanentError)
    assert not BaseTarget.objects.exists()
    assert not caplog.records


def test_names_with_blanks_around_them_are_trimmed() -> None:
    ingest_targets([json_alert(ztf_packet(" ZTF1 "))], options=ALWAYS)
    assert BaseTarget.objects.get().name == "ZTF1"


def test_names_that_fit_no_alias_are_left_out() -> None:
    ingest_targets([json_alert(notice(event_name=["GRB", "x" * 101, "a\x00b"]))], options=ALWAYS)
    assert set(TargetName.objects.values_list("name", flat=True)) == {"Swift 1000001"}


@pytest.mark.parametrize("candid", [2**53 + 1, 2**63 - 1])
def test_large_ids_stay_exact(candid: int) -> None:
    ingest_targets([json_alert(ztf_packet(candid=candid))], options=ALWAYS)
    assert TargetAlert.objects.get().alert_id == str(candid)
    assert PhotometryReducedDatum.objects.get().value == {"candid": str(candid)}


def test_nul_and_surrogates_in_texts_are_dropped() -> None:
    message = {"title": "a\x00b\ud800", "data": {"targets": [{"name": "x", "ra": 1, "dec": 2, "host_name": "M\x0031"}]}}
    assert ingest_targets([json_alert(message)], options=ALWAYS)[0].kind == "done"
    assert TargetAlert.objects.get().summary == "ab?"
    assert BaseTarget.objects.get().targetextra_set.get().value == "M31"


def test_right_ascension_360_is_0() -> None:
    ingest_targets([json_alert(ztf_packet(ra=360.0))], options=ALWAYS)
    assert BaseTarget.objects.get().ra == 0.0


@pytest.mark.parametrize("magnitude", [float("nan"), None, 99, 99.0, -999.0, "none"])
def test_a_detection_without_magnitude_is_its_limit(magnitude: float | None) -> None:
    ingest_targets([json_alert(ztf_packet(magpsf=magnitude))], options=ALWAYS)
    row = PhotometryReducedDatum.objects.get()
    assert (row.brightness, row.limit) == (None, 20.1)


def test_without_magnitude_and_limit_there_is_no_point() -> None:
    """The table's own constraints do not tell such rows apart."""
    empty = {"magpsf": None, "diffmaglim": None}
    history = [
        {"jd": 2460990.75 + n, "fid": 2, **values} for n, values in enumerate([empty, {"diffmaglim": 99}, empty])
    ]
    outcomes = ingest_targets(
        [json_alert(ztf_packet(candid=n, **empty) | {"prv_candidates": history}) for n in (1, 2)], options=ALWAYS
    )
    assert [outcome.kind for outcome in outcomes] == ["done", "done"]
    assert not PhotometryReducedDatum.objects.exists()
    # Neither do those of a report that somebody makes by hand.
    point = PhotometryPoint(datetime(2026, 1, 1, tzinfo=timezone.utc), "g", magnitude=float("nan"))
    report = TargetReport("mine", "survey", ra=1.0, dec=2.0, photometry=(point, point))
    assert ingest_reports([[report]], [json_alert({})], ALWAYS)[0].kind == "done"
    assert not PhotometryReducedDatum.objects.exists()


@pytest.mark.parametrize(
    "date",
    [0, -1, 2400000.5, 2415019.5, 61000.75, 1763704800.0, 1763704800000, 1e300, float("nan"), None, "2461000.75 "],
)
def test_dates_that_no_survey_observed_at(date: Any) -> None:
    """Seconds, milliseconds, an MJD in place of a JD, and what is before 1900."""
    fields = {"object_id": "o", "jd": "t", "mag": "m", "band": "b", "ra": "ra", "dec": "dec"}
    row = {"o": "column", "t": date, "m": 18.0, "b": "g", "ra": 5.0, "dec": 5.0}
    alerts = [json_alert(ztf_packet(jd=date)), json_alert(row)]
    options = [ALWAYS, IngestOptions(create="always", fields=fields)]
    outcomes = [ingest_targets([alert], options=option)[0] for alert, option in zip(alerts, options, strict=True)]
    assert [outcome.kind for outcome in outcomes] == ["done", "done"]
    kept = 2 if isinstance(date, str) else 0  # a number as text is a number
    assert PhotometryReducedDatum.objects.count() == kept
    assert TargetAlert.objects.filter(time__isnull=False).count() == kept


@pytest.mark.parametrize(
    ("ra", "kind", "expected"),
    [
        ("10:00:00", "done", 150.0),
        ("10 00 00", "done", 150.0),
        ("10h00m00s", "done", 150.0),
        ("150d00m00s", "done", 150.0),
        ("150.0", "done", 150.0),
        ("24:00:00", "done", 0.0),
        ("25:00:00", "failed", None),
        ("10:61:00", "rejected", None),
        ("10h", "rejected", None),
    ],
)
def test_hours(ra: str, kind: str, expected: float | None) -> None:
    """Only a text can say that it is hours; ZTF's packets hold degrees."""
    options = IngestOptions(create="always", fields={"object_id": "o", "ra": "ra", "dec": "dec"})
    assert ingest_targets([json_alert({"o": "x", "ra": ra, "dec": "+20:00:00"})], options=options)[0].kind == kind
    assert list(BaseTarget.objects.values_list("ra", "dec")) == ([] if expected is None else [(expected, 20.0)])
    if ":" in ra:
        assert ingest_targets([json_alert(ztf_packet(ra=ra))], options=ALWAYS)[0].code == "no_position"


def test_rows_that_are_twice_in_one_batch() -> None:
    history = [{"jd": 2460990.75, "fid": 2, "magpsf": None, "diffmaglim": 20.5}]
    packet = ztf_packet(candid=1) | {"prv_candidates": [*history, *history]}
    same = ztf_packet(candid=2) | {"prv_candidates": history}  # another alert of the same measurement
    alerts = [json_alert(packet), json_alert(packet), json_alert(same), json_alert(packet)]
    assert [outcome.kind for outcome in ingest_targets(alerts, options=ALWAYS)] == ["done"] * 4
    assert BaseTarget.objects.count() == 1
    assert list(TargetAlert.objects.order_by("pk").values_list("alert_id", "points")) == [("1", 2), ("2", 0)]
    assert PhotometryReducedDatum.objects.count() == 2


class TestNamesThatNearlyAgree:
    #: Each far from the others, so that only names can match.
    NAMES = ("SN 2026abc", "sn2026ABC", "SN_2026-abc", "SN  2026abc")

    def ingest_one_by_one(self) -> list[str]:
        for n, name in enumerate(self.NAMES):
            packet = ztf_packet(name, n + 1, ra=30.0 * n, jd=2461000.75 + n)
            assert ingest_targets([json_alert(packet)], options=ALWAYS)[0].kind == "done"
        return list(TargetAlert.objects.order_by("pk").values_list("match_method", flat=True))

    def test_they_are_different_objects(self) -> None:
        assert self.ingest_one_by_one() == ["created"] * 4
        assert {target.name for target in BaseTarget.objects.all()} == set(self.NAMES)

    def test_unless_the_match_manager_of_the_tom_says_otherwise(self, settings: Any) -> None:
        settings.MATCH_MANAGERS = {"Target": "tom_targets.base_models.TargetMatchManager"}
        assert self.ingest_one_by_one() == ["created", "alias", "alias", "alias"]
        target = BaseTarget.objects.get()
        assert target.name == "SN 2026abc"
        assert {alias.name for alias in target.aliases.all()} == set(self.NAMES[1:])
        assert target.photometryreduceddatum_set.count() == 4

    def test_and_so_it_is_for_two_spellings_in_one_batch(self, settings: Any) -> None:
        settings.MATCH_MANAGERS = {"Target": "tom_targets.base_models.TargetMatchManager"}
        packets = [
            ztf_packet(name, n + 1, ra=30.0 * n, jd=2461000.75 + n)
            for n, name in enumerate((*self.NAMES, "SN 2026xyz"))
        ]
        outcomes = ingest_targets([json_alert(packet) for packet in packets], options=ALWAYS)
        assert [outcome.kind for outcome in outcomes] == ["done"] * 5
        assert {target.name for target in BaseTarget.objects.all()} == {"SN 2026abc", "SN 2026xyz"}

    def test_an_exact_name_is_not_asked_about(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        settings.MATCH_MANAGERS = {"Target": "tom_targets.base_models.TargetMatchManager"}
        BaseTarget.objects.create(name="SN 2026abc", type="SIDEREAL", ra=1.0, dec=1.0)
        monkeypatch.setattr("tom_targets.models.Target.matches.match_name", lambda name: pytest.fail(name))
        assert ingest_targets([json_alert(ztf_packet("SN 2026abc", 1))], options=ALWAYS)[0].kind == "done"


def test_an_alias_that_two_new_objects_claim_is_the_firsts() -> None:
    def message(name: str, ra: float) -> dict[str, Any]:
        return {"title": "t", "data": {"targets": [{"name": name, "ra": ra, "dec": 2.0, "aliases": ["AT 2026abc"]}]}}

    def claims() -> list[tuple[str, str]]:
        return list(TargetName.objects.values_list("name", "target__name"))

    outcomes = ingest_targets([json_alert(message("first", 1.0)), json_alert(message("second", 50.0))], options=ALWAYS)
    assert [outcome.kind for outcome in outcomes] == ["done", "done"]
    # A name in common is one object: the second's own name leads to the first as well.
    assert [target.name for target in BaseTarget.objects.all()] == ["first"]
    assert sorted(claims()) == [("AT 2026abc", "first"), ("second", "first")]
    # A Target that exists keeps its name, and does not take an alias from another.
    BaseTarget.objects.create(name="third", type="SIDEREAL", ra=100.0, dec=2.0)
    assert ingest_targets([json_alert(message("third", 100.0))], options=ALWAYS)[0].kind == "done"
    assert sorted(claims()) == [("AT 2026abc", "first"), ("second", "first")]
    assert TargetAlert.objects.get(object_id="third").target.name == "third"  # type: ignore[union-attr]


def test_nan_in_what_is_kept_as_json() -> None:
    """PostgreSQL's JSON has no NaN."""
    packet = notice(classification={"BNS": float("nan"), "NSBH": 0.5}, far=float("inf"))
    point = PhotometryPoint(datetime(2026, 1, 1, tzinfo=timezone.utc), "g", 18.0, value={"a": [float("nan"), "b\x00"]})
    item = ClassificationReport("c", "SN", float("nan"), features={"x": float("-inf"), "y\x00": 1.5})
    report = TargetReport(
        "mine", "survey", ra=1.0, dec=2.0, photometry=(point,), classifications=(item,), extras={"z": float("nan")}
    )
    assert ingest_targets([json_alert(packet)], options=ALWAYS)[0].kind == "done"
    assert ingest_reports([[report]], [json_alert({})], ALWAYS)[0].kind == "done"
    assert PhotometryReducedDatum.objects.get().value == {"a": [None, "b"]}
    stored = Classification.objects.get(classifier="c")
    assert (stored.probability, stored.features) == (None, {"x": None, "y": 1.5})
    assert TargetExtra.objects.get(key="z").value == ""


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, -(2**63)])
def test_large_numbers_as_names_stay_exact(number: int) -> None:
    fields = {"object_id": "o", "alert_id": "a", "aliases": ["other"], "ra": "ra", "dec": "dec"}
    row = {"o": number, "a": number, "other": number - 1 if number > 0 else number + 1, "ra": 1.0, "dec": 2.0}
    options = IngestOptions(create="always", fields=fields, keep_extras=["o"])
    ingest_targets([json_alert(row)], options=options)
    target = BaseTarget.objects.get()
    assert (target.name, target.aliases.get().name) == (str(number), str(row["other"]))
    assert TargetAlert.objects.get().alert_id == str(number)
    assert TargetExtra.objects.get().value == str(number)


def test_a_service_that_is_away_stops_the_batch() -> None:
    def away(alert: object) -> None:
        raise LookUpUnavailable("The schema registry does not answer.")

    alert = alert_of(b"x")
    object.__setattr__(alert, "_decode", away)
    with pytest.raises(LookUpUnavailable):
        ingest_targets([alert], options=ALWAYS)


def test_what_cannot_be_decoded_keeps_its_error() -> None:
    outcome = ingest_targets([alert_of(b"{")], options=ALWAYS)[0]
    assert isinstance(outcome.error, DecodeError)


def test_whole_numbers_among_numbers() -> None:
    """As JavaScript writes them; PostgreSQL's driver takes no list of both."""
    points = [PhotometryPoint(from_mjd(61000.0 + n), "g", value, 0.1) for n, value in enumerate((18, 18.5))]
    reports = [
        TargetReport(f"object {n}", kind="survey", ra=ra, dec=20, photometry=(point,), alert_id=str(n))
        for n, (ra, point) in enumerate(zip((150, 151.5), points, strict=True))
    ]
    alerts = [json_alert({"n": n}) for n in range(2)]
    ingest_reports([[report] for report in reports], alerts, IngestOptions(create="always"))
    assert sorted(PhotometryReducedDatum.objects.values_list("brightness", flat=True)) == [18.0, 18.5]


def test_a_list_of_records_is_one_light_curve() -> None:
    """They have no ids of their own: all of them would be the same alert."""
    fields = {"object_id": "name", "ra": "ra", "dec": "dec", "mjd": "mjd", "mag": "mag", "band": "band"}
    rows = [
        {"name": name, "ra": 150.0, "dec": dec, "mjd": 61000.0 + n, "mag": 18.0, "band": "g"}
        for n in range(5)
        for name, dec in (("X", 20.0), ("Y", 30.0))
    ]
    (outcome,) = ingest_targets([json_alert(rows)], options=IngestOptions(create="always", fields=fields))
    assert outcome.kind == "done"
    assert dict(TargetAlert.objects.values_list("object_id", "points")) == {"X": 5, "Y": 5}
    assert PhotometryReducedDatum.objects.count() == 10


@pytest.mark.parametrize("moment", ["0001-01-01", 10**400, "9999-12-31T23:59:59"])
def test_times_that_no_observation_has(moment: Any) -> None:
    content = json.loads(json.dumps(HERMES))
    content["data"]["photometry"][0]["date_obs"] = moment
    (outcome,) = ingest_targets([json_alert(content)], options=ALWAYS)
    assert outcome.kind == "done"
    assert PhotometryReducedDatum.objects.count() == 1  # the other row of this target


def test_the_same_alert_twice_in_a_batch_counts_as_it_would_in_two() -> None:
    """Else what a night rejects would depend on where its batches end."""
    packet = ztf_packet(rb=0.1)
    options = IngestOptions(min_rb=0.5)
    together = ingest_targets([json_alert(packet), json_alert(packet)], options=options)
    assert [outcome.code for outcome in together] == ["filter", "filter"]
    taken = ingest_targets([json_alert(ztf_packet()), json_alert(ztf_packet())], options=ALWAYS)
    assert [outcome.kind for outcome in taken] == ["done", "done"]
    assert TargetAlert.objects.count() == 1
