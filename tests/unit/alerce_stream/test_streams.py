"""OPTIONS of the stream."""

from __future__ import annotations

from typing import Any

import pytest

from alerce_stream.api import API_URL, RATE
from alerce_stream.options import AlerceOptions
from alerce_stream.resolver import Position
from alerce_stream.streams import AlerceAlertStream
from tom_alertstreams.alertstreams.alertstream import get_alert_streams
from tom_alertstreams.alertstreams.diagnosis import Failure
from tom_alertstreams.exceptions import ConfigurationError
from tom_alertstreams.models import Installation

HANDLER = "alerce_stream.handlers.ingest_classifications"
LOGIN = {"USERNAME": "ourgroup", "PASSWORD": "not-a-real-password"}


def stream(**options: Any) -> AlerceAlertStream:
    options = {**LOGIN, "TOPIC_HANDLERS": {"lc_classifier": HANDLER}, **options}
    made = get_alert_streams([{"NAME": "alerce_stream.streams.AlerceAlertStream", "OPTIONS": options}])[0]
    assert isinstance(made, AlerceAlertStream)
    return made


def positions_from_a_file(object_ids: list[str], api_url: str) -> dict[str, Position]:
    return {name: Position(1.0, 2.0) for name in object_ids}


def test_defaults() -> None:
    made = stream()
    assert made.settings.label == "alerce"
    assert made.start == "earliest"
    assert made.consumer_config() == {
        "bootstrap.servers": "kafka.alerce.science:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": "ourgroup",
        "sasl.password": "not-a-real-password",
    }


def test_the_older_login() -> None:
    config = stream(PROTOCOL="SASL_PLAINTEXT", MECHANISM="SCRAM-SHA-256").consumer_config()
    assert (config["security.protocol"], config["sasl.mechanisms"]) == ("SASL_PLAINTEXT", "SCRAM-SHA-256")


def test_without_login_and_config_last() -> None:
    made = stream(USERNAME="", BOOTSTRAP_SERVERS="127.0.0.1:9", CONFIG={"security.protocol": "PLAINTEXT"})
    assert made.consumer_config() == {"bootstrap.servers": "127.0.0.1:9", "security.protocol": "PLAINTEXT"}
    assert stream(USERNAME="", PROTOCOL="SASL_PLAINTEXT").consumer_config()["security.protocol"] == "PLAINTEXT"


def test_a_group_of_another_prefix_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match="'night' does not begin with 'ourgroup'") as caught:
        stream(GROUP_ID="night")
    assert "'ourgroup-night'" in (caught.value.hint or "")
    with pytest.raises(ConfigurationError, match="does not begin with 'given'"):
        stream(GROUP_ID="ourgroup-night", GROUP_PREFIX="given")
    with pytest.raises(ConfigurationError, match="does not begin with"):
        stream(CONFIG={"group.id": "night"})


@pytest.mark.parametrize(
    ("options", "others"),
    [
        ({}, [("SASL_PLAINTEXT", "SCRAM-SHA-256")]),
        ({"PROTOCOL": "sasl_plaintext", "MECHANISM": "SCRAM-SHA-256"}, [("SASL_SSL", "SCRAM-SHA-512")]),
        ({"PROTOCOL": "SASL_PLAINTEXT"}, [("SASL_SSL", "SCRAM-SHA-512"), ("SASL_PLAINTEXT", "SCRAM-SHA-256")]),
        ({"CONFIG": {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-256"}},
         [("SASL_SSL", "SCRAM-SHA-512")]),
        ({"USERNAME": ""}, []),
    ],
)  # fmt: skip
def test_the_logins_that_are_tried_where_ours_is_refused(
    options: dict[str, Any], others: list[tuple[str, str]]
) -> None:
    configs = list(stream(**options).other_logins().values())
    assert [(config["security.protocol"], config["sasl.mechanisms"]) for config in configs] == others
    for config in configs:
        assert "sasl.mechanism" not in config  # the same setting by another name
        assert (config["bootstrap.servers"], config["sasl.username"]) == ("kafka.alerce.science:9093", "ourgroup")


def test_a_refused_group_is_explained() -> None:
    made = stream(GROUP_ID="given-night", GROUP_PREFIX="given")
    explained = made.explain(Failure("group", "any", "said")).message
    assert "'given-night' is not allowed" in explained
    assert "GROUP_PREFIX" in explained
    other = Failure("password", "any", "said")
    assert made.explain(other) == other


@pytest.mark.django_db
def test_the_group() -> None:
    assert stream(GROUP_ID="ourgroup-night").group_id == "ourgroup-night"
    assert stream(GROUP_ID="given.night", GROUP_PREFIX="given").group_id == "given.night"
    assert stream(CONFIG={"group.id": "ourgroup-config"}).group_id == "ourgroup-config"
    installation = Installation.current().id
    assert stream().group_id == stream(GROUP_ID=None).group_id == f"ourgroup-{installation}"
    assert stream(GROUP_PREFIX="given").group_id == f"given-{installation}"
    assert stream(USERNAME="").group_id == f"tom-{installation}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"PASSWORD": None}, "PASSWORD is missing"),
        ({"RESOLVER": "no.such.function"}, "RESOLVER 'no.such.function' cannot be imported"),
        ({"RESOLVER": "alerce_stream.api.API_URL"}, "is not a function"),
        ({"RATE": 0}, "RATE is a number of requests a second, 0.1 to 100"),
        ({"RATE": "3"}, "RATE is a number"),
        ({"API_URL": "api.alerce.online"}, "API_URL begins with"),
        ({"SCHEMA": "/no/such/file.avsc"}, "does not exist"),
        ({"TOPIC_HANDLERS": {}}, "TOPIC_HANDLERS is empty"),
        ({"TOPIC_HANDLERS": {r"lc_classifier_\d{8}": HANDLER}}, "would match no topic"),
    ],
)
def test_wrong_options_are_told_at_the_start(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        stream(**options)


def test_the_handler_learns_the_streams_resolver_unless_it_has_its_own() -> None:
    own = {"HANDLER": HANDLER, "OPTIONS": {"API_URL": "http://own/", "CLASSES": ["SN"], "RATE": 2.5}}
    plain = "tom_alertstreams.alertstreams.alertstream.alert_logger"
    made = stream(
        TOPIC_HANDLERS={"lc_classifier": HANDLER, "stamp_classifier": own, "other": plain},
        RESOLVER=f"{__name__}.positions_from_a_file",
        API_URL="http://mirror/v1",
        RATE=5,
    )
    options = {key: binding.handler.options for key, binding in made.bindings.items()}
    assert options["other"] is None
    assert options["lc_classifier"].address == "http://mirror/v1"
    assert options["lc_classifier"].resolver.endswith("positions_from_a_file")
    assert options["stamp_classifier"].address == "http://own"
    assert [options[key].requests_a_second for key in ("lc_classifier", "stamp_classifier")] == [5, 2.5]
    assert options["stamp_classifier"].classes == ("SN",)
    assert made.bindings is made.bindings


def test_alerces_api_is_the_default() -> None:
    options = AlerceOptions()
    assert (options.resolver, options.address, options.requests_a_second) == (None, API_URL, RATE)


def test_the_password_is_not_shown() -> None:
    assert "not-a-real-password" not in repr(stream()) + repr(stream().settings)
