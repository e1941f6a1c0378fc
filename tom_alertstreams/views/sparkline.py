"""Alerts an hour as a row of small bars: SVG in the page, without a script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from django.template.defaultfilters import pluralize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

#: Of the drawing, in its own units: it is as wide as its place.
_BAR, _GAP, _HEIGHT = 8, 2, 40
_LEAST: Final = 2


def sparkline(counts: Sequence[int], first: datetime) -> SafeString:
    """A bar for each hour, which tells its number, and the same in words for who does not see it.

    :param first: the first hour, UTC.
    """
    bars = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
        (
            (*_as_text(x, _HEIGHT - height, _BAR, height), f"{_clock(first, hour)}: {counts[hour]:,}")
            for hour, x, height in _bars(counts)
        ),
    )
    return _drawing(counts, first, bars)


def small_sparkline(counts: Sequence[int], first: datetime) -> SafeString:
    """The same for a row of a table, where there are many of them: one shape, which tells the words."""
    shape = "".join(f"M{x} {_HEIGHT}v-{height}h{_BAR}v{height}z" for _, x, height in _bars(counts))
    return _drawing(counts, first, format_html('<path d="{}"><title>{}</title></path>', shape, _words(counts, first)))


def _drawing(counts: Sequence[int], first: datetime, content: SafeString) -> SafeString:
    width = (_BAR + _GAP) * len(counts)
    return format_html(
        '<svg class="sparkline" role="img" aria-label="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>',
        _words(counts, first), *_as_text(width, _HEIGHT), content,
    )  # fmt: skip


def _words(counts: Sequence[int], first: datetime) -> str:
    most = max(counts, default=0)
    if not most:
        return "No alerts in the last 24 hours"
    when = _clock(first, list(counts).index(most))
    total = sum(counts)
    return f"{total:,} alert{pluralize(total)} in the last 24 hours, most of them at {when}: {most:,} in that hour"


def _clock(first: datetime, hour: int) -> str:
    return f"{first + timedelta(hours=hour):%H}:00 UTC"


def _bars(counts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(number of the hour, where its bar begins, how high it is) of each hour that had alerts."""
    most = max(counts, default=0)
    for hour, count in enumerate(counts):
        if count:
            yield hour, hour * (_BAR + _GAP), max(_LEAST, round(_HEIGHT * count / most))


def _as_text(*numbers: int) -> tuple[str, ...]:
    """No language may write the numbers otherwise."""
    return tuple(map(str, numbers))
