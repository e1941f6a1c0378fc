"""What librdkafka does not take is found at the start, and what costs the order is told."""

from __future__ import annotations

from typing import Any

import pytest

from apf_bridge.client_config import client_config
from apf_bridge.options import StepOptions
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.handlers import resolve

from .parts import config


def given(**params: Any) -> dict[str, Any]:
    producer = {
        "CLASS": "apf.producers.KafkaProducer",
        "TOPIC": "out",
        "SCHEMA": {"type": "record", "name": "a", "fields": []},
    }
    return {**config(), "PRODUCER_CONFIG": {**producer, "PARAMS": {"bootstrap.servers": "nowhere:9", **params}}}


@pytest.mark.parametrize("params", [{"acks": 1}, {"retries": 0}, {"max.in.flight": 10}, {"queuing.strategy": "lifo"}])
def test_params_that_exclude_idempotence_are_taken_with_a_warning(
    params: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    StepOptions("apf.core.step.GenericStep", given(**params))
    assert caplog.text.count("PARAMS of PRODUCER_CONFIG exclude an idempotent producer") == 1
    found = client_config(params)
    assert found["enable.idempotence"] is False
    assert found["max.in.flight"] == params.get("max.in.flight", 1)


@pytest.mark.parametrize("params", [{}, {"acks": "all"}, {"message.timeout.ms": 5000}, {"enable.idempotence": False}])
def test_params_that_fit_are_taken_in_silence(params: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    StepOptions("apf.core.step.GenericStep", given(**params))
    assert not caplog.text


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"bootstrap.server": "nowhere:9"}, "bootstrap.server"),
        ({"partitioner": "best"}, "partitioner"),
        ({"enable.idempotence": True, "acks": 1}, "acks"),
    ],
)
def test_params_that_librdkafka_does_not_know_are_an_error_at_the_start(params: dict[str, Any], reason: str) -> None:
    options = {"STEP": "apf.core.step.GenericStep", "STEP_CONFIG": given(**params)}
    with pytest.raises(ConfigurationError, match=f"PARAMS of PRODUCER_CONFIG cannot be used: .*{reason}"):
        resolve("apf_bridge.handlers.run_step", options)


def test_params_of_another_kind_of_producer_are_its_own() -> None:
    own = {"CLASS": "theirs.S3Producer", "PARAMS": {"bucket": "night"}}
    StepOptions("apf.core.step.GenericStep", {**config(), "S3_PRODUCER_CONFIG": own})
