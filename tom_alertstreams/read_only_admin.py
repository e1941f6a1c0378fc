"""Django's admin for rows that are looked at and never edited: millions of them, some with 20 MB inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import models
from django.db.models.functions import Length
from django.http import HttpRequest

from .conf import configured_streams
from .redaction import redact

#: Rows that a list has at most.
LISTED = 10_000
#: Of a table, the newest: a list without a search looks through no more of them.
NEWEST = 100_000
#: Characters of a value that are shown.
_LENGTH = 20_000


class StreamFilter(admin.SimpleListFilter):
    """By stream, as settings.py names them: to ask a million rows for their streams takes too long."""

    title = "stream"
    parameter_name = "stream"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The labels."""
        return [(stream.label, stream.label) for stream in configured_streams()[0]]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """The rows of the stream."""
        return queryset.filter(stream=self.value()) if self.value() else queryset


class ShortPaginator(Paginator):  # type: ignore[type-arg]  # Django itself has no Paginator[…]
    """Of the rows only the first: to count a million of them takes too long."""

    @cached_property
    def count(self) -> int:
        """How many of them are listed."""
        return min(self._found, LISTED)

    @property
    def more(self) -> bool:
        """Whether rows are left out."""
        return self._found > LISTED

    @cached_property
    def _found(self) -> int:
        return int(self.object_list[: LISTED + 1].count())  # type: ignore[attr-defined]


class NewestRows(ChangeList):
    """The newest rows of a table that the filters let through; of a search any.

    Few rows that a filter lets through would not be found before the whole table is looked through, however few are counted.
    """

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> models.QuerySet[Any]:
        """With the bound. No row has what PostgreSQL refuses to be asked for."""
        rows: models.QuerySet[Any] = super().get_queryset(request, *args, **kwargs)
        if any("\0" in value for _, values in request.GET.lists() for value in values):
            return rows.none()
        return rows if self.newer_than is None else rows.filter(pk__gt=self.newer_than)

    @cached_property
    def newer_than(self) -> Any:
        """The primary key that all rows of the list are above; None: any may be in it."""
        if self.query:
            return None
        pks = self.model._default_manager.order_by("-pk").values_list("pk", flat=True)
        return pks[NEWEST : NEWEST + 1].first()


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # Django itself has no ModelAdmin[…]
    """Nothing is added, changed or deleted. Of bytes the size is shown; secrets are blanked in texts."""

    show_full_result_count = False
    ordering = ("-pk",)
    sortable_by = ()
    list_per_page = 50
    list_max_show_all = 0
    paginator = ShortPaginator
    if hasattr(admin, "ShowFacets"):  # since Django 5: what each filter would let through is not counted either
        show_facets = admin.ShowFacets.NEVER
    #: Fields that lists leave out, for they may be large.
    large: Sequence[str] = ()

    def __init__(self, model: type[models.Model], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        fields = model._meta.concrete_fields
        self._bytes = [field.name for field in fields if isinstance(field, models.BinaryField)]
        self._shown = [self._shown_as(field) for field in fields]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """One that is bounded."""
        return NewestRows

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """With a line that says what is left out."""
        page = super().changelist_view(request, extra_context)
        context = getattr(page, "context_data", None) or {}
        rows = context.get("cl")
        if rows is not None and rows.paginator.more:
            context["subtitle"] = f"The newest {LISTED:,}; there are more"
        elif rows is not None and rows.newer_than is not None:
            context["subtitle"] = (
                f"Of the newest {NEWEST:,} rows{'; for older ones search' if self.search_fields else ''}"
            )
        return page

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """Without bytes, but with their sizes."""
        configured_streams()  # so that their secrets are known, and blanked
        sizes = {f"size_of_{name}": Length(name) for name in self._bytes}
        rows: models.QuerySet[Any] = super().get_queryset(request)
        rows = rows.defer(*self._bytes, *self.large).annotate(**sizes)
        return rows

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """Of the whole term, so that indexes lead to the rows and names may have spaces."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found = models.Q()
        for field in self.search_fields:
            found |= self.found_by(request, field, term)
        return queryset.filter(found), False

    def found_by(self, request: HttpRequest, field: str, term: str) -> models.Q:
        """Rows whose field is the term."""
        return models.Q(**{field: term})

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """All."""
        return self._shown

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """All."""
        return self._shown

    def _shown_as(self, field: Any) -> str:
        """What stands for a field on the page of one row."""
        if isinstance(field, models.BinaryField):
            show: Callable[[Any], str] = _size_of(field.name)
        elif isinstance(field, (models.CharField, models.TextField, models.JSONField)) and not field.choices:
            show = _text_of(field.name)
        else:
            return str(field.name)
        show.short_description = field.verbose_name  # type: ignore[attr-defined]
        name = f"shown_{field.name}"
        setattr(self, name, show)
        return name


def _size_of(name: str) -> Callable[[Any], str]:
    def show(row: Any) -> str:
        size = getattr(row, f"size_of_{name}")
        return "none" if size is None else f"{size:,} bytes"

    return show


def _text_of(name: str) -> Callable[[Any], str]:
    def show(row: Any) -> str:
        text = redact(str(getattr(row, name)))
        return text if len(text) <= _LENGTH else f"{text[:_LENGTH]}… (cut here)"

    return show
