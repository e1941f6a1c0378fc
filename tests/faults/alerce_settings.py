"""The settings of a TOM that reads ALeRCE in a proof: a real one, with Targets."""

from __future__ import annotations

import faulthandler
import signal

from tests.settings import *  # noqa: F403

# What every thread is doing, also where none of them can run Python.
faulthandler.register(signal.SIGUSR1, all_threads=True)
