"""ALERT_STREAMS and ALERT_STREAMS_DEFAULTS, read once into frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any, Final, Literal

from django.conf import settings

from .exceptions import ConfigurationError
from .redaction import remember_secrets

Start = Literal["earliest", "latest"]
OnError = Literal["dead_letter", "reject"]
OnGap = Literal["continue", "stop"]


@dataclass(frozen=True)
class RetrySettings:
    """How often a failed alert is tried, and after which waits."""

    #: Tries in all, the first included.
    total: int = 3
    min_wait_s: float = 1.0
    max_wait_s: float = 60.0
    backoff: float = 2.0

    def wait_s(self, attempts: int) -> float:
        """Seconds to wait after so many failed tries (1 or more)."""
        return float(min(self.max_wait_s, self.min_wait_s * self.backoff ** min(attempts - 1, 64)))


@dataclass(frozen=True)
class DeliverySettings:
    """How alerts are grouped and tried. Times in seconds, sizes in bytes."""

    batch_size: int = 500
    batch_bytes: int = 16 * 1024 * 1024
    batch_seconds: float = 1.0
    prepare_timeout_s: float = 30.0
    handler_timeout_s: float = 300.0
    #: Rejections are forgotten after so many days; 0 records none (they are counted all the same).
    rejections_days: int = 7
    #: Where a stream begins that has no offset yet; None leaves it to the stream.
    start: Start | None = None
    retry: RetrySettings = field(default_factory=RetrySettings)
    #: The fuse: so many alerts in a row that fail at their first try stop the stream; 0 is no limit.
    max_consecutive_failures: int = 100
    #: The fuse: more than this share of the last FAILURE_WINDOW alerts stops the stream; 0 is no limit.
    max_failure_share: float = 0.5
    failure_window: int = 1000
    #: What to do where the broker has deleted alerts before they were read.
    on_gap: OnGap = "continue"
    #: Read on in a consumer group that another database has used.
    take_over: bool = False

    @property
    def has_fuse(self) -> bool:
        """Whether failures can stop the stream."""
        return bool(self.max_consecutive_failures or self.max_failure_share)


@dataclass(frozen=True)
class TopicSettings:
    """One entry of TOPIC_HANDLERS."""

    key: str
    handler: str
    delivery: DeliverySettings
    options: Mapping[str, Any] = field(default_factory=dict)
    atomic: bool = True
    on_error: OnError = "dead_letter"


@dataclass(frozen=True)
class StreamSettings:
    """One entry of ALERT_STREAMS."""

    label: str
    #: Dotted path of the AlertStream class.
    name: str
    #: May hold passwords: never shown.
    options: Mapping[str, Any] = field(repr=False)
    delivery: DeliverySettings
    topics: tuple[TopicSettings, ...]
    #: Keys of the entry that mean nothing.
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something wrong with the settings. ``id`` is the number of the system check."""

    id: str
    message: str
    hint: str
    label: str = ""


#: The setting of which streams do without what is wrong.
LEFT_OUT_OF: Final = "ALERT_STREAMS_DEFAULTS"
DEFAULT_SHUTDOWN_S = 30.0


def shutdown_s() -> float:
    """Seconds that ``readstreams`` gives the alert in hand when it is asked to stop."""
    given = getattr(settings, "ALERT_STREAMS_DEFAULTS", {})
    try:
        return float(_checked("SHUTDOWN_S", given.get("SHUTDOWN_S", DEFAULT_SHUTDOWN_S)))
    except (AttributeError, ConfigurationError):  # a finding says so
        return DEFAULT_SHUTDOWN_S


def configured_streams() -> tuple[list[StreamSettings], list[Finding]]:
    """The active streams of settings.py that can be read, and what is wrong with the others."""
    entries = getattr(settings, "ALERT_STREAMS", None)
    if entries is None:
        return [], [Finding("W001", "ALERT_STREAMS is not set.", "List your streams in settings.py; see the README.")]
    if not isinstance(entries, Sequence) or isinstance(entries, (str, bytes)):
        return [], [Finding("W001", "ALERT_STREAMS is not a list.", "Make it a list of dicts; see the README.")]
    return read_streams(entries)


