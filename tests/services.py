"""Servers for the tests, started once and named to them by environment variables.

::

    python -m tests.services [--postgres] [--kafka] -- COMMAND …   # one command, its Django on PostgreSQL if asked for
    python -m tests.services --suite [-- PYTEST ARGUMENTS …]       # the whole suite, as `make test` runs it

The suite is run on SQLite, then what depends on the database (marked ``both_databases`` or ``postgres``) once more on
PostgreSQL. A server that is not installed is named and left out, or, with REQUIRE_SERVICES=1, is an error.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from tests.brokers.real import RealKafka
from tests.postgres import PostgresServer

DATABASE = "TEST_DATABASE_URL"  # what Django's settings use
POSTGRES = "TEST_POSTGRES_URL"  # the server, also while Django is on SQLite
KAFKA_PLAINTEXT, KAFKA_SASL, KAFKA_HOME = "TEST_KAFKA_PLAINTEXT", "TEST_KAFKA_SASL", "TEST_KAFKA_HOME"
KAFKA_MISSING = "TEST_KAFKA_MISSING"  # why there is none
_NO_TESTS = 5  # pytest's exit code where nothing was selected


class ServiceMissing(Exception):
    """A server that REQUIRE_SERVICES asks for cannot be run."""


def required() -> bool:
    """Whether a missing server is a failure."""
    return os.environ.get("REQUIRE_SERVICES", "") not in ("", "0")


@contextmanager
def services(*, postgres: bool, kafka: bool) -> Iterator[dict[str, str]]:
    """Start servers, side by side, and stop them at the end.

    :returns: the environment variables that lead to them.
    :raises ServiceMissing: with REQUIRE_SERVICES, where one cannot be run.
    """
    with ExitStack() as stack, ThreadPoolExecutor(2) as starters:
        started: list[Future[dict[str, str]]] = []
        if postgres:
            started.append(starters.submit(_postgres, stack))
        if kafka:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tom-alertstreams-kafka-")))
            started.append(starters.submit(_kafka, stack, home))
        environment: dict[str, str] = {}
        for future in started:
            environment |= future.result()
        yield environment


def _postgres(stack: ExitStack) -> dict[str, str]:
    server, since = PostgresServer(), time.monotonic()
    if reason := PostgresServer.missing() or _start(server.start):
        return _without("PostgreSQL", reason, {})
    stack.callback(server.stop)
    _say(f"PostgreSQL runs ({time.monotonic() - since:.1f} s)")
    return {POSTGRES: server.url()}


def _kafka(stack: ExitStack, home: Path) -> dict[str, str]:
    if reason := RealKafka.missing():
        return _without("Kafka", reason, {KAFKA_MISSING: reason})
    server, since = RealKafka(home), time.monotonic()
    stack.callback(server.close)
    if reason := _start(server.start):
        return _without("Kafka", reason, {KAFKA_MISSING: reason})
    _say(f"Kafka runs ({time.monotonic() - since:.1f} s)")
    return {KAFKA_PLAINTEXT: server.bootstrap_servers, KAFKA_SASL: server.sasl_servers, KAFKA_HOME: str(home)}


def _start(start: Callable[[], None]) -> str:
    """Start a server. Returns why it could not be, as on a machine that cannot download Kafka."""
    try:
        start()
    except RuntimeError as error:
        return str(error)
    return ""


def _without(server: str, reason: str, environment: dict[str, str]) -> dict[str, str]:
    if required():
        raise ServiceMissing(f"{server} is required: {reason}")
    _say(f"{server} is left out: {reason}")
    return environment


def _say(line: str) -> None:
    print(f"services: {line}", file=sys.stderr, flush=True)


def exit_on_sigterm() -> None:
    """SIGTERM ends this program with all that it has started. Make sends a second one, which must not end the ending."""

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, lambda number, frame: None)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)


def run(command: list[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end. Ctrl-C reaches it by the terminal, SIGTERM is passed on; the servers outlive both."""
    process = subprocess.Popen(command, env={**os.environ, **environment})

    def on_term(signum: int, frame: FrameType | None) -> None:
        process.terminate()

    # A handler that does nothing and not SIG_IGN, which the command would inherit.
    handlers = {signal.SIGINT: lambda signum, frame: None, signal.SIGTERM: on_term}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def suite(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Both passes of the suite; the second also where the first failed."""
    # Most tests wait now and then: one worker more than processors pays. A selection is as fast without, and can be debugged.
    workers = ["-n", str((os.cpu_count() or 2) + 1), "--dist", "loadgroup"]
    pytest = [sys.executable, "-m", "pytest", *([] if arguments else workers)]
    postgres = environment.get(POSTGRES)
    since = time.monotonic()
    first = [*pytest, "-m", "not postgres", *arguments] if postgres else [*pytest, *arguments]
    codes = [run(first, environment)]
    _say(f"SQLite: {time.monotonic() - since:.0f} s")
    if postgres and codes[0] not in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        since = time.monotonic()
        second = [*pytest, "-m", "both_databases or postgres", *arguments]
        codes.append(run(second, {**environment, DATABASE: postgres}))
        _say(f"PostgreSQL: {time.monotonic() - since:.0f} s")
    if set(codes) == {_NO_TESTS}:
        return _NO_TESTS
    return next((code for code in codes if code not in (0, _NO_TESTS)), 0)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.services", description=__doc__.splitlines()[0])
    parser.add_argument("--postgres", action="store_true", help="start PostgreSQL and put Django on it")
    parser.add_argument("--kafka", action="store_true", help="start Kafka")
    parser.add_argument("--suite", action="store_true", help="start both and run the test suite")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --: what to run")
    options = parser.parse_args()
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command and not options.suite:
        parser.error("nothing to run")
    exit_on_sigterm()
    both = options.suite
    try:
        with services(postgres=options.postgres or both, kafka=options.kafka or both) as environment:
            if both:
                return suite(command, environment)
            if POSTGRES in environment:
                environment[DATABASE] = environment[POSTGRES]
            return run(command, environment)
    except ServiceMissing as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
