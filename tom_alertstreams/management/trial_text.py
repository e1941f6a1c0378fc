"""A trial in words, and as what JSON can hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from django.apps import apps

from tom_alertstreams.delivery.failures import never_again, text_of, traceback_of
from tom_alertstreams.delivery.row_watch import Row, RowChange
from tom_alertstreams.delivery.trial import Trial
from tom_alertstreams.ingest.reasons import MEANINGS

#: Rows of one table that are shown; JSON has them all.
_ROWS_SHOWN: Final = 10
_VALUE_LENGTH: Final = 70

_NO_HANDLER: Final = "no handler: no key of TOPIC_HANDLERS takes this topic. readstreams would make it a dead letter."
_DURABLE: Final = (
    "it insists on transactions of its own (durable=True, or another connection), which cannot be rolled back with ours. "
    "readstreams runs it outside of ours: at least once."
)
_SWALLOWS: Final = (
    "it goes on after a database error, and the database then drops what it wrote. "
    "Let the error out, or put the query that may fail into a transaction.atomic() of its own. "
    "As it is, readstreams runs it outside of our transaction: at least once."
)


def in_words(trial: Trial) -> Iterator[str]:
    """Lines for a terminal."""
    alert, binding, outcome = trial.alert, trial.binding, trial.outcome
    yield f"alert     {alert.size:,} bytes on the topic {alert.topic} of the stream {alert.stream}"
    if binding is not None:
        yield f"handler   {binding.topic.key} → {binding.handler.path} ({binding.handler.called})"
    yield f"content   {content_in_words(trial)}"
    yield f"outcome   {ending_in_words(trial)}"
    if outcome.kind == "rejected" and outcome.reason:
        yield f"          {outcome.reason}"
    if outcome.object_id:
        yield f"          object {outcome.object_id}"
    if trial.ending == "failed" and trial.called and outcome.error is not None:
        yield from (f"          {line}" for line in traceback_of(outcome.error).rstrip().splitlines())
    if trial.called:
        yield from rows_in_words(trial)
    yield ""
    yield from warnings(trial)


def content_in_words(trial: Trial) -> str:
    """Whether the bytes could be read, and what they are."""
    if not trial.decoded:
        return "could not be read"
    content = trial.alert.content
    kind = type(content).__name__
    if isinstance(content, Mapping):
        return f"read: {kind} with {_listed([str(name) for name in content], 8)}"
    if isinstance(content, (str, bytes, list, tuple)):
        return f"read: {kind} of length {len(content):,}"
    return f"read: {type(content).__module__}.{kind}"


def ending_in_words(trial: Trial) -> str:
    """What would become of the alert."""
    outcome = trial.outcome
    error = outcome.error
    what = f"{type(error).__name__}: {text_of(error).rstrip('.')}" if error is not None else ""
    if trial.ending == "no handler":
        return _NO_HANDLER
    if trial.ending == "away":
        return f"waits: readstreams would pause the stream and try the same again, for as long as it takes. {what}"
    if trial.ending == "outside":
        return f"cannot be tried: {_SWALLOWS if 'swallowed' in what else _DURABLE} {what}"
    if trial.ending == "rejected":
        meaning = cast(Mapping[str, str], MEANINGS).get(outcome.code)
        return f"rejected, counted as {outcome.code}" + (f": {meaning}" if meaning else "")
    if trial.ending == "retry":
        end = f", given up {outcome.give_up_after_s:g} s after the first" if outcome.give_up_after_s is not None else ""
        return f"waits {outcome.delay_s:g} s for the next try{end}: {outcome.code or 'the handler asked for it'}"
    return f"fails: {what}. {_after_failure(trial)}" if trial.ending == "failed" else "done"


def _after_failure(trial: Trial) -> str:
    assert trial.binding is not None  # noqa: S101
    topic = trial.binding.topic
    last = 'counted as error ("ON_ERROR": "reject")' if topic.on_error == "reject" else "a dead letter"
    if never_again(trial.outcome.error) or topic.delivery.retry.total == 1:
        return f"In readstreams it would be {last} at once."
    return f"In readstreams it would be tried {topic.delivery.retry.total} times in all, then be {last}."


def rows_in_words(trial: Trial) -> Iterator[str]:
    """The rows of each table."""
    if not trial.changes:
        yield "rows      none" + (
            "; a ready-made handler writes nothing for an alert that it has ingested before"
            if trial.ending == "done"
            else ""
        )
    for table, changes in _by_table(trial.changes).items():
        counts = [f"{sum(c.kind == kind for c in changes)} {kind}" for kind in ("inserted", "updated", "deleted")]
        yield f"rows      {table}: {', '.join(count for count in counts if not count.startswith('0 '))}"
        yield from (f"          {_sign(change)} {_row_in_words(change)}" for change in changes[:_ROWS_SHOWN])
        if len(changes) > _ROWS_SHOWN:
            yield f"          … and {len(changes) - _ROWS_SHOWN} more; --json shows them"
    for text in trial.missed:
        yield f"rows      not shown: {text}"


def warnings(trial: Trial) -> Iterator[str]:
    """What to know beside the outcome."""
    yield "Nothing of this was written: the databases were rolled back."
    binding = trial.binding
    if trial.called:
        yield "What the handler did elsewhere (mails, files, web requests, other threads) is done and is not undone."
    if trial.after_commit:
        names = _listed(trial.after_commit, 5)
        yield f"Not run, because it comes after the commit (transaction.on_commit): {names}."
    if trial.called and binding is not None:
        if binding.handler.prepare is not None and not binding.handler.ahead:
            yield "prepare ran before the transaction, as in readstreams: what it wrote is not undone."
        if not binding.topic.atomic:
            yield 'In readstreams it runs without our transaction ("ATOMIC": False): what it wrote before an error stays.'


def as_json(trial: Trial, records: int) -> dict[str, Any]:
    """For ``--json``.

    :param records: how many there were in the file.
    """
    binding, outcome = trial.binding, trial.outcome
    return {
        "stream": trial.alert.stream,
        "topic": trial.alert.topic,
        "bytes": trial.alert.size,
        "records": records,
        "key": binding.topic.key if binding else None,
        "handler": binding.handler.path if binding else None,
        "called": binding.handler.called if binding else None,
        "decoded": trial.decoded,
        "ending": trial.ending,
        "text": ending_in_words(trial),
        "code": outcome.code,
        "reason": outcome.reason,
        "object_id": outcome.object_id,
        "delay_s": outcome.delay_s if trial.ending == "retry" else None,
        "error": text_of(outcome.error) if outcome.error else None,
        "traceback": traceback_of(outcome.error) if outcome.error and trial.called else None,
        "rows": [
            {"table": c.table, "change": c.kind, "before": _plain(c.before), "after": _plain(c.after)}
            for c in trial.changes
        ],
        "rows_not_shown": list(trial.missed),
        "after_commit": list(trial.after_commit),
        "warnings": list(warnings(trial)),
    }


def _by_table(changes: Sequence[RowChange]) -> dict[str, list[RowChange]]:
    """Under the names of the models where there are any."""
    models = {model._meta.db_table: model._meta.label for model in apps.get_models(include_auto_created=True)}
    found: dict[str, list[RowChange]] = {}
    for change in changes:
        found.setdefault(models.get(change.table, change.table), []).append(change)
    return found


def _sign(change: RowChange) -> str:
    return {"inserted": "+", "updated": "~", "deleted": "-"}[change.kind]


def _row_in_words(change: RowChange) -> str:
    """What is in a new or deleted row; of a changed one its key and what changes."""
    before, after = change.before, change.after
    if before is None or after is None:
        row = before if before is not None else after or {}
        return ", ".join(f"{name}={shortened(value)}" for name, value in row.items() if value not in (None, ""))
    key = next(iter(after))
    changed = [f"{n}: {shortened(before[n])} → {shortened(after[n])}" for n in after if before[n] != after[n]]
    return f"{key}={shortened(after[key])}, {', '.join(changed)}"


def shortened(value: object) -> str:
    """A value for people; a cutout has thousands of bytes."""
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    text = str(value)
    return text if len(text) <= _VALUE_LENGTH else f"{text[: _VALUE_LENGTH - 1]}…"


def _plain(row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    return {n: v if v is None or isinstance(v, (bool, int, float)) else shortened(v) for n, v in row.items()}


def _listed(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
