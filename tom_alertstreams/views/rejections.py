"""What was rejected and why: counts by day, and what is known of one object."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, datetime, timedelta, timezone
from typing import Any, Final

from django.db.models import Sum
from django.db.models.functions import TruncDay
from django.utils import timezone as django_timezone
from django.utils.dateparse import parse_date
from django.views.generic import TemplateView

from tom_alertstreams.conf import configured_streams
from tom_alertstreams.ingest.reasons import in_words
from tom_alertstreams.models import OutcomeCount

from .why_not import memory_of_rejections, what_is_known

DAYS: Final = 7
#: Lines of the table, those with most rejections.
LINES: Final = 200


class Rejected(TemplateView):
    """A week of reject codes, and the search."""

    template_name = "tom_alertstreams/rejections.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With ``known`` where an object is asked for."""
        last = _day(self.request.GET.get("until", ""))
        days = [last - timedelta(days=back) for back in range(DAYS)]
        object_id = self.request.GET.get("object", "").strip()
        lines = [] if object_id else _lines(days)
        return super().get_context_data(
            days=days,
            lines=lines[:LINES],
            left_out=len(lines) - LINES,
            earlier=last - timedelta(days=DAYS),
            later=min(last + timedelta(days=DAYS), _today()) if last < _today() else None,
            object_id=object_id,
            known=what_is_known(self.request.user, object_id) if object_id else None,
            memory=memory_of_rejections(),
            **kwargs,
        )


def _today() -> date:
    return django_timezone.now().astimezone(timezone.utc).date()


def _day(text: str) -> date:
    """The last day of the week; what is none is today."""
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    # Some days from the ends of the calendar there is no week.
    return day if day is not None and date(2000, 1, 1) < day < date(9000, 1, 1) else _today()


def _lines(days: list[date]) -> list[dict[str, Any]]:
    """One for each stream, topic and code: rejections of each day (UTC), and in all. The largest comes first."""
    start = datetime(days[-1].year, days[-1].month, days[-1].day, tzinfo=timezone.utc)
    rows = OutcomeCount.objects.filter(outcome="rejected", hour__gte=start, hour__lt=start + timedelta(days=DAYS))
    day = TruncDay("hour", tzinfo=timezone.utc)
    counts: dict[tuple[str, str, str], dict[date, int]] = defaultdict(dict)
    for stream, topic, code, at, alerts in (
        rows.order_by().values("stream", "topic", "code").annotate(day=day, alerts=Sum("n"))
        .values_list("stream", "topic", "code", "day", "alerts")
    ):  # fmt: skip
        counts[stream, topic, code][at.date()] = alerts
    labels = {each.label for each in configured_streams()[0]}
    lines = [
        {
            "stream": stream,
            # The list of alerts can be asked for streams of settings.py only; counts of others are kept as well.
            "is_listed": stream in labels,
            "topic": topic,
            "code": code,
            "meaning": in_words(code),
            "total": sum(by_day.values()),
            "by_day": [by_day.get(day, 0) for day in days],
        }
        for (stream, topic, code), by_day in counts.items()
    ]
    return sorted(lines, key=lambda line: (-line["total"], line["stream"], line["topic"], line["code"]))
