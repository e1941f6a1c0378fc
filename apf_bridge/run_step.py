"""``apf-run-step``: runs a step written for APF, at least once, without Django."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apf_bridge.compat.core import get_class, life_cycle
from apf_bridge.compat.core.config_keys import ConfigError, examine
from apf_bridge.compat.core.parts import Parts, make_step
from apf_bridge.compat.core.settings import config_from_yaml_file

from .shims import install

logger = logging.getLogger("apf_bridge.run_step")


class Progress:
    """Counts what a step has done, and says so every ten seconds."""

    def __init__(self, every_s: float = 10) -> None:
        self.messages = self.batches = self.skipped = 0
        self.began = self.told = time.monotonic()
        self.every_s = every_s

    def __call__(self, message: Any, prepared: life_cycle.Prepared) -> None:
        self.messages += 1 if isinstance(message, dict) else len(message)
        self.batches += 1
        self.skipped += prepared.skipped
        if time.monotonic() - self.told >= self.every_s:
            self.told = time.monotonic()
            logger.info("%s", self)

    def __str__(self) -> str:
        elapsed = time.monotonic() - self.began
        rate = self.messages / elapsed if elapsed else 0
        return f"{self.messages} messages in {self.batches} batches, {elapsed:.1f} s, {rate:.0f}/s"


def main(arguments: Sequence[str] | None = None) -> int:
    """0: the consumer ended, or the step was told to stop; 1: the step failed; 2: its settings cannot be used."""
    parser = argparse.ArgumentParser(prog="apf-run-step", description=__doc__)
    parser.add_argument("settings", type=Path, help="settings.py with STEP_CONFIG, or STEP_CONFIG as YAML")
    parser.add_argument("--class", dest="step_class", help="dotted path of the step; else STEP_CLASS of settings.py")
    given = parser.parse_args(arguments)
    install()
    try:
        settings = read_settings(given.settings)
        logging.basicConfig(
            level=logging.DEBUG if settings.get("LOGGING_DEBUG") else logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
        step = prepared_step(settings, given.step_class or settings.get("STEP_CLASS"))
    except ConfigError as error:
        sys.stderr.write(f"{given.settings} cannot be used:\n{error}\n")
        return 2
    return run(step)


def read_settings(path: Path) -> dict[str, Any]:
    """
    :raises ConfigError: there is no such file, it fails, or it has no STEP_CONFIG.
    """
    try:
        if path.suffix in (".yaml", ".yml"):
            content = config_from_yaml_file(path)
            return content if "STEP_CONFIG" in content else {"STEP_CONFIG": content}
        sys.path.insert(0, str(path.resolve().parent))
        spec = importlib.util.spec_from_file_location("settings", path)
        if spec is None or spec.loader is None:
            raise ConfigError("- It is neither Python nor YAML.")
        module = importlib.util.module_from_spec(spec)
        sys.modules["settings"] = module  # steps import it by that name
        spec.loader.exec_module(module)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"- {type(error).__name__}: {error}") from error
    if not isinstance(getattr(module, "STEP_CONFIG", None), dict):
        raise ConfigError("- It has no STEP_CONFIG, a dict.")
    return vars(module)


def prepared_step(settings: dict[str, Any], path: str | None) -> Any:
    """
    :raises ConfigError: with all that is wrong.
    """
    config = settings["STEP_CONFIG"]
    report = examine(config)
    problems = list(report.problems)
    step_class = None
    if path is None:
        problems.append("No step is named: give --class package.module.Class, or STEP_CLASS in settings.py.")
    else:
        try:
            step_class = get_class(path)
        except ImportError as error:
            problems.append(f"The step {path!r} cannot be imported: {error}")
    if problems:
        raise ConfigError(
            "\n".join([f"- {problem}" for problem in problems] + [f"- unknown: {k}" for k in report.unknown])
        )
    for key in report.unknown:
        logger.warning("%s is read by nobody.", key)
    parts = Parts()
    if settings.get("PROMETHEUS"):
        from prometheus_client import start_http_server

        from apf_bridge.compat.metrics.prometheus import PrometheusMetrics

        start_http_server(8000)
        parts = Parts(prometheus_metrics=PrometheusMetrics())
    level = logging.DEBUG if settings.get("LOGGING_DEBUG") else logging.INFO
    step = make_step(step_class, config, parts, level)
    refuse_silence(step)
    return step


def refuse_silence(step: Any) -> None:
    """APF ran such steps: they got one empty message, or their output went nowhere.

    :raises ConfigError: a CLASS is missing.
    """
    silent = []
    if type(step.consumer).__name__ == "DefaultConsumer" and "CLASS" not in step.consumer_config:
        silent.append(
            "- CONSUMER_CONFIG has no CLASS, and the step names none: it would get one empty message and end."
        )
    if type(getattr(step, "producer", None)).__name__ == "DefaultProducer" and step.producer_config:
        silent.append("- PRODUCER_CONFIG has no CLASS, and the step names none: its output would go nowhere.")
    if silent:
        raise ConfigError("\n".join(silent))


def run(step: Any) -> int:
    """The step to its end. SIGTERM and Ctrl-C let it finish the batch in hand."""
    progress = Progress()

    def stop(number: int, frame: Any) -> None:
        step.stop()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    name = f"{type(step).__name__} (contract {step.contract}.x)"
    try:
        life_cycle.run(step, progress)
    except Exception as error:
        logger.exception("%s failed in %s", name, life_cycle.stage_of(error) or "its consumer")
        sys.stderr.write(
            f"{name}: {progress}. Failed in {life_cycle.stage_of(error) or 'its consumer'}: {type(error).__name__}: "
            f"{error}\nThe batch in hand is not committed and comes again at the next start.\n"
        )
        return 1
    finally:
        if hasattr(step.consumer, "close"):
            step.consumer.close()
    sys.stdout.write(f"{name}: {progress}. {'Stopped.' if step.stopping else 'The consumer has no more.'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
