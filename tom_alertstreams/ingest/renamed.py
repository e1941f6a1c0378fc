"""Targets that somebody has renamed in the TOM, which keeps no alias of the old name: TargetAlert remembers it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from django.db import connection
from tom_targets.models import BaseTarget

from .bulk import any_of, look_up, on_postgresql
from .models import MatchMethod, TargetAlert

#: How an alert came to a Target that was called like its object. What was found by an alias or by position has an alias
#: still; where somebody has taken that away, it is to lead nowhere.
_BY_ITS_NAME: Final = (MatchMethod.CREATED.value, MatchMethod.NAME.value)


def renamed(names: Collection[str], columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """What was called so when its alerts came: the name, and these columns of the Target. Of several the newest.

    On PostgreSQL, inside a transaction.

    :param names: those that no Target and no alias has now.
    """
    wanted = sorted(names)
    found = dict(_by_columns(wanted) if on_postgresql() else _by_orm(wanted)) if wanted else {}
    if not found:
        return
    rows = BaseTarget.objects.filter(any_of("pk", sorted(set(found.values())))).values_list("pk", *columns)
    targets = {pk: row for pk, *row in rows}
    for name, pk in found.items():
        if pk in targets:
            yield (name, *targets[pk])


def _by_orm(names: Sequence[str]) -> list[tuple[str, int]]:
    rows = TargetAlert.objects.filter(any_of("object_id", names), match_method__in=_BY_ITS_NAME, target__isnull=False)
    return list(rows.values_list("object_id", "target_id").distinct().order_by("target_id"))


def _by_columns(names: Sequence[str]) -> list[tuple[str, int]]:
    # OFFSET 0 keeps the planner, which does not know that hardly any is found, from reading the whole table instead.
    sql = (
        "SELECT DISTINCT a.target_id, n.name FROM unnest(%s::text[]) AS n(name) CROSS JOIN LATERAL "  # noqa: S608
        f"(SELECT target_id FROM {connection.ops.quote_name(TargetAlert._meta.db_table)} WHERE object_id = n.name "
        "AND match_method = ANY(%s::text[]) AND target_id IS NOT NULL OFFSET 0) AS a"
    )
    return [(name, pk) for pk, name in sorted(look_up(sql, [names, list(_BY_ITS_NAME)]))]
