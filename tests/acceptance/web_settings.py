"""The core app and a web site that people log in to, and no more: it starts in a fraction of a TOM's time."""

from __future__ import annotations

from tests.settings_core import *  # noqa: F403
from tests.settings_core import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