def read_streams(entries: Sequence[Any]) -> tuple[list[StreamSettings], list[Finding]]:
    """Parse entries as in ALERT_STREAMS. Inactive ones are left alone; one that is wrong does not spoil the others."""
    streams: list[StreamSettings] = []
    findings: list[Finding] = []
    taken: set[str] = set()
    defaults, left_out = _defaults()
    findings += left_out
    for position, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            findings.append(Finding("W001", f"ALERT_STREAMS[{position}] is not a dict.", "See the README."))
            continue
        if not entry.get("ACTIVE", True):
            continue
        label = str(entry.get("LABEL") or _free_label(str(entry.get("NAME", "")), taken))
        try:
            if len(label) > _LONGEST_LABEL or not label.isprintable():
                label, of = f"ALERT_STREAMS[{position}]", label
                raise ConfigurationError(
                    f"LABEL is {of[:_LONGEST_LABEL]!r}.",
                    hint=f"It is a text of at most {_LONGEST_LABEL} characters, in one line.",
                )
            if label in taken:
                raise ConfigurationError(f"LABEL {label!r} is used twice.", hint="Give each stream its own LABEL.")
            taken.add(label)
            streams.append(_stream(label, entry, defaults))
        except ConfigurationError as error:
            findings.append(Finding("W003", error.message, error.hint or "", label))
    return streams, findings


def _defaults() -> tuple[DeliverySettings, list[Finding]]:
    """ALERT_STREAMS_DEFAULTS, without what of it cannot be read."""
    given = getattr(settings, LEFT_OUT_OF, {})
    defaults, findings = DeliverySettings(), []
    for part in [{key: value} for key, value in given.items()] if isinstance(given, Mapping) else [given]:
        try:
            defaults = _delivery(defaults, part, {"SHUTDOWN_S"})
        except ConfigurationError as error:
            findings.append(Finding("W002", f"left out: {error.message}", error.hint or "", LEFT_OUT_OF))
    return defaults, findings


def switched_off() -> list[str]:
    """Labels of the entries of ALERT_STREAMS that are not ACTIVE; of those without one the name of their class."""
    entries = getattr(settings, "ALERT_STREAMS", None)
    listed = entries if isinstance(entries, Sequence) else ()
    off = [entry for entry in listed if isinstance(entry, Mapping) and not entry.get("ACTIVE", True)]
    return [str(entry.get("LABEL") or _free_label(str(entry.get("NAME", "")), set())) for entry in off]


def _free_label(name: str, taken: set[str]) -> str:
    """``….hopskotch.HopskotchAlertStream`` → ``hopskotch``, then ``hopskotch-2``."""
    label = name.rpartition(".")[2].replace("AlertStream", "").lower() or "stream"
    number, base = 2, label
    while label in taken:
        label, number = f"{base}-{number}", number + 1
    return label


#: What the tables have room for.
_LONGEST_LABEL = 100
STREAM_KEYS: Final = {"ACTIVE", "NAME", "LABEL", "OPTIONS", "DELIVERY"}


def _stream(label: str, entry: Mapping[str, Any], defaults: DeliverySettings) -> StreamSettings:
    name = entry.get("NAME")
    if not isinstance(name, str) or not name:
        raise ConfigurationError("NAME is missing.", hint="NAME is the dotted path of an AlertStream class.")
    unknown = sorted(map(str, set(entry) - STREAM_KEYS))
    # Without what was meant the stream would do something else; a key of another kind is ignored, as in 1.x.
    if misspelt := [key for key in unknown if get_close_matches(key.upper(), STREAM_KEYS, cutoff=0.8)]:
        raise ConfigurationError(
            f"unknown key {', '.join(misspelt)}.", hint=f"Known are {', '.join(sorted(STREAM_KEYS))}."
        )
    options = entry.get("OPTIONS", {})
    if not isinstance(options, Mapping):
        raise ConfigurationError("OPTIONS is not a dict.", hint="See the README.")
    read = stream_settings(label, name, options, _delivery(defaults, entry.get("DELIVERY", {})))
    return replace(read, ignored=tuple(unknown))


def stream_settings(
    label: str, name: str, options: Mapping[str, Any], delivery: DeliverySettings | None = None
) -> StreamSettings:
    """The settings of one stream from its OPTIONS. ``label`` is unique in a project.

    :raises ConfigurationError: an entry of TOPIC_HANDLERS cannot be read.
    """
    remember_secrets(options)
    delivery = delivery or DeliverySettings()
    handlers = options.get("TOPIC_HANDLERS", {})
    if not isinstance(handlers, Mapping):
        raise ConfigurationError("TOPIC_HANDLERS is not a dict.", hint="Map topics to dotted paths of handlers.")
    topics = tuple(_topic(str(key), value, delivery) for key, value in handlers.items())
    return StreamSettings(label, name, options, delivery, topics)


