"""What of the alerts a user may see: those whose Target he may see, and those that have none.

A retraction that came before its event has no Target, and a rejection never has one. Both say no more than the stream
said to everybody, so whoever may see these pages sees them.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.db.models import Q, QuerySet, Subquery
from tom_targets.models import BaseTarget, Target, TargetName
from tom_targets.permissions import targets_for_user

from .models import TargetAlert


class Visible:
    """What one user may see. It says what ``targets_for_user`` of the TOM Toolkit says, and asks it of private Targets only.

    They are few as a rule: to ask it of all would read the whole table of Targets for each page.
    """

    def __init__(self, user: Any) -> None:
        self._user = user

    @property
    def targets(self) -> QuerySet[Any]:
        """The Targets that the TOM shows to this user."""
        every: QuerySet[Any] = Target.objects.all()
        return every if self._everything else every.filter(self._shown(""))

    @property
    def alerts(self) -> QuerySet[TargetAlert]:
        """Those of these Targets, and those without one."""
        every = TargetAlert.objects.all()
        return every if self._everything else every.filter(Q(target=None) | self._shown("target__"))

    @property
    def many_alerts(self) -> QuerySet[TargetAlert]:
        """The same for who reads thousands of them: the Targets are read once, and none is looked up for an alert."""
        every = TargetAlert.objects.all()
        return every if self._everything else every.filter(Q(target=None) | Q(target__in=self.targets.values("pk")))

    def of(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Rows of another table with a ``target``: those of these Targets, and those without one."""
        return rows if self._everything else rows.filter(Q(target=None) | self._shown("target__"))

    def called(self, name: str) -> QuerySet[Any]:
        """The Targets with this name or alias."""
        of_alias = TargetName.objects.filter(name=name).values("target_id")[:1]  # which is unique
        return self.targets.filter(Q(name=name) | Q(pk=Subquery(of_alias)))

    @property
    def _everything(self) -> bool:
        return bool(self._user.is_active and self._user.is_superuser)

    def _shown(self, of: str) -> Q:
        kinds = BaseTarget.Permissions
        open_to = [kinds.PUBLIC, kinds.OPEN] if self._user.is_authenticated else [kinds.OPEN]
        return Q(**{f"{of}permissions__in": open_to}) | Q(**{f"{of}pk__in": self._granted})

    @cached_property
    def _granted(self) -> QuerySet[Any]:
        """Private Targets that this user, or a group of his, was given."""
        private = Target.objects.filter(permissions=BaseTarget.Permissions.PRIVATE)
        granted: QuerySet[Any] = targets_for_user(self._user, private, "view_target")
        return granted.values("pk")
