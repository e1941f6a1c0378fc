"""Two processes that write at the same time: what one has in hand, the other waits for or sees."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.merge import target_merge
from tom_targets.models import BaseTarget, Target, TargetList, TargetName

from tests.unit.ingest.samples import json_alert, notice, ztf_packet
from tom_alertstreams.ingest import handlers
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.options import IngestOptions

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]

ALWAYS = IngestOptions(create="always")
RETRACTION = notice(alert_type="retraction", alert_datetime="2026-10-01T02:00:00Z", ra=None, dec=None)


def ingest(*packets: dict[str, Any], source: str = "ztf") -> None:
    with transaction.atomic():
        handlers.ingest_targets([json_alert(packet, topic=source) for packet in packets], options=ALWAYS)


@contextmanager
def other_process(work: Callable[[], None]) -> Iterator[None]:
    """Work that goes on in another session; it has ended when the block is left."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  (told in the thread of the test)
            errors.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, name="alertstream other process")
    thread.start()
    try:
        yield
    finally:
        thread.join(30)
    assert not thread.is_alive()
    assert not errors


def wait_until_blocked() -> None:
    """Until another session of this database waits for a lock that ours has."""
    with psycopg.connect(**_address(), autocommit=True) as observer:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if observer.execute(sql).fetchone() != (0,):
                return
    raise AssertionError("nobody waits")


def _address() -> dict[str, Any]:
    settings = connection.settings_dict
    return {
        "dbname": settings["NAME"], "user": settings["USER"], "password": settings["PASSWORD"],
        "host": settings["HOST"], "port": settings["PORT"],
    }  # fmt: skip


def test_two_names_of_one_new_object_make_one_target() -> None:
    second = ztf_packet("LSST1", 2, dec=20.0 + 1 / 3600, jd=2461001.75)
    with ExitStack() as ends, transaction.atomic():
        ingest(ztf_packet("ZTF26aaaaaaa", 1))
        ends.enter_context(other_process(lambda: ingest(second)))
        wait_until_blocked()
    assert BaseTarget.objects.count() == 1
    assert TargetName.objects.get().name == "LSST1"
    assert TargetAlert.objects.get(alert_id="2").match_method == "position"


def test_two_notices_of_one_new_event_make_one_target() -> None:
    """Their names differ, and their positions are too rough to match by."""
    named = notice(event_name=["GRB 260101A"], id=["123"])
    with ExitStack() as ends, transaction.atomic():
        ingest(notice(id=["123"]))
        ends.enter_context(other_process(lambda: ingest(named)))
        wait_until_blocked()
    target = BaseTarget.objects.get()
    assert set(TargetAlert.objects.values_list("target", "match_method")) == {
        (target.pk, "created"),
        (target.pk, "event"),
    }


def test_a_retraction_is_seen_by_its_event_in_the_same_moment() -> None:
    with ExitStack() as ends, transaction.atomic():
        ingest(RETRACTION)
        ends.enter_context(other_process(lambda: ingest(notice())))
        wait_until_blocked()
    assert not BaseTarget.objects.exists()
    assert TargetAlert.objects.get().retraction


def test_a_retraction_sees_its_event_of_the_same_moment() -> None:
    with ExitStack() as ends, transaction.atomic():
        ingest(notice())
        ends.enter_context(other_process(lambda: ingest(RETRACTION)))
        wait_until_blocked()
    assert list(TargetList.objects.get(name="Retracted").targets.all()) == list(Target.objects.all())
    assert TargetAlert.objects.get(retraction=True).match_method == "event"


def test_one_measurement_through_two_brokers_is_one_row() -> None:
    ingest(ztf_packet("ZTF26aaaaaaa", 1))
    packet = ztf_packet("ZTF26aaaaaaa", 2, jd=2461001.75)
    again = ztf_packet("ZTF26aaaaaaa", 3, jd=2461001.75 + 0.002 / 86400, magpsf=18.5003)
    with ExitStack() as ends, transaction.atomic():
        ingest(packet)
        ends.enter_context(other_process(lambda: ingest(again)))
        wait_until_blocked()
    assert PhotometryReducedDatum.objects.count() == 2
    assert TargetAlert.objects.count() == 3


def test_a_target_that_is_merged_takes_along_what_is_being_written() -> None:
    primary = Target.objects.create(name="SN 2026abc", type="SIDEREAL", ra=10.0, dec=10.0)
    ingest(ztf_packet(candid=1))
    secondary = Target.objects.get(name="ZTF26aaaaaaa")
    with ExitStack() as ends, transaction.atomic():
        ingest(ztf_packet(candid=2, jd=2461001.75))
        ends.enter_context(other_process(lambda: target_merge(primary, secondary) and None))
        wait_until_blocked()
    assert list(TargetAlert.objects.values_list("target", flat=True)) == [primary.pk] * 2


def test_a_target_that_is_deleted_between_matching_and_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    ingest(ztf_packet("ZTF26aaaaaaa", 1))
    plans = []

    def make_plan(entries: Any, options: Any) -> Any:
        plan = plan_of(entries, options)
        plans.append(plan)
        if len(plans) == 1:
            with other_process(lambda: BaseTarget.objects.all().delete() and None):
                pass
        return plan

    plan_of = handlers.make_plan
    monkeypatch.setattr(handlers, "make_plan", make_plan)
    ingest(ztf_packet("ZTF26aaaaaaa", 2, jd=2461001.75))
    assert TargetAlert.objects.get().match_method == "created"
    assert BaseTarget.objects.get().name == "ZTF26aaaaaaa"
