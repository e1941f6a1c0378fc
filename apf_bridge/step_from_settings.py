"""A step made of its settings.py or YAML, or all that is wrong with them. Needs no Django."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from apf_bridge.compat.core import get_class
from apf_bridge.compat.core.config_keys import ConfigError, examine
from apf_bridge.compat.core.contracts import contract_of
from apf_bridge.compat.core.parts import Parts, make_step

from .step_config import named

logger = logging.getLogger(__name__)

#: Messages in one file of ``--to json:FOLDER``; it is written anew at each batch until it is full.
_IN_A_FILE: Final = 100
#: APF's own.
_PROMETHEUS_PORT: Final = 8000


@dataclass(frozen=True)
class Destination:
    """What becomes of the step's output: ``config``, ``csv:FILE``, ``json:FOLDER`` or ``nowhere``."""

    text: str = "config"

    def __post_init__(self) -> None:
        kind, _, path = self.text.partition(":")
        if self.text not in ("config", "nowhere") and not (kind in ("csv", "json") and path):
            raise ValueError(f"{self.text!r} is neither config, csv:FILE, json:FOLDER nor nowhere")

    def of(self, config: dict[str, Any]) -> dict[str, Any]:
        """The STEP_CONFIG with its PRODUCER_CONFIG replaced."""
        kind, _, path = self.text.partition(":")
        producer: dict[str, Any]
        if kind == "csv":
            producer = {"CLASS": "apf.producers.CSVProducer", "FILE_PATH": path}
        elif kind == "json":
            producer = {"CLASS": "apf.producers.JSONProducer", "FILE_PATH": path, "buffer_size": _IN_A_FILE}
        elif kind == "nowhere":
            producer = {"CLASS": "apf.core.step.DefaultProducer"}
        else:
            return config
        return {**config, "PRODUCER_CONFIG": producer}


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    settings: Path
    #: Dotted path; else STEP_CLASS of the settings.
    step_class: str | None = None
    contract: str | None = None
    to: Destination = Destination()


def made_step(
    settings: dict[str, Any], asked: Asked, problems: Sequence[str] = (), *, results_needed: bool = False
) -> Any:
    """
    :param problems: what is wrong already, to be told with the rest.
    :param results_needed: somebody wants what the step returns, which is nothing under contract 1.
    :raises ConfigError: with all that is wrong.
    """
    config = settings["STEP_CONFIG"]
    if asked.contract is not None:
        config = {**config, "CONTRACT": asked.contract}
    path = asked.step_class or settings.get("STEP_CLASS")
    step_class, missing = found_step(path)
    report = examine(asked.to.of(config), step_class)
    found = [*problems, *missing, *report.problems]
    if results_needed:
        found += without_results(step_class, config)
    if found:
        raise ConfigError(*found, *report.told_unknown())
    for line in report.told_unknown():
        logger.warning("%s", line)
    contract = contract_of(step_class, config)
    # The producer that the step was written for tells its contract.
    config = {**config, "CONTRACT": contract}
    parts = Parts(prometheus_metrics=_prometheus(settings))
    level = logging.DEBUG if named(settings, "LOGGING_DEBUG") else logging.INFO
    try:
        step = make_step(step_class, asked.to.of(config), parts, level)
    except (Exception, SystemExit) as error:
        logger.debug("%s cannot be made", path, exc_info=True)
        raise ConfigError(f"The step {path!r} cannot be made of it: {type(error).__name__}: {error}") from error
    refuse_silence(step)
    return step


def found_step(path: str | None) -> tuple[Any, list[str]]:
    """The class of a step, None where there is none; and what is wrong."""
    if path is None:
        return None, ["No step is named: give --class package.module.Class, or STEP_CLASS in settings.py."]
    try:
        found = get_class(path)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever a module of theirs raises)
        return None, [f"The step {path!r} cannot be imported: {type(error).__name__}: {error}"]
    return (found, []) if isinstance(found, type) else (None, [f"The step {path!r} is no class."])


def without_results(step_class: Any, config: Mapping[str, Any]) -> list[str]:
    """What is wrong where Targets are wanted of a step that returns nothing."""
    if step_class is None:
        return []
    try:
        contract = contract_of(step_class, config)
    except (TypeError, ValueError):  # told elsewhere
        return []
    if contract != "1":
        return []
    return ["Under contract 1 a step returns nothing, so nothing becomes Targets: give its output to a stream."]


def _prometheus(settings: dict[str, Any]) -> Any:
    """PROMETHEUS of settings.py or its STEP_CONFIG: the step's summaries at PROMETHEUS_PORT, which APF served and left empty.

    :raises ConfigError: prometheus-client is not installed, or the port is taken.
    """
    if not named(settings, "PROMETHEUS"):
        return None
    try:
        from apf_bridge.compat.metrics.prometheus import serve

        return serve(int(named(settings, "PROMETHEUS_PORT", _PROMETHEUS_PORT)))
    except (ImportError, OSError, ValueError) as error:
        raise ConfigError(f"PROMETHEUS: {error}") from error


def refuse_silence(step: Any) -> None:
    """APF ran such steps: they got one empty message, or their output or their metrics went nowhere.

    :raises ConfigError: a CLASS is missing.
    """
    silent = []
    if type(step.consumer).__name__ == "DefaultConsumer" and "CLASS" not in step.consumer_config:
        silent.append("CONSUMER_CONFIG has no CLASS, and the step names none: it would get one empty message and end.")
    producer = step.producer_config
    if type(getattr(step, "producer", None)).__name__ == "DefaultProducer" and producer and "CLASS" not in producer:
        silent.append("PRODUCER_CONFIG has no CLASS, and the step names none: its output would go nowhere.")
    metrics = step.metrics_config
    if type(step.metrics_sender).__name__ == "DefaultMetricsProducer" and metrics and "CLASS" not in metrics:
        silent.append("METRICS_CONFIG has no CLASS, and the step names none: its metrics would go nowhere.")
    if silent:
        raise ConfigError(*silent)
