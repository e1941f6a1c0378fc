"""What becomes of each key of a STEP_CONFIG on our delivery."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from .step_config import BATCH_KEYS

Use = Literal["used", "mapped", "ignored"]

_DELIVERY: Final = "offsets move with the batch's transaction"
#: Section → key → what becomes of it.
_KNOWN: Final[Mapping[str, Mapping[str, tuple[Use, str]]]] = {
    "CONSUMER_CONFIG": {
        "CLASS": ("mapped", "the stream reads in its place"),
        "PARAMS": ("mapped", "CONFIG of a StepAlertStream; elsewhere the stream has its own"),
        "TOPICS": ("mapped", "TOPIC_HANDLERS of a StepAlertStream; elsewhere the stream has its own"),
        "TOPIC_STRATEGY": ("mapped", "daily topics are found on the broker by a StepAlertStream"),
        "SCHEMA_PATH": ("mapped", "SCHEMA of a StepAlertStream"),
        **dict.fromkeys(BATCH_KEYS, ("used", "messages of one call")),
        "consume.timeout": ("ignored", "a lone message waits for nobody"),
        "TIMEOUT": ("ignored", "a lone message waits for nobody"),
        "COMMIT_RETRY": ("ignored", _DELIVERY),
        "ADD_TOPIC": ("used", "the message gets the field topic"),
        "exit_on_consume": ("ignored", "use readstreams --once"),
        "offsets": ("ignored", "use seekstream"),
    },
    "PRODUCER_CONFIG": {
        "CLASS": ("used", "it makes the bytes; the outbox sends them"),
        "PARAMS": ("mapped", "of the producer that sends the outbox"),
    },
    "METRICS_CONFIG": {"CLASS": ("used", "sent after the commit"), "PARAMS": ("used", ""), "EXTRA_METRICS": ("used", "")},
    "": {
        "COMMIT": ("ignored", _DELIVERY),
        "COMMIT_ORDER": ("ignored", _DELIVERY),
        "CONTRACT": ("used", ""),
        "PROMETHEUS": ("ignored", "the metrics page of this app counts outcomes"),
        "LOGGING_DEBUG": ("ignored", "set the level of the logger alerce in LOGGING"),
        "USE_PROFILING": ("ignored", "start() is not called"),
        "N_PROCESS": ("ignored", "run more readstreams processes"),
    },
}  # fmt: skip
#: Keys that are not ours are the step's own.
_OWN: Final[tuple[Use, str]] = ("used", "by the step")


@dataclass(frozen=True)
class KeyUse:
    """One key, as ``CONSUMER_CONFIG.TOPICS``."""

    key: str
    use: Use
    note: str = ""

    def __str__(self) -> str:
        return f"{self.key} ({self.note})" if self.note else self.key


def report(config: Mapping[str, Any]) -> list[KeyUse]:
    """Each key of a STEP_CONFIG and of its three sections. What a section of APF does not know is left to its CLASS."""
    found: list[KeyUse] = []
    for name, value in config.items():
        if name in _KNOWN and isinstance(value, Mapping):
            unknown: tuple[Use, str] = _OWN if name != "CONSUMER_CONFIG" else ("ignored", "the stream reads")
            found += [KeyUse(f"{name}.{key}", *_KNOWN[name].get(key, unknown)) for key in value]
        else:
            found.append(KeyUse(str(name), *_KNOWN[""].get(name, _OWN)))
    return found


def told(config: Mapping[str, Any]) -> Iterator[str]:
    """The report as lines of a log."""
    uses = report(config)
    for use in ("used", "mapped", "ignored"):
        if keys := [str(item) for item in uses if item.use == use]:
            yield f"STEP_CONFIG {use}: {', '.join(keys)}"
