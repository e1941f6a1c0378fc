"""One event, many notices: what moves its Target, and what a retraction does."""

from __future__ import annotations

from typing import Any

import pytest
from tom_targets.models import BaseTarget, TargetExtra, TargetList

from tests.unit.ingest.samples import alert_of, json_alert, notice, voevent, ztf_packet
from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import Classification, TargetAlert
from tom_alertstreams.ingest.options import IngestOptions

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

LATER = {"alert_type": "update", "alert_datetime": "2026-10-01T01:00:00Z", "ra": 100.2, "ra_dec_error": 0.01}
RETRACTION = {"alert_type": "retraction", "alert_datetime": "2026-10-01T02:00:00Z", "ra": None, "dec": None}
NOTICES = IngestOptions()


def ingest(*contents: dict[str, Any], together: bool = False, options: IngestOptions = NOTICES) -> list[Outcome]:
    alerts = [json_alert(content) for content in contents]
    return ingest_alerts(alerts, options) if together else [ingest_alerts([alert], options)[0] for alert in alerts]


def ingest_alerts(alerts: list[Alert], options: IngestOptions = NOTICES) -> list[Outcome]:
    return ingest_targets(alerts, options=options)


def where() -> tuple[float | None, float | None]:
    target = BaseTarget.objects.get()
    return target.ra, target.dec


