"""Row of the pages of the alerts and of their lists in the admin: each filter and search, by who asks; 1,000,000 alerts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks.bench import MINUTE, Bench, LeftOut
from tests.benchmarks.results import Line
from tests.processes import ROOT

QUERIES, P95_MS = 10, 300
#: Who asks: a superuser, an astronomer, staff who may look at our tables only, and one who sees few of the Targets.
USERS = ("superuser", "astronomer", "clerk", "outsider")
#: Of them, who is asked for the lists of Django's admin.
STAFF = ("superuser", "clerk")
PAGES = {
    "alerts": "alerts/",
    "alerts of a rare stream": "alerts/?stream=rare",
    "alerts of an object": "alerts/?object=ZTF000777",
    "alerts of a target": "alerts/?target=ZTF000777",
    "alerts of last month": "alerts/?since=2026-10-01&until=2026-10-02",
    "alerts, rejected": "alerts/?outcome=rejected&code=class",
    "alerts that do not exist": "alerts/?topic=none",
    "sky map, page": "sky/",
    "sky map, points": "sky/points.json",
    "sky map, by class": "sky/points.json?colour=class",
    "rates, hours": "rates/?scale=hour",
    "rates, nights": "rates/",
    "rates, months": "rates/?scale=month",
    "rejections": "rejections/",
    "search, known": "rejections/?object=ZTF000777",
    "search, unknown": "rejections/?object=unknown",
}
LISTS = {
    "admin, alerts": "targetalert/",
    "admin, by stream": "targetalert/?stream=alerce",
    "admin, rare stream": "targetalert/?stream=rare",
    "admin, by match": "targetalert/?match_method=name",
    "admin, rare match": "targetalert/?match_method=created",
    "admin, by object": "targetalert/?q=ZTF000777",
    "admin, unknown": "targetalert/?q=unknown",
    "admin, classes": "classification/",
    "admin, classes of one": "classification/?q=ZTF000777",
}
_FILL = """
INSERT INTO tom_targets_basetarget (name, type, created, modified, permissions, ra, dec, scheme, shared_by, shared_from)
SELECT 'ZTF' || lpad(n::text, 6, '0'), 'SIDEREAL', now(), now(), CASE WHEN n % 10 = 0 THEN 'PRIVATE' ELSE 'PUBLIC' END,
    random() * 360, degrees(asin(random() * 2 - 1)), '', '', '' FROM generate_series(1, {targets}) n;

INSERT INTO tom_alertstreams_ingest_targetalert (stream, topic, partition, "offset", alert_id, object_id, target_id, event_key,
    ra, dec, time, match_method, separation_arcsec, retraction, points, summary, created)
SELECT CASE WHEN n % 100000 = 5 THEN 'rare' WHEN n % 3 = 0 THEN 'alerce' ELSE 'ztf' END, 'topic-' || n / 20000, 0, n,
    'alert-' || n, t.name, t.id, '', t.ra, t.dec, now() - ({alerts} - n) * interval '6 s',
    CASE WHEN n <= {targets} THEN 'created' ELSE 'name' END, NULL, false, 1, 'g = 19.2',
    now() - ({alerts} - n) * interval '6 s'
FROM generate_series(1, {alerts}) n JOIN tom_targets_basetarget t
    ON t.name = 'ZTF' || lpad((1 + (n::bigint * 7919) % {targets})::text, 6, '0')
ORDER BY n;

INSERT INTO tom_alertstreams_ingest_classification (object_id, target_id, alert_id, classifier, version, class_name,
    probability, ranking, time, features)
SELECT object_id, target_id, alert_id, 'lc_classifier', '1', c.name, 1.0 / c.rank, c.rank, time, '{{}}'
FROM tom_alertstreams_ingest_targetalert, (VALUES ('SNIa', 1), ('QSO', 2), ('RRL', 3)) c (name, rank) WHERE stream = 'alerce';

INSERT INTO tom_alertstreams_rejection (stream, topic, partition, "offset", object_id, code, time)
SELECT 'ztf', 'topic-' || n / 20000, 0, n, 'other-' || n % 300000, (ARRAY['class', 'no_rule', 'filter'])[1 + n % 3],
    now() - ({alerts} - n) * interval '0.5 s' FROM generate_series(1, {alerts}) n;

INSERT INTO tom_alertstreams_outcomecount (stream, topic, hour, outcome, code, n)
SELECT 'ztf', 'topic-' || t, date_trunc('hour', now()) - h * interval '1 h', o.outcome, o.code, 100
FROM generate_series(0, 17519) h, generate_series(1, {topics}) t,
    (VALUES ('done', ''), ('rejected', 'class'), ('rejected', 'no_rule'), ('dead', '')) o (outcome, code);

INSERT INTO tom_alertstreams_deadletter (stream, cluster, group_id, topic, partition, "offset", generation, headers, raw,
    handler, error_class, error, traceback, fingerprint, attempts, state, first_failed_at, updated_at)
SELECT 'ztf', 'c', 'g', 'topic', 0, n, 0, '[]', convert_to(repeat('x', 2000), 'UTF8'), 'h', 'KeyError', 'candid', '', 'f',
    1, 'open', now(), now() FROM generate_series(1, {letters}) n;
