"""What this TOM adds to the pages of the TOM Toolkit."""

from __future__ import annotations

from functools import partial
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
    """The newest alerts of a target, and what each classifier said last.

    :param context: of the page.
    """
    from tom_alertstreams.ingest.classifications import classifications_of, histories  # models are not loaded before

    target = context["object"]
    return {
        # Asked only where it is shown: the page asks for its tabs twice.
        "classifiers": partial(histories, classifications_of(target)),
        "alerts": target.target_alerts.order_by("-time", "-pk")[:50],
    }
