"""What becomes of each key of a STEP_CONFIG on our delivery."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from apf_bridge.compat.core.config_keys import BATCH_KEYS, examine_on_a_stream, is_1x

from .step_config import Beside

Use = Literal["used", "mapped", "ignored", "unknown"]

_DELIVERY: Final = "offsets move with the batch's transaction"
#: Section → key → what becomes of it, where that is not as APF has it.
_OTHERWISE: Final[Mapping[str, Mapping[str, tuple[Use, str]]]] = {
    "CONSUMER_CONFIG": {
        "CLASS": ("mapped", "the stream reads in its place"),
        "PARAMS": ("mapped", "CONFIG of a StepAlertStream; elsewhere the stream has its own"),
        "TOPICS": ("mapped", "TOPIC_HANDLERS of a StepAlertStream; elsewhere the stream has its own"),
        "TOPIC_STRATEGY": ("mapped", "daily topics are found on the broker by a StepAlertStream"),
        "SCHEMA_PATH": ("mapped", "SCHEMA of a StepAlertStream"),
        **dict.fromkeys(BATCH_KEYS, ("used", "messages of one call, of a batch of BATCH_SIZE alerts at most")),
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
    "METRICS_CONFIG": {"CLASS": ("used", "sent after the commit")},
    "": {
        "COMMIT": ("ignored", _DELIVERY),
        "COMMIT_ORDER": ("ignored", "offsets and output are one transaction, so neither comes first"),
        "CONTRACT": ("used", ""),
        "PROMETHEUS": ("ignored", "name PROMETHEUS_PORT in OPTIONS"),
        "LOGGING_DEBUG": ("ignored", "set the level of the logger alerce in LOGGING"),
        "USE_PROFILING": ("ignored", "start() is not called"),
        "N_PROCESS": ("ignored", "run more readstreams processes"),
    },
}  # fmt: skip
#: What becomes of the other keys.
_ELSE: Final[Mapping[str, tuple[Use, str]]] = {
    "CONSUMER_CONFIG": ("ignored", "the stream reads"),
    "PRODUCER_CONFIG": ("used", ""),
    "METRICS_CONFIG": ("used", ""),
    "": ("used", "by the step"),
}

#: Without CLASS nothing comes out of these, unless the step has a class of its own, which is seen when it is made.
_NEEDS_CLASS: Final = ("PRODUCER_CONFIG", "METRICS_CONFIG")


@dataclass(frozen=True)
class KeyUse:
    """One key, as ``CONSUMER_CONFIG['TOPICS']``."""

    key: str
    use: Use
    note: str = ""

    def __str__(self) -> str:
        return f"{self.key} ({self.note})" if self.note else self.key


def report(config: Mapping[str, Any], step_class: type | None = None) -> list[KeyUse]:
    """Each key of a STEP_CONFIG and of its three sections."""
    unknown = examine_on_a_stream(config, step_class).unknown
    found: list[KeyUse] = []
    for name, value in config.items():
        if isinstance(value, Beside):
            found.append(KeyUse(name, "used", "it stands beside STEP_CONFIG, which has none"))
        if name in _OTHERWISE and isinstance(value, Mapping):
            found += [KeyUse(f"{name}[{key!r}]", *_OTHERWISE[name].get(key, _ELSE[name])) for key in value]
            if name in _NEEDS_CLASS and value and "CLASS" not in value and not is_1x(step_class, config):
                found.append(KeyUse(name, "used", "only if the step names a class by itself: there is no CLASS"))
        else:
            found.append(KeyUse(str(name), *_OTHERWISE[""].get(name, _ELSE[""])))
    found = [item for item in found if item.key not in unknown]
    return found + [KeyUse(key, "unknown", meant or "read by nobody") for key, meant in unknown.items()]


def told(config: Mapping[str, Any], step_class: type | None = None) -> Iterator[str]:
    """The report as lines of a log."""
    uses = report(config, step_class)
    for use in get_args(Use):
        if keys := [str(item) for item in uses if item.use == use]:
            yield f"STEP_CONFIG {use}: {', '.join(keys)}"
