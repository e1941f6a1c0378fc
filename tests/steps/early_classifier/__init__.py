"""Written for APF 1.x."""

from __future__ import annotations
