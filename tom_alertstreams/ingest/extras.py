"""KEEP_EXTRAS: which extra fields a Target gets of an alert."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

from .options import IngestOptions
from .paths import find
from .reports import TargetReport

#: What an extra field can hold.
_VALUES: Final = (str, int, float)


def with_extras(report: TargetReport, content: object, options: IngestOptions) -> TargetReport:
    """The report with the extras that KEEP_EXTRAS names: those of its parser, else what the content has at that path."""
    if options.keep_extras is None:
        return report
    kept: dict[str, Any] = {}
    for name, path in options.extra_paths:
        value = report.extras[name] if name in report.extras else find(content, path)
        if isinstance(value, _VALUES) and not (isinstance(value, float) and not math.isfinite(value)):
            kept[name] = value
    return replace(report, extras=kept)
