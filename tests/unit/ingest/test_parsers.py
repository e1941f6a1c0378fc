"""What each format says, from small contents. The real files are in test_real_alerts."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.unit.ingest.samples import (
    ABSENT,
    HERMES,
    SAMPLES,
    SENT,
    alert_of,
    json_alert,
    notice,
    sample,
    voevent,
    ztf_packet,
)
from tom_alertstreams.alerts import Alert
from tom_alertstreams.exceptions import DecodeError, RejectAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.parsers import parse
from tom_alertstreams.ingest.parsers.coordinates import dec_deg, ra_deg
from tom_alertstreams.ingest.reports import OrbitalElements, PhotometryPoint, TargetReport
from tom_alertstreams.ingest.times import from_iso, from_jd


def only(content: Any, topic: str = "topic") -> TargetReport:
    (report,) = parse(json_alert(content, topic=topic))
    return report


def rejection(content: Any, topic: str = "topic") -> tuple[str, str]:
    with pytest.raises(RejectAlert) as caught:
        parse(json_alert(content, topic=topic))
    return caught.value.code, caught.value.object_id


class TestZtf:
    def test_detection(self) -> None:
        report = only(ztf_packet())
        (point,) = report.photometry
        assert (point.time, point.band, point.magnitude, point.magnitude_error) == (from_jd(2461000.75), "g", 18.5, 0.1)
        assert (point.instrument, point.telescope, point.source, point.limit) == ("", "", "ZTF", None)
        assert (report.kind, report.position_error_deg) == ("survey", None)

    @pytest.mark.parametrize("sign", ["f", "0"])
    def test_below_the_reference_is_no_brightness(self, sign: str) -> None:
        (point,) = only(ztf_packet(isdiffpos=sign)).photometry
        assert (point.magnitude, point.limit) == (None, 20.1)
        assert point.value["magpsf"] == 18.5

    @pytest.mark.parametrize("distance", [0, 0.5, 5.0])
    def test_near_a_solar_system_object(self, distance: float) -> None:
        assert rejection(ztf_packet(ssdistnr=distance)) == ("unsupported", "ZTF26aaaaaaa")

    @pytest.mark.parametrize("distance", [-999.0, None, 5.1])
    def test_far_from_any_solar_system_object(self, distance: float | None) -> None:
        assert only(ztf_packet(ssdistnr=distance)).object_id == "ZTF26aaaaaaa"

    def test_rewritten_packet_without_top_level_candid(self) -> None:
        packet = ztf_packet()
        del packet["candid"]
        assert only(packet).alert_id == "3300000000000000001"

    def test_a_row_without_band_or_time_is_left_out(self) -> None:
        packet = ztf_packet()
        packet["prv_candidates"] = [{"jd": None, "fid": 1}, {"jd": 2461000.5, "fid": 9, "diffmaglim": 20}, "?"]
        assert len(only(packet).photometry) == 1

    @pytest.mark.parametrize("none", [99.0, -999.0, None, float("nan")])
    def test_numbers_that_mean_no_magnitude(self, none: Any) -> None:
        (point,) = only(ztf_packet(magpsf=none)).photometry
        assert (point.magnitude, point.limit) == (None, 20.1)
        assert only(ztf_packet(magpsf=none, diffmaglim=none)).photometry == ()

    @pytest.mark.parametrize("jd", [0, -1.0, 5e9, float("nan"), 2400000.5])
    def test_what_is_no_time(self, jd: float) -> None:
        report = only(ztf_packet(jd=jd))
        assert (report.object_id, report.time, report.photometry) == ("ZTF26aaaaaaa", None, ())

    @pytest.mark.parametrize(
        ("first", "expected"),
        [(2460990.25, from_jd(2460990.25)), ("2460990.25", from_jd(2460990.25)), (None, None), (0, None), ("?", None),
         (float("nan"), None)],
    )  # fmt: skip
    def test_when_the_object_was_first_seen(self, first: Any, expected: Any) -> None:
        assert only(ztf_packet(jdstarthist=first)).first_seen == expected
        assert only(ztf_packet()).first_seen is None

    def test_history_days(self) -> None:
        packet = ztf_packet() | {"prv_candidates": [{"jd": 2461000.75 - n, "fid": 1, "diffmaglim": 20} for n in (5, 9)]}
        assert len(parse(json_alert(packet), IngestOptions(history_days=5))[0].photometry) == 2


class TestForcedPhotometryOfZtf:
    """fp_hists of schema 4: 100 DN at the zero point 26 is 21 mag."""

    @staticmethod
    def row(**fields: Any) -> dict[str, Any]:
        return {
            "jd": 2460999.75, "fid": 2, "forcediffimflux": 100.0, "forcediffimfluxunc": 10.0, "magzpsci": 26.0,
            "procstatus": "0", "diffmaglim": 20.5,
        } | fields  # fmt: skip

    def points(self, *rows: dict[str, Any], previous: Any = None, **options: Any) -> list[PhotometryPoint]:
        packet = ztf_packet() | {"fp_hists": list(rows), "prv_candidates": previous}
        (report,) = parse(json_alert(packet), IngestOptions(**options))
        return list(report.photometry)[1:]

    def test_detection(self) -> None:
        (point,) = self.points(self.row())
        assert (point.time, point.band, point.source) == (from_jd(2460999.75), "r", "ZTF")
        assert point.magnitude == pytest.approx(21.0, abs=1e-12)
        assert point.magnitude_error == pytest.approx(0.108573620)
        assert point.value["flux_njy"] == pytest.approx(10 ** (0.4 * (31.4 - 21.0)))

    def test_limit_and_signed_flux(self) -> None:
        (point,) = self.points(self.row(forcediffimflux=-100.0))
        assert point.magnitude is None
        assert point.limit == pytest.approx(26.0 - 2.5 * math.log10(50.0), abs=1e-12)
        assert point.value["flux_njy"] == pytest.approx(-(10 ** (0.4 * (31.4 - 21.0))))
        assert self.points(self.row(forcediffimflux=40.0), detection_snr=4)[0].magnitude is not None
        assert self.points(self.row(forcediffimflux=40.0))[0].magnitude is None

    @pytest.mark.parametrize(
        "gone",
        [{"forcediffimflux": None}, {"forcediffimflux": -99999.0}, {"forcediffimfluxunc": -99999.0},
         {"forcediffimfluxunc": None}, {"magzpsci": None}, {"magzpsci": -99999.0}, {"jd": None}, {"fid": 7},
         {"procstatus": "56"}, {"procstatus": "57,61"}],
    )  # fmt: skip
    def test_what_is_not_measured_is_left_out(self, gone: dict[str, Any]) -> None:
        assert self.points(self.row(**gone)) == []

    @pytest.mark.parametrize("status", ["0", "57", None])
    def test_sound_ones(self, status: str | None) -> None:
        assert len(self.points(self.row(procstatus=status))) == 1

    def test_a_candidates_exposure_has_no_second_point(self) -> None:
        assert self.points(self.row(jd=2461000.75, fid=1)) == []
        below = {"jd": 2460999.75, "fid": 2, "magpsf": 18.0, "isdiffpos": "f", "diffmaglim": 20.0}
        assert [point.limit for point in self.points(self.row(), previous=[below])] == [20.0]

    def test_it_takes_the_place_of_a_limit_where_it_detects_something(self) -> None:
        limit = {"jd": 2460999.75, "fid": 2, "diffmaglim": 20.0, "magpsf": None}
        assert [point.limit for point in self.points(self.row(), previous=[limit])] == [None]
        assert [p.limit for p in self.points(self.row(forcediffimflux=1.0), previous=[limit])] == [20.0]


class TestNotice:
    def test_identity_is_mission_and_each_id(self) -> None:
        report = only(notice(id=["745121685", "bn240812094"], mission="FERMI"))
        assert report.event_keys == ("Fermi 745121685", "Fermi bn240812094")
        assert report.object_id == "Fermi 745121685"
        assert report.time == from_iso("2026-10-01T00:00:00Z")

    def test_a_name_comes_before_mission_and_id(self) -> None:
        report = only(notice(event_name=["GRB 261001A", "GRB 261001"], id="7"))
        assert report.names == ("GRB 261001A", "GRB 261001", "Swift 7")

    def test_without_id_the_trigger_time_identifies(self) -> None:
        report = only(notice(id=None, trigger_time="2026-09-30T23:59:00.25"))
        assert report.event_keys == ("Swift 2026-09-30T23:59:00.250000",)

    def test_mission_from_instrument_then_topic_then_schema(self) -> None:
        assert only(notice(mission=None, instrument="WXT")).event_keys == ("WXT 1000001",)
        nameless = notice(mission=None)
        assert only(nameless, "gcn.notices.dsa110.frb").event_keys == ("DSA-110 1000001",)
        assert only(nameless, "mirror").event_keys == ("Swift 1000001",)

    @pytest.mark.parametrize(("given", "degrees"), [(0.5, 0.5), ([0.2, 0.7, 90], 0.7), ([0.3], 0.3), ([], None)])
    def test_error_is_a_radius_or_an_ellipse(self, given: Any, degrees: float | None) -> None:
        assert only(notice(ra_dec_error=given)).position_error_deg == degrees

    @pytest.mark.parametrize("tense", ["test", "injection", "planned", "commanded"])
    def test_what_was_not_observed(self, tense: str) -> None:
        assert rejection(notice(alert_tense=tense)) == ("test", "Swift 1000001")

    def test_archival_was_observed(self) -> None:
        assert only(notice(alert_tense="archival")).ra == 100.0

    def test_no_time_of_its_own_is_the_brokers(self) -> None:
        assert only(notice(alert_datetime=None)).time == SENT

    def test_retraction(self) -> None:
        assert only(notice(alert_type="retraction", ra=None, dec=None)).retraction

    def test_classification_becomes_ranked_classes(self) -> None:
        report = only(notice(classification={"SF": 0.1, "GRB": 0.9}))
        assert [(c.class_name, c.probability, c.ranking) for c in report.classifications] == [
            ("GRB", 0.9, 1), ("SF", 0.1, 2),
        ]  # fmt: skip

    def test_gravitational_waves(self) -> None:
        assert rejection({"superevent_id": "S250101a", "alert_type": "INITIAL"}) == ("nonlocalised", "S250101a")
        assert rejection([{"superevent_id": "MS250101a"}]) == ("nonlocalised", "MS250101a")

    def test_circulars(self) -> None:
        assert rejection({"circularId": 1, "eventId": "GRB 230410A", "body": "RA = 1"}) == (
            "no_position",
            "GRB 230410A",
        )
        assert rejection({"header": {"number": "40", "title": "GCN"}, "body": "RA = 1"})[0] == "no_position"


class TestBoom:
    CONTENT = {
        "$schema": "https://gcn.nasa.gov/schema/main/gcn/notices/boom/alert.schema.json",
        "data": {
            "targets": [
                {
                    "name": "ZTF25acffkdr",
                    "ra": 150.175649,
                    "dec": 15.2832185,
                    "classifications": [{"classification": "Type II", "probability": 0.9}],
                }
            ],
            "photometry": [
                {"target_name": "ZTF25acffkdr", "date_obs": 61006.585492, "instrument": "ATLAS", "filter": ["atlaso"],
                 "brightness": None, "brightness_unit": "ab", "limiting_brightness": 19.53},
                {"target_name": "ZTF25acffkdr", "date_obs": 61007.4, "instrument": "ZTF", "filter": ["ztfg"],
                 "brightness": 18.098275781661336, "brightness_error": 0.02, "brightness_unit": "ab",
                 "limiting_brightness": 20.4824},
                {"target_name": "another", "date_obs": 61007.4, "filter": ["ztfg"], "brightness": 18.0},
            ],
        },
    }  # fmt: skip

    def test_targets_of_a_notice(self) -> None:
        report = only(self.CONTENT)
        assert (report.object_id, report.ra, report.dec) == ("ZTF25acffkdr", 150.175649, 15.2832185)
        assert [(p.band, p.magnitude, p.limit) for p in report.photometry] == [
            ("atlaso", None, 19.53), ("g", 18.098275781661336, None),
        ]  # fmt: skip
        assert {point.source for point in report.photometry} == {"BOOM"}
        assert [(c.classifier, c.class_name) for c in report.classifications] == [("BOOM", "Type II")]


class TestVoevent:
    def test_position_identity_and_times(self) -> None:
        (report,) = parse(alert_of(voevent().encode()))
        assert (report.object_id, report.event_keys) == ("Swift 1125809", ("Swift 1125809",))
        assert (report.ra, report.dec, report.position_error_deg) == (64.7373, 13.3517, 0.05)
        assert report.time == from_iso("2022-09-30T11:12:15")
        assert report.alert_id == "ivo://nasa.gsfc.gcn/SWIFT#BAT_GRB_Pos_1125809-092"
        assert not report.retraction

    @pytest.mark.parametrize("kind", [bytes, str])
    def test_as_bytes_and_as_text_it_reads_the_same(self, kind: type) -> None:
        alert = alert_of(voevent().encode())
        object.__setattr__(alert, "_content", voevent() if kind is str else voevent().encode())
        (report,) = parse(alert)
        assert report.object_id == "Swift 1125809"

    @pytest.mark.parametrize("role", ["test", "utility", "prediction"])
    def test_other_roles(self, role: str) -> None:
        with pytest.raises(RejectAlert, match="test"):
            parse(alert_of(voevent(role=role).encode()))

    def test_without_id_the_trigger_time_identifies(self) -> None:
        (report,) = parse(alert_of(voevent(trigger="").encode()))
        assert report.object_id == "Swift 2022-09-30T11:11:52.120000"

    def test_a_negative_error_is_no_position(self) -> None:
        (report,) = parse(alert_of(voevent(error="-1").encode()))
        assert not report.has_position

    def test_nothing_located_yet_is_no_position(self) -> None:
        """As the first notices of Fermi's GBM: all its bursts would be one Target."""
        xml = voevent(error="0").replace("64.7373", "0.0").replace("13.3517", "0.0")
        (report,) = parse(alert_of(xml.encode()))
        assert not report.has_position

    def test_retraction(self) -> None:
        cited = '<EventIVORN cite="retraction">ivo://nasa.gsfc.gcn/SWIFT#1</EventIVORN>'
        (report,) = parse(alert_of(voevent(citation=cited).encode()))
        assert report.retraction

    def test_entity_bomb(self) -> None:
        bomb = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
        <VOEvent>&b;</VOEvent>"""
        with pytest.raises(DecodeError, match="entities"):
            parse(alert_of(bomb))

    @pytest.mark.parametrize("cut", [10, 300, 600])
    def test_truncated(self, cut: int) -> None:
        with pytest.raises(DecodeError, match="cannot be read"):
            parse(alert_of(voevent().encode()[:cut]))

    def test_other_xml(self) -> None:
        with pytest.raises(RejectAlert, match="unsupported"):
            parse(alert_of(b"<html></html>"))

    @pytest.mark.parametrize(
        ("kind", "names"),
        [("ICECUBE_BRONZE_Event2022-08-08T07:59:57.26_25_136918_045252263_0",
          ("IceCube 136918_45252263", "AMON 13691845252263", "AMON 136918_45252263")),
         ("HAWC_BURST_Event2022-08-08", ("AMON 13691845252263", "AMON 136918_45252263"))],
    )  # fmt: skip
    def test_events_of_icecube_from_amon(self, kind: str, names: tuple[str, ...]) -> None:
        """As the JSON notice names them; under AMON's numbers they were known before."""
        ids = {"AMON_ID": "13691845252263", "run_id": "136918", "event_id": "45252263"}
        parameters = "".join(f'<Param name="{name}" value="{value}"/>' for name, value in ids.items())
        xml = voevent().replace("SWIFT#BAT_GRB_Pos_1125809-092", f"AMON#{kind}")
        (report,) = parse(alert_of(xml.replace('<Param name="TrigID" value="1125809"/>', parameters).encode()))
        assert (report.object_id, report.event_keys) == (names[0], names)

    def test_events_of_svom(self) -> None:
        """Its VOEvents name its science centre, its JSON notices at times only the instrument."""
        xml = voevent(trigger="sb25120806").replace("nasa.gsfc.gcn/SWIFT#BAT", "org.svom/fsc#sb25120806_eclairs")
        (report,) = parse(alert_of(xml.replace("TrigID", "Burst_Id").encode()))
        assert report.event_keys == ("SVOM sb25120806",)
        for instrument in ("ECLAIRs", "GRM", "MXT", "VT"):
            assert only(notice(mission=None, instrument=instrument, id=["sb25120806"])).event_keys == report.event_keys

    @pytest.mark.skipif(not SAMPLES.is_dir(), reason=ABSENT)
    def test_the_real_packet_is_the_json_notices_event(self) -> None:
        (report,) = parse(sample("gcn/SWIFT_1125809-092.xml"))
        assert only(notice(id="1125809")).event_keys == report.event_keys


