"""Light curves from ALeRCE's API: what is a point, and that a query by hand and a fetch show one light curve."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import stamina
from tom_dataproducts.models import PhotometryReducedDatum
from tom_dataservices.data_services import alerce
from tom_targets.models import Target

from alerce_stream.api import NotFound
from alerce_stream.light_curves import fetch_points, points_of
from alerce_stream.resolver import Position
from alerce_stream.testing import StubApi, detection, forced, light_curve, non_detection
from tests.unit.ingest.samples import json_alert, ztf_packet
from tom_alertstreams.exceptions import LookUpUnavailable
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.photometry import write_photometry
from tom_alertstreams.ingest.reports import PhotometryPoint
from tom_alertstreams.ingest.times import from_mjd

NAME = "ZTF26aaaaaaa"
MJD = 61360.28425930021


@pytest.fixture
def api() -> Iterator[StubApi]:
    with stamina.set_testing(True), StubApi({NAME: Position(150.0, 20.0)}) as running:
        yield running


def points(detections: Any = (), limits: Any = (), forced: Any = ()) -> list[PhotometryPoint]:
    return list(points_of(detections, limits, forced, detection_snr=5.0))


def test_the_choices_of_the_toolkits_service() -> None:
    found, limit = points([detection(MJD, 1, 18.648088, 0.087919265)], [non_detection(61352.34593749978, 2, 20.4739)])
    assert (found.time, found.band, found.magnitude, found.magnitude_error, found.limit) == (
        from_mjd(MJD), "g", 18.648088, 0.087919265, None,
    )  # fmt: skip
    assert (limit.time, limit.band, limit.magnitude, limit.limit) == (from_mjd(61352.34593749978), "r", None, 20.4739)
    assert {point.source for point in (found, limit)} == {"ALeRCE"}
    assert {point.instrument for point in (found, limit)} == {""}


def test_corrected_magnitudes_stay_beside_the_magnitude_of_the_difference() -> None:
    (point,) = points([detection(MJD, 1, 18.6, magpsf_corr=18.4, sigmapsf_corr=0.07, sigmapsf_corr_ext=100.0)])
    assert point.magnitude == 18.6
    assert point.value["magpsf_corr"] == 18.4
    assert "sigmapsf_corr_ext" not in point.value


@pytest.mark.parametrize("sign", [-1, 0, "f", None])
def test_below_the_reference_is_no_detection(sign: Any) -> None:
    rows = [detection(MJD, 1, 18.6, isdiffpos=sign)]
    assert points(rows) == []
    # Nor does forced photometry stand for it: the toolkit's service has a row for that exposure.
    assert points(rows, forced=[forced(MJD, 1, 18.6, isdiffpos=-1)]) == []


@pytest.mark.parametrize(
    "row",
    [
        {}, {"magpsf": None}, {"magpsf": float("nan")}, {"magpsf": 99.0}, {"magpsf": 100.0}, {"magpsf": -999.0}, {"mjd": None},
        {"mjd": float("nan")}, {"mjd": 1e300}, {"mjd": "soon"}, {"fid": 4}, {"fid": None}, {"fid": "x"},
    ],
)  # fmt: skip
def test_bad_detections_are_left_out(row: dict[str, Any]) -> None:
    assert points([{**detection(MJD, 1, 18.6), **row} if row else {}]) == []


@pytest.mark.parametrize("error", [None, float("nan"), 100.0, -1.0])
def test_a_bad_error_is_none(error: Any) -> None:
    (point,) = points([detection(MJD, 1, 18.6, sigmapsf=error)])
    assert (point.magnitude, point.magnitude_error) == (18.6, None)


@pytest.mark.parametrize("limit", [None, float("nan"), 99.0, -999.0, -1.0])
def test_bad_limits_are_left_out(limit: Any) -> None:
    assert points([], [non_detection(MJD, 1, limit)]) == []


def test_forced_photometry_by_its_significance() -> None:
    bright, faint, negative = points(
        forced=[forced(MJD, 1, 19.0, 0.1), forced(MJD + 1, 1, 21.0, 0.5), forced(MJD + 2, 1, 19.0, 0.1, isdiffpos=-1)]
    )
    assert (bright.magnitude, bright.magnitude_error, bright.limit) == (19.0, pytest.approx(0.1), None)
    assert (faint.magnitude, faint.limit) == (None, pytest.approx(20.0945, abs=1e-3))  # five times its error
    assert (negative.magnitude, negative.limit) == (None, pytest.approx(19.842, abs=1e-3))


@pytest.mark.parametrize(
    "row",
    [
        {"mag": 100.0, "e_mag": 100.0}, {"mag": float("nan")}, {"e_mag": None}, {"e_mag": 0.0}, {"e_mag": -1.0857},
        {"extra_fields": {"procstatus": "61"}}, {"extra_fields": {"procstatus": "56,57"}},
        {"mag": 26.2 - 2.5 * 4.99999566, "e_mag": 1e-3},  # -99999 times the unit of flux
    ],
)  # fmt: skip
def test_unsound_forced_photometry_is_left_out(row: dict[str, Any]) -> None:
    assert points(forced=[{**forced(MJD, 1, 19.0), **row}]) == []


def test_one_point_for_an_exposure() -> None:
    """The alert's detection, else forced photometry that detects something, else the alert's limit."""
    near = MJD + 0.3 / 86400  # each table rounds in its own way
    found = points(
        [detection(MJD, 1, 18.6)],
        [non_detection(MJD + 1, 1), non_detection(MJD + 2, 1)],
        [
            forced(near, 1, 18.7),
            forced(near + 1, 1, 20.0),
            forced(near + 2, 1, 21.0, 0.9),
            forced(near + 3, 1, 21.0, 0.9),
        ],
    )
    assert [(point.magnitude, point.limit is not None) for point in found] == [
        (18.6, False), (None, True), (20.0, False), (None, True),
    ]  # fmt: skip
    assert len({int(point.time.timestamp()) for point in found}) == 4


def test_fetched_whole(api: StubApi) -> None:
    found = fetch_points(NAME, api.url, rate=100, detection_snr=5)
    curve, _ = light_curve(NAME)
    assert {point.magnitude for point in found} >= {row["magpsf"] for row in curve["detections"]}
    assert len(found) == len(curve["detections"]) + len(curve["non_detections"])


def test_an_object_without_forced_photometry(api: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alerce_stream.testing.stub_api._FORCED", re.compile("no such address"))
    assert fetch_points(NAME, api.url, rate=100, detection_snr=5)


def test_an_object_that_the_api_does_not_know(api: StubApi) -> None:
    with pytest.raises(NotFound, match="404"):
        fetch_points("ZTF26zzzzzzz", api.url, rate=100, detection_snr=5)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"detections": null}', b'{"detections": [1]}'])
def test_an_answer_that_is_no_light_curve(api: StubApi, body: bytes) -> None:
    api.fail(200, body)
    with pytest.raises(LookUpUnavailable, match="something else"):
        fetch_points(NAME, api.url, rate=100, detection_snr=5)


# --- one light curve --------------------------------------------------------------------------------------------------


def query_by_hand(target: Target, api: StubApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the button of the Target's page does."""
    address = urlsplit(api.url)
    monkeypatch.setitem(alerce.alerce.legacy_ztf_client.config, "ZTF_API_URL", f"{address.scheme}://{address.netloc}")
    service = alerce.AlerceDataService()
    service.to_reduced_datums(target, service.query_reduced_data(target))


