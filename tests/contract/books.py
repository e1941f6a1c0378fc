"""What goes in, and the books of what became of it: for tests of bad input and of bad handlers."""

from __future__ import annotations

from collections import Counter

from tests.brokers import ScriptedBroker
from tests.streams import effects, next_offset
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.models import DeadLetter, OutcomeCount, Rejection

Message = tuple[bytes | None, bytes | None]  # value and key


def publish(broker: ScriptedBroker, topic: str, messages: list[Message]) -> None:
    """Write messages to the first partition of a new topic."""
    broker.create_topic(topic)
    for value, key in messages:
        broker.produce(topic, value, key=key)
    broker.flush()


def balanced(topic: str, messages: list[Message], group_id: str, label: str = "test") -> None:
    """Every alert has one outcome, the offset is behind the last, and what is kept is kept as it came."""
    assert next_offset(group_id, topic) == len(messages)
    rows = OutcomeCount.objects.filter(stream=label, topic=topic).values_list("outcome", "n")
    total: Counter[str] = Counter()
    for outcome, n in rows:
        total[outcome] += n
    letters = list(DeadLetter.objects.filter(stream=label, topic=topic))
    waiting = [letter for letter in letters if letter.state == DeadLetter.State.WAITING]
    assert total["done"] + total["rejected"] + total["dead"] + len(waiting) == len(messages)
    assert total["dead"] == len(letters) - len(waiting)
    for letter in letters:
        kept = tuple(None if field is None else bytes(field) for field in (letter.raw, letter.key))
        assert kept == messages[letter.offset]


def outcomes(topic: str, count: int) -> dict[int, str]:
    """Offset → done, rejected:code or dead:class of the error. More than one outcome of an alert fails here."""
    found = [(offset, f"dead:{name}") for offset, name in DeadLetter.objects.values_list("offset", "error_class")]
    found += [(offset, f"rejected:{code}") for offset, code in Rejection.objects.values_list("offset", "code")]
    written = {*TargetAlert.objects.filter(topic=topic).values_list("offset", flat=True), *effects(topic)}
    found += [(offset, "done") for offset in written]
    assert len(found) == len(dict(found)) == count
    return dict(sorted(found))
