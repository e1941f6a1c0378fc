"""Written for APF 6.x."""

from __future__ import annotations
