"""What goes wrong in a command, told in one line without a traceback and without secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaException
from django.core.management.base import CommandError
from django.db import DatabaseError

from tom_alertstreams.exceptions import AlertStreamError
from tom_alertstreams.redaction import redact


@contextmanager
def plain_errors() -> Iterator[None]:
    """:raises CommandError: the settings, the broker or the database are not as they have to be."""
    try:
        yield
    except AlertStreamError as error:
        raise CommandError(redact(str(error))) from error
    except KafkaException as error:
        raise CommandError(redact(f"Kafka's client: {error.args[0].str()}.")) from error
    except OverflowError as error:  # of SQLite
        raise CommandError("a number is larger than any in the database.") from error
    except DatabaseError as error:
        text = redact(str(error)).strip()
        raise CommandError(
            f"the database cannot be used: {text}. If tables or columns are missing, run ./manage.py migrate."
        ) from error
