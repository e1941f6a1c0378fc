"""What streams said of Targets, in Django's admin, to be looked at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from tom_alertstreams.read_only_admin import ReadOnlyAdmin, StreamFilter

from .models import Classification, TargetAlert, TargetPosition
from .visible import Visible


class VisibleAdmin(ReadOnlyAdmin):
    """To look at a table of rows with a ``target`` is not to look at Targets that the TOM hides."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """What the user sees on the pages of the TOM too."""
        return Visible(request.user).of(super().get_queryset(request))

    def found_by(self, request: HttpRequest, field: str, term: str) -> Q:
        """Of ``search_fields``, "target" is a Target's name or alias: no index serves an OR over two tables."""
        if field != "target":
            return super().found_by(request, field, term)
        return Q(target__in=list(Visible(request.user).called(term).values_list("pk", flat=True)))


@admin.register(TargetAlert)
class TargetAlertAdmin(VisibleAdmin):
    """Which alert made or changed which Target."""

    list_display = (
        "id",
        "created",
        "stream",
        "topic",
        "object_id",
        "target",
        "match_method",
        "separation_arcsec",
        "points",
    )
    list_filter = ("match_method", StreamFilter)
    list_select_related = ("target",)
    search_fields = ("object_id", "alert_id", "target")
    search_help_text = "A Target's name or alias, the provider's name of an object, or an alert id, in full."

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> TargetAlert | None:
        """The second candidate is a Target too: it is named to who may see it."""
        row: TargetAlert | None = super().get_object(request, object_id, from_field)
        if row is not None and not Visible(request.user).targets.filter(pk=row.second_candidate_id).exists():
            row.second_candidate = None  # on the page: nothing is ever saved from here
        return row


@admin.register(Classification)
class ClassificationAdmin(VisibleAdmin):
    """What classifiers said."""

    list_display = (
        "id",
        "time",
        "object_id",
        "target",
        "classifier",
        "version",
        "class_name",
        "probability",
        "ranking",
    )
    list_select_related = ("target",)
    search_fields = ("object_id", "target")
    search_help_text = "A Target's name or alias, or the provider's name of an object, in full."
    large = ("features",)


@admin.register(TargetPosition)
class TargetPositionAdmin(VisibleAdmin):
    """Where Targets are, as alerts are matched to them."""

    list_display = ("pk", "target", "ra", "dec", "cell")
    list_select_related = ("target",)
    search_fields = ("target",)
    search_help_text = "A Target's name or alias, in full."
