"""Real messages with bytes flipped, cut, spliced and swapped: every one of them is accounted for once.

MUTATED_MESSAGES=10000 makes more of them, MUTATION_SEED others. They go through the delivery loop as a stream's own
messages do, with the ready-made handlers, from a broker in memory.
"""

from __future__ import annotations

import logging
import math
import os
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import models
from hop import bson

from tests.faults import mutations
from tests.faults.corpora import CORPORA, deliver
from tests.faults.model.clock import Clock
from tests.faults.model.kafka import Kafka, Record
from tests.faults.mutations import Sample
from tom_alertstreams.alertstreams.offloaded import OffloadedMessages
from tom_alertstreams.exceptions import RetryLater

MESSAGES = int(os.environ.get("MUTATED_MESSAGES", "600"))
SEED = int(os.environ.get("MUTATION_SEED", "20261101"))
#: So many are sent before they are read and the books are looked at.
AT_ONCE = 500
#: One in a hundred is at least so large (bytes).
LARGE = 500_000
#: What all of it may need of memory at any moment, beyond what the process has at first.
MOST_BYTES = 600 * 1024 * 1024

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.both_databases,
    pytest.mark.long,
    pytest.mark.timeout(120 if MESSAGES < 2000 else 3600),
]


def children() -> set[str]:
    """The processes that this thread has started and that still run; nothing where /proc does not tell."""
    told = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    return set(told.read_text().split()) if told.exists() else set()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network, no log, and nothing left running."""

    def refuse(_socket: socket.socket, address: Any) -> None:
        raise AssertionError(f"a message made us connect to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    threads, processes = set(threading.enumerate()), children()
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    assert set(threading.enumerate()) <= threads
    assert children() <= processes


@pytest.mark.parametrize("name", CORPORA)
def test_every_one_is_accounted_for(name: str, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus, dice = CORPORA[name], random.Random(f"{SEED} {name}")
    fetch_from_nowhere(monkeypatch, dice)
    every = corpus.samples(samples)
    found = [sample for sample in every if len(sample.record.value or b"") < LARGE]
    large = [sample for sample in every if sample not in found]
    partitions = [(topic, 0) for topic in sorted({sample.topic for sample in every})]
    kafka = Kafka(partitions, Clock(), lambda: None)
    count, ends = MESSAGES // len(CORPORA), Counter[str]()
    with bounded_memory():
        for first in range(0, count, AT_ONCE):
            sent = [mutations.spoiled(dice.choice(found), found, dice) for _ in range(min(AT_ONCE, count - first))]
            sent += [mutations.spoiled(dice.choice(large), found, dice) for _ in sent[::100] if large]
            sent += every if first == 0 else found[::7]  # whole ones go through among them
            ends += deliver(corpus, kafka, sent, monkeypatch)
    print(f"MUTATION_SEED={SEED} {name}: {dict(ends)}")
    check_what_is_stored()
    assert ends["done"] > count / 50
    assert ends["dead"] > count / 50


@contextmanager
def bounded_memory() -> Iterator[None]:
    """The largest resident size in this block is no more than MOST_BYTES above the first."""
    if not Path("/proc/self/clear_refs").exists():  # as anywhere but on Linux
        yield
        return
    Path("/proc/self/clear_refs").write_text("5")  # forget the largest size until now
    before = _largest_size()
    yield
    assert _largest_size() - before < MOST_BYTES


def _largest_size() -> int:
    words = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()
    return 1024 * int(words[0])


def fetch_from_nowhere(monkeypatch: pytest.MonkeyPatch, dice: random.Random) -> None:
    """Messages that are stored elsewhere: spoilt addresses are not asked, answers are spoilt too."""
    metadata = {"headers": [["_format", b"json"]], "timestamp": 1_700_000_000_000, "key": None}
    stored = Sample("stored", "", Record(bson.dumps({"message": b'{"title": "a", "data": {}}', "metadata": metadata})))

    def get(_messages: OffloadedMessages, url: str) -> bytes:
        if dice.random() < 0.2:
            raise RetryLater(120.0, "nowhere", 3600.0)
        return mutations.spoiled(stored, [stored], dice).record.value or b""

    monkeypatch.setattr(OffloadedMessages, "_get", get)


def check_what_is_stored() -> None:
    """SQLite takes what PostgreSQL would refuse: texts that are too long or hold NUL, numbers that are none."""
    for model in apps.get_models():
        names = [field.attname for field in model._meta.concrete_fields]
        lengths = {f.attname: f.max_length for f in model._meta.concrete_fields if isinstance(f, models.CharField)}
        for row in model._default_manager.values(*names).iterator():
            for column, value in row.items():
                told = f"{model.__name__}.{column} = {value!r:.300}"
                assert is_storable(value), told
                limit = lengths.get(column)
                assert limit is None or value is None or len(value) <= limit, told


def is_storable(value: Any) -> bool:
    """No NUL, no half surrogate, no NaN and no infinity, at any depth."""
    if isinstance(value, str):
        return "\x00" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(is_storable(key) and is_storable(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(is_storable(item) for item in value)
    return True
