"""OPTIONS of :func:`apf_bridge.handlers.run_step`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.utils.module_loading import import_string

from tom_alertstreams.redaction import remember_secrets

from . import install
from .step_config import messages_at_once, read_config, section
from .step_host import StepHost

CONTRACTS: Final = ("1", "2", "6")


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
    _step_class: Any = field(default=None, init=False, repr=False, compare=False)
    _hosts: dict[str, StepHost] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        install()
        if self.contract is not None and self.contract not in CONTRACTS:
            raise ValueError(f"CONTRACT is {self.contract!r}; it is one of {', '.join(CONTRACTS)}.")
        if not isinstance(self.outbox_days, (int, float)) or self.outbox_days <= 0:
            raise ValueError(f"OUTBOX_DAYS is {self.outbox_days!r}; it is a number above 0.")
        if self.rules and not self.makes_targets:
            raise ValueError("RULES are for Targets: name a RESULT_HANDLER or FIELDS as well.")
        object.__setattr__(self, "step_config", read_config(self.step_config))
        remember_secrets(self.step_config)
        for name in ("CONSUMER_CONFIG", "PRODUCER_CONFIG", "METRICS_CONFIG"):
            section(self.step_config, name)
        messages_at_once(self.step_config)
        object.__setattr__(self, "_step_class", _imported("STEP", self.step))
        if self.makes_targets:
            from . import targets  # needs the TOM Toolkit

            targets.check(self)

    @property
    def makes_targets(self) -> bool:
        """Whether results become Targets."""
        return self.result_handler is not None or self.fields is not None

    @property
    def adds_topic(self) -> bool:
        """Whether messages get the name of their topic."""
        return bool(section(self.step_config, "CONSUMER_CONFIG").get("ADD_TOPIC"))

    def host(self, stream: str) -> StepHost:
        """What runs the step for a stream: one for each process and stream. The step itself is made at the first batch."""
        if stream not in self._hosts:
            self._hosts[stream] = StepHost(self._step_class, self.step, self.step_config, self.contract, stream)
        return self._hosts[stream]


def _imported(option: str, path: str) -> Any:
    try:
        return import_string(path)
    except Exception as error:
        raise ValueError(f"{option} {path!r} cannot be imported: {type(error).__name__}: {error}") from error
