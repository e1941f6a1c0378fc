"""The settings of a night's TOM, in the way that keeps every query."""

from __future__ import annotations

from tests.faults.night_settings import *  # noqa: F403

DEBUG = True
