"""The database of the tests, and of the programs that they start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


def database(folder: Path) -> dict[str, Any]:
    """The entry of DATABASES: PostgreSQL where TEST_DATABASE_URL names a server, else SQLite in the folder."""
    url = os.environ.get("TEST_DATABASE_URL")
    return postgresql(url) if url else sqlite(folder)


def sqlite(folder: Path) -> dict[str, Any]:
    """The entry of DATABASES for SQLite, with the OPTIONS of the example TOM."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": folder / "tom.sqlite3",
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
        "TEST": {"NAME": str(folder / "test.sqlite3")},
    }


def postgresql(url: str) -> dict[str, Any]:
    """The entry of DATABASES for ``postgresql://user:password@host:port/name``."""
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/") or "postgres",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
    }