"""


def fill(url: str, alerts: int) -> None:
    """Rows by SQL, as many as asked for; a twentieth as many Targets."""
    sizes = {"alerts": alerts, "targets": alerts // 20, "topics": max(1, alerts // 200_000), "letters": alerts // 10}
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _FILL.format(**sizes).split(";\n\n"):
            connection.execute(statement)
        connection.execute("VACUUM ANALYZE")


class Times:
    """What one page took."""

    def __init__(self, client: Any, path: str, requests: int) -> None:
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        self._ask(client, path)
        with CaptureQueriesContext(connection) as queries:
            self._ask(client, path)
        self.queries = len(queries)
        took = []
        used = time.process_time() + _server_s(connection)
        for _ in range(requests):
            since = time.perf_counter()
            self._ask(client, path)
            took.append((time.perf_counter() - since) * 1000)
        #: Of processors, ours and the database's: what it would take on a machine with nothing else to do, but for disks.
        self.cpu = (time.process_time() + _server_s(connection) - used) / requests * 1000
        took.sort()
        self.p95 = took[round(0.95 * (len(took) - 1))]

    @staticmethod
    def _ask(client: Any, path: str) -> None:
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.status_code)
        b"".join(answer.streaming_content) if answer.streaming else answer.content


def _server_s(connection: Any) -> float:
    """Seconds of processor that the process of PostgreSQL has used which serves this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        fields = Path(f"/proc/{cursor.fetchone()[0]}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(requests: int) -> dict[tuple[str, str], Times]:
    """Each page, asked for by each user."""
    from django.contrib.auth.models import Permission, User
    from django.test import Client
    from guardian.shortcuts import assign_perm
    from tom_targets.models import Target

    found = {}
    for name in USERS:
        rights = {"is_superuser": name == "superuser", "is_staff": name in STAFF}
        user, _ = User.objects.get_or_create(username=name, defaults=rights)
        if name == "clerk":
            user.user_permissions.set(
                Permission.objects.filter(codename__in=["view_targetalert", "view_classification"])
            )
        if name == "outsider":
            Target.objects.update(permissions="PRIVATE")
            for target in Target.objects.order_by("pk")[:100]:
                assign_perm("tom_targets.view_target", user, target)
        client = Client()
        client.force_login(user)
        paths = {page: f"/alertstreams/{path}" for page, path in PAGES.items()}
        if name in STAFF:
            paths |= {page: f"/admin/tom_alertstreams_ingest/{path}" for page, path in LISTS.items()}
        for page, path in paths.items():
            found[page, name] = Times(client, path, requests)
        target = Target.objects.order_by("pk").first() or Target.objects.create(name="T", type="SIDEREAL", ra=1, dec=2)
        found["tab of a target", name] = _tab(target, user, requests)
    Target.objects.filter(name="T").delete()
    return found


def _tab(target: Any, user: Any, requests: int) -> Times:
    """The tab alone: the rest of the page is the TOM Toolkit's."""
    from types import SimpleNamespace

    from django.template.loader import render_to_string

    from tom_alertstreams.views.target_tab import tab

    class Shown:
        streaming, status_code = False, 200

        def get(self, path: str) -> Any:
            context = {"object": target, "request": SimpleNamespace(user=user)}
            self.content = render_to_string(path, tab(context)).encode()
            return self

    return Times(Shown(), "tom_alertstreams/target_tab.html", requests)


def alert_pages(bench: Bench) -> list[Line]:
    """p95 of each page for each user, what it takes of the processors, and what they ask the database at most."""
    if bench.size.page_alerts <= MINUTE.page_alerts:
        raise LeftOut("it takes more than a minute")
    command = [sys.executable, "-m", __name__, str(bench.size.page_alerts), str(bench.size.page_requests)]
    with bench.database() as url:
        environment = {**os.environ, "TEST_DATABASE_URL": url}
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"alert_pages ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    lines = []
    for page, user, empty, full in found:
        cpu = f"processor {full['cpu']:.0f} ms; an empty TOM: {empty['p95']:.0f} ms, processor {empty['cpu']:.0f} ms"
        name = f"{page}, {user}, p95"
        lines.append(Line("alert-pages", name, [full["p95"]], cpu, bound=P95_MS, at_most=True, unit="ms"))
    most = max(full["queries"] for _, _, _, full in found)
    return [*lines, Line("alert-pages", "any of them", [most], bound=QUERIES, at_most=True, unit="queries")]


def main(alerts: int, requests: int) -> None:
    """Print page, user, and what it took without alerts and with them."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django
    from django.conf import settings

    django.setup()
    settings.ALLOWED_HOSTS = ["testserver"]
    stream = {"NAME": "tom_alertstreams.alertstreams.kafka.KafkaAlertStream", "OPTIONS": {"BOOTSTRAP_SERVERS": "b"}}
    settings.ALERT_STREAMS = [{**stream, "LABEL": label} for label in ("ztf", "alerce", "rare")]
    empty = measure(requests)
    fill(os.environ["TEST_DATABASE_URL"], alerts)
    full = measure(requests)
    django.db.connections.close_all()
    print(json.dumps([(*which, vars(empty[which]), vars(times)) for which, times in full.items()]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
