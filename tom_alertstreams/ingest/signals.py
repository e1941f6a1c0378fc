"""Targets that are saved anywhere in this project keep their position in the index."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_save
from tom_targets.models import BaseTarget

from . import positions


def follow_targets() -> None:
    """Connect. Deleted Targets take their position along by themselves."""
    post_save.connect(_target_saved, dispatch_uid="tom_alertstreams_ingest.target_saved")


def _target_saved(sender: type, instance: Any, raw: bool, **_kwargs: Any) -> None:
    # The model of Targets may be a child of BaseTarget, which sends a signal of its own only.
    if not raw and issubclass(sender, BaseTarget):
        positions.rewrite(instance)
