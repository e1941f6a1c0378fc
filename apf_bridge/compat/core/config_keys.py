"""Which keys a config may have: all that is wrong with one is told at once, before anything runs."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from . import get_class
from .contracts import contract_of, wrong_contract
from .extra_metrics import wrong_with

#: Keys of STEP_CONFIG that are not the step's own.
STEP_KEYS: Final = ("CONSUMER_CONFIG", "PRODUCER_CONFIG", "METRICS_CONFIG", "COMMIT", "COMMIT_ORDER", "CONTRACT")
_METRICS_KEYS: Final = ("CLASS", "PARAMS", "EXTRA_METRICS")
_STRATEGY_KEYS: Final = ("CLASS", "PARAMS")
_DEFAULTS_1X: Final = {
    "CONSUMER_CONFIG": "apf.consumers.KafkaConsumer",
    "METRICS_CONFIG": "apf.metrics.KafkaMetricsProducer",
}
#: Keys of CONSUMER_CONFIG with the number of messages of one call, the first that is given.
BATCH_KEYS: Final = ("consume.messages", "NUM_MESSAGES")
_SIZES: Final = (*BATCH_KEYS, "buffer_size")


@dataclass(frozen=True)
class ConfigKeys:
    """What a consumer, producer or sender of metrics reads of its config."""

    required: tuple[str, ...] = ()
    #: Of each of these one at least.
    one_of: tuple[tuple[str, ...], ...] = ()
    optional: tuple[str, ...] = ()
    #: What PARAMS, librdkafka's, must have.
    params: tuple[str, ...] = ()
    #: These may be named and empty: the step sets them by itself.
    set_by_step: tuple[str, ...] = ()

    def missing(self, config: Mapping[str, Any]) -> list[str]:
        given = {key for key in config if config[key] or (key in self.set_by_step and config[key] is not None)}
        absent = [key for key in self.required if key not in given]
        absent += [self._either(keys) for keys in self.one_of if not given & set(keys)]
        if isinstance(params := config.get("PARAMS"), Mapping) and params:
            named = params.get("metadata.broker.list")  # librdkafka's other name for bootstrap.servers
            absent += [
                f"{key} in PARAMS"
                for key in self.params
                if not (params.get(key) or (named and key == "bootstrap.servers"))
            ]
        return absent

    def _either(self, keys: tuple[str, ...]) -> str:
        empty = [f"({key} is [] where the step sets it)" for key in keys if key in self.set_by_step]
        return " ".join([" or ".join(keys), *empty])

    def unknown(self, config: Mapping[str, Any]) -> list[str]:
        known = {*self.required, *self.optional, "CLASS"}.union(*self.one_of)
        return [key for key in config if key not in known]


@dataclass(frozen=True)
class ConfigReport:
    """What was found in a STEP_CONFIG."""

    #: With any of these it cannot run.
    problems: tuple[str, ...]
    #: Keys that nobody reads → what may be meant.
    unknown: Mapping[str, str]

    def __str__(self) -> str:
        return "\n".join(f"- {line}" for line in [*self.problems, *self.told_unknown()])

    def told_unknown(self) -> list[str]:
        """A sentence for each key that nobody reads."""
        return [f"{key}{f' ({meant})' if meant else ''} is read by nobody." for key, meant in self.unknown.items()]


class ConfigError(ValueError):
    """A STEP_CONFIG that cannot be used, with all that is wrong with it."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(f"- {problem}" for problem in problems))
        self.problems = problems


def examine(config: Mapping[str, Any], step_class: type | None = None) -> ConfigReport:
    """Look through a STEP_CONFIG, without connecting to anything.

    :param step_class: the step, where it is known: one of 1.x reads from Kafka where its config names no CLASS.
    """
    look = _Examination(step_class, config)
    if not config.get("CONSUMER_CONFIG"):
        look.problems.append("CONSUMER_CONFIG is missing.")
    look.at_step(config)
    look.at_part("CONSUMER_CONFIG", config)
    look.at_output(config)
    return look.report()


def examine_on_a_stream(config: Mapping[str, Any], step_class: type | None = None) -> ConfigReport:
    """The same where a stream reads and commits: the consumer may lack what it needs to read."""
    look = _Examination(step_class, config)
    look.at_step(config)
    look.at_unused_consumer(config)
    look.at_output(config)
    return look.report()


def is_1x(step_class: type | None, config: Mapping[str, Any]) -> bool:
    """Whether it is known to be a step of 1.x: those have classes where their config names none."""
    try:
        return step_class is not None and contract_of(step_class, config) == "1"
    except ValueError:  # CONTRACT is told as a problem
        return False


