"""Fixtures for all tests: brokers, databases, names that nobody else uses, and nothing left behind.

Servers come from the environment, as ``python -m tests.services`` sets it. A test whose server is missing is skipped
with the reason, or fails with REQUIRE_SERVICES=1.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import psycopg
import pytest

from tests import services
from tests.brokers import RealKafka, RunningKafka, ScriptedBroker, TokenEndpoint
from tests.browser import Browser
from tests.secret import PASSWORD, rows_that_show_it

ROOT = Path(__file__).resolve().parent.parent
KAFKA_FIXTURES = {"real_kafka", "own_kafka"}


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or fail it where services are required."""
    if services.required():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that uses a server's fixture has the server's mark."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if names & KAFKA_FIXTURES:
            item.add_marker(pytest.mark.kafka)
        if "postgres_url" in names:
            item.add_marker(pytest.mark.postgres)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look after the marks ``kafka`` and ``postgres``."""
    if item.get_closest_marker("kafka") and services.KAFKA_PLAINTEXT not in os.environ:
        reason = os.environ.get(services.KAFKA_MISSING) or RealKafka.missing()
        if reason:
            unavailable(f"Kafka cannot be run: {reason}")
    if item.get_closest_marker("postgres") and services.DATABASE not in os.environ:
        unavailable("needs PostgreSQL: `make test`, or `python -m tests.services --postgres -- pytest …`")


def pytest_configure(config: pytest.Config) -> None:
    """Make the directory that the settings named for the example TOM; who makes it deletes it.

    With xdist that is the controller: its workers come after it, find the directory, and are gone before it.
    """
    folder = Path(os.environ.get("EXAMPLE_TOM_RUN_DIR", ""))
    if not folder.exists():
        folder.mkdir(mode=0o700)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(scope="session")
def broker() -> Iterator[ScriptedBroker]:
    """The broker that the tests share. Use ``topic`` and ``group_id`` on it, and leave it up and well."""
    if not ScriptedBroker.available():
        unavailable("this confluent-kafka carries no librdkafka of its own")
    with ScriptedBroker() as shared:
        yield shared


@pytest.fixture
def own_broker() -> Iterator[ScriptedBroker]:
    """A broker for this test alone: to take down, to slow down, to let fail."""
    if not ScriptedBroker.available():
        unavailable("this confluent-kafka carries no librdkafka of its own")
    with ScriptedBroker() as own:
        yield own


@pytest.fixture
def topic() -> str:
    """A name for a topic that no other test uses. ``create_topic`` it for other than the default of 4 partitions."""
    return f"topic-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def group_id() -> str:
    """A name for a consumer group that no other test uses."""
    return f"group-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def real_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    """A real Kafka that the tests share: the one of the environment, else one of this session's own."""
    plaintext, sasl = os.environ.get(services.KAFKA_PLAINTEXT), os.environ.get(services.KAFKA_SASL)
    if plaintext and sasl:
        with RunningKafka(plaintext, sasl) as running:
            yield running
    else:
        with RealKafka(tmp_path_factory.mktemp("kafka")) as started:
            yield started


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[RealKafka]:
    """A real Kafka for this test alone, to stop, kill and start. It takes 4 s to come."""
    with RealKafka(tmp_path) as own:
        yield own


@pytest.fixture
def token_endpoint() -> Iterator[TokenEndpoint]:
    """Where clients get the tokens that a real Kafka takes."""
    with TokenEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The address of an empty PostgreSQL database for this test alone, as for programs that it starts."""
    server = os.environ[services.DATABASE]
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(urlsplit(server)._replace(path="/postgres").geturl(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def browser() -> Iterator[Browser]:
    """A browser for this test alone, in which nobody has logged in. It takes a second to come."""
    if reason := Browser.missing():
        unavailable(f"there is no browser: {reason}")
    with Browser() as own:
        yield own


@pytest.fixture
def fresh_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Handlers that know nothing of the test before, and a loop that waits for nothing longer than it has to."""
    from tests.effects import handlers
    from tom_alertstreams.delivery import loop

    handlers.reset()
    monkeypatch.setattr(loop, "_WAITING_EVERY_S", 0.02)
    monkeypatch.setattr(loop, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(loop, "_POLL_S", 0.05)
    yield
    handlers.reset()


@pytest.fixture(scope="session")
def samples() -> Path:
    """The directory of real alerts, named by ALERT_SAMPLES, or kept beside the checkout."""
    folder = Path(os.environ.get("ALERT_SAMPLES") or ROOT.parent / "shared" / "alerts")
    if not folder.is_dir():
        pytest.skip(f"no sample alerts in {folder}; ALERT_SAMPLES names another place")
    return folder


@pytest.fixture(scope="session", autouse=True)
def private_tmp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where temporary files of the tests and of the programs they start go, apart from everybody else's."""
    folder = tmp_path_factory.mktemp("tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def nothing_left(private_tmp: Path) -> Iterator[None]:
    """Fail a test that leaves a thread of ours (``alertstream…``) or a temporary file behind."""
    before = {path.name for path in private_tmp.iterdir()}
    yield
    deadline = time.monotonic() + 2
    while (threads := _our_threads()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not threads, f"still running: {threads}"
    files = {path.name for path in private_tmp.iterdir()} - before
    assert not files, f"left in the temporary directory: {files}"


@pytest.fixture(autouse=True)
def nothing_told(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail a test after which the password of its streams is in the log, or in a row."""
    from tom_alertstreams import redaction

    monkeypatch.setattr(redaction, "_secrets", set())  # those of the tests before are not known
    yield
    log = [caplog.handler.format(record) for record in caplog.get_records("call")]
    assert not [line for line in log if PASSWORD in line]
    if request.node.get_closest_marker("django_db"):
        assert not rows_that_show_it()


def _our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("alertstream")]
