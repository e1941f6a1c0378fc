"""The outbox of steps in Django's admin, to be looked at."""

from __future__ import annotations

from django.contrib import admin

from tom_alertstreams.read_only_admin import ReadOnlyAdmin

from .models import OutboxMessage, Outlet


@admin.register(Outlet)
class OutletAdmin(ReadOnlyAdmin):
    """Where the output of a step goes, and who sends it."""

    list_display = ("id", "name", "holder", "held_until")
    search_fields = ("name",)


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnlyAdmin):
    """Without the messages themselves."""

    list_display = ("id", "created", "topic", "outlet", "state", "attempts", "delivered")
    list_filter = ("state",)
    list_select_related = ("outlet",)
    search_fields = ("topic",)
    large = ("headers",)
