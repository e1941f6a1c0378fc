"""The README and the other documents: every sample in them runs, and does what is said of it."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings
from django.utils.module_loading import import_string

import apf_bridge
from tests.acceptance.documents import DOCS, DOCUMENTS, OTHERS, ROOT, SHIPPED, dotted_paths, name_of
from tests.brokers import ScriptedBroker
from tests.databases import sqlite
from tests.effects import handlers
from tests.effects.models import Effect
from tests.streams import entry, run_once
from tom_alertstreams.alerts import Alert
from tom_alertstreams.alertstreams.alertstream import get_alert_streams, make_stream
from tom_alertstreams.checks import check_alert_streams
from tom_alertstreams.conf import read_streams
from tom_alertstreams.exceptions import ConfigurationError, LookUpUnavailable, RejectAlert, RetryLater
from tom_alertstreams.handlers import Style, resolve
from tom_alertstreams.models import DeadLetter


class Samples:
    """The python blocks of one document. Their first line says what each is: a settings.py, a module of the user's, a shell."""

    def __init__(self, path: Path) -> None:
        self.settings: list[str] = []
        self.shell: list[str] = []
        self.modules: dict[str, str] = {}
        for block in re.findall(r"^```python\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
            first = block.partition("\n")[0]
            if first == "# settings.py":
                self.settings.append(block)
            elif first == "# ./manage.py shell":
                self.shell.append(block)
            elif module := re.fullmatch(r"# (mytom/\w+)\.py", first):
                dotted = module[1].replace("/", ".")
                self.modules[dotted] = self.modules.get(dotted, "") + block
            else:
                pytest.fail(f"{path.name}: a sample must begin with # settings.py, # mytom/….py or # ./manage.py shell")


@pytest.fixture
def mytom(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make modules of samples importable; and those of others' apps, of which the tests install none."""

    def install(modules: dict[str, str]) -> dict[str, ModuleType]:
        made = {}
        if any("from apf." in source for source in modules.values()):
            apf_bridge.install()
        monkeypatch.setitem(sys.modules, "mytom", ModuleType("mytom"))
        for name, source in modules.items():
            made[name] = ModuleType(name)
            monkeypatch.setitem(sys.modules, name, made[name])
            exec(compile(source, f"<{name}>", "exec", dont_inherit=True), made[name].__dict__)
        return made

    for path in {path for document in DOCUMENTS for path in dotted_paths(document) if path.startswith(OTHERS)}:
        module, _, attribute = path.rpartition(".")
        stub = ModuleType(module)
        setattr(stub, attribute, lambda message, metadata=None, **kwargs: None)
        monkeypatch.setitem(sys.modules, module, stub)
    return install


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every environment variable that a sample reads."""
    for document in DOCUMENTS:
        for name in re.findall(r"os\.(?:environ\[|getenv\()\"(\w+)\"", document.read_text()):
            monkeypatch.setenv(name, f"fake-{name.lower()}")


@pytest.mark.django_db
@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_samples(document: Path, mytom: Any, credentials: None) -> None:
    samples = Samples(document)
    for module in mytom(samples.modules).values():
        for name, value in vars(module).items():
            if callable(value) and hasattr(value, "_alertstreams_handler"):
                assert resolve(f"{module.__name__}.{name}").marked
    names: dict[str, Any] = {"INSTALLED_APPS": [], "DATABASES": {"default": {}}}
    for block in samples.settings:
        names.pop("ALERT_STREAMS", None)
        exec(compile(block, f"<{document.name}>", "exec", dont_inherit=True), names)
        assert_streams_can_be_made(names)
    for app in names["INSTALLED_APPS"]:
        assert importlib.util.find_spec(app), app
    for block in samples.shell:
        exec(compile(block, f"<{document.name}>", "exec", dont_inherit=True), {})


def assert_streams_can_be_made(names: dict[str, Any]) -> None:
    """As ``checkstreams`` would; nothing goes over the network."""
    with override_settings(ALERT_STREAMS_DEFAULTS=names.get("ALERT_STREAMS_DEFAULTS", {})):
        streams, findings = read_streams(names.get("ALERT_STREAMS", []))
    assert not findings
    for settings in streams:
        stream: Any = make_stream(settings)
        assert stream.bindings
        assert stream.group_id
        assert stream.consumer_config()["bootstrap.servers"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_handlers_of_samples_exist(document: Path) -> None:
    """A sample names no function of the user's that the same document does not show."""
    samples = Samples(document)
    shown = {
        f"{name}.{node.name}"
        for name, source in samples.modules.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
    }
    named = set(re.findall(r"\"(mytom(?:\.\w+)+)\"", "".join(samples.settings)))
    assert named <= shown


def test_the_readme_has_every_stream(mytom: Any, credentials: None) -> None:
    names: dict[str, Any] = {"INSTALLED_APPS": [], "DATABASES": {"default": {}}}
    mytom(Samples(ROOT / "README.md").modules)
    for block in Samples(ROOT / "README.md").settings:
        exec(compile(block, "<README.md>", "exec", dont_inherit=True), names)
    streams, findings = read_streams(names["ALERT_STREAMS"])
    assert not findings
    assert {stream.name for stream in streams} == set(SHIPPED.values())
    assert {"tom_alertstreams", "tom_alertstreams.ingest", "alerce_stream"} == set(names["INSTALLED_APPS"])


def test_sqlite_sample_satisfies_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import connections

    connection = connections["default"]
    names: dict[str, Any] = {"DATABASES": {"default": {}}}
    block = next(block for block in Samples(ROOT / "README.md").settings if "DATABASES" in block)
    exec(block, names)
    monkeypatch.setattr(type(connection), "vendor", "sqlite")
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {})
    with override_settings(ALERT_STREAMS=[entry("localhost:1", "group", {"topic": "one"})]):
        assert "tom_alertstreams.W010" in {message.id for message in check_alert_streams()}
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", names["DATABASES"]["default"]["OPTIONS"])
        assert "tom_alertstreams.W010" not in {message.id for message in check_alert_streams()}


def test_the_example_has_the_sqlite_that_is_tested() -> None:
    from example_tom.settings import DATABASES

    assert DATABASES["default"]["OPTIONS"] == sqlite(ROOT)["OPTIONS"]


# --- what the samples do ------------------------------------------------------------------------------------------------


def alert_of(content: Any, topic: str = "topic", offset: int = 0) -> Alert:
    raw = repr(content).encode()
    return Alert("sample", topic, 0, offset, None, (), None, raw, lambda alert: ast.literal_eval(alert.raw.decode()))


@pytest.mark.django_db
class TestHandlers:
    def test_of_the_readme(self, mytom: Any) -> None:
        from tom_targets.models import Target, TargetList

        module = mytom(Samples(ROOT / "README.md").modules)["mytom.alerts"]
        styles = {name: resolve(f"mytom.alerts.{name}").style for name in ("on_locus", "on_alert", "ingest_positions")}
        assert styles == {"on_locus": Style.V1, "on_alert": Style.ALERT, "ingest_positions": Style.BATCH}

        class Locus:
            locus_id, ra, dec = "ANT2026abc", 10.0, -5.0

        module.on_locus(Locus())
        options = resolve("mytom.alerts.on_alert", {"MAGNITUDE": 17}).options
        module.on_alert(alert_of({"objectId": "ANT2026abc", "mag": 16.0}), options=options)
        with pytest.raises(RejectAlert, match="faint"):
            module.on_alert(alert_of({"objectId": "ANT2026abc", "mag": 17.5}), options=options)
        assert TargetList.objects.get(name="Bright").targets.get().name == "ANT2026abc"

        rows = [{"objectId": "ZTF26aaaaaaa", "ramean": 20.0, "decmean": 3.0}] * 2
        always = resolve("mytom.alerts.ingest_positions", {"CREATE": "always"}).options
        outcomes = module.ingest_positions([alert_of(row, offset=n) for n, row in enumerate(rows)], options=always)
        assert [outcome.kind for outcome in outcomes] == ["done", "done"]
        assert Target.objects.get(name="ZTF26aaaaaaa").ra == 20.0

    def test_of_the_how_to(self, mytom: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        import requests
        from tom_dataproducts.models import PhotometryReducedDatum
        from tom_targets.models import Target, TargetExtra

        modules = mytom(Samples(DOCS / "how-to" / "write-a-handler.md").modules)
        redshifts = modules["mytom.alerts"]
        options = resolve("mytom.alerts.store_redshift", {"MAX_REDSHIFT": 0.05}).options
        with pytest.raises(ConfigurationError, match="MAX_REDSHIFT is above 0"):
            resolve("mytom.alerts.store_redshift", {"MAX_REDSHIFT": 0})
        with pytest.raises(RetryLater):
            redshifts.store_redshift(alert_of({"name": "MS26a", "z": 0.01}), options=options)
        with pytest.raises(RejectAlert, match="distant"):
            redshifts.store_redshift(alert_of({"name": "MS26a", "z": 0.2}), options=options)

        catalogue = modules["mytom.catalogue"]
        monkeypatch.setattr(requests, "get", raiser(requests.ConnectionError("no route")))
        with pytest.raises(LookUpUnavailable):
            catalogue.look_up([alert_of({"name": "MS26a"})])
        both = [alert_of({"name": name}) for name in ("MS26a", "MS26b")]
        outcomes = catalogue.create_targets(both, {"MS26a": (1.0, 2.0)})
        assert [(outcome.kind, outcome.code) for outcome in outcomes] == [("done", ""), ("rejected", "unknown")]
        redshifts.store_redshift(alert_of({"name": "MS26a", "z": 0.01}), options=options)
        assert TargetExtra.objects.get(target__name="MS26a").value == "0.01"

        Target.objects.all().delete()
        case = modules["mytom.test_survey"].SurveyTest()
        case.test_makes_a_target()
        case.test_broker()
        assert PhotometryReducedDatum.objects.get().brightness == 18.2

    def test_positions_from_elsewhere(self, mytom: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        import requests

        from alerce_stream.resolver import positions_of

        mytom(Samples(DOCS / "how-to" / "alerce.md").modules)
        monkeypatch.setattr(requests, "post", raiser(requests.ConnectionError("no route")))
        with pytest.raises(LookUpUnavailable):
            positions_of(["ZTF26aaaaaaa"], import_string("mytom.positions.from_catalogue"), "")


def raiser(error: Exception) -> Any:
    def function(*args: Any, **kwargs: Any) -> Any:
        raise error

    return function


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("document", ["README.md", "docs/how-to/repair.md"])
def test_repairs(document: str, broker: ScriptedBroker, topic: str, group_id: str, tmp_path: Path) -> None:
    """The commands, one after the other, once the handler is mended."""
    handlers.reset()
    handlers.trouble.append(raiser(KeyError("candid")))
    topic = f"ztf_{topic}"
    broker.create_topic(topic)
    for _ in range(2):
        broker.produce(topic, b"{}")
    broker.flush()
    stream = entry(broker.bootstrap_servers, group_id, {topic: "one"}, label="ztf")
    run_once(get_alert_streams([stream])[0])
    assert set(DeadLetter.objects.values_list("state", flat=True)) == {"open"}
    handlers.reset()

    text = (ROOT / document).read_text()
    lines = re.findall(r"^\./manage\.py ((?:deadletters|seekstream|prunealerts) [^#\n]*)", text, re.MULTILINE)
    assert lines
    with override_settings(ALERT_STREAMS=[stream]):
        for line in lines:
            here = line.replace(" 17", f" {DeadLetter.objects.earliest('pk').pk}").replace("/tmp/", f"{tmp_path}/")
            call_command(*shlex.split(here))
    assert set(DeadLetter.objects.values_list("state", flat=True)) == {"replayed"}
    assert Effect.objects.filter(topic=topic).count() == 2
    run_once(get_alert_streams([stream])[0])
    assert Effect.objects.filter(topic=topic).count() == 2  # where reading goes on is as it was
