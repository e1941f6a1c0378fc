"""The core app: streams, delivery, operations. It needs Django and Kafka, not the TOM Toolkit."""

from __future__ import annotations

from django.apps import AppConfig


class TomAlertstreamsConfig(AppConfig):
    """``tom_alertstreams`` in INSTALLED_APPS."""

    default_auto_field = "django.db.models.BigAutoField"
    name = "tom_alertstreams"
    label = "tom_alertstreams"
    verbose_name = "Alert streams"
    default = True

    def ready(self) -> None:
        from . import checks  # noqa: F401  (registers them; models are loaded only now)
