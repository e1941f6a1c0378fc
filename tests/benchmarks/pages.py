"""Row of the pages: each one with a million alerts behind it, beside the same page of an empty TOM."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import quantiles
from typing import Any, Final

import psycopg

from tests.benchmarks.bench import Bench
from tests.benchmarks.results import Line
from tests.busy_streams import STREAMS
from tests.processes import ROOT

#: What a page may ask the database, session and user included, and how long it may take (p95).
MOST_QUERIES: Final = 10
MOST_MS: Final = 300
_DAYS: Final = 180

# Streams and topics of the night that was: the pages show what settings.py names.
_STREAM = "(ARRAY['ztf', 'alerce', 'lasair', 'hopskotch', 'gcn'])[1 + n % 5]"
_FILL = [
    """
    INSERT INTO tom_targets_basetarget (name, type, created, modified, ra, dec, scheme, permissions, shared_by, shared_from)
    SELECT 'ZTF26' || n, 'SIDEREAL', now(), now(), (n * 137.508)::numeric % 360, degrees(asin(2.0 * n / {targets} - 1)), '',
        CASE WHEN n % 3 = 0 THEN 'PRIVATE' ELSE 'PUBLIC' END, '', ''
    FROM generate_series(1, {targets}) n
    """,
    """
    INSERT INTO tom_alertstreams_ingest_targetalert (stream, topic, partition, "offset", alert_id, object_id, target_id,
        event_key, ra, dec, time, match_method, separation_arcsec, retraction, points, summary, created)
    SELECT {stream}, 'topic_' || n % 40, n % 8, n, n::text, t.name, t.id, '', t.ra, t.dec,
        now() - make_interval(secs => {seconds} * n / {alerts}), CASE WHEN n <= {targets} THEN 'created' ELSE 'name' END, 0.2,
        n % 5000 = 0, 1, 'g = ' || 16 + n % 4, now() - make_interval(secs => {seconds} * n / {alerts})
    FROM generate_series(1, {alerts}) n
    JOIN (SELECT row_number() OVER (ORDER BY id) - 1 AS place, * FROM tom_targets_basetarget) t ON t.place = n % {targets}
    """,
    """
    INSERT INTO tom_alertstreams_ingest_classification (object_id, target_id, alert_id, classifier, version, class_name,
        probability, ranking, time, features)
    SELECT a.object_id, a.target_id, a.alert_id, 'lc_classifier', '4.0', c.name, c.share, c.ranking, a.time, '{{}}'
    FROM tom_alertstreams_ingest_targetalert a
    CROSS JOIN (VALUES ('SNIa', 0.6, 1), ('SNII', 0.3, 2), ('QSO', 0.1, 3)) c (name, share, ranking)
    WHERE a.stream = 'alerce'
    """,
    """
    INSERT INTO tom_alertstreams_deadletter (stream, cluster, group_id, topic, partition, "offset", generation, headers,
        timestamp, raw, handler, error_class, error, traceback, fingerprint, attempts, state, first_failed_at, updated_at)
    SELECT {stream}, 'cluster', 'tom', 'topic_' || n % 40, n % 8, n, 0, '[]', now(),
        convert_to(json_build_object('objectId', 'ZTF26' || n, 'comment', repeat('x', 500))::text, 'UTF8'),
        'mytom.alerts.on_alert', 'KeyError', '''candid'' of ' || n % 60, repeat('  File "mytom/alerts.py", line 7', 20),
        md5((n % 60)::text), 3, CASE WHEN n % 10 = 0 THEN 'replayed' WHEN n % 11 = 0 THEN 'waiting' ELSE 'open' END,
        now() - make_interval(secs => {seconds} * n / {letters}), now()
    FROM generate_series(1, {letters}) n
    """,
    """
    INSERT INTO tom_alertstreams_rejection (stream, topic, partition, "offset", object_id, code, time)
    SELECT {stream}, 'topic_' || n % 40, n % 8, n, 'ZTF26r' || n, (ARRAY['filter', 'class', 'sky', 'age'])[1 + n % 4],
        now() - make_interval(secs => 604800.0 * n / {letters})
    FROM generate_series(1, {letters}) n
    """,
    """
    INSERT INTO tom_alertstreams_outcomecount (stream, topic, hour, outcome, code, n)
    SELECT s.stream, s.stream || to_char(h, '_YYYYMMDD'), h, o.outcome, o.code, 1000
    FROM generate_series(date_trunc('hour', now()) - interval '{days} days', now(), interval '1 hour') h
    CROSS JOIN (VALUES ('ztf'), ('alerce'), ('lasair'), ('hopskotch'), ('gcn')) s (stream)
    CROSS JOIN (VALUES ('done', ''), ('rejected', 'filter'), ('rejected', 'class'), ('waiting', ''), ('dead', '')) o (outcome,
        code)
    """,
    """
    INSERT INTO tom_alertstreams_streamrun (stream, group_id, started, heartbeat, ended, state, reason, last_error, lag, topics,
        received, rate, gaps, host, pid, version, settings_fingerprint)
    SELECT {stream}, 'tom', now() - make_interval(hours => n), now() - make_interval(hours => n - 1),
        CASE WHEN n > 5 THEN now() - make_interval(hours => n - 1) END, CASE WHEN n > 5 THEN 'down' ELSE 'running' END,
        CASE WHEN n > 5 THEN 'the broker refused the login' ELSE '' END, '', 12,
        (SELECT json_object_agg({stream} || '_' || day, '{{"handler": "mytom.alerts.on_alert", "lag": 3}}'::json)
            FROM generate_series(20261101, 20261130) day),
        1000, 50, '[]', 'reader', 100 + n, '1.4.0', ''
    FROM generate_series(1, 5000) n
    """,
    """
    INSERT INTO tom_alertstreams_streampartition (cluster, group_id, topic, partition, next_offset, topic_id, last_alert_at)
    SELECT 'cluster', 'tom', {stream} || '_' || 20261101 + n % 30, n, 1000, '', now() - make_interval(secs => n)
    FROM generate_series(1, 2000) n
    """,
]


def pages(bench: Bench) -> list[Line]:
    """All pages of urls.py, as staff: p95 of their times, and what they ask the database."""
    with bench.database() as url:
        empty = _measure(bench, url)
        _fill(bench, url)
        full = _measure(bench, url)
    lines = []
    for path, measured in full.items():
        # Pages of one row are not there without it.
        beside = empty.get(path, {"ms": [], "queries": 0})
        without = f"an empty TOM: {_p95(beside['ms']):.0f} ms, {beside['queries']} queries" if beside["ms"] else ""
        lines += [
            Line("pages", f"{path}, p95", [_p95(measured["ms"])], without, bound=MOST_MS, at_most=True, unit="ms"),
            Line("pages", path, [measured["queries"]], bound=MOST_QUERIES, at_most=True, unit="queries"),
        ]
    return lines


def _p95(milliseconds: list[float]) -> float:
    return quantiles(milliseconds, n=20, method="inclusive")[18]


def _fill(bench: Bench, url: str) -> None:
    alerts = bench.size.page_alerts
    numbers: dict[str, Any] = {
        "alerts": alerts, "targets": alerts // 10, "letters": alerts // 10, "seconds": 86400.0 * _DAYS, "days": _DAYS,
        "stream": _STREAM,
    }  # fmt: skip
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _FILL:
            connection.execute(statement.format(**numbers))  # type: ignore[arg-type]
        connection.execute("VACUUM ANALYZE")


def _measure(bench: Bench, url: str) -> dict[str, dict[str, Any]]:
    """Path → milliseconds of each request, and queries of one."""
    tom = bench.tom(url)
    tom.streams = STREAMS
    command = [sys.executable, "-m", "tests.benchmarks.page_times", str(bench.size.page_requests)]
    done = subprocess.run(command, env=tom.environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"page_times ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found
