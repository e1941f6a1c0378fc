"""The ready-made handlers: alerts become Targets with light curves. Needs the TOM Toolkit."""

from __future__ import annotations

from django.apps import AppConfig, apps


class IngestConfig(AppConfig):
    """``tom_alertstreams.ingest`` in INSTALLED_APPS."""

    default_auto_field = "django.db.models.BigAutoField"
    name = "tom_alertstreams.ingest"
    label = "tom_alertstreams_ingest"
    verbose_name = "Alert ingest"
    default = True

    def ready(self) -> None:
        from . import checks, follow_targets  # noqa: F401  (registers the checks; models are loaded only now)

        follow_targets.follow_targets()

    def target_detail_tabs(self) -> list[dict[str, str]]:
        """Asked for by the TOM Toolkit for a Target's page."""
        if not apps.is_installed("tom_alertstreams"):
            return []  # its templates are there
        return [
            {
                "label": "Alerts",
                "partial": "tom_alertstreams/target_tab.html",
                "context": "tom_alertstreams.views.target_tab.tab",
            }
        ]
