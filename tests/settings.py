"""Settings of the test suite: the example TOM, on SQLite, or on PostgreSQL where TEST_DATABASE_URL names a server."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Only a name: pytest makes the directory and deletes it (conftest.py). Whoever else reads these settings needs none, and
# could not be made to delete it: mypy skips what is registered with atexit.
if "EXAMPLE_TOM_RUN_DIR" not in os.environ:
    os.environ["EXAMPLE_TOM_RUN_DIR"] = f"{tempfile.gettempdir()}/tom-alertstreams-tests-{uuid.uuid4().hex}"
sys.path.insert(0, str(ROOT / "example_tom"))

from example_tom.settings import *  # noqa: E402, F403
from example_tom.settings import INSTALLED_APPS, RUN_DIR  # noqa: E402

from tests.databases import database  # noqa: E402

DEBUG = False
# Programs that a test starts get their streams from it.
ALERT_STREAMS = json.loads(os.environ.get("TEST_ALERT_STREAMS", "[]"))
ALERT_STREAMS_DEFAULTS = json.loads(os.environ.get("TEST_ALERT_STREAMS_DEFAULTS", "{}"))
INSTALLED_APPS = [*INSTALLED_APPS, "tests.effects"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DATABASES = {"default": database(RUN_DIR)}
