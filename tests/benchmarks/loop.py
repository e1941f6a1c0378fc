"""Rows of the delivery loop by itself: handlers of 1.x beside upstream's loop, and handlers that do nothing."""

from __future__ import annotations

from statistics import median

from tests.benchmarks import corpus
from tests.benchmarks.bench import FAST, SLOW, Bench, Timing, in_turn, rates
from tests.benchmarks.results import Line

_HANDLERS = "tests.benchmarks.handlers"
#: A handler that does nothing is so quick that more alerts are needed.
_TIMES = 5


def legacy(bench: Bench) -> list[Line]:
    """A user's handler of 1.x, unchanged: through our loop and through upstream's; then what our loop costs by itself."""
    slow = bench.size.slow_alerts
    quick = slow * _TIMES
    with bench.topic(corpus.alerts(slow, bench.size.objects)) as few, bench.topic(corpus.alerts(quick, 1)) as many:

        def ours(topic: str, handler: str) -> Timing:
            with bench.database() as url:
                return bench.read(topic, handler, bench.tom(url), gcn=True)

        def upstream() -> Timing:
            with bench.database() as url:
                return bench.upstream(few, SLOW, bench.tom(url), slow)

        def bare(through: str) -> Timing:
            with bench.database() as url:
                return bench.bare(through, many, quick, url, tom=bench.tom(url))

        stored, theirs, looped, django, psycopg = in_turn(
            bench.size.repeats,
            lambda: ours(few, SLOW),
            upstream,
            lambda: ours(many, f"{_HANDLERS}.nothing"),
            lambda: bare("django"),
            lambda: bare("psycopg"),
        )
    whole, loop = (median(1000 / rate for rate in rates(timings)) for timings in (stored, looped))
    notes = [f"{whole:.1f} ms an alert, of which the loop takes {loop:.2f} ms, and {whole - loop:.1f} ms the handler"]
    cost = "cost of the loop, no-op 1.x handler"
    return [
        Line("legacy", "a 1.x handler with the ORM", rates(stored), "1.3.0", rates(theirs), 0.95, notes=notes),
        Line("legacy", cost, rates(looped), "bare, through Django", rates(django), 1.5, at_most=True),
        Line("legacy", cost, rates(looped), "bare, psycopg", rates(psycopg), at_most=True),
    ]


def noop(bench: Bench) -> list[Line]:
    """Handlers that look at the content and do no more, beside the bare client decoding the same."""
    count = bench.size.alerts * _TIMES
    with bench.topic(corpus.alerts(count, bench.size.objects)) as topic:

        def ours(handler: str) -> Timing:
            with bench.database() as url:
                return bench.read(topic, f"{_HANDLERS}.{handler}", bench.tom(url))

        batches, groups, bare = in_turn(
            bench.size.repeats,
            lambda: ours("look_at_all"),
            lambda: ours("look"),
            lambda: bench.bare("decode", topic, count),
        )
    return [
        Line("noop", "@batch_handler, content read", rates(batches), "bare client", rates(bare), 0.60),
        Line("noop", "@alert_handler, content read", rates(groups), "bare client", rates(bare), 0.40),
    ]


def rewritten(bench: Bench) -> list[Line]:
    """The handler of 1.x, rewritten as the document shows, beside what it was, in upstream's loop."""
    size = bench.size
    handler = {"HANDLER": FAST, "OPTIONS": {"CREATE": "always", "MAX_NEW_PER_DAY": 10**9}}
    with bench.topic(corpus.alerts(size.alerts, size.objects)) as topic:

        def after() -> Timing:
            with bench.database() as url:
                return bench.read(topic, handler, bench.tom(url))

        def before() -> Timing:
            with bench.database() as url:
                return bench.upstream(topic, SLOW, bench.tom(url), size.slow_alerts)

        ours, others = in_turn(size.repeats, after, before)
    return [Line("rewritten", "the handler of fast-handlers.md", rates(ours), "1.3.0, as before", rates(others), 50)]
