"""Which light curves were asked for, and what came of it."""

from __future__ import annotations

from django.db import models


class LightCurveFetch(models.Model):
    """ALeRCE's light curve of one Target: when a job was told to fetch it, and how that went."""

    target = models.OneToOneField(
        "tom_targets.BaseTarget", on_delete=models.CASCADE, primary_key=True, related_name="alerce_light_curve"
    )
    object_id = models.CharField(max_length=100, help_text="ALeRCE's name of the object.")
    asked_at = models.DateTimeField(help_text="When a rule last asked for it.")
    fetched_at = models.DateTimeField(null=True, blank=True, help_text="When it was last written.")
    points = models.PositiveIntegerField(default=0, help_text="Points that were new then.")
    problem = models.TextField(blank=True, default="", help_text="Why the last try failed; empty where it did not.")

    class Meta:
        verbose_name_plural = "light curve fetches"

    def __str__(self) -> str:
        return self.object_id
