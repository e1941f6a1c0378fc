"""The life cycle of a step, contract by contract."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from confluent_kafka import Producer

from apf_bridge.compat.consumers import GenericConsumer
from apf_bridge.compat.core import life_cycle
from apf_bridge.compat.core.parts import Parts, make_step
from apf_bridge.compat.core.step import DefaultConsumer, DefaultMetricsProducer, DefaultProducer, GenericStep
from apf_bridge.compat.producers import GenericProducer, KafkaProducer

from .parts import (
    CALLS,
    SENT,
    Hooks,
    ListConsumer,
    NotingMetrics,
    NotingProducer,
    Plain,
    Step1,
    Step2,
    Step6,
    config,
    run,
)

MESSAGE = {"oid": "ZTF1", "candid": 2454460970015010006}


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    CALLS.clear()
    SENT.clear()


class TestAStepThatIsPassedObjects:
    """By its own ``run_step.py``: it runs here by a subclass that makes them."""

    class Passed(Step6):
        def __init__(self, connection: str, config: Any, level: int = 0, **step_args: Any) -> None:
            super().__init__(config=config, level=level, **step_args)
            self.connection = connection

    class Made(Passed):
        def __init__(self, config: Any, **kwargs: Any) -> None:
            super().__init__(f"to {config['DB_CONFIG']}", config, **kwargs)

    def test_it_cannot_be_made_of_its_settings_alone(self) -> None:
        with pytest.raises(TypeError, match="connection"):
            make_step(self.Passed, config())

    def test_a_subclass_makes_them(self) -> None:
        step = make_step(self.Made, config({"n": 1}, DB_CONFIG="mongo", CONTRACT="6"))
        assert (step.connection, step.contract) == ("to mongo", "6")
        assert "commit" in run(step)


class TestTheOrderOfHooks:
    def test_2x(self) -> None:
        assert run(Step2(config({"n": 1}))) == [
            "pre_consume",
            "consume",
            "pre_execute",
            "execute [{'n': 1}]",
            "post_execute",
            "pre_produce",
            "deliver {'n': 1}",
            "flush",
            "post_produce",
            "flush",
            "commit",
            "send_metrics",
            "tear_down",
            "flush",
        ]

    def test_6x(self) -> None:
        assert run(Step6(config([{"n": 1}, {"n": 2}]))) == [
            "pre_consume",
            "consume",
            "pre_execute",
            "execute [{'n': 1}, {'n': 2}]",
            "post_execute",
            "pre_produce",
            "deliver {'n': 1} {'flush': False}",
            "deliver {'n': 2} {'flush': True}",
            "flush",
            "post_produce",
            "flush",
            "commit",
            "send_metrics",
            "tear_down",
            "flush",
        ]

    def test_1x(self) -> None:
        step = make_step(Step1, config({"n": 1}, [{"n": 2}, {"n": 3}]))
        assert run(step) == [
            "consume",
            "execute {'n': 1}",
            "deliver {'n': 1}",
            "flush",
            "commit",
            "send_metrics",
            "execute [{'n': 2}, {'n': 3}]",
            "deliver [{'n': 2}, {'n': 3}]",
            "flush",
            "commit",
            "send_metrics",
            "flush",
        ]

    def test_legacy_2x_commits_before_it_produces(self) -> None:
        calls = run(Step2(config({"n": 1}, COMMIT_ORDER="legacy")))
        assert calls.count("commit") == 1
        assert calls.index("pre_produce") + 1 == calls.index("commit") == calls.index("deliver {'n': 1}") - 1

    def test_legacy_1x_commits_after_execute(self) -> None:
        calls = run(make_step(Step1, config({"n": 1}, COMMIT_ORDER="legacy")))
        assert calls == ["consume", "execute {'n': 1}", "deliver {'n': 1}", "commit", "flush", "send_metrics", "flush"]

    def test_an_order_that_is_none_is_refused(self) -> None:
        with pytest.raises(ValueError, match="after_produce"):
            Step2(config({}, COMMIT_ORDER="first"))

    @pytest.mark.parametrize("step", [Step1, Step2, Step6])
    @pytest.mark.parametrize("order", ["after_produce", "legacy"])
    def test_no_commit_with_commit_off(self, step: Any, order: str) -> None:
        assert "commit" not in run(make_step(step, config({"n": 1}, COMMIT=False, COMMIT_ORDER=order)))

    @pytest.mark.parametrize("step", [Step2, Step6])
    def test_what_tear_down_puts_out_is_waited_for(self, step: Any) -> None:
        class KeepsTheRest(step):  # type: ignore[misc]
            def tear_down(self) -> None:
                self.producer.produce({"the": "rest"})

        calls = run(KeepsTheRest(config({})))
        assert calls[-2:] == ["deliver {'the': 'rest'}", "flush"]

    def test_the_output_of_every_producer_is_waited_for(self) -> None:
        class Two(Step2):
            def __init__(self, config: Any) -> None:
                super().__init__(config)
                self.others = [NotingProducer({})]
                self.named = {"one": NotingProducer({})}
                self.writer = Writer()

        class Writer:
            def __init__(self) -> None:
                self.producer = NotingProducer({})
                self.more = [NotingProducer({})]

        calls = run(Two(config({"n": 1})))
        assert calls[: calls.index("post_produce")].count("flush") == 5

    @pytest.mark.parametrize("step", [Step2, Step6])
    def test_what_post_produce_puts_out_is_waited_for_before_the_commit(self, step: Any) -> None:
        class Scribes(step):  # type: ignore[misc]
            def post_produce(self) -> None:
                self.producer.produce({"for": "the scribe"})

        calls = run(Scribes(config({})))
        put_out = calls.index("deliver {'for': 'the scribe'}")
        assert calls[put_out : put_out + 3] == ["deliver {'for': 'the scribe'}", "flush", "commit"]

    def test_clients_of_kafka_that_it_has_by_itself_are_waited_for(self) -> None:
        class Client(Producer):
            def __init__(self, name: str) -> None:
                self.name = name

            def flush(self, timeout: float = -1) -> int:
                CALLS.append(f"flush {self.name}")
                return 0

        class Holds(Step2):
            def __init__(self, config: Any) -> None:
                super().__init__(config)
                self.client = Client("its own")
                self.writer = SimpleNamespace(client=Client("of its writer"))
                self.metrics_sender.producer = Client("of the metrics")

        calls = run(Holds(config({"n": 1})))
        before = calls[: calls.index("commit")]
        assert {"flush its own", "flush of its writer"} <= set(before)
        assert "flush of the metrics" not in before

    def test_the_client_of_a_producer_is_waited_for_as_long_as_that_may(self) -> None:
        with mock.patch("apf.producers.kafka.Producer") as made:
            made.return_value = mock.Mock(spec=Producer, **{"flush.return_value": 0, "__class__": Producer})
            step = Step2(config({}))
            step.producer = KafkaProducer(
                {"PARAMS": {}, "TOPIC": "out", "SCHEMA": {"type": "map", "values": "long"}, "FLUSH_TIMEOUT": 3}
            )
            life_cycle.flush(step)
            made.return_value.flush.assert_called_once_with(3.0)


class TestContracts:
    def test_each_by_its_constructor(self) -> None:
        assert make_step(Step1, config()).contract == "1"
        assert make_step(Step2, config()).contract == "2"
        assert make_step(Step6, config()).contract == "6"

    def test_a_step_without_constructor_is_of_2x_unless_its_producer_has_a_schema_file(self) -> None:
        assert Plain(config=config()).contract == "2"
        own = {"CLASS": "tests.unit.apf_bridge.parts.NotingProducer", "SCHEMA_PATH": "any.avsc"}
        assert Plain(config=config(PRODUCER_CONFIG=own)).contract == "6"

    def test_a_class_with_a_consumer_and_hooks_is_not_of_1x(self) -> None:
        class WithConsumer(Hooks):
            def __init__(self, consumer: Any = None, config: Any = None) -> None:
                super().__init__(consumer, config=config)

        assert make_step(WithConsumer, config()).contract == "2"

    def test_the_config_goes_before_the_class_and_the_class_before_the_signature(self) -> None:
        class Named(Step6):
            contract = "2"

        assert make_step(Named, config()).contract == "2"
        assert make_step(Named, config(CONTRACT="6")).contract == "6"
        with pytest.raises(ValueError, match='"1", "2" or "6"'):
            make_step(Named, config(CONTRACT="3"))

    def test_arguments_by_position(self) -> None:
        one = Plain(ListConsumer({"MESSAGES": []}), logging.DEBUG, {"COMMIT": False})
        assert (one.contract, one.commit, one.logger.name) == ("1", False, "Plain")
        two = Plain(ListConsumer, NotingProducer, NotingMetrics, {"CONSUMER_CONFIG": {"MESSAGES": []}})
        assert (two.contract, type(two.consumer), type(two.producer)) == ("2", ListConsumer, NotingProducer)
        assert two.logger.name == "alerce.Plain"

    def test_level_is_taken_in_2x_whose_own_template_passes_it(self) -> None:
        assert Plain(config=config(), level=logging.ERROR).logger.level == logging.ERROR

    def test_unknown_arguments(self) -> None:
        with pytest.raises(TypeError, match="colour"):
            Plain(config=config(), colour=1)
        Plain(ListConsumer({}), config={}, colour=1)  # 1.x takes any


class TestContractsOfStepsWithAMethodProduce:
    @pytest.mark.parametrize(
        ("method", "contract"),
        [
            (lambda self, oid, candid, probabilities: None, "1"),
            (lambda self, **fields: None, "1"),
            (lambda self, result: None, "6"),
            (lambda self, result, flush=True, **options: None, "6"),
        ],
    )
    def test_that_of_2x_and_6x_takes_the_result_and_no_more(self, method: Any, contract: str) -> None:
        class Constructed(GenericStep):
            def __init__(self, consumer: Any = None, config: Any = None, level: int = 0, **step_args: Any) -> None:
                super().__init__(consumer, config=config, level=level)

            def execute(self, message: Any) -> None:
                """Puts out by itself."""

        assert make_step(type("Produces", (Constructed,), {"produce": method}), config()).contract == contract


class TestAStepOf1xInItsOwnTests:
    """Without a consumer, or with the bare ones of APF."""

    def step(self, **given: Any) -> GenericStep:
        class Bare(GenericStep):
            def __init__(self, consumer: Any = None, config: Any = None, level: int = 0, **step_args: Any) -> None:
                super().__init__(consumer, config=config, level=level)

            def execute(self, message: Any) -> None:
                CALLS.append(f"execute {message}")

        return Bare(**given)

    @pytest.mark.parametrize("given", [{}, {"config": {}}, {"consumer": GenericConsumer()}])
    def test_it_has_one_empty_message(self, given: Any) -> None:
        step = self.step(**given)
        assert (step.contract, list(step.consumer.consume())) == ("1", [{}])

    def test_a_bare_producer_loses_nothing_silently(self) -> None:
        with pytest.raises(NotImplementedError, match="no method produce"):
            GenericProducer().produce({})


class TestConfig:
    def test_defaults(self) -> None:
        step = Plain(config={"CONSUMER_CONFIG": {"any": 1}})
        assert type(step.consumer) is DefaultConsumer
        assert type(step.producer) is DefaultProducer
        assert type(step.metrics_sender) is DefaultMetricsProducer
        assert list(step.consumer.consume()) == [{}]

    def test_without_consumer_config(self) -> None:
        with pytest.raises(KeyError):
            Plain(config={})
        with pytest.raises(Exception, match="Could not find CONSUMER_CONFIG"):
            Plain(config={"CONSUMER_CONFIG": {}})

    def test_steps_do_not_share_a_config(self) -> None:
        a, b = Plain(ListConsumer({})), Plain(ListConsumer({}))
        assert a.config is not b.config

    def test_parts_of_somebody_else(self) -> None:
        class Closed(Hooks):
            """Its constructor takes nothing but the config."""

            def __init__(self, config: Any) -> None:
                super().__init__(config=config)

        consumer = DefaultConsumer({})
        assert make_step(Closed, {}, Parts(consumer=consumer)).consumer is consumer
        with pytest.raises(KeyError):  # for that step alone
            Closed({})


class TestResults:
    @pytest.mark.parametrize("step", [Step2, Step6])
    def test_a_dict_and_a_generator_are_produced(self, step: Any) -> None:
        class Dict(step):  # type: ignore[misc]
            def pre_produce(self, result: Any) -> Any:
                return {"n": 2}

        class Generator(step):  # type: ignore[misc]
            def pre_produce(self, result: Any) -> Any:
                yield from ({"n": n} for n in (3, 4))

        made = [call[:16] for kind in (Dict, Generator) for call in run(kind(config({}))) if call.startswith("deliver")]
        assert made[:1] + made[-2:] == ["deliver {'n': 2}", "deliver {'n': 3}", "deliver {'n': 4}"]

    @pytest.mark.parametrize("step", [Step2, Step6])
    def test_none_is_nothing_to_produce(self, step: Any) -> None:
        class Nothing(step):  # type: ignore[misc]
            def execute(self, messages: Any) -> Any:
                return None

        calls = run(Nothing(config({})))
        assert "commit" in calls
        assert not [call for call in calls if call.startswith("deliver")]

    @pytest.mark.parametrize("step", [Step2, Step6])
    @pytest.mark.parametrize("result", [None, SimpleNamespace(rows=3)])
    def test_a_produce_of_the_steps_own_gets_what_it_returned(self, step: Any, result: Any) -> None:
        given = []

        class Own(step):  # type: ignore[misc]
            def execute(self, messages: Any) -> Any:
                return result

            def produce(self, result: Any) -> None:
                given.append(result)

        assert "commit" in run(Own(config({})))
        assert given == [result]

    def test_of_1x_are_ignored(self) -> None:
        assert "commit" in run(make_step(Step1, config({})))

    def test_6x_skips_a_batch_of_which_nothing_is_left(self) -> None:
        class Filters(Step6):
            def pre_execute(self, messages: Any) -> Any:
                return [message for message in messages if message["n"] > 1]

        calls = run(Filters(config({"n": 1}, {"n": 2})))
        assert [call for call in calls if call.startswith("execute")] == ["execute [{'n': 2}]"]
        assert (calls.count("commit"), len(SENT)) == (1, 1)

    def test_2x_does_not(self) -> None:
        class Filters(Step2):
            def pre_execute(self, messages: Any) -> Any:
                return []

        assert "execute []" in run(Filters(config({})))

    def test_success_is_written_at_the_end(self) -> None:
        run(Step2(config({})))
        assert Path("__SUCCESS__").read_text() == ""

    def test_stop_ends_after_the_batch_in_hand(self) -> None:
        class Stops(Step2):
            def post_produce(self) -> None:
                self.stop()

        calls = run(Stops(config({"n": 1}, {"n": 2})))
        assert (calls.count("commit"), calls[-2]) == (1, "tear_down")