def fetch(target: Target, api: StubApi) -> None:
    write_photometry([(target.pk, fetch_points(NAME, api.url, rate=100, detection_snr=5), NAME)], set())


def rows(target: Target) -> list[tuple[Any, ...]]:
    columns = ("timestamp", "bandpass", "brightness", "brightness_error", "limit", "unit", "instrument", "source_name")
    return sorted(PhotometryReducedDatum.objects.filter(target=target).values_list(*columns), key=repr)


@pytest.mark.django_db
@pytest.mark.both_databases
@pytest.mark.parametrize("hand_first", [True, False])
def test_a_query_by_hand_and_a_fetch_show_one_light_curve(
    api: StubApi, monkeypatch: pytest.MonkeyPatch, hand_first: bool
) -> None:
    curve, _ = light_curve(NAME)
    # The second copy of one exposure is rounded; one is below the reference, which the toolkit takes for a detection.
    first = curve["detections"][0]
    api.light_curves[NAME] = {
        "detections": [*curve["detections"], {**first, "magpsf": round(first["magpsf"], 5), "has_stamp": False},
                       detection(MJD - 50, 2, 19.1, isdiffpos=-1)],
        "non_detections": [*curve["non_detections"], *(non_detection(MJD - 50 + n / 7, 1 + n % 3) for n in range(20))],
    }  # fmt: skip
    api.forced_photometry[NAME] = []
    both, hand = (Target.objects.create(name=name, type="SIDEREAL", ra=150.0, dec=20.0) for name in ("x", "y"))
    for target in (both, hand):
        Target.objects.filter(pk=target.pk).update(name=NAME)
        target.refresh_from_db()
        if target is hand or hand_first:
            query_by_hand(target, api, monkeypatch)
        if target is both:
            fetch(target, api)
            if not hand_first:
                query_by_hand(target, api, monkeypatch)
        Target.objects.filter(pk=target.pk).update(name=f"done {target.pk}")
    assert rows(both) == rows(hand)
    assert len(rows(both)) == len(curve["detections"]) + len(curve["non_detections"]) + 22
    # Once more changes nothing.
    fetch(both, api)
    assert rows(both) == rows(hand)


@pytest.mark.django_db
@pytest.mark.both_databases
@pytest.mark.parametrize("streamed_first", [True, False])
def test_what_ztfs_own_stream_brought_is_not_there_twice(api: StubApi, streamed_first: bool) -> None:
    """Its packets have Julian dates, and magnitudes of 32 bits."""
    curve, _ = light_curve(NAME)
    api.light_curves[NAME], api.forced_photometry[NAME] = curve, []
    packets = [
        json_alert(
            ztf_packet(NAME, n + 1, jd=row["mjd"] + 2400000.5, fid=row["fid"], magpsf=float(f"{row['magpsf']:.7g}"))
        )
        for n, row in enumerate(curve["detections"])
    ]
    target = Target.objects.create(name=NAME, type="SIDEREAL", ra=150.0, dec=20.0)
    if not streamed_first:
        fetch(target, api)
    assert {outcome.kind for outcome in ingest_targets(packets, options=IngestOptions())} == {"done"}
    assert len(rows(target)) == len(packets) + (0 if streamed_first else len(curve["non_detections"]))
    fetch(target, api)
    assert len(rows(target)) == len(packets) + len(curve["non_detections"])
