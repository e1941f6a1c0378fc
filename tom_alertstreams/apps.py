"""The core app: streams, delivery, operations. It needs Django and Kafka, not the TOM Toolkit."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.urls import URLPattern, URLResolver, include, path


class TomAlertstreamsConfig(AppConfig):
    """``tom_alertstreams`` in INSTALLED_APPS."""

    default_auto_field = "django.db.models.BigAutoField"
    name = "tom_alertstreams"
    label = "tom_alertstreams"
    verbose_name = "Alert streams"
    default = True

    def ready(self) -> None:
        from . import checks  # noqa: F401  (registers them; models are loaded only now)

    def include_url_paths(self) -> list[URLPattern | URLResolver]:
        """The pages, for the URLs of a TOM."""
        return [path("alertstreams/", include("tom_alertstreams.urls", namespace="tom_alertstreams"))]

    def nav_items(self) -> list[dict[str, Any]]:
        """The entry in the TOM's navigation bar."""
        return [{"partial": "tom_alertstreams/partials/nav_item.html", "position": "left"}]
