"""SKY: where on the sky an object makes a Target."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from tests.unit.ingest.samples import json_alert, ztf_packet
from tests.unit.ingest.test_positions import random_sky
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.handlers import resolve
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.reports import OrbitalElements, TargetReport
from tom_alertstreams.ingest.rules import verdict
from tom_alertstreams.ingest.sky import galactic_latitude_deg
from tom_alertstreams.ingest.sky_rule import SkyRule

HANDLER = "tom_alertstreams.ingest.handlers.ingest_targets"
SKY = random_sky(10_000, seed=6)


def accepted(given: dict[str, Any]) -> Any:
    rule = SkyRule.build(given)
    return np.array([rule.accepts(float(ra), float(dec)) for ra, dec in zip(SKY.ra.deg, SKY.dec.deg, strict=True)])


class TestAgainstAstropy:
    @pytest.mark.parametrize(
        "cone",
        [
            [150.1, 2.2, 30], [0, 0, 3], [360, 0, 10], [359.999, -10, 20], [0.2, 45, 40], [77, 90, 0.3],
            [200, -90, 0.25], [10, 89.9, 0.5], [266.4, -29, 90], [83.6, 22, 179], [12, -75, 180],
        ],
    )  # fmt: skip
    def test_cones(self, cone: list[float]) -> None:
        ra, dec, radius = cone
        expected = SKY.separation(SkyCoord(ra, dec, unit="deg")) <= radius * u.deg
        assert np.array_equal(accepted({"cone": cone}), expected)
        assert expected.sum() > 0

    @pytest.mark.parametrize("least", [0.5, 15, 30, 60, 89])
    def test_galactic_latitude(self, least: float) -> None:
        expected = np.abs(SKY.galactic.b.deg) >= least
        assert np.array_equal(accepted({"min_abs_galactic_latitude": least}), expected)
        assert 0 < expected.sum() < len(SKY)

    def test_galactic_latitude_to_some_hundredths_of_an_arcsecond(self) -> None:
        found = [galactic_latitude_deg(float(ra), float(dec)) for ra, dec in zip(SKY.ra.deg, SKY.dec.deg, strict=True)]
        assert np.abs(np.array(found) - SKY.galactic.b.deg).max() * 3600 < 0.05

    def test_all_that_is_given_must_hold_and_one_of_several_cones_is_enough(self) -> None:
        cones = [[359, 10, 20], [180, -60, 35], [5, 89, 10]]
        centres = [SkyCoord(ra, dec, unit="deg") for ra, dec, _ in cones]
        inside = [SKY.separation(c) <= cone[2] * u.deg for c, cone in zip(centres, cones, strict=True)]
        dec = (SKY.dec.deg >= -70) & (SKY.dec.deg <= 25)
        expected = np.any(inside, axis=0) & dec & (np.abs(SKY.galactic.b.deg) >= 20)
        assert np.array_equal(accepted({"cone": cones, "dec": [-70, 25], "min_abs_galactic_latitude": 20}), expected)
        assert 0 < expected.sum() < np.any(inside, axis=0).sum()


@pytest.mark.parametrize(
    ("sky", "ra", "dec", "inside"),
    [
        ({"dec": [-30, 30]}, 10.0, 30.0, True),
        ({"dec": [-30, 30]}, 10.0, -30.0001, False),
        ({"cone": (0, 0, 1)}, 360.0, 1.0, True),
        ({"cone": [[10, 0, 1], [20, 0, 1]]}, 20.5, 0.0, True),
        ({"cone": [[10, 0, 1], [20, 0, 1]]}, 15.0, 0.0, False),
        ({"min_abs_galactic_latitude": 15}, 266.4, -28.9, False),
        ({"cone": [10, 0, 180]}, None, None, False),
    ],
)
def test_positions(sky: dict[str, Any], ra: float | None, dec: float | None, inside: bool) -> None:
    report = TargetReport("a", "survey", ra=ra, dec=dec)
    code = None if inside else "no_position" if ra is None else "sky"
    assert verdict(report, {}, IngestOptions(sky=sky)) == code
    assert SkyRule.build(sky).accepts(ra, dec) is inside


def test_what_moves_is_judged_by_where_the_alert_saw_it() -> None:
    orbit = OrbitalElements("MPC_COMET", 61000.0, 1.0, 2.0, 3.0, 1.0, perihdist=1.0, epoch_of_perihelion=61000.0)
    options = IngestOptions(sky={"dec": [-30, 30]})
    for dec, code in ((20.0, None), (50.0, "sky")):
        report = TargetReport("C/2026 A1", "survey", ra=10.0, dec=dec, moving=True, elements=orbit)
        assert verdict(report, {}, options) == code
    nowhere = TargetReport("C/2026 A1", "survey", moving=True, elements=orbit)
    assert verdict(nowhere, {}, options) == "sky"


@pytest.mark.parametrize(
    "sky",
    [
        {},
        [],
        "dec > 0",
        {"circle": [1, 2, 3]},
        {"cone": [1, 2, 3], "radius": 1},
        *(
            {"cone": cone}
            for cone in (
                [], None, 5, "10:00:00 +02:00:00 1", [1, 2], [1, 2, 3, 4], ["10:00:00", 2.2, 1], ["150.1", 2.2, 1],
                [361, 2, 1], [-1, 2, 1], [1, 91, 1], [1, 2, 0], [1, 2, -1], [1, 2, 181], [float("nan"), 2, 1],
                [1, float("nan"), 1], [1, 2, float("inf")], [True, 2, 1], [[1, 2, 3], 4], [[1, 2, 3], [1, 2]], [[]],
                {"ra": 1, "dec": 2, "radius": 3},
            )
        ),
        *({"dec": dec} for dec in ([], None, 10, [10], [30, -30], [5, 5], [-91, 0], [0, 91], [0, float("nan")], ["a", 1])),
        *({"min_abs_galactic_latitude": b} for b in (None, -1, 91, float("nan"), "15", True, [15])),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_the_start(sky: Any) -> None:
    with pytest.raises(ConfigurationError, match="SKY"):
        resolve(HANDLER, {"SKY": sky})


def test_what_is_right() -> None:
    options = resolve(HANDLER, {"SKY": {"cone": [150, 2, 1.5], "dec": [-90, 90]}}).options
    assert options.sky == SkyRule(((150.0, 2.0, 1.5),), (-90.0, 90.0))  # type: ignore[arg-type]
    assert options.has_rules


@pytest.mark.parametrize(
    ("sky", "words"),
    [
        ({"dec": [-30, 30]}, "its declination is 41.3 degrees, and SKY asks for -30 to 30"),
        ({"cone": [10, 40.3, 0.5]}, "it is 1 degrees from RA 10, Dec 40.3, and SKY asks for at most 0.5"),
        (
            {"cone": [[90, 0, 1], [10, 39.3, 1]]},
            "it is 2 degrees from RA 10, Dec 39.3, the nearest of 2 cones, and ",
        ),
        ({"min_abs_galactic_latitude": 45}, "its galactic latitude is -21.52 degrees, and SKY asks for at least 45 on"),
    ],
)
def test_it_says_which_condition_fails(sky: dict[str, Any], words: str) -> None:
    assert SkyRule.build(sky).why_not(10.0, 41.3).startswith(words)


@pytest.mark.both_databases
@pytest.mark.django_db
def test_known_targets_follow_wherever_they_are() -> None:
    options = IngestOptions(sky={"dec": [0, 30]})
    here, there = ztf_packet("ZTF26aaaaaaa", 1), ztf_packet("ZTF26bbbbbbb", 2, dec=-20.0)
    outcomes = ingest_targets([json_alert(here), json_alert(there)], options=options)
    assert [(o.kind, o.code) for o in outcomes] == [("done", ""), ("rejected", "sky")]
    assert outcomes[1].reason == "its declination is -20 degrees, and SKY asks for 0 to 30"
    elsewhere = IngestOptions(sky={"dec": [-30, 0]})
    again = json_alert(ztf_packet("ZTF26aaaaaaa", 3, jd=2461001.75))
    assert ingest_targets([again], options=elsewhere)[0].kind == "done"
    assert TargetAlert.objects.count() == 2