TEXT_NOTICE = """TITLE:           GCN/FERMI NOTICE
NOTICE_DATE:     Tue 18 Apr 23 05:29:21 UT
NOTICE_TYPE:     Fermi-GBM Flight Position
TRIGGER_NUM:     703488537,   Seg_Num: 0
GRB_RA:           40.117d {+02h 40m 28s} (J2000),
                  40.426d {+02h 41m 42s} (current),
                  39.454d {+02h 37m 49s} (1950)
GRB_DEC:          -7.267d {-07d 16' 00"} (J2000),
                  -7.366d {-07d 21' 56"} (current),
                  -7.053d {-07d 03' 10"} (1950)
GRB_ERROR:       34.97 [arcmin radius, statistical plus systematic]
GRB_DATE:        20052 TJD;   108 DOY;   23/04/18
GRB_TIME:        19732.12 SOD {05:28:52.12} UT
COMMENTS:        one
COMMENTS:        two
"""


class TestTextNotice:
    def read(self, *changes: tuple[str, str]) -> TargetReport:
        notice = TEXT_NOTICE
        for old, new in changes:
            assert old in notice
            notice = notice.replace(old, new)
        (report,) = parse(alert_of(notice.encode()))
        return report

    def test_position_of_j2000_identity_and_times(self) -> None:
        report = self.read()
        assert (report.object_id, report.event_keys) == ("Fermi 703488537", ("Fermi 703488537",))
        assert (report.ra, report.dec) == (40.117, -7.267)
        assert report.position_error_deg == pytest.approx(34.97 / 60)
        assert report.time == from_iso("2023-04-18T05:29:21Z")
        assert report.extras["trigger_time"] == "2023-04-18T05:28:52.120000+00:00"
        assert (report.kind, report.retraction) == ("notice", False)

    @pytest.mark.parametrize(("unit", "degrees"), [("deg", 34.97), ("arcsec", 34.97 / 3600)])
    def test_the_unit_of_the_error_is_in_brackets(self, unit: str, degrees: float) -> None:
        assert self.read(("[arcmin", f"[{unit}")).position_error_deg == pytest.approx(degrees)

    def test_nothing_located_yet_is_no_position(self) -> None:
        places = ("40.117d", "0.000d"), ("-7.267d", "+0.000d")
        assert not self.read(*places, ("34.97 [arcmin", "0.00 [deg")).has_position
        assert self.read(*places).has_position

    def test_epochs_in_any_order(self) -> None:
        assert self.read(("(J2000)", "(now)"), ("(current)", "(J2000)"), ("(now)", "(current)")).ra == 40.426

    def test_no_position(self) -> None:
        report = self.read(("40.117d {+02h 40m 28s} (J2000)", "Undefined (J2000)"))
        assert not report.has_position

    def test_other_names_of_the_position(self) -> None:
        assert self.read(("GRB_", "SRC_")).ra == 40.117

    def test_without_an_id_the_trigger_time_identifies(self) -> None:
        assert self.read(("TRIGGER_NUM", "RECORD_NUM")).object_id == "Fermi 2023-04-18T05:28:52.120000"

    def test_run_and_event(self) -> None:
        report = self.read(("TRIGGER_NUM:     703488537,   Seg_Num: 0", "RUN_NUM: 139279\nEVENT_NUM: 10803235"))
        assert report.event_keys == ("Fermi 139279_10803235",)

    @pytest.mark.parametrize(
        ("kind", "names"),
        [("ICECUBE Cascade", ("IceCube 139279_10803235", "AMON 139279_10803235")),
         ("HAWC Burst Monitor", ("AMON 139279_10803235",))],
    )  # fmt: skip
    def test_events_of_icecube_from_amon(self, kind: str, names: tuple[str, ...]) -> None:
        number = ("TRIGGER_NUM:     703488537,   Seg_Num: 0", "RUN_NUM: 139279\nEVENT_NUM: 10803235")
        report = self.read(("GCN/FERMI", "GCN/AMON"), ("Fermi-GBM Flight Position", kind), number)
        assert (report.object_id, report.event_keys) == (names[0], names)

    def test_without_a_date_it_is_the_brokers(self) -> None:
        assert self.read(("Tue 18 Apr 23", "Tue 38 Apr 23")).time == SENT
        assert self.read(("NOTICE_DATE:     Tue 18 Apr 23 05:29:21 UT\n", "")).time == SENT

    def test_retraction(self) -> None:
        assert self.read(("Flight Position", "Retraction")).retraction

    @pytest.mark.parametrize(
        ("old", "new", "code"),
        [
            ("Flight Position", "Test Position", "test"),
            ("GCN/FERMI", "GCN/LVC", "nonlocalised"),
            ("TRIGGER_NUM:     703488537,   Seg_Num: 0\nGRB", "POINT", "unsupported"),
        ],
    )
    def test_what_is_no_event(self, old: str, new: str, code: str) -> None:
        notice = TEXT_NOTICE.replace(old, new).replace("GRB_DATE", "SLEW_DATE")
        with pytest.raises(RejectAlert) as caught:
            parse(alert_of(notice.encode()))
        assert caught.value.code == code

    @pytest.mark.skipif(not SAMPLES.is_dir(), reason=ABSENT)
    def test_the_real_one(self) -> None:
        (report,) = parse(sample("hopskotch/example_gcn.txt"))
        assert (report.ra, report.dec, report.object_id) == (103.7861, 5.8716, "IceCube 139279_10803235")
        assert report.position_error_deg == pytest.approx(69.22 / 60)
        assert report.time == from_iso("2024-04-12T05:34:35Z")


