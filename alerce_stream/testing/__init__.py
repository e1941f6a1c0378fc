"""Simulated nights of ALeRCE and a stand-in for its web API: for tests, demonstrations, and to try rules without access.

::

    night = SimulatedNight(objects=50, changing=0.2)
    with EmbeddedBroker() as broker, StubApi(night.positions) as api:
        night.publish(broker)
        ...  # a stream with BOOTSTRAP_SERVERS broker.bootstrap_servers, USERNAME "" and API_URL api.url
        night.final["ZTF26abcdefg"]["lc_classifier"]  # what the TOM must say of this object in the end

Any broker will do: ``night.publish(confluent_kafka.Producer({"bootstrap.servers": …}))``.
"""

from __future__ import annotations

from .night import SimulatedNight
from .sending import Producer, Said, SimulatedMessage, send
from .stories import BRANCHES, SimulatedObject
from .stub_api import StubApi
from .stub_light_curves import detection, forced, light_curve, non_detection
from .wire import Framing, encode

__all__ = [
    "BRANCHES", "Framing", "Producer", "Said", "SimulatedMessage", "SimulatedNight", "SimulatedObject", "StubApi",
    "detection", "encode", "forced", "light_curve", "non_detection", "send",
]  # fmt: skip
