"""Kafka for the tests: a mock cluster under remote control, a real Apache Kafka, and an OAuth token endpoint."""

from __future__ import annotations

from tests.brokers.real import PASSWORD, USER, RealKafka, RunningKafka
from tests.brokers.scripted import ScriptedBroker, read
from tests.brokers.tokens import TokenEndpoint, TokenRequest
from tom_alertstreams.testing import EmbeddedBroker

__all__ = [
    "PASSWORD",
    "USER",
    "EmbeddedBroker",
    "RealKafka",
    "RunningKafka",
    "ScriptedBroker",
    "TokenEndpoint",
    "TokenRequest",
    "read",
]