_TOPIC_KEYS = {"HANDLER", "OPTIONS", "ATOMIC", "ON_ERROR"}


def _topic(key: str, value: Any, delivery: DeliverySettings) -> TopicSettings:
    if not key:
        raise ConfigurationError("TOPIC_HANDLERS has an empty key.", hint='Name a topic; "*" is for all of them.')
    if isinstance(value, str):
        return TopicSettings(key, value, delivery)
    if not isinstance(value, Mapping) or not isinstance(value.get("HANDLER"), str):
        raise ConfigurationError(
            f"TOPIC_HANDLERS[{key!r}] names no handler.", hint='Use a dotted path, or {"HANDLER": "dotted.path", …}.'
        )
    options = value.get("OPTIONS", {})
    if not isinstance(options, Mapping):
        raise ConfigurationError(f"OPTIONS of {key!r} is not a dict.", hint="See the documents of its handler.")
    on_error = value.get("ON_ERROR", "dead_letter")
    if on_error not in ("dead_letter", "reject"):
        raise ConfigurationError(f"ON_ERROR of {key!r} is {on_error!r}.", hint='Use "dead_letter" or "reject".')
    rest = {name: setting for name, setting in value.items() if name not in _TOPIC_KEYS}
    return TopicSettings(
        key,
        value["HANDLER"],
        _delivery(delivery, rest),
        options=dict(options),
        atomic=bool(value.get("ATOMIC", True)),
        on_error=on_error,
    )


def _delivery(base: DeliverySettings, given: Any, ignored: set[str] | frozenset[str] = frozenset()) -> DeliverySettings:
    if not isinstance(given, Mapping):
        raise ConfigurationError("the settings of the delivery are not a dict.", hint="See docs/reference/settings.md.")
    changes: dict[str, Any] = {}
    names = {f.name.upper(): f.name for f in fields(DeliverySettings)}
    for key, value in given.items():
        if key in ignored:
            _checked(key, value)
            continue
        if key not in names:
            raise ConfigurationError(f"unknown setting {key}.", hint=f"Known are {', '.join(sorted(names))}.")
        changes[names[key]] = _retry(base.retry, value) if key == "RETRY" else _checked(key, value)
    return replace(base, **changes)


def _retry(base: RetrySettings, given: Any) -> RetrySettings:
    names = {f.name.upper(): f.name for f in fields(RetrySettings)}
    if not isinstance(given, Mapping) or set(given) - set(names):
        raise ConfigurationError("RETRY cannot be read.", hint=f"Use a dict with {', '.join(sorted(names))}.")
    return replace(base, **{names[key]: _checked(key, value) for key, value in given.items()})


_MAY_BE_ZERO = {"REJECTIONS_DAYS", "MIN_WAIT_S", "MAX_CONSECUTIVE_FAILURES", "MAX_FAILURE_SHARE"}
_WHOLE_NUMBERS = {
    name.upper()
    for of in (DeliverySettings, RetrySettings)
    for name, kind in of.__annotations__.items()
    if kind == "int"
}
#: Seconds, bytes or alerts: nobody means more, and what waits for infinity waits for nothing.
_LARGE = 10**10
#: Days: a date so long ago can still be told.
_LARGEST = {"REJECTIONS_DAYS": 36_500, "BACKOFF": 1000, "MAX_FAILURE_SHARE": 1}
_WORDS = {"START": ("earliest", "latest"), "ON_GAP": ("continue", "stop")}


def _checked(key: str, value: Any) -> Any:
    if key in _WORDS:
        word = str(value).lower()
        if word not in _WORDS[key]:
            raise ConfigurationError(f"{key} is {value!r}.", hint=f'Use "{_WORDS[key][0]}" or "{_WORDS[key][1]}".')
        return word
    if key == "TAKE_OVER":
        if not isinstance(value, bool):
            raise ConfigurationError(f"{key} is {value!r}.", hint="Use True or False.")
        return value
    kind = int if key in _WHOLE_NUMBERS else (int, float)
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    may_be_zero = key in _MAY_BE_ZERO
    if not is_number or not 0 <= value <= _LARGEST.get(key, _LARGE) or (value == 0 and not may_be_zero):
        raise ConfigurationError(f"{key} is {value!r}.", hint=_range_of(key))
    return value


def _range_of(key: str) -> str:
    number = "a whole number" if key in _WHOLE_NUMBERS else "a number"
    least = "from 0" if key in _MAY_BE_ZERO else "above 0,"
    return f"{key} is {number} {least} to {_LARGEST.get(key, _LARGE):,}."
