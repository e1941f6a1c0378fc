"""Ingests alerts into the database that TEST_DATABASE_URL names, and prints the driver and all rows: ``… 2`` or ``… 3``."""

# ruff: noqa: E402  (the driver is chosen and Django set up first)
from __future__ import annotations

import sys
from collections import Counter

if sys.argv[1] == "2":  # as where psycopg 3 is not installed; before anything of Django is imported
    sys.modules["psycopg"] = None  # type: ignore[assignment]

import json

import django

django.setup()

from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection, transaction
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from tests.unit.ingest.samples import HERMES, lsst_packet, lsst_source
from tests.unit.ingest.test_two_roads import alerts, json_alert, tables
from tom_alertstreams.alerts import Alert
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.options import IngestOptions

#: A name with all that PostgreSQL's texts of arrays must quote.
HARD = "a\"b\\c{d},e'f%s µ NULL"
FIELDS = {"object_id": "o", "ra": "ra", "dec": "dec", "aliases": "names", "mjd": "t", "band": "b", "mag": "m"}
GROUPS = ("Observers",)


def columns() -> list[Alert]:
    """Alerts whose names and bands are hard to quote; some are null or larger than 2**53."""
    rows = [
        {
            "o": HARD,
            "ra": 200.0,
            "dec": 1.0,
            "names": [f"alias {HARD}", "NULL", ""],
            "t": 61000.25,
            "b": '"g",',
            "m": 18.0,
        },
        {"o": 2**63 - 1, "ra": 210.0, "dec": 1.0, "names": None, "t": 61000.25, "b": "NULL", "m": None},
        {"o": "µ", "ra": None, "dec": None, "t": None, "b": None, "m": 18.0},
    ]
    return [json_alert(row) for row in rows]


def packets() -> list[Alert]:
    """Packets of two surveys, notices and a message; one point is taken back."""
    sources = [lsst_source(diaSourceId=n, midpointMjdTai=61105.25 + n, psfFlux=100.0 * n) for n in range(12)]
    made = [lsst_packet(diaSourceId=n, diaSource=source) for n, source in enumerate(sources)]
    made.append(lsst_packet(diaSourceId=99, diaSource=sources[11] | {"timeWithdrawnMjdTai": 61120.0}))
    return [*alerts(180, seed=3), *map(json_alert, made), json_alert(HERMES)]


def main() -> None:
    call_command("migrate", verbosity=0)
    kinds: Counter[str] = Counter()
    for sent, options in ((packets(), {}), (columns(), {"fields": FIELDS})):
        chosen = IngestOptions(create="always", groups=GROUPS, target_list="All", **options)
        # In three batches, so that the later ones find what the first wrote; and the first once more.
        batches = [sent[start : start + 70] for start in range(0, len(sent), 70)]
        for batch in (*batches, batches[0]):
            with transaction.atomic():
                outcomes = ingest_targets([alert.fresh() for alert in batch], options=chosen)
            kinds.update(outcome.kind for outcome in outcomes)
    with connection.cursor() as cursor:
        driver = type(cursor.connection).__module__.partition(".")[0]
    print(json.dumps({"driver": driver, "psycopg 3": is_psycopg3, "outcomes": kinds}))
    print(json.dumps({**tables(), "groups": list(Group.objects.values_list("name"))}, default=repr, indent=0))


main()
