"""``apf.core.types``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Message = dict[str, Any]
MessageBatch = Iterable[Message]
