"""The tab on a Target's page: what streams said about it, and how their alerts found it."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final
from urllib.parse import urlencode

from django.db.models import F
from django.urls import reverse
from django.utils.safestring import SafeString

from tom_alertstreams.ingest.classifications import ClassifierHistory, classifications_of, histories
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.probability_plot import best_classes_plot
from tom_alertstreams.ingest.visible import Visible

SHOWN: Final = 100


class TargetTab:
    """The tab of one Target. Nothing is read before it is shown: the page asks for the tab twice, first for its label."""

    def __init__(self, target: Any, user: Any) -> None:
        self._target = target
        self._user = user

    @cached_property
    def alerts(self) -> list[TargetAlert]:
        """The newest, by when they were issued. ``second_seen``: the other Target, if the user may see it."""
        rows = TargetAlert.objects.filter(target_id=self._target.pk)
        found = list(rows.order_by(F("time").desc(nulls_last=True), "-pk")[: SHOWN + 1])
        asked = {row.second_candidate_id for row in found if row.second_candidate_id}
        seen = {other.pk: other for other in Visible(self._user).targets.filter(pk__in=asked)} if asked else {}
        for row in found:
            row.second_seen = seen.get(row.second_candidate_id)  # type: ignore[attr-defined]
        return found

    @property
    def shown(self) -> list[TargetAlert]:
        """Those that the tab shows."""
        return self.alerts[:SHOWN]

    @property
    def all_url(self) -> str:
        """The list of all of them, where there are more."""
        if len(self.alerts) <= SHOWN:
            return ""
        return f"{reverse('tom_alertstreams:alerts')}?{urlencode({'target': self._target.name})}"

    @cached_property
    def classifiers(self) -> list[ClassifierHistory]:
        """What each classifier says, in one query."""
        return histories(classifications_of(self._target))

    @property
    def plot(self) -> SafeString:
        """The most probable class of each classifier against time."""
        return best_classes_plot(self.classifiers)


def tab(context: Any) -> dict[str, Any]:
    """What the tab's template gets. One name only: the page lays it over its own.

    :param context: of the Target's page, which nobody sees who may not view the Target.
    """
    return {"streams_said": TargetTab(context["object"], context["request"].user)}