class TestHermes:
    def test_every_sidereal_target_is_reported(self) -> None:
        first, second = parse(json_alert(HERMES))
        assert (first.object_id, first.ra, first.dec) == ("GRB 230409B", 329.5158, 52.8321)
        assert (second.ra, second.dec) == (187.5, -5.5)
        assert second.position_error_deg == pytest.approx(2 / 3600)
        assert first.aliases == ("AT 2023xyz",)
        assert first.extras == {"redshift": "0.3", "event_id": "GRB 230409B"}
        assert first.event_keys == ()

    def test_magnitudes_and_limits_but_no_fluxes(self) -> None:
        points = parse(json_alert(HERMES))[0].photometry
        assert [(p.band, p.magnitude, p.limit) for p in points] == [("white", 19.35, None), ("v", None, 18.1)]
        assert points[0].time == points[1].time == from_iso("2023-04-09")
        assert (points[0].telescope, points[0].instrument) == ("Swift", "UVOT")

    def test_numbers_that_mean_no_magnitude(self) -> None:
        message = json.loads(json.dumps(HERMES))
        for row in message["data"]["photometry"]:
            row.update(brightness=99, limiting_brightness=-999)
        assert parse(json_alert(message))[0].photometry == ()

    @pytest.mark.parametrize("error", ["-999", 99, -0.1, "nan", None])
    def test_numbers_that_mean_no_error(self, error: Any) -> None:
        message = json.loads(json.dumps(HERMES))
        message["data"]["photometry"][0]["brightness_error"] = error
        point = parse(json_alert(message))[0].photometry[0]
        assert (point.magnitude, point.magnitude_error) == (19.35, None)

    def test_whose_points_they_are(self) -> None:
        assert parse(json_alert(HERMES))[0].photometry[0].source == "someone"
        assert parse(json_alert(HERMES | {"submitter": None}))[0].photometry[0].source == "Hermes"

    def test_moving_objects_only(self) -> None:
        message = {"data": {"targets": [{"name": "C/2023 A1", "orbital_elements": {"eccentricity": 1.0}}]}}
        assert rejection(message)[0] == "unsupported"

    ORBIT = {
        "epoch_of_elements": "2460600.5", "orbital_inclination": 10.5, "longitude_of_the_ascending_node": 20.0,
        "argument_of_the_perihelion": 30.0, "eccentricity": 0.1, "semimajor_axis": 2.5, "mean_anomaly": 40.0,
        "perihelion_distance": None, "epoch_of_perihelion": None,
    }  # fmt: skip

    def test_moving_objects_with_an_orbit(self) -> None:
        report = only({"data": {"targets": [{"name": "2004 JQ12", "orbital_elements": self.ORBIT}]}})
        assert (report.object_id, report.moving, report.has_position) == ("2004 JQ12", True, False)
        assert report.elements == OrbitalElements(
            "MPC_MINOR_PLANET", 60600.0, 10.5, 20.0, 30.0, 0.1, mean_anomaly=40.0, semimajor_axis=2.5
        )

    @pytest.mark.parametrize("passage", ["2024-10-18T12:00:00Z", 60601.5, "2460602.0"])
    def test_comets(self, passage: Any) -> None:
        orbit = self.ORBIT | {"eccentricity": 1.0, "semimajor_axis": None, "mean_anomaly": ""}
        orbit |= {"perihelion_distance": "0.5", "epoch_of_perihelion": passage}
        elements = only({"data": {"targets": [{"name": "C/2023 A3", "orbital_elements": orbit}]}}).elements
        assert elements is not None
        assert (elements.scheme, elements.perihdist, elements.epoch_of_perihelion) == ("MPC_COMET", 0.5, 60601.5)

    def test_sidereal_targets_do_not_move(self) -> None:
        assert not any(report.moving or report.elements for report in parse(json_alert(HERMES)))

    def test_empty_orbital_elements_are_none(self) -> None:
        target = {"name": "a", "ra": 1, "dec": 2, "orbital_elements": {"eccentricity": None, "scheme": ""}}
        assert only({"data": {"targets": [target]}}).object_id == "a"


