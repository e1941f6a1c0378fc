"""Tables of the pages."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import django_tables2 as tables
from django.urls import reverse
from django.utils.html import format_html


def utc(time: datetime | None) -> str:
    """A moment as these pages write it."""
    return time.astimezone(timezone.utc).replace(tzinfo=None).isoformat(" ", "seconds") if time else ""


class AlertTable(tables.Table):  # type: ignore[misc]
    """What became of alerts: rows are :class:`tom_alertstreams.views.entries.Entry`."""

    time = tables.Column(verbose_name="Came (UTC)")
    topic = tables.Column(verbose_name="Stream, topic")
    object_id = tables.Column(verbose_name="Object")
    position = tables.Column(verbose_name="RA, Dec (°)", accessor="ra")
    outcome = tables.Column()
    target_name = tables.Column(verbose_name="Target")
    summary = tables.Column()

    class Meta:
        template_name = "tom_alertstreams/partials/rows.html"
        orderable = False  # by time: the rest is not indexed
        attrs = {"class": "table table-sm"}
        empty_text = "No such alert."

    def render_time(self, value: datetime) -> str:
        """In UTC."""
        return utc(value)

    def render_topic(self, record: Any) -> str:
        """With its stream."""
        return format_html('{}<br><span class="small">{}</span>', record.stream, record.topic)

    def render_position(self, record: Any) -> str:
        """To a hundredth of an arcsecond."""
        return f"{record.ra:.5f} {record.dec:+.5f}" if record.ra is not None and record.dec is not None else "—"

    def render_outcome(self, record: Any) -> str:
        """With the separation, where there is one."""
        if record.code:
            return format_html('{} <span class="small">({})</span>', record.outcome, record.code)
        return record.outcome if record.separation is None else f"{record.outcome}, {record.separation:.2f}″"

    def render_target_name(self, record: Any) -> str:
        """With the way to it."""
        if record.target is None:
            return ""
        page = reverse("targets:detail", kwargs={"pk": record.target})
        return format_html('<a href="{}">{}</a>', page, record.target_name)
