"""What is sent of each batch, contract by contract."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from apf_bridge.compat.core.parts import Parts, make_step
from apf_bridge.compat.core.step import GenericStep
from apf_bridge.compat.metrics import LogfileMetricsProducer

from .parts import CALLS, SENT, NotingMetrics, NotingProducer, Plain, Step1, Step2, Step6, config, run

MESSAGE = {"oid": "ZTF1", "candid": 2454460970015010006}
STEPS: dict[str, Any] = {"1": Step1, "2": Step2, "6": Step6}
#: What is sent of a batch without EXTRA_METRICS, in the order in which APF makes it.
TIMES = ["timestamp_received", "timestamp_sent", "execution_time"]
ALWAYS = {"1": [*TIMES, "source"], "2": [*TIMES, "source"], "6": [*TIMES, "source", "survey"]}


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    CALLS.clear()
    SENT.clear()


class Noted:
    """In place of Prometheus' summaries."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {}

    def __getattr__(self, name: str) -> Any:
        amounts = self.seen.setdefault(name, [])

        class Summary:
            observe = staticmethod(amounts.append)

        return Summary()


class TestEveryContract:
    @pytest.mark.parametrize("contract", STEPS)
    def test_the_fields(self, contract: str) -> None:
        run(make_step(STEPS[contract], config(MESSAGE)))
        [sent] = SENT
        assert set(sent) == {*ALWAYS[contract], "candid", "n_messages"}
        for name in ("timestamp_received", "timestamp_sent"):
            assert isinstance(sent[name], datetime)
            assert sent[name].utcoffset() == timedelta(0)
        assert type(sent["execution_time"]) is float
        assert sent["execution_time"] == (sent["timestamp_sent"] - sent["timestamp_received"]).total_seconds()
        assert (sent["n_messages"], sent["source"]) == (1, f"Step{contract}")
        assert sent["candid"] == (MESSAGE["candid"] if contract == "1" else [MESSAGE["candid"]])
        assert sent.get("survey") is None

    @pytest.mark.parametrize("contract", STEPS)
    def test_the_fields_of_a_batch(self, contract: str) -> None:
        run(make_step(STEPS[contract], config([MESSAGE, {"oid": "ZTF2"}])))
        assert (SENT[0]["candid"], SENT[0]["n_messages"]) == ([MESSAGE["candid"], None], 2)

    @pytest.mark.parametrize("contract", STEPS)
    def test_the_fields_without_extra_metrics(self, contract: str) -> None:
        own = {**config()["METRICS_CONFIG"], "EXTRA_METRICS": []}
        run(make_step(STEPS[contract], config(MESSAGE, METRICS_CONFIG=own)))
        assert set(SENT[0]) == set(ALWAYS[contract])

    @pytest.mark.parametrize("contract", STEPS)
    def test_extra_metrics_with_alias_and_format(self, contract: str) -> None:
        extra = ["oid", {"key": "candid", "alias": "id", "format": lambda value: f"#{value}"}, {"key": "absent"}]
        own = {**config()["METRICS_CONFIG"], "EXTRA_METRICS": extra}
        run(make_step(STEPS[contract], config(MESSAGE, METRICS_CONFIG=own)))
        assert set(SENT[0]) == {*ALWAYS[contract], "oid", "id", "absent", "n_messages"}
        one = {"oid": "ZTF1", "id": "#2454460970015010006", "absent": None}
        expected = one if contract == "1" else {name: [value] for name, value in one.items()}
        assert {name: SENT[0][name] for name in one} == expected

    @pytest.mark.parametrize("contract", STEPS)
    def test_without_metrics_config_nothing_is_sent(self, contract: str) -> None:
        step = make_step(STEPS[contract], config(MESSAGE, METRICS_CONFIG={}))
        assert "commit" in run(step)
        assert step.extra_metrics == []

    @pytest.mark.parametrize("contract", STEPS)
    def test_prometheus_counts_what_is_committed(self, contract: str) -> None:
        """Consumed counts also what fails."""

        class Away(NotingProducer):
            def flush(self) -> None:
                if len(CALLS) > 12:
                    raise ConnectionError

        noted = Noted()
        own = config([MESSAGE, MESSAGE], *([MESSAGE] * 3 for _ in range(3)))
        step = make_step(STEPS[contract], own, Parts(prometheus_metrics=noted))
        step.producer = Away()
        with pytest.raises(ConnectionError):
            step.start()
        committed = CALLS.count("commit")
        assert noted.seen["consumed_messages"] == [2, 3, 3, 3][: committed + 1]
        assert noted.seen["processed_messages"] == [2, 3, 3, 3][:committed]
        assert noted.seen["execution_time"] == [sent["execution_time"] for sent in SENT]

    def test_the_sender_is_flushed_at_the_end(self) -> None:
        class Flushes(NotingMetrics):
            def flush(self) -> None:
                CALLS.append("flush_metrics")

        assert run(make_step(Step2, config(MESSAGE), Parts(metrics_sender=Flushes({}))))[-1] == "flush_metrics"


