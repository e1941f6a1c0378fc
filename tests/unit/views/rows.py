"""Rows that the pages of the alerts show."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count
from typing import Any

from django.utils import timezone
from tom_targets.models import Target

from tom_alertstreams.ingest.models import Classification, TargetAlert
from tom_alertstreams.models import OutcomeCount, Rejection

#: What a stranger may send in the place of a name.
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
_number = count()


def a_target(name: str, permissions: str = "PUBLIC", **fields: Any) -> Any:
    return Target.objects.create(
        **{"name": name, "type": "SIDEREAL", "ra": 150.0, "dec": 20.0, "permissions": permissions, **fields}
    )


def an_alert(object_id: str, target: Any = None, *, came: datetime | None = None, **fields: Any) -> TargetAlert:
    number = next(_number)
    row = TargetAlert.objects.create(
        **{
            "stream": "ztf",
            "topic": "ztf_1",
            "partition": 0,
            "offset": number,
            "alert_id": f"alert-{number}",
            "object_id": object_id,
            "target_id": target.pk if target else None,
            "ra": 150.0,
            "dec": 20.0,
            "match_method": "created" if target else "",
            **fields,
        }
    )
    if came is not None:
        TargetAlert.objects.filter(pk=row.pk).update(created=came)
        row.created = came
    return row


def a_class(alert: TargetAlert, class_name: str, probability: float | None = 0.9, **fields: Any) -> Classification:
    return Classification.objects.create(
        **{
            "object_id": alert.object_id,
            "target_id": alert.target_id,
            "alert_id": alert.alert_id,
            "classifier": "lc_classifier",
            "version": "1",
            "class_name": class_name,
            "probability": probability,
            "time": alert.created,
            **fields,
        }
    )


def a_rejection(object_id: str, code: str = "class", *, time: datetime | None = None, **fields: Any) -> Rejection:
    given = {"stream": "ztf", "topic": "ztf_1", "partition": 0, "offset": next(_number)}
    return Rejection.objects.create(
        **{**given, "object_id": object_id, "code": code, "time": time or timezone.now(), **fields}
    )


def a_count(n: int, outcome: str = "done", code: str = "", *, hour: datetime, **fields: Any) -> OutcomeCount:
    return OutcomeCount.objects.create(
        **{"stream": "ztf", "topic": "ztf_1", "hour": hour, "outcome": outcome, "code": code, "n": n, **fields}
    )


def ago(**since: float) -> datetime:
    return timezone.now() - timedelta(**since)
