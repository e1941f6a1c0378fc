"""What all simulated brokers share: a message, a place on the sky, a date."""

from __future__ import annotations

import math
import random
import string
from dataclasses import dataclass
from datetime import datetime

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Message:
    """One Kafka message. Without a value it is a tombstone."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers | None = None
    partition: int = 0


def seeded(seed: str) -> random.Random:
    """The same numbers for the same seed, on every machine."""
    return random.Random(seed)  # noqa: S311  (nothing secret)


def somewhere(choice: random.Random, lowest: float = -30.0, highest: float = 85.0) -> tuple[float, float]:
    """Right ascension and declination (degrees), evenly spread over the sky between two declinations."""
    low, high = (math.sin(math.radians(limit)) for limit in (lowest, highest))
    return round(choice.uniform(0, 360), 6), round(math.degrees(math.asin(choice.uniform(low, high))), 6)


def scattered(choice: random.Random, ra: float, dec: float, sigma_deg: float) -> tuple[float, float]:
    """A position measured with an error."""
    dec_found = max(-90.0, min(90.0, dec + choice.gauss(0, sigma_deg)))
    ra_found = ra + choice.gauss(0, sigma_deg) / max(0.01, math.cos(math.radians(dec)))
    return round(ra_found % 360, 6), round(dec_found, 6)


def letters(choice: random.Random, count: int) -> str:
    """Lower-case letters, for names."""
    return "".join(choice.choices(string.ascii_lowercase, k=count))


def iso(time: datetime) -> str:
    """``2026-11-22T05:06:07.089Z``."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def julian_date(time: datetime) -> float:
    """JD (UTC)."""
    return time.timestamp() / 86400 + 2440587.5