@pytest.mark.parametrize(
    ("text", "degrees"),
    [("10.5", 10.5), (10, 10.0), ("12:30:00", 187.5), ("12h30m00s", 187.5), ("12 30 00.0", 187.5), ("187d30m00s", 187.5),
     ("12:30", 187.5), ("12:61:00", None), ("", None), (None, None), ("nan", None), ("north", None)],
)  # fmt: skip
def test_right_ascension(text: object, degrees: float | None) -> None:
    assert ra_deg(text) == degrees


@pytest.mark.parametrize(
    ("text", "degrees"), [("-05:30:00", -5.5), ("-00:30:00", -0.5), ("+5d30m", 5.5), (-5.5, -5.5), ("\u22125:30", -5.5)]
)
def test_declination(text: object, degrees: float) -> None:
    assert dec_deg(text) == degrees


@pytest.mark.parametrize("raw", [None, b"", b"  \n"])
def test_nothing_to_read(raw: bytes | None) -> None:
    with pytest.raises(DecodeError, match=r"empty|tombstone"):
        parse(alert_of(raw))


@pytest.mark.parametrize(
    "content",
    [{"foo": 1}, [], [1, 2], "TITLE: GCN/AMON NOTICE", 5, {"diaSource": {}, "alertId": 1}, {"diaSource": None}],
)
def test_other_formats(content: Any) -> None:
    alert = json_alert({})
    object.__setattr__(alert, "_content", content)
    with pytest.raises(RejectAlert, match="unsupported"):
        parse(alert)


