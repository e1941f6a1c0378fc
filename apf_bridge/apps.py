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
        from .delivery_signals import follow_streams
        from .outbox_facts import tell_of_outboxes

        follow_streams()
        tell_of_outboxes()
