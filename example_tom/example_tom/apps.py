"""What this TOM adds to the pages of the TOM Toolkit."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class ExampleTomConfig(AppConfig):
    """A tab on every target's page: which alerts it came from, and what classifiers say."""

    name = "example_tom"

    def target_detail_tabs(self) -> list[dict[str, str]]:
        """Asked for by the TOM Toolkit."""
        return [
            {"label": "Alerts", "partial": "example_tom/alerts.html", "context": "example_tom.apps.alerts_of_target"}
        ]


def alerts_of_target(context: Any) -> dict[str, Any]:
    """The newest alerts of a target, and the most probable class that each classification gives.

    :param context: of the page.
    """
    target = context["object"]
    return {
        "classifications": target.alert_classifications.filter(ranking=1).order_by("classifier", "-time", "-pk")[:20],
        "alerts": target.target_alerts.order_by("-time", "-pk")[:50],
    }