class TestHopModels:
    """What hop's deserialiser hands to handlers is read as well."""

    def with_model(self, name: str, raw: bytes) -> Alert:
        models = pytest.importorskip("hop.models")
        alert = alert_of(raw)
        object.__setattr__(alert, "_content", getattr(models, name).deserialize(raw))
        return alert

    def test_voevent(self) -> None:
        (report,) = parse(self.with_model("VOEvent", voevent().encode()))
        assert report.object_id == "Swift 1125809"

    def test_json(self) -> None:
        first, _ = parse(self.with_model("JSONBlob", json.dumps(HERMES).encode()))
        assert first.object_id == "GRB 230409B"

    def test_blob(self) -> None:
        (report,) = parse(self.with_model("Blob", voevent().encode()))
        assert report.object_id == "Swift 1125809"

    def test_circular(self) -> None:
        raw = json.dumps({"header": {"title": "GCN", "number": "40"}, "body": "RA = 1"}).encode()
        with pytest.raises(RejectAlert, match="no_position"):
            parse(self.with_model("GCNCircular", raw))

    def test_text_notice(self) -> None:
        (report,) = parse(self.with_model("GCNTextNotice", TEXT_NOTICE.encode()))
        assert report.object_id == "Fermi 703488537"

    @pytest.mark.skipif(not SAMPLES.is_dir(), reason=ABSENT)
    @pytest.mark.parametrize(
        ("name", "file", "code"),
        [
            ("AvroBlob", "example_avro.avro", "unsupported"),
            ("VOEvent", "example_voevent.xml", "nonlocalised"),
        ],
    )
    def test_real_ones(self, name: str, file: str, code: str) -> None:
        alert = self.with_model(name, (SAMPLES / "hopskotch" / file).read_bytes())
        with pytest.raises(RejectAlert) as caught:
            parse(alert)
        assert caught.value.code == code
