"""The app ``alerce_stream``. Classifications and light curves are stored by ``tom_alertstreams.ingest``."""

from __future__ import annotations

from django.apps import AppConfig, apps


class AlerceStreamConfig(AppConfig):
    """ALeRCE's streams."""

    default_auto_field = "django.db.models.BigAutoField"
    name = "alerce_stream"
    label = "alerce_stream"
    verbose_name = "ALeRCE"

    def ready(self) -> None:
        from . import checks  # noqa: F401  (registers them)

    def target_detail_tabs(self) -> list[dict[str, str]]:
        """Asked for by the TOM Toolkit for a Target's page."""
        if not apps.is_installed("tom_alertstreams.ingest"):
            return []  # a TOM whose own handlers store what they like: there is nothing to show
        return [
            {"label": "ALeRCE", "partial": "alerce_stream/target_tab.html", "context": "alerce_stream.target_page.tab"}
        ]
