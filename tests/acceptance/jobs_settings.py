"""The TOM of the tests with a queue of jobs in its database, as docs/how-to/alerce.md says."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

TASKS = {"default": {"BACKEND": "django_tasks.backends.database.DatabaseBackend"}}
if "sqlite3" in DATABASES["default"]["ENGINE"]:
    DATABASES["default"]["OPTIONS"]["transaction_mode"] = "EXCLUSIVE"
