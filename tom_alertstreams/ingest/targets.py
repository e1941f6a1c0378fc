"""New Targets in bulk, as the TOM Toolkit would have saved them one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.db import IntegrityError, transaction
from django.db.models import Max, Model
from guardian.shortcuts import assign_perm
from guardian.utils import get_group_obj_perms_model
from tom_common.hooks import run_hook
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.base_models import get_target_model_app_label
from tom_targets.models import BaseTarget, Target, TargetExtra, TargetList, TargetName

from tom_alertstreams.logs import get_logger

from . import positions
from .bulk import any_of, insert, on_postgresql
from .matching import KnownTarget
from .options import IngestOptions
from .reports import OrbitalElements
from .times import from_iso

logger = get_logger(__name__)

_ELEMENTS: Final = tuple(field.name for field in fields(OrbitalElements))


def create_targets(new: Iterable[KnownTarget], options: IngestOptions) -> set[KnownTarget]:
    """Create these Targets and give them their primary keys.

    Another process may create a Target of the same name at the same time: then that one is taken.

    :returns: those that this call created.
    """
    # In the order of their names, so that two processes wait for each other instead of deadlocking.
    wanted = sorted(new, key=lambda known: known.name)
    if not wanted:
        return set()
    created = _create_in_bulk(wanted, options) if Target is BaseTarget else _create_one_by_one(wanted, options)
    pks = sorted(known.pk for known in created if known.pk is not None)
    defaults = {field["name"]: field["default"] for field in settings.EXTRA_FIELDS if field.get("default") is not None}
    write_extras(dict.fromkeys(pks, defaults), replace=False)
    _give_groups_access(pks, options.groups)
    return created


def _fields(known: KnownTarget, options: IngestOptions) -> dict[str, Any]:
    found: dict[str, Any] = {"name": known.name, "ra": known.ra, "dec": known.dec}
    found["type"] = BaseTarget.SIDEREAL if known.sidereal else BaseTarget.NON_SIDEREAL
    if options.permissions is not None:
        found["permissions"] = options.permissions
    if known.elements is not None:
        found |= asdict(known.elements)
    return found


def _create_in_bulk(wanted: Sequence[KnownTarget], options: IngestOptions) -> set[KnownTarget]:
    created = _insert(wanted, options)
    positions.write((known.pk, known.ra, known.dec) for known in created if known.pk is not None)
    return created


def _insert(wanted: Sequence[KnownTarget], options: IngestOptions) -> set[KnownTarget]:
    rows = [_fields(known, options) for known in wanted]
    if any(known.elements is not None for known in wanted):
        rows = [{**dict.fromkeys(_ELEMENTS), "scheme": "", **row} for row in rows]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    names = [known.name for known in wanted]
    if on_postgresql():
        stored = dict(insert(Target, columns, returning=("name", "id")))
        created = set(stored)
        # Another process was first, and has committed meanwhile: a new statement sees it.
        stored |= _pks([name for name in names if name not in created])
    else:  # whoever writes is alone
        created = set(names) - _pks(names).keys()
        insert(Target, columns)
        stored = _pks(names)
    for known in wanted:
        known.pk = stored[known.name]
    return {known for known in wanted if known.name in created}


def _pks(names: Sequence[str]) -> dict[str, int]:
    return dict(BaseTarget.objects.filter(any_of("name", names)).values_list("name", "pk"))


def _create_one_by_one(wanted: Sequence[KnownTarget], options: IngestOptions) -> set[KnownTarget]:
    """A child model of BaseTarget has two tables, which bulk_create does not do."""
    # That of BaseTarget would run the hook at once; one of the child's own is not passed over.
    save = Target.save if has_own_save() else Model.save
    created = set()
    for known in wanted:
        row = Target(**_fields(known, options))
        try:
            with transaction.atomic():
                save(row)
        except IntegrityError:
            known.pk = BaseTarget.objects.values_list("pk", flat=True).get(name=known.name)
        else:
            known.pk = row.pk
            created.add(known)
    return created


def has_own_save() -> bool:
    """Targets are of a child model whose ``save()`` is its own: that runs ``target_post_save``, whatever HOOKS says."""
    return Target.save is not BaseTarget.save


def has_hook() -> bool:
    """This TOM has a hook ``target_post_save``."""
    return bool(getattr(settings, "HOOKS", {}).get("target_post_save"))


def run_hooks(created: Iterable[KnownTarget], options: IngestOptions) -> None:
    """``target_post_save`` once for each created Target, when HOOKS says: call it when all of them is written."""
    if options.hooks == "off" or has_own_save() or not has_hook():
        return
    pks = [known.pk for known in created if known.pk is not None]
    if options.hooks == "after":
        transaction.on_commit(lambda: _run_hooks_after(pks), robust=True)
        return
    for target in Target.objects.filter(any_of("pk", pks)).order_by("pk"):
        run_hook("target_post_save", target=target, created=True)


def _run_hooks_after(pks: Sequence[int]) -> None:
    """One that fails does not stop the rest."""
    for target in Target.objects.filter(any_of("pk", pks)).order_by("pk"):
        try:
            run_hook("target_post_save", target=target, created=True)
        except Exception:  # a user's code: whatever it raises, the Target is stored
            logger.exception("The hook target_post_save failed for %s.", target.name)


def _give_groups_access(pks: Sequence[int], groups: Sequence[str]) -> None:
    """View, change and delete, as ``Target.give_user_access`` does. A group that does not exist is made, empty."""
    if not pks or not groups:
        return
    label = get_target_model_app_label()
    targets = Target.objects.filter(pk__in=pks)
    for name in groups:
        group, _ = Group.objects.get_or_create(name=name)
        for action in ("view", "change", "delete"):
            assign_perm(f"{label}.{action}_target", group, targets)


def newest_point() -> int:
    """The key of the newest row of photometry: what is written from now on has larger ones."""
    newest: int | None = PhotometryReducedDatum.objects.aggregate(newest=Max("pk"))["newest"]
    return newest or 0


def show_points(since: int, pks: Iterable[int], groups: Sequence[str]) -> None:
    """Members of the groups may view the points of Targets (pk) that they may view, as for an uploaded light curve.

    :param since: see :func:`newest_point`.
    """
    wanted = sorted(set(pks))
    label = get_target_model_app_label()
    view = Permission.objects.filter(codename="view_target", content_type__app_label=label)
    allowed = get_group_obj_perms_model(Target).objects.filter(permission__in=view)
    for group in Group.objects.filter(name__in=groups):
        visible = wanted
        if not group.permissions.filter(pk__in=view).exists():
            # Not guardian's get_objects_for_group: it reads every Target that the group may view.
            mine = allowed.filter(any_of("object_pk", list(map(str, wanted))), group=group)
            visible = sorted({int(pk) for pk in mine.values_list("object_pk", flat=True)})
        points = PhotometryReducedDatum.objects.filter(any_of("target_id", visible), pk__gt=since, data_product=None)
        assign_perm("tom_dataproducts.view_photometryreduceddatum", group, points)


def write_aliases(pairs: Iterable[tuple[str, int]]) -> None:
    """Names that lead to Targets (pk). One that is taken already stays where it is."""
    rows = sorted(pairs)
    insert(TargetName, {"name": [name for name, _ in rows], "target_id": [pk for _, pk in rows]})


def write_extras(per_target: dict[int, dict[str, Any]], *, replace: bool) -> None:
    """Extra fields of Targets (pk).

    :param replace: give a key that the Target has already its new value; else leave it.
    """
    rows = [_extra(pk, key, value) for pk, extras in sorted(per_target.items()) for key, value in extras.items()]
    if not rows:
        return
    if replace:
        TargetExtra.objects.bulk_create(
            rows,
            update_conflicts=True,
            unique_fields=["target", "key"],
            update_fields=["value", "float_value", "bool_value", "time_value"],
        )
    else:
        TargetExtra.objects.bulk_create(rows, ignore_conflicts=True, batch_size=500)


def _extra(target: int, key: str, value: Any) -> Any:
    """A row with the typed columns that ``TargetExtra.save()`` fills in."""
    text = "" if value is None else str(value)
    number: float | None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    time: datetime | None = None
    if not number:
        try:
            time = from_iso(text)
        except ValueError:
            time = None
    return TargetExtra(
        target_id=target, key=key, value=text, float_value=number, bool_value=bool(value), time_value=time
    )


def add_to_list(name: str, pks: Iterable[int]) -> None:
    """Put Targets on the TargetList of this name; it is made where there is none."""
    wanted = sorted(set(pks))
    if not name or not wanted:
        return
    # The name of a TargetList is not unique: the oldest is the one that was meant.
    target_list = TargetList.objects.filter(name=name).order_by("pk").first() or TargetList.objects.create(name=name)
    members = TargetList.targets.through
    rows = [members(targetlist_id=target_list.pk, basetarget_id=pk) for pk in wanted]
    members.objects.bulk_create(rows, ignore_conflicts=True, batch_size=500)
