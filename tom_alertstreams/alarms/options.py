"""ALERT_STREAMS_ALARMS, read once into a frozen dataclass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from tom_alertstreams.conf import Finding, configured_streams, switched_off
from tom_alertstreams.delivery.failures import text_of
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.redaction import redact, remember_secret, remember_secrets

from .notifier import Notifier

_CHECK = "W030"
#: Hours, minutes or letters: some 11 years, in all of which a date can still be told.
_LONGEST = 100_000


@dataclass(frozen=True)
class AlarmSettings:
    """Who is told of what, and how often."""

    notifiers: tuple[Notifier, ...] = ()
    #: A stream that is not well for so long is told of. What needs a person is told at once.
    down_minutes: float = 10.0
    #: A stream that runs and has brought no alert for so long; 0: never. Or ``{label: hours, "*": hours}``.
    silent_hours: float | Mapping[str, float] = 0.0
    #: More new dead letters of one stream than this within an hour; 0: never.
    letters_per_hour: float = 100.0
    #: What goes on is told again after so long.
    repeat_hours: float = 24.0

    def silent_hours_of(self, stream: str, *, by_name: bool = False) -> float:
        """SILENT_HOURS for one stream; 0: its silence is nothing to be told of.

        :param by_name: only hours that are given under its own label; those for all streams do not count.
        """
        given = self.silent_hours if isinstance(self.silent_hours, Mapping) else {"*": self.silent_hours}
        return given.get(stream, 0.0 if by_name else given.get("*", 0.0))


def alarm_settings() -> tuple[AlarmSettings | None, list[Finding]]:
    """The settings, without what is wrong with them; None where nobody is to be told."""
    given = getattr(settings, "ALERT_STREAMS_ALARMS", None)
    if given is None:
        return None, []
    if not isinstance(given, Mapping):
        return None, [_finding("it is not a dict.", "See docs/how-to/alarms.md.")]
    findings: list[Finding] = []
    numbers: dict[str, Any] = {}
    known = {f.name.upper(): f.name for f in fields(AlarmSettings)}
    for key, value in given.items():
        if key not in known:
            findings.append(_finding(f"unknown key {key}.", f"Known are {', '.join(sorted(known))}."))
        elif key != "NOTIFIERS":
            try:
                numbers[known[key]] = _checked(key, value)
                if key == "SILENT_HOURS":
                    findings += _unknown_labels(numbers[known[key]])
            except ConfigurationError as error:
                findings.append(_finding(error.message, error.hint or ""))
    notifiers, wrong = _notifiers(given.get("NOTIFIERS", ()))
    findings += wrong
    if not notifiers:
        if not wrong:
            findings.append(_finding("NOTIFIERS is empty: nobody is told.", "See docs/how-to/alarms.md."))
        return None, findings
    return AlarmSettings(notifiers, **numbers), findings


def _notifiers(entries: Any) -> tuple[tuple[Notifier, ...], list[Finding]]:
    if not isinstance(entries, Sequence) or isinstance(entries, (str, bytes)):
        return (), [_finding("NOTIFIERS is not a list.", "List dotted paths, or dicts with NAME and OPTIONS.")]
    made: list[Notifier] = []
    findings: list[Finding] = []
    for position, entry in enumerate(entries):
        try:
            made.append(_notifier(entry))
        except ConfigurationError as error:
            findings.append(_finding(f"NOTIFIERS[{position}]: {error.message}", error.hint or ""))
    return tuple(made), findings


def _notifier(entry: Any) -> Notifier:
    if isinstance(entry, str):
        entry = {"NAME": entry}
    if not isinstance(entry, Mapping) or not isinstance(entry.get("NAME"), str) or set(entry) - {"NAME", "OPTIONS"}:
        raise ConfigurationError("it cannot be read.", hint='Use a dotted path, or {"NAME": …, "OPTIONS": {…}}.')
    options = entry.get("OPTIONS", {})
    if not isinstance(options, Mapping):
        raise ConfigurationError("OPTIONS is not a dict.", hint="See docs/how-to/alarms.md.")
    remember_secrets(options)
    try:
        kind = import_string(entry["NAME"])
    except Exception as error:  # whatever the user's module does when it is imported
        raise ConfigurationError(
            f"{type(error).__name__}: {error}.", hint="NAME is the dotted path of a Notifier class."
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Notifier) and kind.tell is not Notifier.tell):
        raise ConfigurationError(
            f"{entry['NAME']} is no Notifier.",
            hint="Derive it from tom_alertstreams.alarms.notifier.Notifier, and give it a tell().",
        )
    given = {str(key).lower(): tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    try:
        notifier = kind(**given)
        for secret in notifier.secrets():
            if isinstance(secret, str):  # None out of an environment variable
                remember_secret(secret)
    except ConfigurationError:
        raise
    except Exception as error:  # whatever the user's class does with what it is given
        why = f"{type(error).__name__}: {text_of(error)}"
        raise ConfigurationError(f"its OPTIONS cannot be used: {why}.", hint="See docs/how-to/alarms.md.") from error
    return notifier


def _checked(key: str, value: Any) -> Any:
    if key == "SILENT_HOURS" and isinstance(value, Mapping):
        return {str(label): _checked(f"SILENT_HOURS[{label!r}]", hours) for label, hours in value.items()}
    may_be_zero = key.startswith(("SILENT_HOURS", "LETTERS_PER_HOUR", "DOWN_MINUTES"))
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= _LONGEST or (value == 0 and not may_be_zero):
        least = "from 0" if may_be_zero else "above 0,"
        raise ConfigurationError(f"{key} is {value!r}.", hint=f"It is a number {least} to {_LONGEST:,}.")
    return value


def _unknown_labels(hours: float | Mapping[str, float]) -> list[Finding]:
    """A key that is misspelt would be silence for its stream."""
    streams, wrong = configured_streams()
    unread = [finding.label for finding in wrong if finding.id == "W003"]
    labels = [*(stream.label for stream in streams), *unread, *switched_off()]
    there = ", ".join(labels) or "none"
    named = hours if isinstance(hours, Mapping) else {}
    return [
        _finding(f"SILENT_HOURS has {label!r}, and there is no such stream.", f"Use a LABEL, or *. There is {there}.")
        for label in named
        if label not in ("*", *labels)
    ]


def _finding(message: str, hint: str) -> Finding:
    return Finding(_CHECK, redact(f"ALERT_STREAMS_ALARMS: {message}"), redact(hint))
