"""Recent alerts of all streams: what each did, and the same as a file."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from django.http import HttpRequest, HttpResponseBadRequest, StreamingHttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe
from django.views.generic import TemplateView

from .entries import Entry, Page, Place, read_page
from .filters import Chosen
from .tables import AlertTable, utc

PER_PAGE: Final = 50
PER_FILE: Final = 10_000
#: Parts of the tables that a file looks through at most: anybody may ask for one, and for what is nowhere.
PAGES_PER_FILE: Final = 10


class Alerts(TemplateView):
    """The newest first, a page at a time: nothing is counted."""

    template_name = "tom_alertstreams/alerts.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With the form, the table, and where older ones are."""
        chosen = Chosen(self.request)
        page = _read(chosen, Place.read(self.request.GET.get("before", "")), PER_PAGE)
        query = self.request.GET.copy()
        query.pop("before", None)
        export = f"{reverse('tom_alertstreams:alerts_csv')}?{query.urlencode()}"
        if page.older:
            query["before"] = str(page.older)
        return super().get_context_data(
            chosen=chosen,
            table=AlertTable(page.entries),
            older=f"?{query.urlencode()}" if page.older else "",
            searched_to=utc(page.searched_to),
            export=export,
            per_file=PER_FILE,
            **kwargs,
        )


@require_safe
def alerts_csv(request: HttpRequest) -> StreamingHttpResponse | HttpResponseBadRequest:
    """The newest of the list as CSV, with positions and times as exact as they are stored."""
    chosen = Chosen(request)
    if chosen.problems:  # a program would take the file for all that was asked for
        return HttpResponseBadRequest("\n".join(chosen.problems), content_type="text/plain; charset=utf-8")
    rows = map(csv.writer(_Echo()).writerow, chain([_HEAD], map(_row, _newest(chosen))))
    return StreamingHttpResponse(
        rows, content_type="text/csv", headers={"Content-Disposition": 'attachment; filename="alerts.csv"'}
    )


def _read(chosen: Chosen, place: Place, size: int) -> Page:
    if chosen.alerts is None and chosen.rejections is None:
        return Page([], None)
    return read_page(chosen.alerts, chosen.rejections, place, size)


def _newest(chosen: Chosen) -> Iterator[Entry]:
    """Read while the file is sent, a bounded part of the tables at a time. The last line says where it was given up."""
    place: Place | None = Place()
    left, searched_to = PER_FILE, None
    for _ in range(PAGES_PER_FILE):
        if place is None or not left:
            return
        page = _read(chosen, place, left)
        yield from page.entries
        left -= len(page.entries)
        place, searched_to = page.older, page.searched_to
    if searched_to is not None:
        yield Entry(searched_to, "", "", "", f"Searched back to {utc(searched_to)} UTC. Ask for older ones with Until")


class _Echo:
    """Where the writer of CSV writes to: it hands each line back."""

    def write(self, line: str) -> str:
        return line


_HEAD: Final = (
    "came_utc", "issued_utc", "stream", "topic", "object_id", "ra_deg", "dec_deg", "outcome", "code", "target",
    "separation_arcsec", "points", "summary",
)  # fmt: skip


def _row(entry: Entry) -> Iterator[object]:
    """Cells of a line."""
    times = (time and time.isoformat() for time in (entry.time, entry.issued))
    texts = (entry.stream, entry.topic, entry.object_id)
    yield from times
    yield from map(_text, texts)
    yield from (entry.ra, entry.dec, _text(entry.outcome), _text(entry.code), _text(entry.target_name))
    yield from (entry.separation, entry.points, _text(entry.summary))


def _text(value: str) -> str:
    """What a spreadsheet would run as a formula is marked as text."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") and value else value
