"""Settings of the test suite: the example TOM, on SQLite, or on PostgreSQL where TEST_DATABASE_URL names a server."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("EXAMPLE_TOM_RUN_DIR", tempfile.mkdtemp(prefix="tom-alertstreams-tests-"))
sys.path.insert(0, str(ROOT / "example_tom"))

from example_tom.settings import *  # noqa: E402, F403
from example_tom.settings import DATABASES, INSTALLED_APPS, RUN_DIR  # noqa: E402

DEBUG = False
INSTALLED_APPS = [*INSTALLED_APPS, "tests.effects"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DATABASES["default"]["TEST"] = {"NAME": str(RUN_DIR / "test.sqlite3")}

if url := os.environ.get("TEST_DATABASE_URL"):
    parts = urlsplit(url)
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.path.lstrip("/") or "postgres",
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname or "",
            "PORT": parts.port or "",
        }
    }
