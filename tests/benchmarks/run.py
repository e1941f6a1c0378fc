"""How fast it is: ``make bench``, or ``python -m tests.benchmarks.run [options] [ROW …]``.

Starts a Kafka and a PostgreSQL of its own, prints a table, and writes bench.json. Every number is told beside another
one that the same run has measured: on another machine both are others. Exit code 1 where a row could not be run to its
end; with --strict also where one misses what it must reach.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tests import services
from tests.benchmarks.alerce import alerce
from tests.benchmarks.alert_pages import alert_pages
from tests.benchmarks.apf import apf
from tests.benchmarks.bench import MINUTE, Bench, LeftOut, Size, write_samples
from tests.benchmarks.group import latency, memory, two
from tests.benchmarks.ingest import ingest, million, position
from tests.benchmarks.loop import legacy, noop, rewritten
from tests.benchmarks.pages import pages
from tests.benchmarks.results import Line, Report
from tests.benchmarks.sqlite import sqlite
from tests.benchmarks.surveys import history, packets
from tests.faults.servers import Servers
from tests.processes import ROOT

Row = Callable[[Bench], list[Line]]
ROWS: dict[str, Row] = {
    "ingest": ingest,
    "position": position,
    "million": million,
    "legacy": legacy,
    "noop": noop,
    "packets": packets,
    "history": history,
    "alerce": alerce,
    "apf": apf,
    "sqlite": sqlite,
    "two": two,
    "latency": latency,
    "memory": memory,
    "rewritten": rewritten,
    "pages": pages,
    "alert-pages": alert_pages,
}


def run(names: Sequence[str], bench: Bench, report: Report) -> None:
    """Measure these rows, one after the other."""
    for name in names:
        since = time.monotonic()
        try:
            lines = ROWS[name](bench)
        except LeftOut as reason:
            lines = [Line(name, "", reason=str(reason))]
        except Exception as error:  # noqa: BLE001  (a row that crashes is told, and the others are measured)
            traceback.print_exc()
            lines = [Line(name, "", error=f"{type(error).__name__}: {error}")]
        report.lines += lines
        say(f"bench: {name} took {time.monotonic() - since:.0f} s")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    if reason := Servers.missing():
        say(f"bench: cannot be run here: {reason}")
        return 1
    services.exit_on_sigterm()
    size = MINUTE if options.minute else Size()
    if options.alerts:
        size = replace(size, alerts=options.alerts)
    if options.repeats:
        size = replace(size, repeats=options.repeats)
    names = options.row or list(ROWS)
    report = Report(f'make bench ARGS="{" ".join(sys.argv[1:] if arguments is None else arguments)}"')
    try:
        with (
            tempfile.TemporaryDirectory(prefix="tom-alertstreams-bench-") as folder,
            tempfile.TemporaryDirectory(prefix="tom-alertstreams-kafka-") as home,
            Servers(Path(home)) as servers,
        ):
            write_samples(Path(folder))
            run(names, Bench(servers, Path(folder), size, say, options.profile), report)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    report.write(options.json)
    say(f"\n{report.table()}\n\nwritten to {options.json}")
    if any(line.error for line in report.lines):
        return 1
    return int(options.strict and any(line.missed for line in report.lines))


def say(line: str) -> None:
    """To the operator, at once."""
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--minute", action="store_true", help="little of everything: that it runs, not how fast")
    parser.add_argument("--alerts", type=int, help="100,000 by default")
    parser.add_argument("--repeats", type=int, help="how often each is measured; the median counts (3)")
    parser.add_argument("--strict", action="store_true", help="exit code 1 also where a ratio is missed")
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="ingest, alerce: write cProfile's numbers of the reading process"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "bench.json", metavar="FILE", help="where results are kept")
    parser.add_argument("row", nargs="*", type=_name, metavar="ROW", help=f"{', '.join(ROWS)}; all where none is named")
    return parser


def _name(text: str) -> str:
    if text not in ROWS:
        raise argparse.ArgumentTypeError(f"there is no row {text!r}, only {', '.join(ROWS)}")
    return text


if __name__ == "__main__":
    sys.exit(main())
