"""When a message was sent first. ALeRCE's messages carry no time of their own, so the broker's counts, and what comes last.

A message that is published again, in another topic or after a repair at the broker's, has a later time than it had. Where
that copy is read before the original, an old classification would pass for the newest.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from tom_alertstreams.alerts import Alert
from tom_alertstreams.ingest.bulk import any_of
from tom_alertstreams.ingest.models import Classification, TargetAlert
from tom_alertstreams.ingest.reports import TargetReport


def keep_first_times(reports: Iterable[tuple[Alert, TargetReport]]) -> None:
    """Put back the time of what is stored of a copy that was sent later than one of these.

    To be called after they were stored, in the same transaction: who stores a message at the same time as another
    process has waited for that one by then, and sees its rows.
    """
    first: dict[tuple[str, str], datetime] = {}
    for alert, report in reports:
        if report.time is not None:
            key = (report.alert_id or alert.digest, report.object_id)
            first[key] = min(first.get(key, report.time), report.time)
    if not first:
        return
    known = TargetAlert.objects.filter(any_of("alert_id", sorted({alert_id for alert_id, _ in first})))
    for pk, alert_id, object_id, time in known.values_list("pk", "alert_id", "object_id", "time"):
        sent = first.get((alert_id, object_id))
        if sent is None or time is None or time <= sent:
            continue
        TargetAlert.objects.filter(pk=pk).update(time=sent)
        Classification.objects.filter(object_id=object_id, alert_id=alert_id).update(time=sent)
