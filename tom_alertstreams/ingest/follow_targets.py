"""The index of positions follows the Targets: those that are saved anywhere in this project, and hourly all others."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_save
from tom_targets.models import BaseTarget

from tom_alertstreams.signals import housekeeping

from . import positions
from .options import IngestOptions


def follow_targets() -> None:
    """Connect. Deleted Targets take their position along by themselves."""
    post_save.connect(_target_saved, dispatch_uid="tom_alertstreams_ingest.target_saved")
    housekeeping.connect(_compare_positions, dispatch_uid="tom_alertstreams_ingest.compare_positions")


def _target_saved(sender: type, instance: Any, raw: bool, **_kwargs: Any) -> None:
    # The model of Targets may be a child of BaseTarget, which sends a signal of its own only.
    if not raw and issubclass(sender, BaseTarget):
        positions.rewrite(instance)


def _compare_positions(sender: type, source: Any, **_kwargs: Any) -> None:
    """Before a batch needs it, which would have to wait for it inside its transaction."""
    options = [binding.handler.options for binding in source.bindings.values()]
    if any(isinstance(each, IngestOptions) and each.match_radius_arcsec > 0 for each in options):
        positions.compare_if_due()
