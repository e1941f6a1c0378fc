"""How many alerts came, and how they ended: by the hour, the night or the month."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from django.db.models import DateTimeField, ExpressionWrapper, F, Sum
from django.db.models.functions import TruncDay, TruncHour, TruncMonth
from django.utils import timezone as django_timezone
from django.views.generic import TemplateView

from tom_alertstreams.conf import configured_streams
from tom_alertstreams.models import OutcomeCount
from tom_alertstreams.topics import HEARTBEAT_TOPICS

from .plotly_js import plotly_url

_UTC: Final = timezone.utc
#: A night is from noon to noon (UTC), and has the date of its evening.
_NOON: Final = timedelta(hours=12)

#: Outcome, words, colour (Okabe and Ito, as plots.js has them), pattern: none depends on colour alone.
OUTCOMES: Final = (
    ("done", "done", "#0072b2", ""),
    ("rejected", "rejected", "#e69f00", "/"),
    ("waiting", "tried again", "#56b4e9", "."),
    ("dead", "dead letters", "#d55e00", "x"),
)


@dataclass(frozen=True)
class Scale:
    """How wide a bar is."""

    words: str
    #: So many bars are shown, up to now.
    bars: int
    #: As Python writes the time of one, and where in it the bar is drawn.
    form: str
    unit: str

    def starts(self, now: datetime) -> list[datetime]:
        """Where the bars begin (UTC; a night by its date), the oldest first."""
        return list(reversed([start for start, _ in zip(self._back(now), range(self.bars), strict=False)]))

    def _back(self, now: datetime) -> Iterator[datetime]:
        hour = now.astimezone(_UTC).replace(minute=0, second=0, microsecond=0)
        if self.unit == "month":
            month = hour.replace(day=1, hour=0)
            while True:
                yield month
                month = (month - timedelta(days=1)).replace(day=1)
        step = timedelta(hours=1) if self.unit == "hour" else timedelta(days=1)
        at = hour if self.unit == "hour" else (hour - _NOON).replace(hour=0)
        while True:
            yield at
            at -= step


SCALES: Final = {
    "hour": Scale("hour", 72, "%Y-%m-%d %H:00", "hour"),
    "night": Scale("night (noon to noon UTC)", 60, "%Y-%m-%d", "night"),
    "month": Scale("month", 24, "%Y-%m", "month"),
}


class Rates(TemplateView):
    """The plot, and its numbers."""

    template_name = "tom_alertstreams/rates.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the figure for plots.js."""
        name = self.request.GET.get("scale", "")
        name = name if name in SCALES else "night"
        labels = [each.label for each in configured_streams()[0]]
        stream = self.request.GET.get("stream", "")
        stream = stream if stream in labels else ""
        scale = SCALES[name]
        starts = scale.starts(django_timezone.now())
        counts = _counts(scale, starts[0], stream)
        bars = [
            (start.strftime(scale.form), [counts.get((start, each[0]), 0) for each in OUTCOMES]) for start in starts
        ]
        return super().get_context_data(
            plotly=plotly_url(),
            scales=[(key, each.words) for key, each in SCALES.items()],
            scale=name,
            streams=labels,
            stream=stream,
            words=[words for _, words, *_ in OUTCOMES],
            rows=[(when, [f"{n:,}" for n in numbers]) for when, numbers in reversed(bars) if any(numbers)],
            figure=_figure(scale, bars),
            **kwargs,
        )


def _counts(scale: Scale, first: datetime, stream: str) -> dict[tuple[datetime, str], int]:
    """(start of a bar, outcome) → alerts, in one query. Heartbeats are none: 86,400 a day would hide all others."""
    rows = OutcomeCount.objects.filter(hour__gte=first + _NOON if scale.unit == "night" else first)
    rows = rows.exclude(topic__in=HEARTBEAT_TOPICS)
    if stream:
        rows = rows.filter(stream=stream)
    evening = ExpressionWrapper(F("hour") - _NOON, output_field=DateTimeField())
    bar: Any = {
        "hour": TruncHour("hour", tzinfo=_UTC),
        "night": TruncDay(evening, tzinfo=_UTC),
        "month": TruncMonth("hour", tzinfo=_UTC),
    }[scale.unit]
    counted = (
        rows.order_by().values("outcome").annotate(bar=bar, alerts=Sum("n")).values_list("bar", "outcome", "alerts")
    )
    return {(start, outcome): alerts for start, outcome, alerts in counted}


def _figure(scale: Scale, rows: list[tuple[str, list[int]]]) -> dict[str, Any]:
    """For Plotly. Nothing in it comes from an alert."""
    bars = [
        {
            "type": "bar",
            "name": words,
            "x": [when for when, _ in rows],
            "y": [numbers[place] for _, numbers in rows],
            "marker": {"color": colour, "pattern": {"shape": pattern, "fillmode": "overlay", "size": 6}},
            "hovertemplate": "%{x}: %{y:,} " + words + "<extra></extra>",
        }
        for place, (_, words, colour, pattern) in enumerate(OUTCOMES)
    ]
    layout = {
        "barmode": "stack",
        "height": 420,
        # A category is one bar, whatever its length in days.
        "xaxis": {"title": f"{scale.unit.capitalize()} (UTC)", "type": "category", "nticks": 12},
        "yaxis": {"title": "Alerts", "rangemode": "tozero"},
        "legend": {"orientation": "h", "y": 1.1},
    }
    return {"data": bars, "layout": layout}
