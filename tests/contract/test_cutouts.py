"""A handler that says that it does not read cutouts sees what is left; nobody else, and no dead letter, lacks them."""

from __future__ import annotations

import io
from typing import Any, Final

import fastavro
import pytest

from tests.brokers import ScriptedBroker
from tests.effects import handlers
from tests.effects.models import Effect
from tests.marks import CORE_TABLES
from tests.streams import make, run_once
from tom_alertstreams.alertstreams.alertstream import AlertStream
from tom_alertstreams.delivery.letters import LetterFilter
from tom_alertstreams.delivery.replay import replay
from tom_alertstreams.delivery.trial import try_alert
from tom_alertstreams.models import DeadLetter

pytestmark = [CORE_TABLES, pytest.mark.usefixtures("fresh_handlers")]

CONTENT: Final = {"objectId": "ZTF26aaaaaaa", "cutoutScience": b"fits", "cutoutTemplate": None}
REST: Final = {"objectId": "ZTF26aaaaaaa"}


def _packet() -> bytes:
    image = ["null", "bytes"]
    fields = [{"name": name, "type": "string" if name == "objectId" else image} for name in CONTENT]
    file = io.BytesIO()
    fastavro.writer(file, {"type": "record", "name": "alert", "fields": fields}, [CONTENT], sync_marker=b"s" * 16)
    return file.getvalue()


PACKET: Final = _packet()


def seen() -> dict[str, str]:
    """Topic → content, as its handler saw it."""
    return dict(Effect.objects.values_list("topic", "note"))


def test_two_handlers_of_one_stream(broker: ScriptedBroker, topic: str, group_id: str) -> None:
    names = f"{topic}-small", f"{topic}-whole"
    for name in names:
        broker.create_topic(name)
        broker.produce(name, PACKET)
    broker.flush()
    stream = make(broker.bootstrap_servers, group_id, {f"{topic}-s*": "each_without_cutouts", f"{topic}-*": "each"})
    run_once(stream)
    assert seen() == {names[0]: str(REST), names[1]: str(CONTENT)}


def test_a_dead_letter_is_whole_and_replayed_as_its_handler_reads(
    broker: ScriptedBroker, topic: str, group_id: str
) -> None:
    broker.create_topic(topic)
    broker.produce(topic, PACKET)
    broker.flush()

    def stream(handler: str) -> AlertStream:
        delivery = {"RETRY": {"TOTAL": 1}}
        return make(broker.bootstrap_servers, group_id, {topic: handler}, delivery=delivery)

    handlers.trouble.append(fail)
    run_once(stream("each_without_cutouts"))
    assert bytes(DeadLetter.objects.get().raw or b"") == PACKET
    for handler, content in (("each_without_cutouts", REST), ("each", CONTENT)):
        handlers.trouble[:] = []
        DeadLetter.objects.update(state="open")
        list(replay(LetterFilter().rows(), lambda _label, handler=handler: stream(handler)))  # type: ignore[misc]
        assert seen() == {topic: str(content)}
        Effect.objects.all().delete()


def test_an_alert_that_is_tried_out() -> None:
    stream: Any = make("127.0.0.1:1", "group", {"small": "each_without_cutouts", "whole": "each"})
    for topic, content in (("small", REST), ("whole", CONTENT)):
        alert = stream.restore_alert(
            topic=topic, partition=0, offset=0, key=None, headers=(), timestamp=None, raw=PACKET
        )
        trial = try_alert(stream, alert)
        assert (trial.ending, trial.alert.content) == ("done", content)
        assert alert.fresh().content == content
        assert (alert.raw, alert.size) == (PACKET, len(PACKET))


def fail(_alert: Any) -> None:
    raise ValueError("bad")
