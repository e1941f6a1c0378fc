"""The ready-made handlers: alerts become Targets with light curves. Needs the TOM Toolkit."""

from __future__ import annotations

from django.apps import AppConfig


class IngestConfig(AppConfig):
    """``tom_alertstreams.ingest`` in INSTALLED_APPS."""

    default_auto_field = "django.db.models.BigAutoField"
    name = "tom_alertstreams.ingest"
    label = "tom_alertstreams_ingest"
    verbose_name = "Alert ingest"
    default = True

    def ready(self) -> None:
        from . import checks, signals  # noqa: F401  (registers the checks; models are loaded only now)

        signals.follow_targets()
