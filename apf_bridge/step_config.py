"""STEP_CONFIG as APF knows it: a dict, or what their settings.py or YAML says. Nothing here needs Django."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

#: Keys of CONSUMER_CONFIG with the number of messages of one call, the first that is given.
BATCH_KEYS: Final = ("consume.messages", "NUM_MESSAGES")


def read_config(given: Any) -> dict[str, Any]:
    """A STEP_CONFIG.

    :param given: a dict; or the path of a settings.py, which is run, or of a YAML file.
    :raises ValueError: it cannot be read, or is no STEP_CONFIG.
    """
    if isinstance(given, Mapping):
        return dict(given)
    if not isinstance(given, (str, Path)):
        raise ValueError(f"STEP_CONFIG is {given!r}; it is a dict, or the path of a settings.py or a YAML file.")
    path = Path(given)
    if not path.is_file():
        raise ValueError(f"STEP_CONFIG: there is no file {path}.")
    found = _of_yaml(path) if path.suffix in (".yaml", ".yml") else _of_python(path)
    if not isinstance(found, Mapping):
        raise ValueError(f"STEP_CONFIG: {path} holds no mapping.")
    return dict(found)


def _of_yaml(path: Path) -> Any:
    import yaml

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"STEP_CONFIG: {path} is no YAML: {error}") from error
    return found.get("STEP_CONFIG", found) if isinstance(found, Mapping) else found


def _of_python(path: Path) -> Any:
    """What the file calls STEP_CONFIG; else what its ``settings_factory()`` or ``config()`` returns."""
    try:
        names = runpy.run_path(str(path))
        if "STEP_CONFIG" in names:
            return names["STEP_CONFIG"]
        for name in ("settings_factory", "config", "settings_creator"):
            if callable(names.get(name)):
                return names[name]()
    except Exception as error:
        raise ValueError(f"STEP_CONFIG: {path} cannot be run: {type(error).__name__}: {error}") from error
    raise ValueError(f"STEP_CONFIG: {path} names no STEP_CONFIG.")


def section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """CONSUMER_CONFIG, PRODUCER_CONFIG or METRICS_CONFIG; empty where there is none.

    :raises ValueError: it is no mapping.
    """
    found = config.get(name)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{name} in STEP_CONFIG is {type(found).__name__}; it is a dict.")
    return found


def messages_at_once(config: Mapping[str, Any]) -> int | None:
    """How many messages one call of the step gets; None: as many as there are. APF's own default is one.

    :raises ValueError: it is no number above 0.
    """
    consumer = section(config, "CONSUMER_CONFIG")
    if not consumer:
        return None
    key = next((name for name in BATCH_KEYS if name in consumer), None)
    if key is None:
        return 1
    try:
        number = int(consumer[key])
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise ValueError(f"{key} in CONSUMER_CONFIG is {consumer[key]!r}; it is a number above 0.")
    return number


def producer_params(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Key of STEP_CONFIG → PARAMS of the Kafka producer that it configures. Steps may have several."""
    return {
        str(name): found["PARAMS"]
        for name, found in config.items()
        if "PRODUCER" in str(name).upper() and isinstance(found, Mapping) and isinstance(found.get("PARAMS"), Mapping)
    }
