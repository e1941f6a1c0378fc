"""The settings of a step: a dict, or what its settings.py or YAML says. Nothing here needs Django."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any, Final

from apf_bridge.compat.consumers.generic import batch_size
from apf_bridge.compat.core.config_keys import ConfigError
from apf_bridge.compat.core.settings import config_from_yaml_file

from .shims import install

#: Functions of a settings.py that make its STEP_CONFIG, where it names none.
_FACTORIES: Final = ("settings_factory", "config", "settings_creator")
#: Where settings.py were run.
_folders: set[Path] = set()


def read_config(given: Any) -> dict[str, Any]:
    """A STEP_CONFIG.

    :param given: a dict; or the path of a settings.py, which is run, or of a YAML file.
    :raises ConfigError: it cannot be read, or is no STEP_CONFIG.
    """
    if isinstance(given, Mapping):
        return dict(given)
    if not isinstance(given, (str, Path)):
        raise ConfigError(f"STEP_CONFIG is {given!r}; it is a dict, or the path of a settings.py or a YAML file.")
    path = list(sys.path)
    try:
        return dict(read_settings(Path(given))["STEP_CONFIG"])
    except ConfigError as error:
        raise ConfigError(*(f"STEP_CONFIG: {given} cannot be used: {problem}" for problem in error.problems)) from error
    finally:
        sys.path[:] = path  # the TOM's modules are found where they were: MODULE/MODULE/step.py is MODULE.MODULE.step


def read_settings(path: Path) -> dict[str, Any]:
    """All that a settings.py names, or a YAML; STEP_CONFIG, a dict, is among it. Its folder is the first on the path then.

    A CONSUMER_CONFIG that STEP_CONFIG lacks and that stands beside it is taken into it.

    :raises ConfigError: there is no such file, it fails or exits, or it has no STEP_CONFIG.
    """
    if not path.is_file():
        whole = "" if path.is_absolute() else " from the working directory; give its whole path, from BASE_DIR in a TOM"
        raise ConfigError(f"There is no such file{whole}.")
    try:
        found = _of_yaml(path) if path.suffix in (".yaml", ".yml") else _of_python(path)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{type(error).__name__}: {error}") from error
    if not isinstance(found.get("STEP_CONFIG"), dict):
        raise ConfigError("It has no STEP_CONFIG, a dict.")
    return _with_what_is_beside(found)


class Beside(dict[str, Any]):
    """A section of STEP_CONFIG that stood beside it."""


def _with_what_is_beside(settings: Mapping[str, Any]) -> dict[str, Any]:
    """In APF 1.x CONSUMER_CONFIG stood there. Who leaves out another section may mean that nothing is put out or measured."""
    config = dict(settings["STEP_CONFIG"])
    if "CONSUMER_CONFIG" not in config and (found := section(settings, "CONSUMER_CONFIG")):
        config["CONSUMER_CONFIG"] = Beside(found)
    return {**settings, "STEP_CONFIG": config}


def _of_yaml(path: Path) -> dict[str, Any]:
    content = config_from_yaml_file(path)
    return content if isinstance(content, dict) and "STEP_CONFIG" in content else {"STEP_CONFIG": content}


def _of_python(path: Path) -> dict[str, Any]:
    """As Python runs a script: it may import ``apf``, and what is beside it."""
    install()
    _put_first(path.resolve().parent)
    spec = importlib.util.spec_from_file_location("settings", path)
    if spec is None or spec.loader is None:
        raise ConfigError("It is neither Python nor YAML.")
    module = importlib.util.module_from_spec(spec)
    if os.environ.get("DJANGO_SETTINGS_MODULE") != "settings":  # else the name is the TOM's
        sys.modules["settings"] = module  # steps import it by that name
    spec.loader.exec_module(module)
    found = vars(module)
    factory = next((found[name] for name in _FACTORIES if callable(found.get(name))), None)
    return found if "STEP_CONFIG" in found or factory is None else {**found, "STEP_CONFIG": factory()}


def _put_first(folder: Path) -> None:
    """What is beside this file goes before what of the same name is beside another step's, of which there may be several."""
    others = _folders - {folder}
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "")
        if file.parent in others and (folder / file.name).is_file():
            del sys.modules[name]
    _folders.add(folder)
    sys.path[:] = [str(folder), *(path for path in sys.path if path != str(folder))]


def named(settings: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """What settings.py says beside its STEP_CONFIG, else in it: ALeRCE's steps have it in either place."""
    return settings.get(name, settings["STEP_CONFIG"].get(name, default))


def section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """CONSUMER_CONFIG, PRODUCER_CONFIG or METRICS_CONFIG; empty where there is none."""
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def copied(value: Any) -> Any:
    """A STEP_CONFIG for one step to change: its dicts and lists anew, however deep. All else in it is the same object."""
    if isinstance(value, dict):
        made = copy(value)  # also of a class of its own
        made.update({key: copied(item) for key, item in value.items()})
        return made
    return [copied(item) for item in value] if isinstance(value, list) else value


def messages_at_once(config: Mapping[str, Any]) -> int | None:
    """How many messages one call of the step gets; None: as many as there are. APF's own default is one.

    :raises ValueError: it is no number above 0.
    """
    consumer = section(config, "CONSUMER_CONFIG")
    return batch_size(consumer) if consumer else None


def producer_params(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Key of STEP_CONFIG → PARAMS of the Kafka producer that it configures. Steps may have several."""
    return {
        str(name): found["PARAMS"]
        for name, found in config.items()
        if "PRODUCER" in str(name).upper() and isinstance(found, Mapping) and isinstance(found.get("PARAMS"), Mapping)
    }
