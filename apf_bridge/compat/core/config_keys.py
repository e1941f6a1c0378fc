"""Which keys a config may have: all that is wrong with one is told at once, before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from . import get_class
from .contracts import Contract

#: Keys of STEP_CONFIG that are not the step's own.
STEP_KEYS: Final = ("CONSUMER_CONFIG", "PRODUCER_CONFIG", "METRICS_CONFIG", "COMMIT", "COMMIT_ORDER", "CONTRACT")
_METRICS_KEYS: Final = ("CLASS", "PARAMS", "EXTRA_METRICS")
_STRATEGY_KEYS: Final = ("CLASS", "PARAMS")


@dataclass(frozen=True)
class ConfigKeys:
    """What a consumer, producer or sender of metrics reads of its config."""

    required: tuple[str, ...] = ()
    #: Of each of these one at least.
    one_of: tuple[tuple[str, ...], ...] = ()
    optional: tuple[str, ...] = ()

    def missing(self, config: Mapping[str, Any]) -> list[str]:
        absent = [key for key in self.required if not config.get(key)]
        return absent + [" or ".join(keys) for keys in self.one_of if not any(config.get(key) for key in keys)]

    def unknown(self, config: Mapping[str, Any]) -> list[str]:
        known = {*self.required, *self.optional, "CLASS"}.union(*self.one_of)
        return [key for key in config if key not in known]


@dataclass(frozen=True)
class ConfigReport:
    """What was found in a STEP_CONFIG."""

    #: With any of these it cannot run.
    problems: tuple[str, ...]
    #: Keys that nobody reads.
    unknown: tuple[str, ...]

    def __str__(self) -> str:
        unknown = [f"{key} is read by nobody." for key in self.unknown]
        return "\n".join(f"- {line}" for line in [*self.problems, *unknown])


class ConfigError(ValueError):
    """A STEP_CONFIG that cannot be used, with all that is wrong with it."""


def examine(config: Mapping[str, Any]) -> ConfigReport:
    """Look through a STEP_CONFIG, without connecting to anything."""
    problems: list[str] = []
    unknown: list[str] = []
    if not config.get("CONSUMER_CONFIG"):
        problems.append("CONSUMER_CONFIG is missing.")
    if config.get("COMMIT_ORDER", "legacy") not in ("after_produce", "legacy"):
        problems.append(f"COMMIT_ORDER is {config['COMMIT_ORDER']!r}; write 'after_produce' or 'legacy'.")
    if "CONTRACT" in config and str(config["CONTRACT"]) not in get_args(Contract):
        problems.append(f'CONTRACT is {config["CONTRACT"]!r}; write "1", "2" or "6".')
    for key in config:
        if key not in STEP_KEYS and (near := difflib.get_close_matches(str(key), STEP_KEYS, 1, 0.85)):
            unknown.append(f"{key} (is {near[0]} meant?)")
    for name in ("CONSUMER_CONFIG", "PRODUCER_CONFIG"):
        part = config.get(name) or {}
        _examine_part(name, part.get("CLASS"), part, problems, unknown)
    metrics = config.get("METRICS_CONFIG") or {}
    if metrics:
        if "PARAMS" not in metrics:
            problems.append("METRICS_CONFIG has no PARAMS.")
        unknown += [f"METRICS_CONFIG[{key!r}]" for key in metrics if key not in _METRICS_KEYS]
        params = metrics.get("PARAMS") or {}
        _examine_part("METRICS_CONFIG", metrics.get("CLASS"), params, problems, unknown, "['PARAMS']")
    return ConfigReport(tuple(problems), tuple(unknown))


def _examine_part(
    name: str, path: Any, config: Mapping[str, Any], problems: list[str], unknown: list[str], inside: str = ""
) -> None:
    strategy = config.get("TOPIC_STRATEGY")
    if strategy:
        unknown += [f"{name}{inside}['TOPIC_STRATEGY'][{key!r}]" for key in strategy if key not in _STRATEGY_KEYS]
        _imported(f"{name}{inside}['TOPIC_STRATEGY']", strategy.get("CLASS"), problems)
    found = _imported(name, path, problems) if path is not None else None
    owner: Any = next((base for base in getattr(found, "__mro__", ()) if "config_keys" in vars(base)), None)
    if owner is None:
        return
    keys: ConfigKeys = owner.config_keys
    if found is owner:  # a subclass may read keys of its own
        unknown += [f"{name}{inside}[{key!r}]" for key in keys.unknown(config)]
    if getattr(found, "__init__", None) is getattr(owner, "__init__", None):
        problems += [f"{name}{inside} has no {key}." for key in keys.missing(config)]


def _imported(name: str, path: Any, problems: list[str]) -> Any:
    try:
        return get_class(str(path))
    except ImportError as error:
        problems.append(f"{name}: CLASS {path!r} cannot be imported: {error}")
        return None
