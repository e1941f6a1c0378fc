"""A Django project that is no TOM: the core app alone, for tests of processes. It starts in a fraction of the time."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.databases import database

RUN_DIR = Path(os.environ["EXAMPLE_TOM_RUN_DIR"])
SECRET_KEY = "of the tests"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["tom_alertstreams", "apf_bridge", "tests.effects"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
ALERT_STREAMS = json.loads(os.environ.get("TEST_ALERT_STREAMS", "[]"))
ALERT_STREAMS_DEFAULTS = json.loads(os.environ.get("TEST_ALERT_STREAMS_DEFAULTS", "{}"))
ALERT_STREAMS_ALARMS = json.loads(os.environ.get("TEST_ALERT_STREAMS_ALARMS", "null"))
DATABASES = {"default": database(RUN_DIR)}
