"""Our delivery loop in a process of its own: reads the one stream of the settings to its end, as ``readstreams --once``.

::

    python -m tests.benchmarks.reader [PROFILE]     # PROFILE: a file for cProfile's numbers of the loop
"""

from __future__ import annotations

import cProfile
import gc
import sys
from typing import Any

import django

from tests.benchmarks.stopwatch import Stopwatch


def main() -> None:
    """Read, and print what it took."""
    django.setup()
    from tom_alertstreams.alertstreams.alertstream import get_default_alert_streams
    from tom_alertstreams.delivery.ledger import Tally
    from tom_alertstreams.delivery.loop import DeliveryLoop
    from tom_alertstreams.delivery.runs import Status
    from tom_alertstreams.delivery.source import Control

    watch = Stopwatch()

    class Laps(Tally):
        """Hears of each commit."""

        def update(self, *counts: Any, **more: Any) -> None:
            super().update(*counts, **more)
            if counts and counts[0]:
                watch.lap(sum(counts[0].values()))

    stream = get_default_alert_streams()[0]
    open_alert = stream.open_alert

    def first_alert(message: Any) -> Any:
        watch.begin()
        stream.open_alert = open_alert
        return open_alert(message)

    stream.open_alert = first_alert
    status = Status(stream.settings.label, tally=Laps())
    loop = DeliveryLoop(stream, Control(once=True), status)
    gc.freeze()  # as readstreams does
    gc.set_threshold(50_000, 20, 20)
    if len(sys.argv) > 1:
        profile = cProfile.Profile()
        profile.runcall(loop.run)
        profile.dump_stats(sys.argv[1])
    else:
        loop.run()
    others = {outcome: n for outcome, n in status.tally.items() if outcome not in ("received", "done") and n}
    if others:
        sys.exit(f"alerts were not done: {others}")
    watch.tell()


if __name__ == "__main__":
    main()