class TestOneContract:
    def test_of_6x(self, monkeypatch: pytest.MonkeyPatch) -> None:
        run(Step6(config(MESSAGE)))
        assert (SENT[0]["source"], SENT[0]["survey"]) == ("Step6", None)
        monkeypatch.setenv("METRICS_SOURCE", "xmatch")
        monkeypatch.setenv("METRICS_SURVEY", "LSST")
        run(Step6(config(MESSAGE)))
        assert (SENT[1]["source"], SENT[1]["survey"]) == ("xmatch", "LSST")

    def test_what_one_batch_set_is_not_sent_for_the_next(self) -> None:
        class Sets(Step2):
            def __init__(self, config: Any) -> None:
                super().__init__(config)
                self.metrics["always"] = 1

            def execute(self, messages: Any) -> Any:
                if messages[0]["n"] == 1:
                    self.metrics["once"] = 1
                return messages

        run(Sets(config({"n": 1}, {"n": 2})))
        assert ["once" in sent for sent in SENT] == [True, False]
        assert all(sent["always"] == 1 for sent in SENT)

    def test_a_log_file_has_them(self, tmp_path: Path) -> None:
        own = {"CLASS": "apf.metrics.LogfileMetricsProducer", "PARAMS": {"PATH": str(tmp_path / "metrics.log")}}
        run(Step2(config(MESSAGE, METRICS_CONFIG=own)))
        line = (tmp_path / "metrics.log").read_text()
        assert "candid: [2454460970015010006], n_messages: 1, source: Step2\n" in line

    def test_a_log_file_without_a_path_is_where_the_step_runs(self, tmp_path: Path) -> None:
        assert LogfileMetricsProducer({}).path.resolve().parent == tmp_path.resolve()

    def test_a_step_sends_its_own_at_once(self) -> None:
        Step2(config()).send_metrics(compute_time=1)
        assert SENT == [{"compute_time": 1, "source": "Step2"}]

    def test_hooks_called_alone_send_at_once(self) -> None:
        step = Step2(config())
        step._pre_execute(MESSAGE)
        assert step.message == [MESSAGE]
        assert isinstance(step.metrics["timestamp_received"], datetime)
        step._post_execute(["result"])
        assert CALLS == ["pre_execute", "post_execute", "send_metrics"]


class TestExtraMetricsThatCannotBeRead:
    """A ``format`` is called with None where a message lacks the key, as in APF."""

    MESSAGES = ({"oid": "ZTF1", "rb": 0.123}, {"oid": "ZTF2"})

    def config(self, *batches: Any, extra: Any = None) -> dict[str, Any]:
        rounded = extra or {"key": "rb", "alias": "real_bogus", "format": lambda value: round(value, 2)}
        own = {**config()["METRICS_CONFIG"], "EXTRA_METRICS": [rounded, "oid"]}
        return config(*batches, METRICS_CONFIG=own)

    @pytest.mark.parametrize("contract", STEPS)
    def test_the_batch_is_done_and_the_rest_is_sent(self, contract: str) -> None:
        calls = run(make_step(STEPS[contract], self.config([*self.MESSAGES])))
        assert calls.index("commit") < calls.index("send_metrics")
        assert set(SENT[0]) == {*ALWAYS[contract], "real_bogus", "oid", "n_messages"}
        assert (SENT[0]["real_bogus"], SENT[0]["oid"]) == ([0.12, None], ["ZTF1", "ZTF2"])

    def test_of_a_message_alone(self) -> None:
        run(make_step(Step1, self.config(self.MESSAGES[1])))
        assert (SENT[0]["real_bogus"], SENT[0]["oid"], SENT[0]["n_messages"]) == (None, "ZTF2", 1)

    def test_it_is_told_once(self, caplog: pytest.LogCaptureFixture) -> None:
        run(make_step(Step2, self.config([*self.MESSAGES], [*self.MESSAGES])))
        [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert line.startswith(
            "real_bogus of EXTRA_METRICS of Step2 is sent as None where it cannot be read: TypeError: "
        )

    def test_what_a_step_made_of_its_own_fails_no_batch_either(self, caplog: pytest.LogCaptureFixture) -> None:
        class Own(Step2):
            def get_extra_metrics(self, message: Any) -> Any:
                raise ZeroDivisionError("no stars")

        run(make_step(Own, self.config([*self.MESSAGES], extra="rb")))
        assert SENT[0]["rb"] == [0.123, None]
        assert "get_extra_metrics of Own failed: ZeroDivisionError: no stars" in caplog.text

    def test_a_hook_that_is_called_alone_raises(self) -> None:
        step = make_step(Step2, self.config())
        step._pre_execute([*self.MESSAGES])
        with pytest.raises(TypeError):
            step._post_execute([])


class TestExtraMetrics:
    def step(self, *extra: Any, contract: str = "2") -> GenericStep:
        own = {**config()["METRICS_CONFIG"], "EXTRA_METRICS": list(extra)}
        return Plain(config=config(METRICS_CONFIG=own, CONTRACT=contract))

    def test_of_one_message_and_of_several(self) -> None:
        step = self.step("oid", {"key": "candid", "alias": "id", "format": str})
        one = {"oid": "ZTF1", "candid": 5}
        assert step.get_extra_metrics(one) == {"oid": "ZTF1", "id": "5", "n_messages": 1}
        assert step.get_extra_metrics([one, {}]) == {"oid": ["ZTF1", None], "id": ["5", "None"], "n_messages": 2}

    def test_lists_are_flat_in_6x_only(self) -> None:
        messages = [{"candid": [1, 2]}, {"candid": 3}]
        assert self.step("candid", contract="6").get_extra_metrics(messages)["candid"] == [1, 2, 3]
        assert self.step("candid").get_extra_metrics(messages)["candid"] == [[1, 2], 3]

    def test_a_constant(self) -> None:
        assert self.step().get_value({"a": 1}, {"key": "a", "value": 2}) == ("a", 2)
        assert self.step().get_value({}, {"key": "a", "value": 2}) == ("a", 2)

    @pytest.mark.parametrize(
        ("params", "error"),
        [
            ({"alias": "a"}, KeyError),
            ({"key": "a", "alias": 1}, ValueError),
            ({"key": "a", "format": 1}, ValueError),
            (7, TypeError),
        ],
    )
    def test_what_cannot_be_read(self, params: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            self.step().get_value({}, params)
