"""``checkstreams`` on ALeRCE: which login its broker takes, whether the group may read, and what there is of each day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.brokers import PASSWORD, USER, RealKafka, RunningKafka, ScriptedBroker
from tests.brokers.tls import Certificate, tls_in_front_of
from tests.contract.test_login import ALERCE, Checked
from tests.marks import CORE_TABLES
from tests.streams import run_once
from tom_alertstreams.alertstreams.alertstream import get_alert_streams

pytestmark = CORE_TABLES

EACH = "tests.effects.handlers.each"
NEW_LOGIN = "set PROTOCOL 'SASL_SSL' and MECHANISM 'SCRAM-SHA-512'"
OLD_LOGIN = "set PROTOCOL 'SASL_PLAINTEXT' and MECHANISM 'SCRAM-SHA-256'"


def alerce(servers: str, **options: Any) -> dict[str, Any]:
    given = {
        "BOOTSTRAP_SERVERS": servers,
        "USERNAME": USER,
        "PASSWORD": PASSWORD,
        "TOPIC_HANDLERS": {"lc_classifier": EACH},
    }
    return {"NAME": ALERCE, "LABEL": "alerce", "OPTIONS": {**given, **options}}


def publish(broker: ScriptedBroker, count: int, *topics: str) -> None:
    for topic in topics:
        broker.create_topic(topic)
        for _ in range(count):
            broker.produce(topic, b"{}", partition=0)
    broker.flush()


@pytest.mark.both_databases
def test_the_days_of_each_key_and_how_far_behind(own_broker: ScriptedBroker, group_id: str) -> None:
    """The newest days first: there may be more names than are shown."""
    days = [f"2026123{number}" for number in range(2)] + [f"2027010{number}" for number in range(1, 4)]
    publish(own_broker, 3, *[f"lc_classifier_{day}" for day in days[:4]], "lc_classifier_ztf_20270103")
    options = {
        "USERNAME": "",
        "GROUP_ID": group_id,
        "TOPIC_HANDLERS": dict.fromkeys(("lc_classifier", "lc_classifier_ztf", "stamp_classifier"), EACH),
        "CONFIG": dict(own_broker.CONSUMER_CONFIG, **{"security.protocol": "PLAINTEXT"}),
    }
    run_once(get_alert_streams([alerce(own_broker.bootstrap_servers, **options)])[0])
    publish(own_broker, 2, f"lc_classifier_{days[4]}")
    for topic in (f"lc_classifier_{days[3]}", "lc_classifier_ztf_20270103"):
        own_broker.produce(topic, b"{}", partition=0)
    own_broker.flush()
    checked = Checked(alerce(own_broker.bootstrap_servers, **options))
    assert (checked.code, checked.err) == (0, "")
    lines = [line.strip() for line in checked.out.splitlines()]
    newest = ", ".join(f"lc_classifier_{day}" for day in reversed(days[2:]))
    assert f"5 topics: {newest}, …; 1 alert behind, not counting 1 partition not read yet" in lines
    assert "1 topic: lc_classifier_ztf_20270103; 1 alert behind" in lines
    assert "no topic yet" in lines
    assert any(line.startswith("logged in") and line.endswith("which takes this group") for line in lines)


def test_the_older_login_is_named_where_the_newer_is_not_taken(real_kafka: RunningKafka) -> None:
    """The defaults are those of today; this broker speaks no TLS."""
    checked = Checked(alerce(real_kafka.sasl_servers))
    assert checked.code == 1
    assert f"It does take this login: {OLD_LOGIN}." in checked.err
    assert Checked(alerce(real_kafka.sasl_servers, PROTOCOL="SASL_PLAINTEXT", MECHANISM="SCRAM-SHA-256")).code == 0


def test_the_newer_login_is_named_where_the_older_is_not_taken(real_kafka: RunningKafka, tmp_path: Path) -> None:
    certificate = Certificate.made_in(tmp_path)
    trust = {"ssl.ca.location": str(certificate.public), "ssl.endpoint.identification.algorithm": "none"}
    older = {"PROTOCOL": "SASL_PLAINTEXT", "MECHANISM": "SCRAM-SHA-256"}
    with tls_in_front_of(real_kafka.sasl_servers, certificate) as address:
        checked = Checked(alerce(address, CONFIG=trust, **older))
    assert checked.code == 1
    assert f"It does take this login: {NEW_LOGIN}." in checked.err


def test_a_wrong_password_is_none_of_the_login(real_kafka: RunningKafka) -> None:
    older = {"PROTOCOL": "SASL_PLAINTEXT", "MECHANISM": "SCRAM-SHA-256"}
    checked = Checked(alerce(real_kafka.sasl_servers, PASSWORD="not the password", **older))
    assert checked.code == 1
    assert checked.err.startswith("alerce: the user name or the password is wrong")
    assert "With PROTOCOL 'SASL_SSL' and MECHANISM 'SCRAM-SHA-512' it was tried too: we speak TLS" in checked.err
    assert "It does take" not in checked.err
    assert "not the password" not in checked.out + checked.err


def test_where_config_says_how_to_log_in_its_keys_are_named(real_kafka: RunningKafka) -> None:
    config = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}
    checked = Checked(alerce(real_kafka.sasl_servers, CONFIG=config))
    assert "set security.protocol 'SASL_PLAINTEXT' and sasl.mechanisms 'SCRAM-SHA-256'." in checked.err


def test_no_other_login_is_tried_where_the_address_is_wrong() -> None:
    checked = Checked(alerce("127.0.0.1:1"))
    assert "nothing listens at this address and port" in checked.err
    assert "tried too" not in checked.err


@pytest.mark.kafka
def test_a_group_without_the_prefix(tmp_path: Path) -> None:
    """As at ALeRCE's broker: a user may read with groups of one prefix only."""
    kafka = RealKafka(tmp_path)
    kafka._settings += (
        "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:ANONYMOUS\n"
    )
    login = {"PROTOCOL": "SASL_PLAINTEXT", "MECHANISM": "SCRAM-SHA-256"}
    with kafka:
        kafka.create_topic("lc_classifier_20270101")
        allow(kafka, ResourceType.TOPIC, "lc_", ResourcePatternType.PREFIXED)
        allow(kafka, ResourceType.GROUP, "tom_of_alice", ResourcePatternType.PREFIXED)
        wrong = Checked(alerce(kafka.sasl_servers, GROUP_ID=f"{USER}-night", **login))
        right = Checked(alerce(kafka.sasl_servers, GROUP_PREFIX="tom_of_alice", **login))
    assert wrong.code == 1
    assert f"the consumer group '{USER}-night' is not allowed" in wrong.err
    assert f"{USER!r} is not it. Put that prefix into GROUP_PREFIX" in wrong.err
    assert "1 topic: lc_classifier_20270101" in wrong.out
    assert "takes this group" not in wrong.out
    assert (right.code, right.err) == (0, "")
    assert "which takes this group" in right.out


def allow(kafka: RealKafka, kind: ResourceType, name: str, pattern: ResourcePatternType) -> None:
    """Let the user read."""
    binding = AclBinding(
        kind, name, pattern, f"User:{USER}", "*", AclOperation.READ, AclPermissionType.ALLOW
    )  # fmt: skip
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    admin.create_acls([binding])[binding].result(20)
