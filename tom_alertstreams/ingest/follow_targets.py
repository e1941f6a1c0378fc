"""What ingest knows of Targets follows them: positions those that are saved, alerts and classifications those merged."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_save, pre_delete
from tom_targets.models import BaseTarget, TargetName

from tom_alertstreams.signals import housekeeping

from . import positions
from .models import Classification, MatchMethod, TargetAlert
from .options import IngestOptions


def follow_targets() -> None:
    """Connect. Deleted Targets take their position along by themselves."""
    # Of this sender only: a signal for all models would have Django read all rows that it deletes. One of a child model
    # is deleted as a BaseTarget too.
    pre_delete.connect(_target_deleted, sender=BaseTarget, dispatch_uid="tom_alertstreams_ingest.target_deleted")
    post_save.connect(_target_saved, dispatch_uid="tom_alertstreams_ingest.target_saved")
    housekeeping.connect(_compare_positions, dispatch_uid="tom_alertstreams_ingest.compare_positions")


def _target_saved(sender: type, instance: Any, raw: bool, **_kwargs: Any) -> None:
    # The model of Targets may be a child of BaseTarget, which sends a signal of its own only.
    if not raw and issubclass(sender, BaseTarget):
        positions.rewrite(instance)


def _target_deleted(sender: type, instance: Any, **_kwargs: Any) -> None:
    """Merged: the toolkit makes its name an alias of another Target, moves what it knows of there, and deletes it."""
    alias = TargetName.objects.filter(name=instance.name).exclude(target_id=instance.pk).first()
    if alias is None:
        return
    # A stream that is writing to them goes first.
    both = BaseTarget.objects.filter(pk__in=(instance.pk, alias.target_id)).order_by("pk").select_for_update()
    list(both.values_list("pk"))
    TargetAlert.objects.filter(second_candidate_id=instance.pk).exclude(target_id=alias.target_id).update(
        second_candidate_id=alias.target_id
    )
    TargetAlert.objects.filter(target_id=instance.pk).update(
        target_id=alias.target_id, match_method=MatchMethod.NAME, separation_arcsec=None, second_candidate=None
    )
    Classification.objects.filter(target_id=instance.pk).update(target_id=alias.target_id)


def _compare_positions(sender: type, source: Any, **_kwargs: Any) -> None:
    """Before a batch needs it, which would have to wait for it inside its transaction."""
    options = [binding.handler.options for binding in source.bindings.values()]
    if any(isinstance(each, IngestOptions) and each.match_radius_arcsec > 0 for each in options):
        positions.compare_if_due()
