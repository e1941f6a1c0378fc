"""``tryalert``: what an alert would do, and nothing of it done."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.test import override_settings

from tests.effects import handlers
from tests.effects.models import Effect, OnlyOnce
from tests.streams import entry, make
from tom_alertstreams.alerts import Alert, Outcome
from tom_alertstreams.alertstreams.kafka import KafkaAlertStream
from tom_alertstreams.delivery.trial import try_alert
from tom_alertstreams.exceptions import LookUpUnavailable, RejectAlert, RetryLater
from tom_alertstreams.handlers import batch_handler
from tom_alertstreams.testing import make_alert

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def fresh_handlers() -> Iterator[None]:
    handlers.reset()
    yield
    handlers.reset()


class Tried:
    """One run of the command, and that it left every table as it was."""

    def __init__(self, file: Path, streams: list[dict[str, Any]], *arguments: str) -> None:
        before = tables()
        out, err = io.StringIO(), io.StringIO()
        self.code = 0
        with override_settings(ALERT_STREAMS=streams):
            try:
                call_command("tryalert", str(file), *arguments, stdout=out, stderr=err, no_color=True)
            except SystemExit as end:
                self.code = int(str(end.code))
        self.text = out.getvalue() + err.getvalue()
        assert tables() == before, "the trial has written something"


def tables() -> dict[str, list[Any]]:
    """All rows of all tables."""
    with connection.cursor() as cursor:
        found = {}
        for name in sorted(connection.introspection.table_names(cursor)):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(name)}")
            found[name] = sorted(map(repr, cursor.fetchall()))
    return found


def stream(handler: Any, label: str = "test", key: str = "topic") -> dict[str, Any]:
    """A stream on a broker that is not there."""
    return entry("127.0.0.1:1", "group", {key: handler}, label=label)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "alert.json"
    path.write_bytes(handlers.content(n=1, name="SN 2026a", rb=0.7, say="done"))
    return path


def rows(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["rows"]
    return found


class TestOutcomes:
    @pytest.mark.parametrize(
        ("handler", "called"),
        [
            ("one", "1.x, once per alert"),
            ("new_style", "2.0, once per alert"),
            ("each", "@alert_handler, one transaction per group"),
            ("many", "@batch_handler, one call per batch"),
        ],
    )
    def test_done(self, file: Path, handler: str, called: str) -> None:
        tried = Tried(file, [stream(handler)])
        assert tried.code == 0, tried.text
        assert f"topic → tests.effects.handlers.{handler} ({called})" in tried.text
        assert "content   read: dict with n, name, rb, say" in tried.text
        assert "outcome   done" in tried.text
        assert "rows      effects.Effect: 1 inserted" in tried.text
        assert "topic=topic, partition=0, offset=0" in tried.text
        assert "Nothing of this was written" in tried.text

    def test_rejected_by_a_handler(self, tmp_path: Path) -> None:
        (tmp_path / "faint").write_bytes(handlers.content(rb=0.2))
        tried = Tried(tmp_path / "faint", [stream("above")])
        assert tried.code == 0
        assert "outcome   rejected, counted as filter: it fails a filter" in tried.text
        assert "rows      none" in tried.text

    def test_rejected_with_a_reason(self, file: Path) -> None:
        handlers.trouble.append(raiser(RejectAlert("distant", "SN 2026a", "z is 0.3")))
        tried = Tried(file, [stream("write_then_trouble")])
        assert "rejected, counted as distant" in tried.text
        assert "z is 0.3" in tried.text
        assert "object SN 2026a" in tried.text
        assert "rows      none" in tried.text  # raising undoes what was written

    def test_waits_for_a_later_try(self, file: Path) -> None:
        handlers.trouble.append(raiser(RetryLater(600, "no such Target yet", give_up_after_s=86400)))
        tried = Tried(file, [stream("each")])
        assert tried.code == 0
        assert "waits 600 s for the next try, given up 86400 s after the first: no such Target yet" in tried.text

    def test_fails(self, file: Path) -> None:
        handlers.trouble.append(raiser(KeyError("candid")))
        tried = Tried(file, [stream("each")])
        assert tried.code == 1
        assert "outcome   fails: KeyError: 'candid'. In readstreams it would be tried 3 times in all" in tried.text
        assert "in each" in tried.text  # the traceback
        assert "rows      none" in tried.text
        assert handlers.calls == [0]

    def test_something_outside_is_away(self, file: Path) -> None:
        handlers.trouble.append(raiser(LookUpUnavailable("the catalogue does not answer.")))
        tried = Tried(file, [stream("many")])
        assert tried.code == 1
        assert "waits: readstreams would pause the stream" in tried.text
        assert "the catalogue does not answer" in tried.text

    def test_bytes_that_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "broken").write_bytes(b"\xff\xfe\x00")
        tried = Tried(tmp_path / "broken", [stream("each")])
        assert tried.code == 1
        assert "content   could not be read" in tried.text
        assert "fails: DecodeError: 3 bytes that are neither Avro, JSON nor text" in tried.text
        assert "a dead letter at once" in tried.text
        assert "elsewhere" not in tried.text  # the handler was not called
        assert handlers.calls == []

    def test_a_topic_without_a_handler(self, file: Path) -> None:
        tried = Tried(file, [stream("each")], "--topic", "another")
        assert tried.code == 1
        assert "no key of TOPIC_HANDLERS takes this topic" in tried.text

    def test_a_handler_that_insists_on_its_own_transactions(self, file: Path) -> None:
        tried = Tried(file, [stream("durable")])
        assert tried.code == 1
        assert "cannot be tried: it insists on transactions of its own" in tried.text

    def test_a_handler_that_swallows_a_database_error(self, file: Path) -> None:
        OnlyOnce.objects.create(name="the same each time")
        tried = Tried(file, [stream("swallow")])
        assert tried.code == 1
        assert "goes on after a database error" in tried.text

    def test_a_secret_is_not_printed(self, file: Path) -> None:
        secret = 'correct "hörse"'
        handlers.trouble.append(raiser(ValueError(f"login with {secret} refused")))
        with_secret = entry("127.0.0.1:1", "group", {"topic": "each"}, CONFIG={"sasl.password": secret})
        for arguments in ([], ["--json"]):
            tried = Tried(file, [with_secret], *arguments)
            assert "refused" in tried.text
            assert "correct" not in tried.text


class TestRows:
    """Whatever way a handler writes, the rows are told as they would be."""

    @pytest.fixture
    def act(self, file: Path) -> Any:
        def run(action: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
            handlers.trouble.append(lambda alert: action())
            tried = Tried(file, [stream(f"{__name__}.acting")], "--json")
            assert tried.code == 0, tried.text
            answer = json.loads(tried.text)
            return answer["rows"], answer

        return run

    def test_bulk(self, act: Any) -> None:
        found, answer = act(lambda: Effect.objects.bulk_create(effect(n) for n in range(30)))
        assert {row["table"] for row in found} == {"effects_effect"}
        assert {row["change"] for row in found} == {"inserted"}
        assert [row["after"]["offset"] for row in found] == list(range(30))
        assert answer["rows_not_shown"] == []

    def test_conflicts_that_are_ignored(self, act: Any) -> None:
        OnlyOnce.objects.create(name="there")
        names = ("there", "new")
        found, _ = act(lambda: OnlyOnce.objects.bulk_create(map(only, names), ignore_conflicts=True))
        assert [(row["change"], row["after"]["name"]) for row in found] == [("inserted", "new")]

    def test_update(self, act: Any) -> None:
        Effect.objects.bulk_create(effect(n) for n in range(3))
        found, _ = act(lambda: Effect.objects.filter(offset__gte=1).update(note="seen"))
        assert [(row["change"], row["before"]["note"], row["after"]["note"]) for row in found] == [
            ("updated", "", "seen")
        ] * 2

    def test_update_of_several_rows_to_several_values(self, act: Any) -> None:
        made = Effect.objects.bulk_create(effect(n) for n in range(3))

        def update() -> None:
            for row in made:
                row.note = f"number {row.offset}"
            Effect.objects.bulk_update(made, ["note"])

        found, _ = act(update)
        assert [row["after"]["note"] for row in found] == ["number 0", "number 1", "number 2"]

    def test_update_to_the_same_is_none(self, act: Any) -> None:
        Effect.objects.create(topic="topic", partition=0, offset=1)
        found, _ = act(lambda: Effect.objects.update(note=""))
        assert found == []

    def test_delete(self, act: Any) -> None:
        Effect.objects.bulk_create(effect(n) for n in range(3))
        found, _ = act(lambda: Effect.objects.filter(offset=2).delete())
        assert [(row["change"], row["before"]["offset"], row["after"]) for row in found] == [("deleted", 2, None)]

    def test_what_comes_and_goes_is_none(self, act: Any) -> None:
        def come_and_go() -> None:
            Effect.objects.create(topic="topic", partition=0, offset=1)
            Effect.objects.update(note="changed")
            Effect.objects.all().delete()

        assert act(come_and_go)[0] == []

    def test_new_and_then_changed_is_new(self, act: Any) -> None:
        def add_and_change() -> None:
            Effect.objects.create(topic="topic", partition=0, offset=1)
            Effect.objects.update(note="changed")

        found, _ = act(add_and_change)
        assert [(row["change"], row["after"]["note"]) for row in found] == [("inserted", "changed")]

    def test_a_savepoint_that_is_rolled_back(self, act: Any) -> None:
        def give_up() -> None:
            with transaction.atomic():
                Effect.objects.create(topic="topic", partition=0, offset=1)
                transaction.set_rollback(True)

        assert act(give_up)[0] == []

    def test_plain_sql(self, act: Any) -> None:
        Effect.objects.create(topic="100% WHERE", partition=0, offset=1)

        def write() -> None:
            with connection.cursor() as cursor:
                cursor.execute("UPDATE effects_effect SET note = 'a WHERE b' WHERE topic LIKE %s", ["100%"])
                cursor.execute("update effects_effect set note = note || '!' where topic = '100%% WHERE'", [])

        found, answer = act(write)
        assert [row["after"]["note"] for row in found] == ["a WHERE b!"]
        assert answer["rows_not_shown"] == []

    def test_what_cannot_be_followed_is_told(self, act: Any) -> None:
        Effect.objects.create(topic="topic", partition=0, offset=1)

        def write() -> None:
            with connection.cursor() as cursor:
                cursor.execute("WITH x AS (SELECT 1) SELECT * FROM x")
                cursor.execute("UPDATE effects_effect AS e SET note = 'x' WHERE e.topic = 'topic'")

        found, answer = act(write)
        assert found == []
        assert len(answer["rows_not_shown"]) == 1
        assert "UPDATE effects_effect AS e" in answer["rows_not_shown"][0]

    @pytest.mark.parametrize("comment", ["/* one\n more */ ", "-- one\n", " /* one */ -- more\n  "])
    def test_plain_sql_behind_a_comment(self, act: Any, comment: str) -> None:
        Effect.objects.create(topic="topic", partition=0, offset=1)

        def write() -> None:
            with connection.cursor() as cursor:
                cursor.execute(f"{comment}UPDATE effects_effect SET note = 'x' WHERE topic = %s", ["topic"])

        found, answer = act(write)
        assert [row["after"]["note"] for row in found] == ["x"]
        assert answer["rows_not_shown"] == []

    def test_what_is_written_behind_a_with_is_told(self, act: Any) -> None:
        Effect.objects.create(topic="topic", partition=0, offset=1)

        def write() -> None:
            with connection.cursor() as cursor:
                cursor.execute("WITH x AS (SELECT 'y' AS y) SELECT replace(y, 'y', 'z') FROM x")
                cursor.execute("/* a */ WITH x AS (SELECT 'y' AS y) UPDATE effects_effect SET note = (SELECT y FROM x)")

        found, answer = act(write)
        assert found == []
        assert [line.partition(" (SELECT")[0] for line in answer["rows_not_shown"]] == ["the rows of: WITH x AS"]

    def test_actions_after_the_commit_do_not_run(self, act: Any) -> None:
        ran: list[int] = []
        _, answer = act(lambda: transaction.on_commit(lambda: ran.append(1)))
        assert ran == []
        assert len(answer["after_commit"]) == 1
        assert any("on_commit" in line for line in answer["warnings"])


class TestWhatIsAsked:
    def test_the_stream_where_there_are_several(self, file: Path) -> None:
        both = [stream("each", "first"), stream("one", "second")]
        with pytest.raises(CommandError, match=r"--stream\. There is first, second"):
            Tried(file, both)
        with pytest.raises(CommandError, match="no active stream third"):
            Tried(file, both, "--stream", "third")
        assert "handlers.one" in Tried(file, both, "--stream", "second").text

    def test_the_topic_where_keys_are_globs(self, file: Path) -> None:
        with pytest.raises(CommandError, match=r"--topic\. TOPIC_HANDLERS has ztf_\*"):
            Tried(file, [stream("each", key="ztf_*")])
        assert "ztf_20261101" in Tried(file, [stream("each", key="ztf_*")], "--topic", "ztf_20261101").text

    def test_a_topic_by_the_name_in_settings(self, tmp_path: Path) -> None:
        """ANTARES' topics are called otherwise on the broker."""
        antares = {
            "NAME": "tom_alertstreams.alertstreams.antares.AntaresAlertStream",
            "OPTIONS": {
                "API_KEY": "key",
                "API_SECRET": "a secret",
                "TOPIC_HANDLERS": {"staging": "tests.effects.handlers.each"},
            },
        }
        (tmp_path / "locus").write_bytes(b"x")
        for arguments in ([], ["--topic", "staging"]):
            assert (
                "on the topic client.staging of the stream antares"
                in Tried(tmp_path / "locus", [antares], *arguments).text
            )

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match="cannot be read: No such file"):
            Tried(tmp_path / "absent", [stream("each")])

    def test_a_stream_that_cannot_be_made(self, file: Path) -> None:
        with pytest.raises(CommandError, match="cannot be imported"):
            Tried(file, [stream("no.such.handler")])

    def test_legacy_streams_are_refused(self, file: Path) -> None:
        legacy = {"NAME": f"{__name__}.OwnListen", "LABEL": "own", "OPTIONS": stream("each")["OPTIONS"]}
        with pytest.raises(CommandError, match="listen\\(\\) of its own"):
            Tried(file, [legacy])

    def test_the_key_of_the_message(self, tmp_path: Path) -> None:
        schema = {"type": "record", "name": "r", "fields": [{"name": "n", "type": "long"}]}
        output = io.BytesIO()
        fastavro.schemaless_writer(output, fastavro.parse_schema(schema), {"n": 7})
        (tmp_path / "alert").write_bytes(output.getvalue())
        (tmp_path / "schema").write_text(json.dumps(schema))
        fink = entry("127.0.0.1:1", "group", {"topic": "each"}, DECODER="key-schema")
        assert Tried(tmp_path / "alert", [fink]).code == 1
        tried = Tried(tmp_path / "alert", [fink], "--key", str(tmp_path / "schema"))
        assert tried.code == 0, tried.text
        assert "dict with n" in tried.text

    def test_headers(self, tmp_path: Path) -> None:
        hop = {
            "NAME": "tom_alertstreams.alertstreams.hopskotch.HopskotchAlertStream",
            "OPTIONS": {
                "URL": "kafka://127.0.0.1:1/",
                "TOPIC_HANDLERS": {"topic": "tom_alertstreams.alertstreams.hopskotch.alert_logger"},
            },
        }
        (tmp_path / "message").write_text('{"n": 1}')
        assert "JSONBlob" in Tried(tmp_path / "message", [hop], "--header", "_format=json").text
        assert "hop.models.Blob" in Tried(tmp_path / "message", [hop], "--header", "_format=blob").text
        with pytest.raises(CommandError, match="NAME=VALUE"):
            Tried(tmp_path / "message", [hop], "--header", "_format")

    def test_several_records(self, tmp_path: Path) -> None:
        schema = {"type": "record", "name": "r", "fields": [{"name": "n", "type": "long"}]}
        with (tmp_path / "alerts.avro").open("wb") as output:
            fastavro.writer(output, fastavro.parse_schema(schema), [{"n": n} for n in (7, 8, 9)])
        tried = Tried(tmp_path / "alerts.avro", [stream("each")])
        assert "holds 3 alerts. This is the first." in tried.text
        assert "note={'n': 7}" in tried.text
        assert json.loads(Tried(tmp_path / "alerts.avro", [stream("each")], "--json").text)["records"] == 3

    def test_prepare_runs_before(self, file: Path) -> None:
        tried = Tried(file, [stream("prepared")])
        assert tried.code == 0, tried.text
        assert f"note={file.stat().st_size}" in tried.text
        assert "prepare ran before the transaction" in tried.text


