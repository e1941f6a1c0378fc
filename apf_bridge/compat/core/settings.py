"""``apf.core.settings``: configs written as YAML. PyYAML is the step's own requirement."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def config_from_yaml_file(path: str | Path) -> Any:
    return config_from_yaml_string(Path(path).read_text(encoding="utf-8"))


def config_from_yaml_string(yaml_text: str) -> Any:
    """
    :raises ImportError: PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError("A config in YAML needs PyYAML: pip install pyyaml.") from error
    return yaml.safe_load(yaml_text)