@pytest.fixture(params=[True, False], ids=["one batch", "one by one"])
def together(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_a_newer_notice_moves_the_target(together: bool) -> None:
    ingest(notice(), notice(**LATER), together=together)
    assert where() == (100.2, -30.0)
    assert TargetExtra.objects.get(key="position_error_deg").float_value == 0.01
    methods = TargetAlert.objects.order_by("pk").values_list("match_method", flat=True)
    assert list(methods) == ["created", "event"]


def test_a_newer_notice_at_the_same_place_brings_its_values(together: bool) -> None:
    ingest(notice(), notice(**LATER | {"ra": 100.0}), together=together)
    assert where() == (100.0, -30.0)
    assert TargetExtra.objects.get(key="position_error_deg").float_value == 0.01


@pytest.mark.parametrize(("ra", "method"), [(100.2, "position"), (100.0, "created")], ids=["there", "where it was"])
def test_a_target_that_was_moved_is_found_where_it_is(together: bool, ra: float, method: str) -> None:
    notices = [notice(ra_dec_error=0.0001), notice(**LATER | {"ra_dec_error": 0.0001})]
    ingest(*notices, ztf_packet(ra=ra, dec=-30.0), together=together, options=IngestOptions(create="always"))
    row = TargetAlert.objects.get(object_id="ZTF26aaaaaaa")
    assert (row.match_method, row.target.ra) == (method, ra)
    assert row.separation_arcsec == (0 if method == "position" else None)


def test_an_older_notice_does_not(together: bool) -> None:
    ingest(notice(**LATER), notice(), together=together)
    assert where() == (100.2, -30.0)


def test_three_notices_in_any_order_end_at_the_newest(together: bool) -> None:
    last = LATER | {"alert_datetime": "2026-10-01T03:00:00Z", "ra": 100.3}
    ingest(notice(), notice(**last), notice(**LATER), together=together)
    assert where() == (100.3, -30.0)


def test_an_edited_target_stays() -> None:
    ingest(notice())
    BaseTarget.objects.update(ra=100.5)
    ingest(notice(**LATER))
    assert where() == (100.5, -30.0)
    ingest(notice(**LATER | {"alert_datetime": "2026-10-01T04:00:00Z"}))
    assert where() == (100.5, -30.0)


@pytest.mark.parametrize(
    ("ids", "ra"), [((["1", "bn2"], ["bn2"]), 100.1), ((["1", "bn2"], ["bn2", "3"], ["1"]), 100.2),
                    ((["1", "bn2"], ["bn2", "3"], ["3"], ["1"]), 100.3)],
)  # fmt: skip
def test_a_notice_under_another_id_of_the_event_moves_the_target(
    ids: tuple[list[str], ...], ra: float, together: bool
) -> None:
    notices = [
        notice(id=words, ra=100.0 + hours / 10, alert_datetime=f"2026-10-01T0{hours}:00:00Z")
        for hours, words in enumerate(ids)
    ]
    ingest(*notices, together=together)
    assert where() == (ra, -30.0)


def test_an_id_that_may_be_of_either_event_of_a_source_does_not_move_it(together: bool) -> None:
    first, second = ({"event_name": "Cyg X-1", "id": [number, f"bn{number}"]} for number in ("1", "2"))
    ingest(notice(**first), notice(**LATER | second), notice(**LATER | {"id": ["bn2"]}), together=together)
    assert where() == (100.0, -30.0)


def test_somebody_elses_target_stays() -> None:
    BaseTarget.objects.create(name="GRB 261001A", type="SIDEREAL", ra=100.0, dec=-30.0)
    ingest(notice(event_name="GRB 261001A"), notice(**LATER))
    assert where() == (100.0, -30.0)
    assert TargetAlert.objects.count() == 2


def test_another_event_of_the_same_source_does_not_move_it() -> None:
    ingest(notice(event_name="Cyg X-1"), notice(event_name="Cyg X-1", **LATER | {"id": "2"}))
    assert where() == (100.0, -30.0)


@pytest.mark.parametrize(("field", "code"), [({"ra": None}, "no_position"), ({"ra_dec_error": 3}, "large_error")])
def test_a_worse_position_is_counted(field: dict[str, Any], code: str) -> None:
    ingest(notice())
    outcome = ingest(notice(**LATER | field))[0]
    assert (outcome.kind, outcome.code, outcome.object_id) == ("rejected", code, "Swift 1000001")
    assert where() == (100.0, -30.0)


def test_any_shared_id_is_the_same_event(together: bool) -> None:
    ingest(notice(id=["1", "bn2"]), notice(**LATER | {"id": ["bn2", "3"]}), notice(**LATER | {"id": "3"}),
           together=together)  # fmt: skip
    assert BaseTarget.objects.count() == 1


def test_short_ids_of_two_missions_are_two_events() -> None:
    ingest(notice(id="1"), notice(id="1", mission="KM3NeT"))
    assert BaseTarget.objects.count() == 2


def test_voevent_and_json_of_one_event_are_one_target(together: bool) -> None:
    alerts = [alert_of(voevent().encode()), json_alert(notice(id="1125809"))]
    for batch in [alerts] if together else [[alert] for alert in alerts]:
        ingest_alerts(batch)
    assert BaseTarget.objects.get().name == "Swift 1125809"
    assert TargetAlert.objects.count() == 2


def test_a_retraction_marks_and_never_deletes(together: bool) -> None:
    ingest(notice(), notice(**RETRACTION), together=together)
    target = BaseTarget.objects.get()
    assert TargetExtra.objects.get(target=target, key="retracted").value == "2026-10-01T02:00:00+00:00"
    assert list(TargetList.objects.get(name="Retracted").targets.all()) == [target]
    row = TargetAlert.objects.get(retraction=True)
    assert (row.target_id, row.match_method) == (target.pk, "event")


@pytest.mark.parametrize("order", [("1", "2"), ("2", "1")])
def test_a_source_is_retracted_with_the_last_of_its_events(order: tuple[str, str], together: bool) -> None:
    source = {"event_name": "Cyg X-1"}
    ingest(notice(id="1", **source), notice(**LATER | source | {"id": "2"}),
           notice(**RETRACTION | {"id": order[0]}), together=together)  # fmt: skip
    assert not TargetExtra.objects.filter(key="retracted").exists()
    assert not TargetList.objects.exists()
    assert TargetAlert.objects.get(retraction=True).target == BaseTarget.objects.get()
    ingest(notice(**RETRACTION | {"id": order[1], "alert_datetime": "2026-10-01T03:00:00Z"}))
    assert TargetExtra.objects.get(key="retracted").value == "2026-10-01T03:00:00+00:00"
    assert TargetList.objects.get(name="Retracted").targets.count() == 1


def test_a_retraction_under_another_id_of_the_event_marks(together: bool) -> None:
    ingest(notice(id=["1", "bn2"]), notice(**LATER | {"id": "bn2"}), notice(**RETRACTION | {"id": "bn2"}),
           together=together)  # fmt: skip
    assert TargetExtra.objects.filter(key="retracted").exists()


def test_a_retraction_that_comes_first_is_remembered(together: bool) -> None:
    outcomes = ingest(notice(id=["1", "2"], **RETRACTION), notice(id="2"), together=together)
    assert [(o.kind, o.code) for o in outcomes] == [("done", ""), ("rejected", "retracted")]
    assert not BaseTarget.objects.exists()
    assert {row.event_key for row in TargetAlert.objects.filter(target=None)} == {"swift 1", "swift 2"}


def test_a_retraction_twice_is_remembered_once() -> None:
    raw = json_alert(notice(id=["1", "2"], **RETRACTION)).raw
    for _ in range(2):
        ingest_alerts([alert_of(raw)])
    assert TargetAlert.objects.count() == 2


def test_a_retraction_takes_back_its_event_and_not_the_source() -> None:
    BaseTarget.objects.create(name="Cyg X-1", type="SIDEREAL", ra=1.0, dec=1.0)
    ingest(notice(event_name="Cyg X-1", **RETRACTION))
    assert not TargetExtra.objects.filter(key="retracted").exists()


def test_classes_are_kept() -> None:
    ingest(notice(classification={"GRB": 0.9, "SF": 0.1}))
    assert set(Classification.objects.values_list("object_id", "classifier", "class_name", "ranking")) == {
        ("Swift 1000001", "Swift", "GRB", 1), ("Swift 1000001", "Swift", "SF", 2),
    }  # fmt: skip
