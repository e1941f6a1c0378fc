"""A simulated night in the example TOM: a broker, its alerts, ``readstreams``, and the web site beside it.

``python example_tom/demo.py`` runs until Ctrl-C; with ``--once`` it reads the night to its end and shows what came of it.
Nothing outside of this machine is asked, and nothing is written outside of ``example_tom/run``.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from alerce_stream.testing import StubApi
from tom_alertstreams.testing import EmbeddedBroker

if TYPE_CHECKING:
    from simulated_night import Message, Night

#: Seconds between two alerts while somebody is looking, and between two looks at the database.
ALERT_EVERY_S, COUNT_EVERY_S = 3.0, 2.0


def main() -> int:
    """
    :returns: the exit code: 0, or 1 where something did not work, or was interrupted too early.
    """
    arguments = _arguments()
    with _signals() as stopping, StubApi() as api, EmbeddedBroker() as broker:
        _set_up_django(broker, api)
        from demonstration import tom
        from simulated_night import Night

        print("Preparing the database …", flush=True)
        night = Night(tom.prepare(fresh=arguments.fresh), arguments.objects, arguments.seed)
        api.positions = night.positions
        for message in night.messages:
            _publish(broker, message)
        broker.flush()
        print(f"{len(night.messages)} alerts wait on the embedded broker {broker.bootstrap_servers}.", flush=True)
        if stopping.is_set():
            return 1
        return _once(night) if arguments.once else _run(night, broker, stopping)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo.py", description="A simulated night in the example TOM.")
    parser.add_argument("--once", action="store_true", help="read the night to its end, show what came of it, and exit")
    parser.add_argument("--fresh", action="store_true", help="begin with an empty database")
    parser.add_argument(
        "--objects", type=int, default=40, metavar="N", help="objects that ALeRCE classifies (%(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        metavar="N",
        help="another night of the same date; see --fresh",
    )
    return parser.parse_args()


@contextmanager
def _signals() -> Iterator[Event]:
    """Ctrl-C, SIGTERM, and the terminal that is closed ask to stop."""
    stopping = Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopping.set())
    yield stopping


def _set_up_django(broker: EmbeddedBroker, api: StubApi) -> None:
    """The environment as ``settings.py`` reads it, for this process and its children."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "example_tom.settings"
    os.environ["PYTHONUNBUFFERED"] = "1"
    os.environ["ALERT_BROKER"] = broker.bootstrap_servers
    os.environ["ALERCE_API_URL"] = api.url
    os.environ["ALERCE_PROTOCOL"] = "PLAINTEXT"
    # The names and passwords that somebody has for the real brokers are not for this one.
    for name in ("ALERCE_USERNAME", "SCIMMA_USERNAME", "GCN_CLIENT_ID"):
        os.environ[name] = ""
    import django

    django.setup()


def _publish(broker: EmbeddedBroker, message: Message) -> None:
    broker.produce(message.topic, message.value, message.key, message.headers, message.partition)


# --- to the end of the night ------------------------------------------------------------------------------------------


def _once(night: Night) -> int:
    """Read everything as ``manage.py readstreams --once`` does, but in this process."""
    from demonstration.progress import progress
    from demonstration.summary import Run
    from demonstration.tom import Totals

    from tom_alertstreams.alertstreams.alertstream import make_streams
    from tom_alertstreams.conf import shutdown_s
    from tom_alertstreams.delivery.source import Control
    from tom_alertstreams.delivery.supervisor import Supervisor

    log = _log_to("readstreams.log")
    streams, findings = make_streams()
    for finding in findings:
        print(f"{finding.label}: {finding.message} {finding.hint}", file=sys.stderr)
    supervisor = Supervisor(streams, Control(once=True), shutdown_s=shutdown_s())
    statuses = [thread.status for thread in supervisor.threads]
    before, total = Totals.now(), len(night.messages)
    with progress("Reading the night", total) as show, Run(statuses, show) as run:
        code = supervisor.run()
    print(f"\n{run.table()}\n")
    after = Totals.now()
    print(f"In the TOM are {after}." + (" Nothing was added: all of it was known." if after == before else ""))
    print(f"What was logged, the dead letters above all: {log}")
    if run.received < total:
        print(f"Only {run.received} of {total} alerts were read.", file=sys.stderr)
        return 1
    return code


def _log_to(name: str) -> Path:
    """Log lines go to a file from now on: they would tear the progress bar apart."""
    from django.conf import settings

    path: Path = settings.RUN_DIR / name
    file = logging.FileHandler(path, mode="w")
    root = logging.getLogger()
    file.setFormatter(root.handlers[0].formatter)
    root.handlers[:] = [file]
    return path


# --- until Ctrl-C -------------------------------------------------------------------------------------------------------


def _run(night: Night, broker: EmbeddedBroker, stopping: Event) -> int:
    """The web site and ``readstreams``, and a new alert every few seconds."""
    from demonstration.children import Child, ChildDied, free_port, wait_for_page
    from django.conf import settings

    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    with ExitStack() as stack:
        web = stack.enter_context(Child(settings.RUN_DIR / "web.log", "runserver", "--noreload", f"127.0.0.1:{port}"))
        reader = stack.enter_context(Child(settings.RUN_DIR / "readstreams.log", "readstreams"))
        children = (reader, web)
        print("Starting readstreams and the web server …", flush=True)
        code = 0
        try:
            if wait_for_page(address, web, stopping):
                _greet(address)
                _live(night, broker, stopping, lambda: [child.check() for child in children])
        except ChildDied as death:
            print(f"\n{death}", file=sys.stderr)
            code = 1
        print("\nStopping …", flush=True)
        for child in children:
            child.ask_to_stop()
    print("Everything has stopped. The database stays; --fresh begins with an empty one.")
    return code


def _greet(address: str) -> None:
    from demonstration.tom import ORDINARY, SUPERUSER
    from django.conf import settings

    print(
        f"""
  The TOM is at  {address}targets/
  Log in as      {ORDINARY} / {ORDINARY}      an ordinary user
                 {SUPERUSER} / {SUPERUSER}    a superuser
  Logs are in    {settings.RUN_DIR}
  A new alert comes every {ALERT_EVERY_S:.0f} s. Ctrl-C stops everything.
""",
        flush=True,
    )


def _live(night: Night, broker: EmbeddedBroker, stopping: Event, check: Callable[[], Any]) -> None:
    """Send alerts until somebody stops us; on a terminal, count what has come of them."""
    from demonstration.tom import Totals, alerts_seen, dead_letters

    alerts = night.later(datetime.now(timezone.utc))
    next_alert = next_count = time.monotonic()
    while not stopping.wait(0.2):
        check()
        now = time.monotonic()
        if now >= next_alert:
            _publish(broker, next(alerts))
            next_alert = now + ALERT_EVERY_S
        if now >= next_count and sys.stdout.isatty():
            print(f"\r  {alerts_seen():,} alerts: {Totals.now()}, {dead_letters()} dead letters ", end="", flush=True)
            next_count = now + COUNT_EVERY_S


if __name__ == "__main__":
    sys.exit(main())
