"""Every file of the sample folder and what must become of it, written down by hand from its content."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import BaseTarget

from tests.unit.ingest.samples import ABSENT, SAMPLES, sample
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.options import IngestOptions

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.both_databases,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason=ABSENT),
]


@dataclass(frozen=True)
class Made:
    """A Target is made: its name, position (degrees) and how many detections and limits it gets."""

    name: str
    ra: float
    dec: float
    detections: int = 0
    limits: int = 0
    moving: bool = False


@dataclass(frozen=True)
class Rejected:
    """Nothing is made, for this reason."""

    code: str


@dataclass(frozen=True)
class Remembered:
    """A retraction of an event that is not known yet."""

    event: str


@dataclass(frozen=True)
class Undecodable:
    """A dead letter: the stream cannot decode it without a schema."""


Expected = tuple[Made, ...] | Rejected | Remembered | Undecodable


def made(name: str, ra: float, dec: float, detections: int = 0, limits: int = 0) -> tuple[Made, ...]:
    return (Made(name, ra, dec, detections, limits),)


UNSUPPORTED = Rejected("unsupported")
NO_POSITION = Rejected("no_position")
LARGE_ERROR = Rejected("large_error")
NONLOCALISED = Rejected("nonlocalised")
TEST = Rejected("test")

TABLE: dict[str, Expected] = {
    # isdiffpos is t, 1 or f: the three with f have no detection, the image's limit stands for it.
    "ztf/820128985115015000.avro": made("ZTF19aanyzri", 90.3527767, -14.420609, 1, 11),
    "ztf/820128985315015000.avro": made("ZTF19aanyxbv", 86.6813476, -13.4200525, 1, 5),
    "ztf/820128985415010010.avro": made("ZTF19aanyyft", 87.01173, -14.9992387, 0, 6),
    "ztf/820128985515010010.avro": made("ZTF18acuwwpp", 87.8218062, -14.9558914, 0, 6),
    "ztf/820128985515010020.avro": made("ZTF18acweqpk", 88.1700589, -14.8885531, 0, 6),
    "ztf/820128985815015000.avro": made("ZTF19aanywwo", 85.2102996, -14.2964126, 1, 5),
    "ztf/ZTF19acihgng.avro": made("ZTF19acihgng", 289.8937586, 61.8469285, 33, 2),
    "ztf/ZTF19acxxwrs.avro": made("ZTF19acxxwrs", 166.1543212, 45.9774805, 5, 4),
    "ztf/ZTF19acyfkzd.avro": made("ZTF19acyfkzd", 75.4545453, 6.0073789, 5, 11),
    "ztf/ZTF19acyjzeo.avro": made("ZTF19acyjzeo", 183.4659779, 14.2209701, 4, 1),
    "gcn/EP240508.json": made("WXT 2024-05-08T07:38:01.151000", 229.837999999, -29.746999999),
    "gcn/GRB180116A_Fermi_GBM_Gnd_Pos.xml": LARGE_ERROR,  # 11.19 degrees
    "gcn/GW190425_initial.xml": NONLOCALISED,
    "gcn/SWIFT_1125809-092.xml": made("Swift 1125809", 64.7373, 13.3517),
    "gcn/notices/burstcube.alert.example.json": LARGE_ERROR,  # 10 degrees
    "gcn/notices/chime.frb.detection.example.json": made("CHIME 427325191", 346.77850859547, 12.632485229956252),
    "gcn/notices/chime.frb.subsequent.example.json": made("CHIME 427325192", 346.77850859547, 12.632485229956252),
    "gcn/notices/circulars.example.json": NO_POSITION,
    "gcn/notices/core.Localization.example.json": UNSUPPORTED,  # a fragment: it names no event
    "gcn/notices/core.Reporter.example.json": UNSUPPORTED,  # a fragment: a mission and no event
    "gcn/notices/core.Statistics.example.json": UNSUPPORTED,
    "gcn/notices/dsa110.frb.retraction.example.json": Remembered("dsa-110 240918aaaa"),
    "gcn/notices/dsa110.frb.update.example.json": NO_POSITION,
    "gcn/notices/fermi.gbm.trigger.alert.example.json": NO_POSITION,
    "gcn/notices/fermi.gbm.trigger.flight1.example.json": LARGE_ERROR,  # 8.32 degrees
    "gcn/notices/fermi.gbm.trigger.flight3.example.json": LARGE_ERROR,  # 7.15
    "gcn/notices/fermi.gbm.trigger.ground2.example.json": LARGE_ERROR,  # 1.08
    "gcn/notices/glowbug.Alert.example.json": NO_POSITION,
    "gcn/notices/icecube.lvk_nu_track_search.example.json": (
        Made("IceCube 138590_39138551", 17.48, 16.15),
        Made("IceCube 138590_39164579", 13.82, 18.66),
    ),
    "gcn/notices/km3net.alert.example.json": made("KM3-240901A", 10.82, 20.01),
    "gcn/notices/maxi.gsc.known.example.json": made("Swift J1858.6-0814", 285.6, -9.2),
    "gcn/notices/maxi.gsc.unknown.circle.example.json": LARGE_ERROR,  # 1.5 degrees
    "gcn/notices/maxi.gsc.unknown.noerror.example.json": made("GRB 230220A", 346.56, 18.61),
    "gcn/notices/maxi.gsc.unknown.retraction.example.json": Remembered("maxi 9995289617"),
    "gcn/notices/superk.sn_alert.test.example.json": TEST,
    "gcn/notices/svom.eclairs.trigger.not-slewing.example.json": TEST,
    "gcn/notices/svom.eclairs.trigger.wakeup.example.json": TEST,
    "gcn/notices/swift.bat.Guano.Retraction.example.json": Remembered("swift 694215995"),
    "gcn/notices/swift.bat.guano.loc_arc_min.example.json": made("Swift 694215995", 336.26, 25.139),
    "lvk/igwn_gwalert_preliminary.json": NONLOCALISED,
    "hopskotch/example_avro.avro": UNSUPPORTED,
    "hopskotch/example_gcn.gcn3": NO_POSITION,  # a circular
    "hopskotch/example_gcn.txt": LARGE_ERROR,  # a text notice, 69 arcmin
    "hopskotch/example_json.json": UNSUPPORTED,
    "hopskotch/example_voevent.xml": NONLOCALISED,
    "lsst/7912941781254298.confluent-wire": Undecodable(),
    # Two of the seven are asteroids. An exposure counts once: what was detected, else what was measured at the place.
    "lsst/fink_lsst_7_records.avro": (
        Made("170028485706776685", 63.349628499442076, -47.18075801654059, 105, 292),
        Made("313897383979122767", 61.813208782670614, -47.58368276413867, 337, 117),
        Made("170028513894596704", 151.09964324140063, 2.301326915305642, 77, 924),
        Made("313893023095193658", 62.51766199253057, -47.78624726515006, 408, 12),
        Made("2004 JQ12", 0, 0, 1, moving=True),
        Made("314002971860926640", 63.249034138789185, -46.90148528261898, 404, 15),
        Made("2020 SJ88", 0, 0, 1, moving=True),
    ),
    "elasticc/alert_mjd59583.0511_obj1131_src2262001.avro": made("1131", 65.752426, -51.642994, 2, 0),
    "elasticc/alert_mjd59583.0511_obj1134_src2268001.avro": made("1134", 65.752426, -51.642994, 0, 1),
    "elasticc/alert_mjd59583.0511_obj1138_src2276001.avro": made("1138", 65.752426, -51.642994, 2, 0),
    "elasticc/alert_mjd59583.0511_obj1147_src2294001.avro": made("1147", 65.752426, -51.642994, 2, 0),
    "elasticc/alert_mjd59583.0889_obj843_src1686000.avro": made("843", 59.941406, -5.379379, 1, 0),
    "elasticc/alert_mjd59588.1079_obj806_src1612001.avro": made("806", 59.941406, -5.379379, 1, 0),
    "elasticc/alert_mjd59588.1079_obj843_src1686001.avro": made("843", 59.941406, -5.379379, 2, 0),
    "elasticc/alert_mjd59588.1079_obj845_src1690001.avro": made("845", 59.941406, -5.379379, 0, 1),
    "elasticc/alert_mjd59589.2819_obj949_src1898001.avro": made("949", 159.960938, -38.491302, 1, 0),
    "elasticc/alert_mjd59590.0349_obj806_src1612002.avro": made("806", 59.941406, -5.379379, 2, 0),
}

#: Files that are no alerts.
NO_ALERTS = {
    "README.md",
    "alerce/early_classification_step_output.avsc",
    "alerce/elasticc_elasticc.v0_9_1.brokerClassification.avsc",
    "alerce/lc_classification_step_output_ztf.avsc",
    "alerce/stamp_classifier_2025_step_output.avsc",
}

OPTIONS = IngestOptions(create="always")


def test_every_file_is_in_the_table() -> None:
    files = {str(path.relative_to(SAMPLES)) for path in SAMPLES.rglob("*") if path.is_file()}
    assert files - NO_ALERTS == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_outcome(name: str) -> None:
    check(name, TABLE[name])


@pytest.mark.parametrize("name", [name for name in TABLE if name.startswith("ztf/")])
def test_packets_make_nothing_without_rules(name: str) -> None:
    outcome = ingest_targets([sample(name)], options=IngestOptions())[0]
    assert (outcome.kind, outcome.code) == ("rejected", "no_rule")
    assert not BaseTarget.objects.exists()


@pytest.mark.parametrize(
    ("name", "code"), [("ZTF19acihgng", "age"), ("ZTF19acyfkzd", ""), ("ZTF19acxxwrs", "age"), ("ZTF19acyjzeo", "")]
)
def test_packets_of_objects_first_seen_within_four_days(name: str, code: str) -> None:
    """They were seen 33.0, 3.1, 5.0 and 3.0 days before."""
    assert ingest_targets([sample(f"ztf/{name}.avro")], options=IngestOptions(max_age_days=4))[0].code == code


def check(name: str, expected: Expected) -> None:
    outcome = ingest_targets([sample(name, topic="alerts")], options=OPTIONS)[0]
    if isinstance(expected, Undecodable):
        assert outcome.kind == "failed"
    elif isinstance(expected, Rejected):
        assert (outcome.kind, outcome.code) == ("rejected", expected.code)
    else:
        assert outcome.kind == "done", outcome
    if isinstance(expected, Remembered):
        row = TargetAlert.objects.get()
        assert (row.event_key, row.target_id, row.retraction) == (expected.event, None, True)
    if not isinstance(expected, tuple):
        assert not BaseTarget.objects.exists()
        return
    assert BaseTarget.objects.count() == TargetAlert.objects.count() == len(expected)
    for target in expected:
        stored = BaseTarget.objects.get(name=target.name)
        assert stored.type == ("NON_SIDEREAL" if target.moving else "SIDEREAL")
        assert (stored.ra, stored.dec) == ((None, None) if target.moving else (target.ra, target.dec))
        rows = PhotometryReducedDatum.objects.filter(target=stored)
        assert rows.filter(brightness__isnull=False, limit__isnull=True).count() == target.detections
        assert rows.filter(brightness__isnull=True, limit__isnull=False).count() == target.limits
        assert TargetAlert.objects.get(target=stored).points == target.detections + target.limits == rows.count()


def test_the_whole_folder_twice_adds_nothing_the_second_time() -> None:
    names = list(TABLE)
    counts = []
    for _ in range(2):
        ingest_targets([sample(name, topic="alerts") for name in names], options=OPTIONS)
        counts.append([model.objects.count() for model in (BaseTarget, PhotometryReducedDatum, TargetAlert)])
    assert counts[0] == counts[1]
    assert counts[0][0] > 15
