"""The app ``alerce_stream``. Classifications and light curves are stored by ``tom_alertstreams.ingest``."""

from __future__ import annotations

from django.apps import AppConfig


class AlerceStreamConfig(AppConfig):
    """ALeRCE's streams."""

    default_auto_field = "django.db.models.BigAutoField"
    name = "alerce_stream"
    label = "alerce_stream"
    verbose_name = "ALeRCE"

    def ready(self) -> None:
        from . import checks  # noqa: F401  (registers them)
