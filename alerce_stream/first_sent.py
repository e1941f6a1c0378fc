"""When a message was sent first. ALeRCE's messages carry no time of their own, so the broker's counts, and what comes last.

A message that is published again, in another topic or after a repair at the broker's, has a later time than it had. Where
that copy is read before the original, an old classification would pass for the newest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from tom_alertstreams.ingest.bulk import any_of, look_up, on_postgresql
from tom_alertstreams.ingest.models import Classification, TargetAlert
from tom_alertstreams.ingest.plan import Entry

#: Alert id, object id → when it was sent.
Times = Mapping[tuple[str, str], datetime]

_LATER: Final = """
    SELECT stored.id, sent.alert_id, sent.object_id, sent.time
    FROM UNNEST(%s::text[], %s::text[], %s::timestamptz[]) AS sent(alert_id, object_id, time)
    JOIN tom_alertstreams_ingest_targetalert stored USING (alert_id, object_id) WHERE stored.time > sent.time
"""


def keep_first_times(entries: Iterable[Entry]) -> None:
    """Put back the time of what is stored of a copy that was sent later than one of these.

    To be called after they were stored, in the same transaction: who stores a message at the same time as another
    process has waited for that one by then, and sees its rows.
    """
    first: dict[tuple[str, str], datetime] = {}
    for entry in entries:
        if (sent := entry.report.time) is not None:
            first[entry.key] = min(first.get(entry.key, sent), sent)
    for pk, alert_id, object_id, sent in _stored_later(first) if first else ():
        TargetAlert.objects.filter(pk=pk).update(time=sent)
        Classification.objects.filter(object_id=object_id, alert_id=alert_id).update(time=sent)


def _stored_later(first: Times) -> list[tuple[Any, ...]]:
    """Of these messages what is stored with a later time: key of the row, alert id, object id, the time it is to have."""
    if on_postgresql():  # nearly always there is none, so the database compares
        alert_ids, object_ids = zip(*first, strict=True)
        return look_up(_LATER, [list(alert_ids), list(object_ids), list(first.values())])
    known = TargetAlert.objects.filter(any_of("alert_id", sorted({alert_id for alert_id, _ in first})))
    found = []
    for pk, alert_id, object_id, time in known.values_list("pk", "alert_id", "object_id", "time"):
        sent = first.get((alert_id, object_id))
        if sent is not None and time is not None and time > sent:
            found.append((pk, alert_id, object_id, sent))
    return found
