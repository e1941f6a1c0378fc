"""Requests every page, and dead letters by filters, so many times as staff; prints what each took. Started by pages.py."""

from __future__ import annotations

import json
import sys
import time

import django

#: Filters of the dead letters: words of nearly all, of some and of none; and what no index serves.
FILTERED = [
    f"/alertstreams/deadletters/{page}?{query}"
    for page in ("", "each/")
    for query in (
        "text=candid",
        "text=of+17",
        "text=nowhere",
        "text=mytom",
        "topic=topic_3*",
        "error=keyerror",
        "older_than=30d",
    )
]


def main(requests: int) -> None:
    """Print path → milliseconds, and the queries of one request."""
    django.setup()
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from tests.our_pages import pages

    client = Client(SERVER_NAME="localhost")
    staff, _ = User.objects.get_or_create(username="operator", defaults={"is_staff": True})
    client.force_login(staff)
    found = {}
    # Most of a Target's page is the toolkit's.
    for path in [page.path for page in pages(client) if page.ours == ".alertstreams"] + FILTERED:
        client.get(path)
        with CaptureQueriesContext(connection) as asked:
            client.get(path)
            queries = len(asked)  # the next request forgets them
        took = []
        for _ in range(requests):
            began = time.perf_counter()
            assert client.get(path).status_code == 200
            took.append(1000 * (time.perf_counter() - began))
        found[path] = {"ms": took, "queries": queries}
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
