"""Where the newest alerts are on the sky."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timezone
from typing import Any, Final

import numpy as np
from django.db.models import CharField, F, OuterRef, Subquery
from django.db.models.functions import Cast, TruncSecond
from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django.views.generic import TemplateView

from tom_alertstreams.ingest.bulk import uncompiled
from tom_alertstreams.ingest.models import Classification, TargetAlert
from tom_alertstreams.ingest.visible import Visible

from .mollweide import galactic, graticule, labels, mollweide
from .plotly_js import plotly_url

POINTS: Final = 10_000
#: Alerts that are looked through for them.
_AT_MOST: Final = 200_000
#: Colours of the legend; the rarer ones share the last.
_GROUPS: Final = 7
_NO_CLASS: Final = "no class"
#: Stands for the primary key of a Target in an address.
ANY_TARGET: Final = 1_234_567_890


class SkyMap(TemplateView):
    """The page; its points come from :func:`sky_points`."""

    template_name = "tom_alertstreams/sky_map.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """With addresses."""
        target = reverse("targets:detail", kwargs={"pk": ANY_TARGET})
        return super().get_context_data(
            plotly=plotly_url(), points=POINTS, target_url=target, any_target=ANY_TARGET, **kwargs
        )


@never_cache
@require_safe
def sky_points(request: HttpRequest) -> JsonResponse:
    """The newest alerts that have a position and that this user may see, as columns; ``?colour=class`` or by stream."""
    colour = "class_name" if request.GET.get("colour") == "class" else "stream"
    columns = _columns(request.user, colour)
    ra, dec = (np.array(columns[name], float) for name in ("ra", "dec"))
    lines = graticule()
    groups = _grouped([name or _NO_CLASS for name in columns[colour]], last=_NO_CLASS)
    return JsonResponse(
        {
            "equatorial": _plane(*mollweide(ra, dec)),
            "galactic": _plane(*mollweide(*galactic(ra, dec))),
            "graticule": {"x": lines[0], "y": lines[1], "labels": labels()},
            "object": columns["object_id"],
            "time": columns["came"],
            "target": columns["target_id"],
            "groups": groups,
        }
    )


def _columns(user: Any, colour: str) -> dict[str, list[Any]]:
    """Name → its value for each of the alerts, the newest first.

    One statement, and times as the text that is shown: to make 10,000 moments of them takes as long as all of the rest.
    No row is kept: so many at once let Python look through all of its memory for garbage, 0.15 s in a TOM.
    """
    newest = TargetAlert.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    rows: Any = Visible(user).many_alerts.filter(pk__gt=newest - _AT_MOST, ra__isnull=False, dec__isnull=False)
    came = Cast(TruncSecond("created", tzinfo=timezone.utc), CharField())
    names = ("object_id", "ra", "dec", "target_id", "came", colour)
    found: dict[str, list[Any]] = {name: [] for name in names}
    with uncompiled():
        rows = rows.annotate(came=came, class_name=_class_name()).order_by("-pk").values_list(*names)[:POINTS]
        for row in rows.iterator():
            for column, value in zip(found.values(), row, strict=True):
                column.append(value)
    return found


def _class_name() -> Subquery:
    """The most probable class that an alert gave; None where it gave none."""
    said = Classification.objects.filter(object_id=OuterRef("object_id"), alert_id=OuterRef("alert_id"))
    best = said.order_by(F("ranking").asc(nulls_last=True), F("probability").desc(nulls_last=True), "pk")
    return Subquery(best.values("class_name")[:1])


def _plane(x: Any, y: Any) -> dict[str, list[float]]:
    return {"x": np.round(x, 4).tolist(), "y": np.round(y, 4).tolist()}


def _grouped(names: Sequence[str], last: str = "") -> dict[str, Any]:
    """The names, the most frequent first, and the number of each row's."""
    counts = Counter(names)
    ordered = sorted(counts, key=lambda name: (name == last, -counts[name], name))
    kept = ordered if len(ordered) <= _GROUPS + 1 else [*ordered[:_GROUPS], "others"]
    number = {name: place for place, name in enumerate(ordered)}
    return {"names": kept, "of": [min(number[name], len(kept) - 1) for name in names]}
