"""Written for APF 2.x."""

from __future__ import annotations
