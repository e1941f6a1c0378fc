"""A Kafka and a PostgreSQL of our own, to be taken away and given back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import psycopg
from confluent_kafka import KafkaException

from tests.brokers.real import RealKafka
from tests.postgres import PostgresServer


class Servers:
    """Both servers, while the ``with`` block runs. Nothing of them is left after it."""

    def __init__(self, folder: Path) -> None:
        """:param folder: an existing directory for Kafka's data, deleted by whoever made it."""
        self.kafka = RealKafka(folder)
        self.postgres = PostgresServer()

    @staticmethod
    def missing() -> str:
        """Why they cannot be run here; empty where they can."""
        return RealKafka.missing() or PostgresServer.missing()

    def __enter__(self) -> Servers:
        try:
            with ThreadPoolExecutor(2) as starters:
                for started in [starters.submit(self.kafka.start), starters.submit(self.postgres.start)]:
                    started.result()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        try:
            self.kafka.close()
        finally:
            self.postgres.stop()

    @contextmanager
    def database(self) -> Iterator[str]:
        """The address of an empty database."""
        name = f"night_{uuid.uuid4().hex[:12]}"
        self._administer(f"CREATE DATABASE {name}")
        try:
            yield self.postgres.url(name)
        finally:
            with suppress(psycopg.OperationalError):  # interrupted while it was away: then it goes with its server
                self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def topic(self, name: str, partitions: int) -> Iterator[None]:
        """An empty topic."""
        self.kafka.create_topic(name, partitions)
        try:
            yield
        finally:
            with suppress(KafkaException, TimeoutError):  # as above
                self.kafka.delete_topic(name)

    def _administer(self, statement: str) -> None:
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]
