"""A bad alert fails alone, and its neighbours are ingested."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import BaseTarget, TargetName

from tests.unit.ingest.samples import HERMES, alert_of, json_alert, notice, ztf_packet
from tom_alertstreams.exceptions import DecodeError, LookUpUnavailable, PermanentError
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.options import IngestOptions

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


def test_a_bad_target_of_a_message_fails_the_message() -> None:
    message = json.loads(json.dumps(HERMES))
    message["data"]["targets"][1]["dec"] = 91
    assert ingest_targets([json_alert(message)], options=ALWAYS)[0].kind == "failed"
    assert not BaseTarget.objects.exists()


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


@pytest.mark.parametrize("magnitude", [float("nan"), None])
def test_a_detection_without_magnitude_is_its_limit(magnitude: float | None) -> None:
    ingest_targets([json_alert(ztf_packet(magpsf=magnitude))], options=ALWAYS)
    row = PhotometryReducedDatum.objects.get()
    assert (row.brightness, row.limit) == (None, 20.1)


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
