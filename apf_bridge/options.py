"""OPTIONS of :func:`apf_bridge.handlers.run_step`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tom_alertstreams.logs import get_logger
from tom_alertstreams.redaction import remember_secrets

from . import install
from .client_config import check_producers
from .compat.core.config_keys import ConfigError, examine_on_a_stream
from .config_report import told
from .step_config import read_config, section
from .step_from_settings import found_step, without_results
from .step_host import StepHost

logger = get_logger(__name__)


@dataclass(frozen=True)
class StepOptions:
    """Which step runs, with which settings, and what becomes of its results."""

    #: Dotted path of the step's class.
    step: str
    #: Its STEP_CONFIG: a dict, or the path of its settings.py or YAML, read as it is.
    step_config: Any
    #: ``1``, ``2`` or ``6``, the generation of APF that the step was written for; None: told by the step itself.
    contract: str | None = None
    #: Dotted path of a function that makes a TargetReport of a result (or several, or None where it is nothing).
    result_handler: str | None = None
    #: FIELDS of ingest, where the results are flat: they become Targets without a RESULT_HANDLER.
    fields: Any = None
    #: Options of ingest_targets for these Targets, as CREATE or GROUPS.
    rules: Mapping[str, Any] = field(default_factory=dict)
    #: Days after which what the broker has is deleted from the outbox.
    outbox_days: float = 7.0
    #: Where this process serves the step's summaries for Prometheus; None: nowhere.
    prometheus_port: int | None = None
    _step_class: Any = field(default=None, init=False, repr=False, compare=False)
    _hosts: dict[str, StepHost] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        install()
        found = self._problems_of_its_own()
        config: dict[str, Any] = {}
        try:
            config = read_config(self.step_config)
        except ConfigError as error:
            found += error.problems
        object.__setattr__(self, "step_config", config)
        remember_secrets(config)
        step_class, missing = found_step(self.step)
        object.__setattr__(self, "_step_class", step_class)
        asked = config if self.contract is None else {**config, "CONTRACT": self.contract}
        look = examine_on_a_stream(asked, step_class)
        found += [*missing, *look.problems]
        try:
            check_producers(config)
        except ValueError as error:
            found.append(str(error))
        if self.makes_targets:
            from . import results  # needs the TOM Toolkit

            found += [*without_results(step_class, asked), *results.problems(self)]
        if found:
            raise ValueError(" ".join([*found, *look.told_unknown()]))

    def _problems_of_its_own(self) -> list[str]:
        found = []
        if not isinstance(self.outbox_days, (int, float)) or self.outbox_days <= 0:
            found.append(f"OUTBOX_DAYS is {self.outbox_days!r}; it is a number above 0.")
        if self.prometheus_port is not None and not _is_port(self.prometheus_port):
            found.append(f"PROMETHEUS_PORT is {self.prometheus_port!r}; it is a whole number from 1 to 65535.")
        if self.rules and not self.makes_targets:
            found.append("RULES are for Targets: name a RESULT_HANDLER or FIELDS as well.")
        return found

    @property
    def notes(self) -> list[str]:
        """What becomes of each key of the STEP_CONFIG."""
        return list(told(self.step_config, self._step_class))

    @property
    def makes_targets(self) -> bool:
        """Whether results become Targets."""
        return self.result_handler is not None or self.fields is not None

    @property
    def adds_topic(self) -> bool:
        """Whether messages get the name of their topic."""
        return bool(section(self.step_config, "CONSUMER_CONFIG").get("ADD_TOPIC"))

    def host(self, stream: str) -> StepHost:
        """What runs the step for a stream: one for each process and stream. The step itself is made at its start."""
        if stream not in self._hosts:
            for line in self.notes:
                logger.info("%s: %s: %s", stream, self.step, line)
            self._hosts[stream] = StepHost(
                self._step_class, self.step, self.step_config, self.contract, stream, self.prometheus_port
            )
        return self._hosts[stream]


def _is_port(value: Any) -> bool:
    return type(value) is int and 0 < value < 65536
