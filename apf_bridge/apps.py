"""The app ``apf_bridge``: the outbox of steps, and what publishes it."""

from __future__ import annotations

from django.apps import AppConfig


class ApfBridgeConfig(AppConfig):
    """``apf_bridge`` in INSTALLED_APPS."""

    default_auto_field = "django.db.models.BigAutoField"
    name = "apf_bridge"
    label = "apf_bridge"
    verbose_name = "APF steps"

    def ready(self) -> None:
        from . import checks  # noqa: F401  (registers them)
        from .publishing import follow_streams

        follow_streams()
