"""Looks at what a program has written: a fast one that writes other rows has won nothing."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing

import psycopg

_TABLES = {
    "tom_dataproducts_photometryreduceddatum": "PhotometryReducedDatum",
    "tom_alertstreams_ingest_targetalert": "TargetAlert",
    "tom_targets_basetarget": "Target",
}
# Of each row what does not depend on when it was written, as one number; the sum depends on no order.
_FINGERPRINTS = {
    "Target": "SELECT count(*), sum(hashtext(concat_ws('|', name, type, ra, dec, permissions))) FROM tom_targets_basetarget",
    "PhotometryReducedDatum": """
        SELECT count(*), sum(hashtext(concat_ws('|', t.name, p.timestamp, p.brightness, p.brightness_error, p.bandpass,
            p.unit)))
        FROM tom_dataproducts_photometryreduceddatum p JOIN tom_targets_basetarget t ON t.id = p.target_id""",
    "TargetAlert": """
        SELECT count(*), sum(hashtext(concat_ws('|', t.name, a.alert_id, a.object_id, a.topic, a.partition, a."offset",
            a.ra, a.dec, a.points)))
        FROM tom_alertstreams_ingest_targetalert a JOIN tom_targets_basetarget t ON t.id = a.target_id""",
    "OutcomeCount": "SELECT sum(n), 0 FROM tom_alertstreams_outcomecount WHERE outcome = 'done'",
}


class OtherRows(Exception):
    """A program has not written what it should."""


def fingerprint(url: str) -> dict[str, tuple[int, int]]:
    """Of each table the number of its rows, and a number that is the same only where they are."""
    with psycopg.connect(url, autocommit=True) as connection:
        return {table: connection.execute(sql).fetchone() for table, sql in _FINGERPRINTS.items()}


def fingerprint_of_file(file: str) -> dict[str, tuple[int, int]]:
    """The same of a SQLite file. Other databases have other numbers."""
    with closing(sqlite3.connect(file)) as connection:
        connection.create_function("hashtext", 1, lambda text: zlib.crc32(text.encode()))
        connection.create_function("concat_ws", -1, lambda glue, *parts: glue.join(map(str, parts)))
        return {table: connection.execute(sql).fetchone() for table, sql in _FINGERPRINTS.items()}


def check_same(ours: dict[str, tuple[int, int]], others: dict[str, tuple[int, int]]) -> None:
    """:raises OtherRows: they differ."""
    if other := {table: (ours[table], others[table]) for table in ours if ours[table] != others[table]}:
        raise OtherRows(f"the two have not written the same rows (number, sum of hashes): {other}")


def check_all(url: str, alerts: int, method: str | None = None) -> None:
    """Each alert is there once, with its measurement.

    :param method: how each has found its Target.
    :raises OtherRows: it is not so.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        condition = f" WHERE match_method = '{method}'" if method else ""
        told = connection.execute(f"SELECT count(*) FROM tom_alertstreams_ingest_targetalert{condition}").fetchone()[0]
        points = connection.execute("SELECT count(*) FROM tom_dataproducts_photometryreduceddatum").fetchone()[0]
    if (told, points) != (alerts, alerts):
        raise OtherRows(f"of {alerts} alerts {told} are recorded{condition} and {points} are measurements")


def check_counted(url: str, alerts: int) -> None:
    """:raises OtherRows: the counts are not those of the alerts."""
    counted = fingerprint(url)["OutcomeCount"][0]
    if counted != alerts:
        raise OtherRows(f"{counted} of {alerts} alerts are counted as done")


def on_disk(url: str, alerts: int) -> str:
    """Bytes of each table for an alert, indexes included."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = {
            name: connection.execute("SELECT pg_total_relation_size(%s::regclass)", [table]).fetchone()[0]
            for table, name in _TABLES.items()
        }
    each = ", ".join(f"{name} {size / alerts:.0f}" for name, size in found.items())
    return f"on the disk {sum(found.values()) / alerts:.0f} bytes an alert ({each})"
