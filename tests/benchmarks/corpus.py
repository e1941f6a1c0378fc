"""The alerts that are measured with: flat JSON of some 200 bytes, the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from tests.brokers import RunningKafka

PARTITIONS = 4
#: As of 2026, and far from any daylight saving.
FIRST_MJD = 61_350.0
_BANDS = "ugrizy"
#: Bytes that the client may hold.
_FLUSH_EVERY = 8_000_000


def position(number: int) -> tuple[float, float]:
    """RA and Dec (degrees) of the object of this number: spread evenly, of millions no two within an arcminute."""
    # Roberts' R2 sequence: the powers of 1 / 1.3247, the "plastic number".
    return round(360 * (number * 0.754_877_666_246_692_7 % 1), 7), round(
        -60 + 120 * (number * 0.569_840_290_998_053_2 % 1), 7
    )


def alerts(count: int, objects: int, *, each_its_own_name: bool = False) -> Iterator[dict[str, object]]:
    """So many alerts of so many objects, drawn at random, the same in each call.

    :param each_its_own_name: no two alerts have the same object id: an object is known by its position alone.
    """
    dice = random.Random(count * 31 + objects)
    for n in range(count):
        number = dice.randrange(objects)
        ra, dec = position(number)
        yield {
            "objectId": f"ZTF27{n:07d}" if each_its_own_name else f"ZTF26{number:07d}",
            "candid": 3_000_000_000_000_000_001 + n,
            "ra": ra,
            "dec": dec,
            "mjd": round(FIRST_MJD + n * 1e-5, 7),
            "mag": round(dice.uniform(16, 21), 4),
            "mag_error": round(dice.uniform(0.01, 0.3), 4),
            "band": dice.choice(_BANDS),
            "rb": round(dice.random(), 4),
            "classification": "SN",
        }


def publish(kafka: RunningKafka, topic: str, values: Iterable[bytes]) -> None:
    """Send these messages, in turn to each partition."""
    waiting = 0
    for n, value in enumerate(values):
        kafka.produce(topic, value, partition=n % PARTITIONS)
        waiting += len(value)
        if waiting > _FLUSH_EVERY:
            kafka.flush(60)
            waiting = 0
    kafka.flush(60)
