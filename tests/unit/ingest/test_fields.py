"""FIELDS: alerts whose columns their user has chosen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import BaseTarget, TargetName

from tests.unit.ingest.samples import json_alert, ztf_packet
from tom_alertstreams.exceptions import ConfigurationError, PermanentError, RejectAlert
from tom_alertstreams.handlers import resolve
from tom_alertstreams.ingest.fields import Fields
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.parsers import parse
from tom_alertstreams.ingest.reports import PhotometryPoint, TargetReport
from tom_alertstreams.ingest.times import from_iso, from_jd, from_mjd

HANDLER = "tom_alertstreams.ingest.handlers.ingest_targets"
LASAIR = {
    "object_id": "objectId", "alert_id": "candid", "ra": "ramean", "dec": "decmean", "mjd": "mjd", "mag": "mag",
    "mag_error": "magerr", "band": "filter",
}  # fmt: skip
ROW = {
    "objectId": "ZTF26aaaaaaa", "candid": 3300000000000000001, "ramean": 150.0, "decmean": 20.0, "mjd": 61000.25,
    "mag": 18.5, "magerr": 0.1, "filter": "g",
}  # fmt: skip
FLUX = {"object_id": "o", "mjd": "t", "band": "b", "flux_njy": "f", "flux_error_njy": "e"}


def read(content: Any, fields: dict[str, Any], **options: Any) -> TargetReport:
    (report,) = parse(json_alert(content), IngestOptions(fields=fields, **options))
    return report


def point_of(content: Any, fields: dict[str, Any], **options: Any) -> PhotometryPoint:
    (point,) = read(content, fields, **options).photometry
    return point


def test_columns_of_lasair() -> None:
    report = read(ROW, LASAIR)
    assert (report.object_id, report.ra, report.dec) == ("ZTF26aaaaaaa", 150.0, 20.0)
    assert (report.kind, report.alert_id, report.position_error_deg) == ("survey", "3300000000000000001", None)
    assert report.time == from_mjd(61000.25)
    (point,) = report.photometry
    assert (point.time, point.band, point.magnitude, point.magnitude_error) == (from_mjd(61000.25), "g", 18.5, 0.1)
    assert (point.limit, point.source) == (None, "survey")


def test_no_other_format_is_tried() -> None:
    packet = ztf_packet()
    report = read(packet, {"object_id": "candidate.candid", "alert_id": "objectId"})
    assert (report.object_id, report.alert_id) == ("3300000000000000001", "ZTF26aaaaaaa")
    assert not report.photometry


def test_a_column_called_as_the_id_of_a_voevent() -> None:
    report = read(ROW | {"ivorn": "ivo://survey/1"}, LASAIR | {"alert_id": "ivorn"})
    assert (report.object_id, report.alert_id) == ("ZTF26aaaaaaa", "ivo://survey/1")


def test_paths_lead_into_objects_and_lists() -> None:
    content = {"Filter": {"name": "r"}, "obs": [{"mag": 17.25, "jd": 2461000.75}], "id": "a", "names": {"tns": "2026x"}}
    fields = {"object_id": "id", "band": "Filter.name", "mag": "obs.0.mag", "jd": "obs.0.jd", "aliases": "names.tns"}
    assert read(content, fields).aliases == ("2026x",)
    point = point_of(content, fields)
    assert (point.band, point.magnitude, point.time) == ("r", 17.25, from_jd(2461000.75))
    assert read({"id": "a", "obs": 5, "Filter": None}, fields).photometry == ()


def test_a_name_without_a_dot_is_one_look_up() -> None:
    fields = Fields.build(LASAIR)
    assert fields.reader(ROW) == ROW.get


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("mjd", 61000.25, from_iso("2025-11-21T06:00:00Z")),
        ("jd", 2461000.75, from_iso("2025-11-21T06:00:00Z")),
        ("time", "2025-11-21T06:00:00", from_iso("2025-11-21T06:00:00Z")),
        ("time", "61000.25", from_iso("2025-11-21T06:00:00Z")),
        ("mjd_tai", 61000.25, from_iso("2025-11-21T05:59:23Z")),
    ],
)
def test_times(key: str, value: Any, expected: Any) -> None:
    assert read({"o": "a", "t": value}, {"object_id": "o", key: "t"}).time == expected


@pytest.mark.parametrize("key", ["mjd", "jd", "mjd_tai", "time"])
@pytest.mark.parametrize("value", [None, "", "soon", math.nan, math.inf, 0, -1.0, 12.5, 5.2e9, True, [61000.25], 1e300])
def test_what_is_no_time_leaves_the_point_out(key: str, value: Any) -> None:
    fields = {"object_id": "o", key: "t", "mag": "m", "band": "b"}
    report = read({"o": "a", "t": value, "m": 18.0, "b": "g"}, fields)
    assert (report.time, report.photometry) == (None, ())


@pytest.mark.parametrize("gone", ["mjd", "mag", "filter"])
@pytest.mark.parametrize("change", [lambda row, key: row.pop(key), lambda row, key: row.update({key: None})])
def test_without_time_band_or_magnitude_there_is_no_point(gone: str, change: Callable[..., Any]) -> None:
    row = dict(ROW)
    change(row, gone)
    report = read(row, LASAIR)
    assert (report.object_id, report.ra, report.photometry) == ("ZTF26aaaaaaa", 150.0, ())


@pytest.mark.parametrize("magnitude", [99, 99.0, -999.0, -99, math.nan, "none"])
def test_numbers_that_mean_no_magnitude(magnitude: Any) -> None:
    assert read(ROW | {"mag": magnitude}, LASAIR).photometry == ()


@pytest.mark.parametrize("error", [99.0, -999.0, None, math.nan])
def test_numbers_that_mean_no_error(error: Any) -> None:
    assert point_of(ROW | {"magerr": error}, LASAIR).magnitude_error is None


def test_a_flux_is_a_magnitude_where_something_was_detected() -> None:
    point = point_of({"o": "a", "t": 61000.0, "b": "g", "f": 1000.0, "e": 200.0}, FLUX)
    assert point.magnitude == pytest.approx(23.9, abs=1e-12)
    assert point.magnitude_error == pytest.approx(0.2171472, abs=1e-7)
    assert point.limit is None
    assert point.value == {"flux_njy": 1000.0, "flux_error_njy": 200.0}


@pytest.mark.parametrize("flux", [999.9, 0.0, -5000.0])
def test_else_a_limit_and_the_signed_flux_stays(flux: float) -> None:
    point = point_of({"o": "a", "t": 61000.0, "b": "g", "f": flux, "e": 200.0}, FLUX)
    assert (point.magnitude, point.magnitude_error) == (None, None)
    assert point.limit == pytest.approx(23.9, abs=1e-12)
    assert point.value == {"flux_njy": flux, "flux_error_njy": 200.0}


def test_detection_snr_is_an_option() -> None:
    content = {"o": "a", "t": 61000.0, "b": "g", "f": 999.9, "e": 200.0}
    assert point_of(content, FLUX, detection_snr=3).magnitude is not None
    assert point_of(content | {"f": 500.0}, FLUX, detection_snr=3).limit == pytest.approx(
        31.4 - 2.5 * math.log10(600.0), abs=1e-12
    )


@pytest.mark.parametrize(
    ("flux", "error"), [(None, 1.0), (1.0, None), (math.nan, 1.0), (1.0, math.nan), (9.0, 0.0), (9.0, -1.0)]
)
def test_a_flux_without_an_error_says_nothing(flux: Any, error: Any) -> None:
    assert read({"o": "a", "t": 61000.0, "b": "g", "f": flux, "e": error}, FLUX).photometry == ()


def test_the_flux_stays_beside_a_magnitude() -> None:
    content = {"o": "a", "t": 61000.0, "b": "g", "f": 1000.0, "e": 10.0, "m": 23.8}
    point = point_of(content, {**FLUX, "mag": "m"})
    assert (point.magnitude, point.value["flux_njy"]) == (23.8, 1000.0)


def test_ids_stay_exact() -> None:
    report = read({"o": 170028485706776685, "a": 170094456272322681}, {"object_id": "o", "alert_id": "a"})
    assert (report.object_id, report.alert_id) == ("170028485706776685", "170094456272322681")


@pytest.mark.parametrize("name", [None, "", "  ", 1.5, [], {}])
def test_an_object_without_a_name_is_an_error(name: Any) -> None:
    with pytest.raises(PermanentError, match="no objectId, which FIELDS names as object_id"):
        parse(json_alert(ROW | {"objectId": name}), IngestOptions(fields=LASAIR))


@pytest.mark.parametrize("content", ["text", 5, [1, 2]])
def test_what_has_no_fields(content: Any) -> None:
    with pytest.raises(RejectAlert, match="unsupported"):
        parse(json_alert(content), IngestOptions(fields=LASAIR))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([], "FIELDS is an object"),
        ({}, "FIELDS must name object_id"),
        ({"ra": "ra", "dec": "dec"}, "FIELDS must name object_id"),
        (
            {"object_id": "a", "magnitude": "m", "epoch": "t"},
            "FIELDS does not know epoch, magnitude; it takes object_id, ",
        ),
        ({"object_id": ""}, "object_id in FIELDS is the name of a field, not ''"),
        ({"object_id": 5}, "object_id in FIELDS is the name of a field, not 5"),
        ({"object_id": "a", "ra": "ra"}, "FIELDS names ra; name dec as well"),
        ({"object_id": "a", "flux_njy": "f", "mjd": "t", "band": "b"}, "FIELDS names flux_njy; name flux_error_njy"),
        ({"object_id": "a", "mjd": "t", "mag_error": "e"}, "FIELDS names mag_error; name mag as well"),
        ({"object_id": "a", "mjd": "t", "jd": "t"}, "FIELDS names mjd and jd; one of them is enough"),
        (
            {"object_id": "a", "mag": "m", "band": "b"},
            "FIELDS names mag; name its time as well: mjd, mjd_tai, jd, time",
        ),
        ({"object_id": "a", "mag": "m", "jd": "t"}, "FIELDS names mag; name band as well"),
        ({"object_id": "a", "aliases": [1]}, "aliases in FIELDS is the name of a field, not 1"),
        ({"object_id": "a", "aliases": 5}, "aliases in FIELDS is the name of a field, or a list of names"),
    ],
)
def test_what_is_wrong_is_said_at_the_start(fields: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve(HANDLER, {"FIELDS": fields})
    assert said in caught.value.message


@pytest.mark.parametrize("snr", [0, -5, "5", None, True])
def test_detection_snr_is_checked(snr: Any) -> None:
    with pytest.raises(ConfigurationError, match="DETECTION_SNR"):
        resolve(HANDLER, {"DETECTION_SNR": snr})


def test_alerces_messages_have_fields_of_their_own() -> None:
    with pytest.raises(ConfigurationError, match="FIELDS is for ingest_targets"):
        resolve("alerce_stream.handlers.ingest_classifications", {"FIELDS": LASAIR})


@pytest.mark.parametrize("days", [-1, "30", True])
def test_history_days_is_checked(days: Any) -> None:
    with pytest.raises(ConfigurationError, match="HISTORY_DAYS"):
        resolve(HANDLER, {"HISTORY_DAYS": days})


def test_each_record_of_a_container() -> None:
    first, second = parse(json_alert([ROW, ROW | {"objectId": "b"}]), IngestOptions(fields=LASAIR))
    assert (first.object_id, second.object_id) == ("ZTF26aaaaaaa", "b")


def test_options_can_be_copied() -> None:
    options = resolve(HANDLER, {"FIELDS": LASAIR}).options
    assert dataclasses.replace(options, min_rb=0.5).fields == options.fields == Fields(**LASAIR)


@pytest.mark.both_databases
@pytest.mark.django_db
def test_they_become_targets() -> None:
    options = resolve(HANDLER, {"FIELDS": {**LASAIR, "aliases": ["tns", "others"]}, "CREATE": "always"}).options
    rows = [ROW | {"tns": "SN 2026abc", "others": ["x", None, 7]}, ROW | {"objectId": 12, "ramean": 370.0}]
    first, second = ingest_targets([json_alert(row) for row in rows], options=options)
    assert first.kind == "done"
    assert second.kind == "failed"
    assert "not on the sky" in str(second.error)
    target = BaseTarget.objects.get()
    assert (target.name, target.ra, target.dec) == ("ZTF26aaaaaaa", 150.0, 20.0)
    assert set(TargetName.objects.values_list("name", flat=True)) == {"SN 2026abc", "x", "7"}
    row = PhotometryReducedDatum.objects.get()
    assert (row.timestamp, row.bandpass, row.brightness, row.source_name) == (from_mjd(61000.25), "g", 18.5, "survey")
