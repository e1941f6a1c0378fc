"""Packets of LSST and of ELAsTiCC, which simulated them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord, get_body_barycentric
from astropy.coordinates.matrix_utilities import rotation_matrix
from astropy.time import Time
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import BaseTarget, TargetName

from tests.unit.ingest.samples import ABSENT, SAMPLES, json_alert, lsst_packet, lsst_source, sample
from tom_alertstreams.exceptions import RejectAlert
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.parsers import parse
from tom_alertstreams.ingest.parsers.orbits import orbital_elements
from tom_alertstreams.ingest.reports import OrbitalElements, PhotometryPoint, TargetReport
from tom_alertstreams.ingest.times import from_iso

FORCED = {"diaForcedSourceId": 3, "diaObjectId": 170028485706776685, "visit": 1, "midpointMjdTai": 61104.25,
          "band": "r", "psfFlux": 50.0, "psfFluxErr": 100.0, "timeWithdrawnMjdTai": None}  # fmt: skip
ORBIT = {"designation": "2004 JQ12", "a": 2.76, "q": 1.95, "e": 0.29, "i": 7.5, "node": 205.2, "argperi": 103.3,
         "peri_time": 61733.13, "mean_anomaly": 202.7, "epoch_mjd": 61000.0}  # fmt: skip
ALWAYS = IngestOptions(create="always")


def read(packet: Any, **options: Any) -> TargetReport:
    (report,) = parse(json_alert(packet), IngestOptions(**options))
    return report


def point_of(**source: Any) -> PhotometryPoint:
    (point,) = read(lsst_packet(diaSource=lsst_source(**source))).photometry
    return point


def moving_packet(**orbit: Any) -> dict[str, Any]:
    """As Fink hands on what moves: no diaObjectId, and a diaObject whose fields are null."""
    return lsst_packet(
        diaSource=lsst_source(diaObjectId=0, ssObjectId=21163624394469969),
        diaObject={"diaObjectId": None, "ra": None, "dec": None},
        ssSource={"ssObjectId": 21163624394469969, "designation": "2004 JQ12"},
        mpc_orbits=ORBIT | orbit,
    )


class TestSidereal:
    def test_identity_position_and_time(self) -> None:
        report = read(lsst_packet())
        assert (report.object_id, report.alert_id, report.kind) == (
            "170028485706776685", "170094456272322681", "survey",
        )  # fmt: skip
        assert (report.ra, report.dec, report.position_error_deg) == (63.5, -47.25, 6.8e-06)
        assert report.time == from_iso("2026-03-06T05:59:23Z")
        assert report.aliases == ()

    @pytest.mark.parametrize("first", [61101.25, 61101.25 * 86400])
    def test_when_the_object_was_first_seen(self, first: float) -> None:
        seen = {"diaObjectId": 170028485706776685, "firstDiaSourceMjdTai": first}
        assert read(lsst_packet(diaObject=seen)).first_seen == from_iso("2026-03-02T05:59:23Z")

    @pytest.mark.parametrize("absent", [{"firstDiaSourceMjdTai": None}, {"firstDiaSourceMjdTai": 0.0}, {}, None])
    def test_the_first_detection_may_be_unknown(self, absent: Any) -> None:
        assert read(lsst_packet(diaObject=absent)).first_seen is None

    def test_objects_full_of_nulls_are_no_asteroids(self) -> None:
        report = read(lsst_packet())
        assert not report.moving
        assert report.elements is None

    @pytest.mark.parametrize("absent", [None, 0, "0"])
    def test_an_id_of_zero_is_none(self, absent: Any) -> None:
        assert not read(lsst_packet(diaSource=lsst_source(ssObjectId=absent))).moving
        nobodys = lsst_packet(diaSource=lsst_source(diaObjectId=absent, ssObjectId=absent), diaObject=None)
        with pytest.raises(RejectAlert, match="unsupported"):
            parse(json_alert(nobodys))

    def test_packets_without_what_is_absent(self) -> None:
        packet = {"alertId": 7, "diaSource": lsst_source()}
        del packet["diaSource"]["ssObjectId"], packet["diaSource"]["timeWithdrawnMjdTai"]
        assert read(packet).object_id == "170028485706776685"

    def test_alert_id_of_what_has_no_source_id(self) -> None:
        assert read({"alertId": 2**60 + 1, "diaSource": lsst_source(diaSourceId=None)}).alert_id == str(2**60 + 1)

    def test_seconds_of_schema_v7(self) -> None:
        assert point_of(midpointMjdTai=61105.25 * 86400).time == from_iso("2026-03-06T05:59:23Z")

    @pytest.mark.parametrize("error", [None, math.nan])
    def test_without_errors_of_the_position(self, error: Any) -> None:
        assert read(lsst_packet(diaSource=lsst_source(raErr=error, decErr=error))).position_error_deg is None

    @pytest.mark.parametrize(("ra", "dec"), [(math.nan, 1.0), (None, 1.0), (1.0, None)])
    def test_without_a_position(self, ra: Any, dec: Any) -> None:
        assert not read(lsst_packet(diaSource=lsst_source(ra=ra, dec=dec))).has_position


class TestBrightness:
    def test_magnitude_is_astropys_ab(self) -> None:
        point = point_of(psfFlux=2553.6, psfFluxErr=100.0)
        # Rubin's 31.4 is rounded: the AB system's own zero point of 1 nJy is 31.40006.
        assert point.magnitude == pytest.approx((2553.6 * units.nJy).to_value(units.ABmag), abs=1e-4)
        assert point.magnitude == pytest.approx(31.4 - 2.5 * math.log10(2553.6), abs=1e-12)
        assert point.magnitude_error == pytest.approx(2.5 / math.log(10) * 100.0 / 2553.6, rel=1e-12)
        assert (point.limit, point.source, point.band, point.instrument) == (None, "LSST", "i", "")

    def test_five_times_its_error_is_a_detection(self) -> None:
        assert point_of(psfFlux=1000.0, psfFluxErr=200.0).magnitude == pytest.approx(23.9, abs=1e-12)

    @pytest.mark.parametrize("flux", [999.9, 0.0, -19549.4])
    def test_less_is_a_limit_and_the_signed_flux_stays(self, flux: float) -> None:
        point = point_of(psfFlux=flux, psfFluxErr=200.0)
        assert (point.magnitude, point.magnitude_error) == (None, None)
        assert point.limit == pytest.approx(23.9, abs=1e-12)
        assert point.value == {"flux_njy": flux, "flux_error_njy": 200.0, "diaSourceId": "170094456272322681"}

    def test_detection_snr(self) -> None:
        packet = lsst_packet(diaSource=lsst_source(psfFlux=700.0))
        assert read(packet).photometry[0].magnitude is None
        assert read(packet, detection_snr=3).photometry[0].magnitude is not None

    @pytest.mark.parametrize(
        "gone",
        [{"psfFlux": None}, {"psfFlux": math.nan}, {"psfFluxErr": None}, {"psfFluxErr": math.nan}, {"psfFluxErr": 0.0},
         {"band": None}, {"band": ""}, {"midpointMjdTai": None}, {"midpointMjdTai": math.nan}, {"midpointMjdTai": 0.0},
         {"midpointMjdTai": -5.0}],
    )  # fmt: skip
    def test_what_is_not_measured_is_left_out(self, gone: dict[str, Any]) -> None:
        report = read(lsst_packet(diaSource=lsst_source(**gone)))
        assert report.photometry == ()
        assert report.object_id == "170028485706776685"


class TestHistory:
    def test_detections_and_forced_photometry(self) -> None:
        previous = lsst_source(diaSourceId=5, midpointMjdTai=61103.25, psfFlux=3000.0)
        report = read(lsst_packet(prvDiaSources=[previous], prvDiaForcedSources=[FORCED, "?"]))
        assert [(p.band, p.magnitude is None) for p in report.photometry] == [("i", False), ("i", False), ("r", True)]
        assert report.photometry[2].value == {"flux_njy": 50.0, "flux_error_njy": 100.0}

    def test_an_exposure_with_a_detection_has_no_second_point(self) -> None:
        forced = FORCED | {"midpointMjdTai": 61105.25, "band": "i", "psfFlux": 980.0}
        assert len(read(lsst_packet(prvDiaForcedSources=[forced])).photometry) == 1
        assert len(read(lsst_packet(prvDiaForcedSources=[forced | {"band": "r"}])).photometry) == 2

    def test_history_days(self) -> None:
        old = [lsst_source(diaSourceId=n, midpointMjdTai=61105.25 - n) for n in (10, 30, 31)]
        assert len(read(lsst_packet(prvDiaSources=old)).photometry) == 4
        assert len(read(lsst_packet(prvDiaSources=old), history_days=30).photometry) == 3
        assert len(read(lsst_packet(prvDiaSources=old), history_days=0).photometry) == 1

    def test_what_is_withdrawn_is_told_at_any_age(self) -> None:
        old = lsst_source(diaSourceId=5, midpointMjdTai=60000.0, timeWithdrawnMjdTai=61105.0)
        new, withdrawn = read(lsst_packet(prvDiaSources=[old]), history_days=30).photometry
        assert (new.withdrawn, withdrawn.withdrawn) == (False, True)

    @pytest.mark.parametrize("absent", [None, 0, 0.0, math.nan])
    def test_what_is_not_withdrawn(self, absent: Any) -> None:
        assert not point_of(timeWithdrawnMjdTai=absent).withdrawn

    @pytest.mark.both_databases
    @pytest.mark.django_db
    def test_withdrawn_points_are_removed(self) -> None:
        forced = FORCED | {"midpointMjdTai": 61105.25, "band": "i", "psfFlux": 980.0}
        packet = lsst_packet(prvDiaForcedSources=[forced])
        ingest_targets([json_alert(packet)], options=ALWAYS)
        assert PhotometryReducedDatum.objects.get().brightness == pytest.approx(23.9)
        packet["diaSource"]["timeWithdrawnMjdTai"] = 61106.0
        assert ingest_targets([json_alert(packet)], options=ALWAYS)[0].kind == "done"
        row = PhotometryReducedDatum.objects.get()  # what was measured there takes its place
        assert row.value == {"flux_njy": 980.0, "flux_error_njy": 100.0}

    @pytest.mark.both_databases
    @pytest.mark.django_db
    def test_detection_and_withdrawal_in_one_batch(self) -> None:
        """As after an outage."""
        withdrawal = lsst_packet(diaSource=lsst_source(timeWithdrawnMjdTai=61106.0))
        outcomes = ingest_targets([json_alert(lsst_packet()), json_alert(withdrawal)], options=ALWAYS)
        assert [outcome.kind for outcome in outcomes] == ["done", "done"]
        assert not PhotometryReducedDatum.objects.exists()
        assert set(TargetAlert.objects.values_list("points", flat=True)) == {0}


class TestMoving:
    def test_designation_and_orbit(self) -> None:
        report = read(moving_packet())
        assert (report.object_id, report.aliases, report.moving) == ("2004 JQ12", ("21163624394469969",), True)
        orbit = report.elements
        assert orbit is not None
        assert (orbit.scheme, orbit.epoch_of_elements, orbit.semimajor_axis) == ("MPC_MINOR_PLANET", 61000.0, 2.76)
        assert (orbit.eccentricity, orbit.inclination, orbit.lng_asc_node) == (0.29, 7.5, 205.2)
        assert (orbit.arg_of_perihelion, orbit.mean_anomaly) == (103.3, 202.7)
        assert (orbit.perihdist, orbit.epoch_of_perihelion) == (None, None)

    @pytest.mark.parametrize("absent", [None, 0.0, math.nan])
    def test_without_semimajor_axis_it_is_a_comet(self, absent: Any) -> None:
        orbit = read(moving_packet(a=absent, mean_anomaly=absent, e=1.001)).elements
        assert orbit is not None
        assert (orbit.scheme, orbit.perihdist, orbit.epoch_of_perihelion) == ("MPC_COMET", 1.95, 61733.13)
        assert (orbit.semimajor_axis, orbit.mean_anomaly, orbit.eccentricity) == (None, None, 1.001)

    @pytest.mark.parametrize(
        "unusable",
        [{"e": None}, {"e": -0.1}, {"i": None}, {"i": 200.0}, {"node": math.nan}, {"argperi": None}, {"epoch_mjd": 0.0},
         {"epoch_mjd": None}, {"a": None, "q": None}, {"a": 0.0, "peri_time": 0.0}],
    )  # fmt: skip
    def test_unusable_orbits(self, unusable: dict[str, Any]) -> None:
        assert read(moving_packet(**unusable)).elements is None

    def test_columns_of_schema_v8(self) -> None:
        packet = moving_packet()
        del packet["mpc_orbits"], packet["ssSource"]
        packet["MPCORB"] = {"mpcDesignation": "K04J12Q", "epoch": 61000.0, "M": 202.7, "peri": 103.3, "node": 205.2,
                            "incl": 7.5, "e": 0.29, "a": 2.76, "q": 1.95, "t_p": 61733.13}  # fmt: skip
        assert read(packet).elements == orbital_elements(ORBIT)
        assert read(packet).object_id == "K04J12Q"

    def test_without_a_designation_its_id_is_its_name(self) -> None:
        packet = moving_packet()
        packet["mpc_orbits"] = packet["ssSource"] = None
        report = read(packet)
        assert (report.object_id, report.aliases, report.moving) == ("21163624394469969", (), True)

    @pytest.mark.both_databases
    @pytest.mark.django_db
    def test_targets(self) -> None:
        without = moving_packet(designation="2020 SJ88", e=None)
        without["diaSource"] |= {"diaSourceId": 9, "ssObjectId": 8}
        made, rejected = ingest_targets([json_alert(moving_packet()), json_alert(without)], options=ALWAYS)
        assert made.kind == "done"
        assert (rejected.kind, rejected.code, rejected.object_id) == ("rejected", "unsupported", "2020 SJ88")
        target = BaseTarget.objects.get()
        assert (target.name, target.type, target.scheme) == ("2004 JQ12", "NON_SIDEREAL", "MPC_MINOR_PLANET")
        assert (target.ra, target.dec, target.epoch_of_elements) == (None, None, 61000.0)
        assert TargetName.objects.get().name == "21163624394469969"


class TestElasticc:
    @staticmethod
    def packet(**dia_object: Any) -> dict[str, Any]:
        source = {"diaSourceId": 2262001, "diaObjectId": 1131, "midPointTai": 59583.0511, "filterName": "z", "ra": 65.5,
                  "decl": -51.5, "psFlux": 1000.0, "psFluxErr": 200.0}  # fmt: skip
        return {"alertId": 1, "diaSource": source, "prvDiaForcedSources": None, "diaObject": dia_object}

    def test_streamed_fluxes_are_in_njy(self) -> None:
        report = read(self.packet(hostgal_zspec=0.5))
        assert (report.object_id, report.alert_id, report.ra, report.dec) == ("1131", "2262001", 65.5, -51.5)
        (point,) = report.photometry
        assert (point.band, point.source) == ("z", "ELAsTiCC")
        assert point.magnitude == pytest.approx(23.9, abs=1e-12)
        assert point.value["flux_njy"] == 1000.0
        assert point.time == Time(59583.0511, format="mjd", scale="tai").utc.to_datetime(from_iso("2026-01-01").tzinfo)

    def test_those_of_the_rehearsal_are_snanas(self) -> None:
        (point,) = read(self.packet(hostgal_z=0.5)).photometry
        assert point.magnitude == pytest.approx(20.0, abs=1e-12)
        assert point.value["flux_njy"] == pytest.approx(1000.0 * 10 ** (0.4 * 3.9))
        assert point.value["flux_error_njy"] == pytest.approx(200.0 * 10 ** (0.4 * 3.9))

    @pytest.mark.skipif(not SAMPLES.is_dir(), reason=ABSENT)
    def test_depth_of_the_real_files_is_that_of_one_visit(self) -> None:
        (report,) = parse(sample("elasticc/alert_mjd59583.0511_obj1134_src2268001.avro"))
        assert report.photometry[0].limit == pytest.approx(22.9, abs=0.05)  # z; in nJy it would be 26.8


def seen_from_earth(orbit: OrbitalElements, time: Time) -> SkyCoord:
    """Where a minor planet stands at a time (ICRS), by Kepler's laws alone and from the centre of the Earth."""
    assert orbit.semimajor_axis is not None
    assert orbit.mean_anomaly is not None
    semimajor, eccentricity = orbit.semimajor_axis, orbit.eccentricity
    motion = math.degrees(0.01720209895 / semimajor**1.5)  # Gauss' constant
    to_equator = rotation_matrix(-84381.448 / 3600, "x")
    to_ecliptic = (
        rotation_matrix(-orbit.lng_asc_node, "z")
        @ rotation_matrix(-orbit.inclination, "x")
        @ rotation_matrix(-orbit.arg_of_perihelion, "z")
    )
    earth = (get_body_barycentric("earth", time) - get_body_barycentric("sun", time)).xyz.to_value("au")
    light_days, away = 0.0, earth
    for _ in range(3):
        days = time.tt.mjd - light_days - orbit.epoch_of_elements
        mean = eccentric = math.radians(orbit.mean_anomaly + motion * days)
        for _ in range(50):
            eccentric = mean + eccentricity * math.sin(eccentric)
        in_plane = (math.cos(eccentric) - eccentricity, math.sqrt(1 - eccentricity**2) * math.sin(eccentric), 0.0)
        away = to_equator @ to_ecliptic @ (semimajor * np.array(in_plane)) - earth
        light_days = float(np.linalg.norm(away)) * 0.0057755183
    return SkyCoord(*away, representation_type="cartesian")


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=ABSENT)
def test_orbits_lead_to_where_the_asteroids_were_seen() -> None:
    moving = [report for report in parse(sample("lsst/fink_lsst_7_records.avro")) if report.moving]
    assert len(moving) == 2
    for report in moving:
        assert report.elements is not None
        expected = seen_from_earth(report.elements, Time(report.time))
        seen = SkyCoord(report.ra, report.dec, unit="deg")
        # The rest is the parallax of the observatory, and what planets do in a hundred days.
        separation = seen.separation(SkyCoord(expected.spherical.lon, expected.spherical.lat))
        assert separation.arcsec < 20


@pytest.mark.skipif(not SAMPLES.is_dir(), reason=ABSENT)
def test_real_packets_of_fink() -> None:
    reports = parse(sample("lsst/fink_lsst_7_records.avro"))
    assert [report.moving for report in reports] == [False, False, False, False, True, False, True]
    fading = reports[0].photometry[0]
    assert (fading.magnitude, fading.value["flux_njy"]) == (None, -19549.39453125)
    rising = reports[1].photometry[0]
    assert rising.magnitude == pytest.approx((2074.947998046875 * units.nJy).to_value(units.ABmag), abs=1e-4)
    assert rising.time == Time(61105.093643486834, format="mjd", scale="tai").utc.to_datetime(rising.time.tzinfo)
    assert len({report.alert_id for report in reports}) == 7
    orbit = reports[6].elements
    assert orbit is not None
    assert (orbit.scheme, orbit.epoch_of_elements, orbit.mean_anomaly) == (
        "MPC_MINOR_PLANET",
        61000.0,
        21.5303049274022,
    )
