"""ALeRCE's light curves in Django's admin, to be looked at."""

from __future__ import annotations

from django.contrib import admin

from tom_alertstreams.ingest.admin import VisibleAdmin

from .models import LightCurveFetch


@admin.register(LightCurveFetch)
class LightCurveFetchAdmin(VisibleAdmin):
    """When a job was told to fetch a light curve, and how that went."""

    list_display = ("object_id", "target", "asked_at", "fetched_at", "points")
    list_select_related = ("target",)
    search_fields = ("object_id", "target")
    search_help_text = "A Target's name or alias, or ALeRCE's name of an object, in full."