def test_rows_that_others_commit_meanwhile_are_theirs() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer")

    def meanwhile(alert: Alert) -> None:
        def write() -> None:
            effect(99).save()
            connections.close_all()

        other = threading.Thread(target=write)
        other.start()
        other.join()

    handlers.trouble.append(meanwhile)
    source: Any = make("127.0.0.1:1", "group", {"topic": "write_then_trouble"})
    trial = try_alert(source, make_alert({"n": 1}, topic="topic", offset=7))
    assert [change.after["offset"] for change in trial.changes if change.after] == [7]
    assert [row.offset for row in Effect.objects.all()] == [99]


def test_the_callee_sees_one_transaction_and_the_answer_counts(file: Path) -> None:
    tried = Tried(file, [stream(f"{__name__}.answering")])
    assert "rejected, counted as sky" in tried.text
    assert "effects.Effect: 1 inserted" in tried.text  # an answer undoes nothing


class TestReadyMade:
    """The handlers of the project: which rule decided, and what they write."""

    @pytest.fixture
    def ingest(self, tmp_path: Path) -> Any:
        def run(options: dict[str, Any], *arguments: str, raw: bytes | None = None, **candidate: Any) -> Tried:
            from tests.unit.ingest.samples import ztf_packet  # needs the TOM Toolkit, which not all of this file does

            (tmp_path / "packet").write_bytes(raw or json.dumps(ztf_packet(**candidate)).encode())
            handler = {"HANDLER": "tom_alertstreams.ingest.handlers.ingest_targets", "OPTIONS": options}
            return Tried(tmp_path / "packet", [stream(handler)], *arguments)

        return run

    def test_a_target_is_made(self, ingest: Any) -> None:
        tried = ingest({"MIN_RB": 0.5})
        assert tried.code == 0, tried.text
        assert "rows      tom_targets.BaseTarget: 1 inserted" in tried.text
        assert "name=ZTF26aaaaaaa" in tried.text
        assert "rows      tom_dataproducts.PhotometryReducedDatum: 1 inserted" in tried.text
        found = {row["table"] for row in rows(ingest({"MIN_RB": 0.5}, "--json").text)}
        assert {"tom_targets_basetarget", "tom_alertstreams_ingest_targetalert"} <= found
        assert "not shown" not in tried.text

    def test_a_real_packet(self, ingest: Any, samples: Path) -> None:
        tried = ingest({"MIN_RB": 0.1}, raw=(samples / "ztf" / "ZTF19acihgng.avro").read_bytes())
        assert tried.code == 0, tried.text
        assert "name=ZTF19acihgng" in tried.text
        assert "PhotometryReducedDatum: 35 inserted" in tried.text
        assert "and 25 more" in tried.text

    @pytest.mark.parametrize(
        ("options", "code", "reason"),
        [
            ({}, "no_rule", "there is no rule: set FILTERS"),
            ({"CREATE": "never"}, "no_rule", "CREATE is never"),
            ({"MIN_RB": 0.95}, "filter", "candidate.rb is 0.9, and a filter asks for candidate.rb >= 0.95"),
            (
                {"FILTERS": [{"field": "candidate.drb", "op": ">", "value": 0.5}]},
                "filter",
                "the alert has no candidate.drb, and a filter asks for candidate.drb > 0.5",
            ),
            ({"CLASSES": ["SN"]}, "class", "it has no class; CLASSES is SN"),
            ({"CLASSIFIERS": ["stamp*"]}, "class", "it has no class; CLASSIFIERS is stamp*"),
            ({"SKY": {"dec": [-90, 0]}}, "sky", "its declination is 20 degrees, and SKY asks for -90 to 0"),
            (
                {"MAX_AGE_DAYS": 30},
                "age",
                "it was first seen on 2025-08-13 06:00 UTC, 100.0 days before this alert, and ",
            ),
            ({"CREATE": "always", "MAX_NEW_PER_DAY": 0}, "limit", "that many Targets were made within 24 hours: 0"),
        ],
    )
    def test_which_rule_decided(self, ingest: Any, options: dict[str, Any], code: str, reason: str) -> None:
        tried = ingest(options, jdstarthist=2460900.75)
        assert tried.code == 0, tried.text
        assert f"outcome   rejected, counted as {code}: it" in tried.text
        assert f"          {reason}" in tried.text
        assert "object ZTF26aaaaaaa" in tried.text
        assert "rows      none" in tried.text

    def test_the_numbers_of_a_classification(self, tmp_path: Path) -> None:
        content = {"objectId": "ZTF26aaaaaaa", "candid": 1, "probabilities": {"SN": 0.41, "AGN": 0.3, "VS": 0.29}}
        (tmp_path / "message").write_text(json.dumps(content))
        classify = "alerce_stream.handlers.ingest_classifications"
        handler = {"HANDLER": classify, "OPTIONS": {"MIN_PROBABILITY": {"SN": 0.6, "AGN": 0.9}}}
        tried = Tried(tmp_path / "message", [stream(handler, key="stamp_classifier")])
        assert tried.code == 0, tried.text
        assert (
            "outcome   rejected, counted as probability: its probability is below MIN_PROBABILITY, or it" in tried.text
        )
        assert "          SN has 0.41 (stamp_classifier), and MIN_PROBABILITY asks for 0.6 of SN\n" in tried.text

    def test_a_known_target_gets_its_point(self, ingest: Any) -> None:
        from tom_targets.models import Target

        Target.objects.create(name="ZTF26aaaaaaa", type="SIDEREAL", ra=150.0, dec=20.0)
        tried = ingest({})
        assert "outcome   done" in tried.text
        assert "PhotometryReducedDatum: 1 inserted" in tried.text
        assert "BaseTarget" not in tried.text


# --- what the streams above name ---------------------------------------------------------------------------------------


def acting(alert: Alert) -> None:
    handlers.meet_trouble(alert)


@batch_handler
def answering(alerts: list[Alert]) -> list[Outcome]:
    assert connection.in_atomic_block
    for alert in alerts:
        handlers.write(alert)
    return [Outcome.rejected("sky") for _ in alerts]


def effect(offset: int) -> Effect:
    return Effect(topic="topic", partition=0, offset=offset)


def only(name: str) -> OnlyOnce:
    return OnlyOnce(name=name)


def raiser(error: Exception) -> Any:
    def function(alert: Alert) -> None:
        raise error

    return function


class OwnListen(KafkaAlertStream):
    def listen(self) -> None: ...
