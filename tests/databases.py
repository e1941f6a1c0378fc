"""Django's DATABASES from addresses."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit


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
