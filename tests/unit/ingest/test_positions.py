"""The index of positions: it finds what is near, everywhere on the sky, and follows what others do with Targets."""

from __future__ import annotations

import io
from contextlib import ExitStack
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from django.core.management import call_command
from django.db import connection, transaction
from tom_targets.models import BaseTarget

from tests.processes import wait_until
from tests.unit.ingest.samples import json_alert, ztf_packet
from tests.unit.ingest.test_two_processes import other_process
from tom_alertstreams.conf import DeliverySettings, TopicSettings
from tom_alertstreams.delivery.source import Binding
from tom_alertstreams.handlers import Handler, Style
from tom_alertstreams.ingest import positions
from tom_alertstreams.ingest.cells import cells_of, ranges_around
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import TargetAlert, TargetPosition
from tom_alertstreams.ingest.options import IngestOptions
from tom_alertstreams.ingest.sky import DeclinationIndex
from tom_alertstreams.signals import housekeeping

ARCSEC = 1 / 3600


def random_sky(count: int, seed: int) -> SkyCoord:
    """Positions all over the sphere, a tenth of them at a pole and a tenth around RA 0."""
    dice = np.random.default_rng(seed)
    ra, dec = dice.uniform(0, 360, count), np.degrees(np.arcsin(dice.uniform(-1, 1, count)))
    poles, wrap = slice(0, count // 10), slice(count // 10, count // 5)
    dec[poles] = np.sign(dec[poles]) * (90 - dice.uniform(0, 1, count // 10) ** 2)
    ra[wrap] = dice.normal(0, 2 * ARCSEC, count // 10) % 360
    return SkyCoord(ra, dec, unit="deg")


def beside(sky: SkyCoord, radius_arcsec: float, seed: int) -> SkyCoord:
    """A neighbour of each position, up to twice the radius away."""
    dice = np.random.default_rng(seed)
    angle, distance = dice.uniform(0, 360, len(sky)), dice.uniform(0, 2 * radius_arcsec, len(sky))
    return sky.directional_offset_by(angle * u.deg, distance * u.arcsec)


class TestCells:
    def test_100000_positions_match_as_astropy_says(self) -> None:
        targets = random_sky(100_000, seed=1)
        alerts = beside(targets, 1.5, seed=2)
        index: DeclinationIndex[int] = DeclinationIndex()
        wanted = ranges_around(alerts.ra.deg, alerts.dec.deg, 1.5)
        cells = np.array(cells_of(targets.ra.deg, targets.dec.deg))
        place = np.searchsorted(wanted.low, cells, side="right") - 1
        inside = (place >= 0) & (cells <= np.array(wanted.high)[place])
        index.extend([(targets.ra.deg[n], targets.dec.deg[n], int(n)) for n in np.nonzero(inside)[0]])
        found = {
            (n, item)
            for n, (ra, dec) in enumerate(zip(alerts.ra.deg, alerts.dec.deg, strict=True))
            for _, item in index.within(float(ra), float(dec), 1.5)
        }
        n, item, _, _ = targets.search_around_sky(alerts, 1.5 * u.arcsec)
        assert found == set(zip(n.tolist(), item.tolist(), strict=True))
        assert len(found) > 40_000

    @pytest.mark.parametrize("radius_arcsec", [0.01, 1.5, 30, 600, 3600])
    def test_each_range_is_enough_for_its_position_alone(self, radius_arcsec: float) -> None:
        """In one call for many positions the cells of one could stand in for those of another."""
        sky = random_sky(300, seed=3)
        near = beside(sky, radius_arcsec / 2, seed=4)
        cells = cells_of(near.ra.deg, near.dec.deg)
        for n, (ra, dec) in enumerate(zip(sky.ra.deg, sky.dec.deg, strict=True)):
            wanted = ranges_around([ra], [dec], radius_arcsec)
            assert any(low <= cells[n] <= high for low, high in zip(wanted.low, wanted.high, strict=True))

    def test_few_cells_are_searched(self) -> None:
        sky = random_sky(1000, seed=5)
        assert len(ranges_around(sky.ra.deg, sky.dec.deg, 1.5).low) < 5000


def sidereal(name: str = "star", ra: float = 150.0, dec: float = 20.0) -> BaseTarget:
    return BaseTarget.objects.create(name=name, type="SIDEREAL", ra=ra, dec=dec)


def matched(object_id: str = "ZTF26aaaaaaa", candid: int = 1, ra: float = 150.0, dec: float = 20.0) -> str:
    """How an alert at this position found its Target."""
    packet = ztf_packet(object_id, candid, ra=ra, dec=dec)
    ingest_targets([json_alert(packet)], options=IngestOptions(create="always"))
    return TargetAlert.objects.get(alert_id=str(candid)).match_method


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has just compared: only signals can tell it of changes."""
    monkeypatch.setattr(positions, "compare_if_due", lambda: None)


@pytest.mark.both_databases
@pytest.mark.django_db
class TestFollowing:
    @pytest.mark.usefixtures("compared")
    def test_a_target_that_is_made_moved_and_deleted(self) -> None:
        target = sidereal()
        assert matched() == "position"
        target.ra = 151.0
        target.save()
        assert matched("ZTF26bbbbbbb", 2) == "created"
        assert matched("ZTF26ccccccc", 3, ra=151.0) == "position"
        target.delete()
        assert matched("ZTF26ddddddd", 4, ra=151.0) == "created"

    @pytest.mark.usefixtures("compared")
    def test_a_target_that_turns_out_to_move(self) -> None:
        target = sidereal()
        target.type = "NON_SIDEREAL"
        target.save()
        assert matched() == "created"

    @pytest.mark.usefixtures("compared")
    def test_a_target_whose_coordinates_were_given_as_texts(self) -> None:
        """As the toolkit's import of CSV does."""
        BaseTarget.objects.create(name="star", type="SIDEREAL", ra="150.0", dec="20.0")
        assert matched() == "position"

    @pytest.mark.usefixtures("compared")
    def test_what_the_index_does_not_know_yet_is_seen_in_the_target(self) -> None:
        gone, turned = sidereal("gone"), sidereal("turned", ra=10.0)
        BaseTarget.objects.filter(pk=gone.pk).update(ra=None, dec=None)
        BaseTarget.objects.filter(pk=turned.pk).update(type="NON_SIDEREAL")
        assert [matched(), matched("ZTF26bbbbbbb", 2, ra=10.0)] == ["created", "created"]

    def test_bulk_writes_are_noticed_when_all_are_compared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(positions, "_compared_at", None)
        moved, turned = sidereal("moved", ra=10.0), sidereal("turned", ra=20.0)
        BaseTarget.objects.filter(pk=moved.pk).update(ra=11.0)
        BaseTarget.objects.filter(pk=turned.pk).update(type="NON_SIDEREAL")
        BaseTarget.objects.bulk_create([BaseTarget(name="made", type="SIDEREAL", ra=30.0, dec=20.0)])
        assert [matched(f"ZTF{n}", n, ra=float(ra)) for n, ra in enumerate((10, 11, 20, 30), start=1)] == [
            "created", "position", "created", "position",
        ]  # fmt: skip

    def test_compared_hourly(self, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: object) -> None:
        monkeypatch.setattr(positions, "_compared_at", None)
        clock = [1000.0]
        monkeypatch.setattr(positions.time, "monotonic", lambda: clock[0])
        with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
            positions.compare_if_due()
        BaseTarget.objects.bulk_create([BaseTarget(name="made", type="SIDEREAL", ra=30.0, dec=20.0)])
        positions.compare_if_due()
        assert not TargetPosition.objects.exists()
        clock[0] += 3601
        positions.compare_if_due()
        assert TargetPosition.objects.count() == 1

    @pytest.mark.parametrize(("radius_arcsec", "count"), [(1.5, 1), (0, 0)])
    def test_compared_between_batches_where_a_handler_matches_by_position(
        self, monkeypatch: pytest.MonkeyPatch, radius_arcsec: float, count: int
    ) -> None:
        monkeypatch.setattr(positions, "_compared_at", None)
        BaseTarget.objects.bulk_create([BaseTarget(name="made", type="SIDEREAL", ra=30.0, dec=20.0)])
        options = IngestOptions(match_radius_arcsec=radius_arcsec)
        handler = Handler("a.b", print, Style.BATCH, options)
        binding = Binding(TopicSettings("t", "a.b", DeliverySettings()), handler)
        housekeeping.send(object, source=SimpleNamespace(bindings={"t": binding}))
        assert TargetPosition.objects.count() == count

    def test_what_has_no_place_on_the_sky_is_left_out(self) -> None:
        rows = [("none", None, None), ("above", 10.0, 91.0), ("half", 10.0, None)]
        BaseTarget.objects.bulk_create([BaseTarget(name=n, type="SIDEREAL", ra=ra, dec=dec) for n, ra, dec in rows])
        sidereal("too far", ra=10.0, dec=100.0)
        positions.compare()
        assert not TargetPosition.objects.exists()


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_a_batch_waits_for_no_other_stream_that_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one may wait for what the batch has in hand: on SQLite for all that is written, else for a row."""
    monkeypatch.setattr(positions, "_compared_at", None)
    BaseTarget.objects.filter(pk=sidereal().pk).update(ra=151.0)

    def compare_between_batches() -> None:
        with connection.cursor() as cursor:  # two that wait for each other are not to do so for ever
            cursor.execute(
                "PRAGMA busy_timeout = 10000" if connection.vendor == "sqlite" else "SET lock_timeout = 10000"
            )
        positions.compare_if_due()

    with ExitStack() as ends, transaction.atomic():
        TargetPosition.objects.all().delete()
        ends.enter_context(other_process(compare_between_batches))
        wait_until(positions._comparing.locked, "the other stream compares")
        assert matched(ra=151.0) == "position"
    assert TargetPosition.objects.get().ra == 151.0


@pytest.mark.both_databases
@pytest.mark.django_db
class TestReindexTargets:
    def test_writes_what_is_missing_and_says_so(self) -> None:
        BaseTarget.objects.bulk_create(
            [BaseTarget(name=str(n), type="SIDEREAL", ra=n, dec=0.0) for n in range(50)]
        )  # fmt: skip
        TargetPosition.objects.create(target=BaseTarget.objects.get(name="7"), ra=1.0, dec=1.0, cell=1)
        out = io.StringIO()
        call_command("reindextargets", stdout=out)
        assert out.getvalue() == "50 positions added, 1 removed that were out of date; the index has 50.\n"

    def test_goes_on_where_it_was_stopped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(positions, "CHUNK", 10)
        BaseTarget.objects.bulk_create([BaseTarget(name=str(n), type="SIDEREAL", ra=n, dec=0.0) for n in range(35)])

        def stop(done: int) -> None:
            if done == 20:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            positions.compare(stop)
        assert TargetPosition.objects.count() == 20
        assert positions.compare() == (0, 15)
