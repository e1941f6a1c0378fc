"""The settings of a night's TOM."""

from __future__ import annotations

import faulthandler
import signal

from tests.settings_core import *  # noqa: F403

# What every thread is doing, also where none of them can run Python.
faulthandler.register(signal.SIGUSR1, all_threads=True)
