"""Settings of the program that test_released_handlers starts: the TOM of the tests, with tom_nonlocalizedevents."""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tom_nonlocalizedevents"]
ALERT_STREAMS = json.loads(os.environ["TEST_ALERT_STREAMS"])