class _Examination:
    """Collects what is wrong, part by part."""

    def __init__(self, step_class: type | None, config: Mapping[str, Any]) -> None:
        #: Section → CLASS where it names none.
        self.defaults: Mapping[str, str] = _DEFAULTS_1X if is_1x(step_class, config) else {}
        self.problems: list[str] = []
        self.unknown: dict[str, str] = {}

    def report(self) -> ConfigReport:
        return ConfigReport(tuple(self.problems), dict(self.unknown))

    def at_step(self, config: Mapping[str, Any]) -> None:
        """The keys of STEP_CONFIG itself."""
        if config.get("COMMIT_ORDER", "legacy") not in ("after_produce", "legacy"):
            self.problems.append(f"COMMIT_ORDER is {config['COMMIT_ORDER']!r}; write 'after_produce' or 'legacy'.")
        if "CONTRACT" in config and (wrong := wrong_contract(config["CONTRACT"])) is not None:
            self.problems.append(wrong)
        for key in config:
            if key not in STEP_KEYS and (near := difflib.get_close_matches(str(key), STEP_KEYS, 1, 0.85)):
                self.unknown[str(key)] = f"is {near[0]} meant?"

    def at_unused_consumer(self, config: Mapping[str, Any]) -> None:
        """A stream takes of it what it can use."""
        part = config.get("CONSUMER_CONFIG") or {}
        if not self.is_mapping("CONSUMER_CONFIG", part):
            return
        self.at_sizes("CONSUMER_CONFIG", part)
        of_apf = _DEFAULTS_1X["CONSUMER_CONFIG"]
        alone = _Examination(None, config)
        named = alone.imported("CONSUMER_CONFIG", part.get("CLASS", of_apf))
        alone.at_keys("CONSUMER_CONFIG", of_apf if named is None else part.get("CLASS", of_apf), part)
        self.unknown |= alone.unknown

    def at_output(self, config: Mapping[str, Any]) -> None:
        """Everything but the consumer."""
        self.at_part("PRODUCER_CONFIG", config)
        metrics = config.get("METRICS_CONFIG") or {}
        if not self.is_mapping("METRICS_CONFIG", metrics):
            return
        if metrics and "PARAMS" not in metrics:
            self.problems.append("METRICS_CONFIG has no PARAMS.")
        self.not_read("METRICS_CONFIG", [key for key in metrics if key not in _METRICS_KEYS])
        for item in metrics.get("EXTRA_METRICS") or ():
            if (error := wrong_with(item)) is not None:
                self.problems.append(f"METRICS_CONFIG['EXTRA_METRICS']: {error.args[0]}")
        path = metrics.get("CLASS", self.defaults.get("METRICS_CONFIG") if metrics else None)
        self.at_keys("METRICS_CONFIG", path, metrics.get("PARAMS") or {}, "['PARAMS']")

    def at_part(self, name: str, config: Mapping[str, Any]) -> None:
        part = config.get(name) or {}
        if not self.is_mapping(name, part):
            return
        self.at_sizes(name, part)
        self.at_keys(name, part.get("CLASS", self.defaults.get(name) if part else None), part)

    def at_sizes(self, name: str, part: Mapping[str, Any]) -> None:
        for key in _SIZES:
            if key in part and (not str(part[key]).isdigit() or int(part[key]) == 0):
                self.problems.append(f"{name}[{key!r}] is {part[key]!r}; it is a number above 0.")

    def at_keys(self, name: str, path: Any, config: Mapping[str, Any], inside: str = "") -> None:
        """What the class of a part says of its keys."""
        if not self.is_mapping(f"{name}{inside}", config):
            return
        if config.get("TOPIC_STRATEGY"):
            self.at_strategy(f"{name}{inside}['TOPIC_STRATEGY']", config["TOPIC_STRATEGY"])
        found = self.imported(name, path) if path is not None else None
        owner: Any = next((base for base in getattr(found, "__mro__", ()) if "config_keys" in vars(base)), None)
        if owner is None:
            return
        keys: ConfigKeys = owner.config_keys
        if found is owner:  # a subclass may read keys of its own
            self.not_read(f"{name}{inside}", keys.unknown(config))
        if getattr(found, "__init__", None) is getattr(owner, "__init__", None):
            self.problems += [f"{name}{inside} has no {key}." for key in keys.missing(config)]

    def at_strategy(self, name: str, strategy: Any) -> None:
        if not self.is_mapping(name, strategy):
            return
        self.not_read(name, [key for key in strategy if key not in _STRATEGY_KEYS])
        if "CLASS" not in strategy:
            self.problems.append(f"{name} has no CLASS.")
        elif found := self.imported(name, strategy["CLASS"]):
            try:
                inspect.signature(found).bind(**strategy.get("PARAMS") or {})
            except TypeError as error:
                self.problems.append(f"{name}['PARAMS'] do not fit {strategy['CLASS']}: {error}.")

    def not_read(self, name: str, keys: Iterable[str]) -> None:
        self.unknown |= {f"{name}[{key!r}]": "" for key in keys}

    def is_mapping(self, name: str, value: Any) -> bool:
        if not isinstance(value, Mapping):
            self.problems.append(f"{name} is {type(value).__name__}; it is a dict.")
        return isinstance(value, Mapping)

    def imported(self, name: str, path: Any) -> Any:
        try:
            return get_class(str(path))
        except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever a module raises as it is imported)
            self.problems.append(f"{name}: CLASS {path!r} cannot be imported: {type(error).__name__}: {error}")
            return None
