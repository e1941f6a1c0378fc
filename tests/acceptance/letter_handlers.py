"""A handler that somebody breaks and mends."""

from __future__ import annotations

from tom_targets.models import Target

from tom_alertstreams.alerts import Alert

#: What it looks for; alerts have "objectId".
FIELD = ["objectId"]


def on_alert(alert: Alert) -> None:
    """One Target for each alert."""
    Target.objects.create(
        name=alert.content[FIELD[0]], type="SIDEREAL", ra=alert.content["ra"], dec=alert.content["dec"]
    )
