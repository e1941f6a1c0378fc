"""Migrations on the way back: rows that the tables before had no room for."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

APP = "tom_alertstreams"


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_back_to_before_topics_were_made_anew() -> None:
    from tom_alertstreams.models import DeadLetter

    place = {"stream": "s", "cluster": "c", "group_id": "g", "topic": "t", "partition": 0, "handler": "h"}
    for offset, generation in ((1, 0), (1, 1), (2, 0), (1, 2)):
        DeadLetter.objects.create(**place, offset=offset, generation=generation)
    try:
        call_command("migrate", APP, "0004", verbosity=0)
        before = MigrationExecutor(connection).loader.project_state((APP, "0004_letter_pages")).apps
        letters = before.get_model(APP, "DeadLetter").objects
        assert list(letters.order_by("pk").values_list("offset", flat=True)) == [1, 2]
    finally:
        call_command("migrate", verbosity=0)
    assert list(DeadLetter.objects.order_by("pk").values_list("offset", "generation")) == [(1, 0), (2, 0)]
