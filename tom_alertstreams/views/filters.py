"""Which of the alerts and rejections the list shows."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Final

import django_filters
from django import forms
from django.db.models import QuerySet
from django.utils import timezone as django_timezone

from tom_alertstreams.conf import configured_streams
from tom_alertstreams.ingest.models import MatchMethod, TargetAlert
from tom_alertstreams.ingest.reasons import MEANINGS
from tom_alertstreams.ingest.visible import Visible
from tom_alertstreams.models import Rejection

from .entries import Alerts, Rejections

#: Years of moments. Near the ends of the calendar nothing can be added to a time.
_FIRST_YEAR: Final = 2000
_END_OF_YEARS: Final = 9000
_REJECTED: Final = "rejected"
_RETRACTION: Final = "retraction"
OUTCOMES: Final = (
    *((method.value, str(method.label)) for method in MatchMethod if method.value),
    (_RETRACTION, "Retraction"),
    (_REJECTED, "Rejected"),
)


class UTCField(forms.DateTimeField):
    """A moment in UTC, whatever TIME_ZONE of the TOM is."""

    def to_python(self, value: Any) -> datetime | None:
        with django_timezone.override(timezone.utc):
            moment = super().to_python(value)
        if moment is not None and not _FIRST_YEAR <= moment.year < _END_OF_YEARS:
            raise forms.ValidationError(f"A year from {_FIRST_YEAR} to {_END_OF_YEARS - 1} is needed.")
        return moment


class UTCFilter(django_filters.DateTimeFilter):  # type: ignore[misc]
    """Of a moment in UTC."""

    field_class = UTCField


def _streams() -> list[tuple[str, str]]:
    """Labels of the streams in settings.py."""
    return [(stream.label, stream.label) for stream in configured_streams()[0]]


def _box(**attrs: str) -> forms.Widget:
    return forms.TextInput(attrs={"class": "form-control form-control-sm", **attrs})


def _choice(**more: Any) -> Any:
    select = forms.Select(attrs={"class": "form-select form-select-sm"})
    return django_filters.ChoiceFilter(empty_label="all", widget=select, **more)


class AlertFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Of alerts. What concerns rejections alone shows no alert."""

    stream = _choice(label="Stream", choices=_streams)
    topic = django_filters.CharFilter(label="Topic", widget=_box())
    outcome = _choice(label="Outcome", choices=OUTCOMES, method="of_outcome")
    code = django_filters.CharFilter(
        label="Reject code", method="of_code", widget=_box(list="reject-codes", autocomplete="off")
    )
    object = django_filters.CharFilter(field_name="object_id", label="Object id", widget=_box())
    target = django_filters.CharFilter(label="Target", method="of_target", widget=_box())
    # Rows are in the order of their primary keys, and the times say where to begin: entries.Source.
    since = UTCFilter(label="Since (UTC)", method="unchanged", widget=_box(placeholder="2026-11-25 18:00"))
    until = UTCFilter(label="Until (UTC)", method="unchanged", widget=_box(placeholder="2026-11-26 06:00"))

    class Meta:
        model = TargetAlert
        fields: list[str] = []

    def of_outcome(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """By what they did."""
        if value == _REJECTED:
            return rows.none()
        return (
            rows.filter(retraction=True) if value == _RETRACTION else rows.filter(match_method=value, retraction=False)
        )

    def of_code(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Alerts with a code were rejected."""
        return rows.none()

    def of_target(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """By a name or an alias; a Target that the user may not see is as one that is not there."""
        return rows.filter(target__in=[target.pk for target in self.request.visible.called(value)])

    def unchanged(self, rows: QuerySet[Any], name: str, value: datetime) -> QuerySet[Any]:
        """Seen to elsewhere."""
        return rows


class RejectionFilter(AlertFilter):
    """Of rejections. What concerns Targets alone shows no rejection."""

    class Meta:
        model = Rejection
        fields: list[str] = []

    def of_outcome(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows if value == _REJECTED else rows.none()

    def of_code(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows.filter(code=value)

    def of_target(self, rows: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        return rows.none()


class Chosen:
    """What the list of one request shows."""

    def __init__(self, request: Any) -> None:
        given = request.GET
        request.visible = Visible(request.user)
        alerts = AlertFilter(given, request.visible.alerts, request=request)
        rejections = RejectionFilter(given, Rejection.objects.all(), request=request)
        self.form = alerts.form
        self._unknown = sorted(set(given) - set(self.form.fields))
        self.alerts: Alerts | None = None
        self.rejections: Rejections | None = None
        if not self.form.is_valid():
            return
        value = self.form.cleaned_data
        times = value["since"], value["until"]
        if not alerts.qs.query.is_empty():
            self.alerts = Alerts(alerts.qs, *times, indexed=bool(value["object"] or value["target"]))
        if rejections.is_valid() and not rejections.qs.query.is_empty():
            self.rejections = Rejections(rejections.qs, *times, indexed=bool(value["object"]))

    @property
    def problems(self) -> list[str]:
        """What of the request is no filter, or cannot be read."""
        unreadable = [
            f"{self.form.fields[name].label}: {error}" for name, errors in self.form.errors.items() for error in errors
        ]
        return [f"There is no filter {name}." for name in self._unknown] + unreadable

    @property
    def codes(self) -> list[str]:
        """To propose."""
        return [*MEANINGS, "error"]
