"""A wrong match is undone: an object goes from the Target it was taken for to one of its own, with all it brought."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from guardian.shortcuts import assign_perm, get_groups_with_perms
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import BaseTarget, Target, TargetName

from tom_alertstreams.exceptions import AlertStreamError

from .bulk import any_of
from .models import Classification, MatchMethod, TargetAlert
from .photometry import KnownPoints, stored_point


class CannotDetach(AlertStreamError):
    """The object cannot be detached."""


@dataclass(frozen=True)
class Detached:
    """What was moved."""

    from_name: str
    to_name: str
    created: bool
    alerts: int
    points: int
    classifications: int


def detach(object_id: str, *, from_name: str = "", to_name: str = "") -> Detached:
    """Move an object, in one transaction: its alerts, its points, its classifications, its name.

    :param object_id: the provider's name of the object.
    :param from_name: the Target it was taken for; needed where its alerts went to several.
    :param to_name: an existing Target; without it a new one is made, called like the object.
    :raises CannotDetach: there is nothing to move, or it is not clear what.
    """
    with transaction.atomic():
        wrong = _wrong_target(object_id, from_name)
        alerts = TargetAlert.objects.filter(object_id=object_id, target=wrong)
        if alerts.filter(match_method=MatchMethod.CREATED).exists():
            raise CannotDetach(
                f"{wrong.name} was made of {object_id}.", hint="Detach the other object instead; its page lists them."
            )
        TargetName.objects.filter(name=object_id, target=wrong).delete()
        right, created = _right_target(object_id, to_name, wrong, alerts)
        classifications = Classification.objects.filter(target=wrong, object_id=object_id)
        return Detached(
            wrong.name,
            right.name,
            created,
            points=_move_points(object_id, wrong, right),
            classifications=classifications.update(target=right),
            alerts=alerts.update(
                target=right, match_method=MatchMethod.NAME, separation_arcsec=None, second_candidate=None
            ),
        )


def _move_points(object_id: str, wrong: Any, right: Any) -> int:
    """How many points are no longer the wrong Target's. What the right one has already is not there twice."""
    # Points are marked with the object that brought them; those that the Target had before are not.
    brought = PhotometryReducedDatum.objects.filter(target=wrong, source_location=object_id)
    points = {row.pk: stored_point(row) for row in brought}
    known = KnownPoints()
    known.load([(right.pk, list(points.values()), object_id)])
    moved = [pk for pk, point in points.items() if known.add(right.pk, point, pk)]
    PhotometryReducedDatum.objects.filter(any_of("pk", moved)).update(target=right)
    brought.delete()
    return len(points)


def _wrong_target(object_id: str, from_name: str) -> Any:
    rows = TargetAlert.objects.filter(object_id=object_id, target__isnull=False)
    if from_name:
        rows = rows.filter(target__name=from_name)
    names = sorted(set(rows.values_list("target__name", flat=True)))
    if not names:
        raise CannotDetach(
            f"No alert of {object_id} has gone to {from_name or 'a Target'}.",
            hint="It is the provider's name that is asked for.",
        )
    if len(names) > 1:
        raise CannotDetach(f"{object_id} has gone to {', '.join(names)}.", hint="Say which is wrong with --from.")
    return BaseTarget.objects.select_for_update().get(name=names[0])


def _right_target(object_id: str, to_name: str, wrong: Any, alerts: Any) -> tuple[Any, bool]:
    if to_name:
        found = BaseTarget.objects.filter(name=to_name).exclude(pk=wrong.pk).first()
        if found is None:
            raise CannotDetach(f"There is no other Target {to_name}.", hint="Leave --to away to have one made.")
        if object_id != to_name:
            name, _ = TargetName.objects.get_or_create(name=object_id, defaults={"target": found})
            if name.target_id != found.pk:
                raise CannotDetach(
                    f"{object_id} is an alias of {name.target.name}.",
                    hint="Name that one with --to, or delete the alias.",
                )
        return found, False
    if BaseTarget.objects.filter(name=object_id).exists():
        raise CannotDetach(f"There is a Target {object_id} already.", hint=f"Move it there with --to {object_id}.")
    place = _place(alerts, wrong)
    if place is None:
        raise CannotDetach(
            f"No alert of {object_id} has a position of its own for a new Target.", hint="Name one with --to."
        )
    ra, dec = place
    made = Target(name=object_id, type=BaseTarget.SIDEREAL, ra=ra, dec=dec, permissions=wrong.permissions)
    made.save()
    whose = Target.objects.get(pk=wrong.pk)
    for group, permissions in get_groups_with_perms(whose, attach_perms=True).items():
        for permission in permissions:
            assign_perm(permission, group, made)
    return made, True


def _place(alerts: Any, wrong: Any) -> tuple[float, float] | None:
    """Right ascension and declination (ICRS, degrees) of the newest alert that says where its object is.

    One that led to its Target by name may come without a position, as ALeRCE's do, and have been given the Target's.
    So what was found by position or event counts first, and what was found by name where the Target is counts not at all.
    """
    by_name = Q(match_method__in=(MatchMethod.NAME, MatchMethod.ALIAS))
    own = alerts.filter(ra__isnull=False, dec__isnull=False).exclude(by_name, ra=wrong.ra, dec=wrong.dec)
    newest = own.alias(by_name=by_name).order_by("by_name", F("time").desc(nulls_last=True), "-pk")
    return newest.values_list("ra", "dec").first()  # type: ignore[no-any-return]
