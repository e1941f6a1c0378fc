"""A TOM whose Targets are a child model (TARGET_MODEL_CLASS), in a process of its own: the model is chosen at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import DATABASE
from tests.unit.ingest.samples import ROOT

SETTINGS = """
from tests.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "childtom"]
TARGET_MODEL_CLASS = "childtom.models.ChildTarget"
HOOKS = {"target_post_save": "childtom.hooks.saved"}
EXTRA_FIELDS = [{"name": "priority", "type": "number", "default": 3}, {"name": "redshift", "type": "number", "default": 0}]
"""

MODELS = """
from django.db import models
from tom_targets.base_models import BaseTarget

class ChildTarget(BaseTarget):
    redshift = models.FloatField(null=True, default=0.5)

    class Meta:
        permissions = tuple((f"{word}_target", word) for word in ("view", "add", "change", "delete"))
"""

OWN_SAVE = """
    def save(self, *args, **kwargs):
        self.redshift = 0.75
        super().save(*args, **kwargs)
"""

HOOKS = """
calls = []

def saved(target, created):
    calls.append((target.name, type(target).__name__, created, sorted(name.name for name in target.aliases.all())))
    if target.name == "bad":
        raise ValueError("a hook with a fault")
"""

BEGIN = """
import django
django.setup()
from django.core.management import call_command
call_command("makemigrations", "childtom", verbosity=0)
call_command("migrate", verbosity=0)

from django.contrib.auth.models import Group, User
from django.core.checks import run_checks
from django.db import transaction
from django.test import Client, override_settings
from guardian.shortcuts import get_objects_for_group
from tom_dataproducts.models import PhotometryReducedDatum
from tom_targets.models import BaseTarget, Target, TargetExtra
from childtom import hooks
from tests.streams import entry
from tests.unit.ingest.samples import json_alert, ztf_packet
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import TargetAlert, TargetPosition
from tom_alertstreams.ingest.options import IngestOptions

def ingest(*packets, **options):
    del hooks.calls[:]
    with transaction.atomic():
        outcomes = ingest_targets(
            [json_alert(packet) for packet in packets], options=IngestOptions(create="always", **options)
        )
        during = list(hooks.calls)
    assert [outcome.kind for outcome in outcomes] == ["done"] * len(packets), outcomes
    return during, list(hooks.calls)

def call(name, *aliases):
    return (name, "ChildTarget", True, list(aliases))

INGEST = "tom_alertstreams.ingest.handlers.ingest_targets"

def warnings(hooks):
    topic = {"t": {"HANDLER": INGEST, "OPTIONS": {"CREATE": "always", "HOOKS": hooks}}}
    with override_settings(ALERT_STREAMS=[entry("b:1", "g", topic)]):
        return "tom_alertstreams.W023" in {message.id for message in run_checks(tags=["alertstreams"])}
"""

WRITTEN = """
packets = [ztf_packet(f"ZTF{n}", n + 1, ra=10.0 * n, z=0.25) for n in range(3)]
options = {"groups": ["Observers"], "target_list": "New", "name": "my {object_id}", "keep_extras": ["candidate.z"]}
names = [f"my ZTF{n}" for n in range(3)]
during, calls = ingest(*packets, **options)
assert (during, calls) == ([], [call(f"my ZTF{n}", f"ZTF{n}") for n in range(3)]), (during, calls)
assert ingest(*packets, **options) == ([], [])
assert Target.__name__ == "ChildTarget" and sorted(Target.objects.values_list("name", flat=True)) == names
assert set(Target.objects.values_list("redshift", flat=True)) == {0.5}
extras = sorted(TargetExtra.objects.values_list("target__name", "key", "value"))
wanted = {"candidate.z": "0.25", "priority": "3", "redshift": "0"}
assert extras == sorted((name, key, value) for name in names for key, value in wanted.items()), extras
assert PhotometryReducedDatum.objects.count() == 3
places = sorted(TargetPosition.objects.values_list("target__name", "ra", "dec"))
assert places == [(name, 10.0 * n, 20.0) for n, name in enumerate(names)], places
ingest(ztf_packet("LSST1", 9, ra=0.0001, jd=2461002.5), **options)
row = TargetAlert.objects.get(match_method="position")
assert (row.target.name, hooks.calls) == ("my ZTF0", [])
assert sorted(row.target.aliases.values_list("name", flat=True)) == ["LSST1", "ZTF0", "my LSST1"]
group = Group.objects.get()
assert get_objects_for_group(group, "childtom.view_target", Target).count() == 3
with override_settings(TARGET_PERMISSIONS_ONLY=False):
    ingest(ztf_packet("ZTF1", 10, ra=10.0, jd=2461003.5), **options)
    assert get_objects_for_group(group, "tom_dataproducts.view_photometryreduceddatum").count() == 1
assert ingest(ztf_packet("inside", 20, ra=100.0), hooks="inside") == ([call("inside")], [call("inside")])
assert ingest(ztf_packet("off", 21, ra=110.0), hooks="off") == ([], [])
assert ingest(ztf_packet("bad", 22, ra=120.0), hooks="after") == ([], [call("bad")])
Target.objects.get(name="bad").delete()
try:
    ingest(ztf_packet("bad", 23, ra=120.0), hooks="inside")
except ValueError:
    assert not BaseTarget.objects.filter(name="bad").exists()
else:
    raise AssertionError("the hook's error was lost")
assert not any(warnings(word) for word in ("inside", "after", "off"))
BaseTarget.objects.update(permissions="PRIVATE")
client, user = Client(SERVER_NAME="localhost"), User.objects.create_user("observer")
client.force_login(user)
pages = ("alerts/", "sky/points.json")
assert [b"ZTF1" in client.get(f"/alertstreams/{page}").content for page in pages] == [False, False]
user.groups.add(group)
assert [b"ZTF1" in client.get(f"/alertstreams/{page}").content for page in pages] == [True, True]
tab = client.get(f"/targets/{row.target_id}/").content.decode().partition('id="alerts"')[2]
assert "LSST1" in tab and "Same position" in tab
from tom_targets.merge import target_merge
primary = Target.objects.create(name="primary", type="SIDEREAL", ra=200.0, dec=20.0)
target_merge(primary, Target.objects.get(name="my ZTF0"))
assert TargetAlert.objects.get(pk=row.pk).target_id == primary.pk
print("as expected")
"""

ITS_OWN_SAVE_RUNS = """
assert ingest(ztf_packet("ZTF0", 1), hooks="after") == ([call("ZTF0")], [call("ZTF0")])
assert ingest(ztf_packet("ZTF1", 2, ra=3.0), hooks="inside")[1] == [call("ZTF1")]
assert set(Target.objects.values_list("redshift", flat=True)) == {0.75}
assert sorted(TargetExtra.objects.values_list("key", flat=True)) == ["priority", "priority", "redshift", "redshift"]
assert TargetPosition.objects.count() == 2
assert [warnings(word) for word in ("inside", "after", "off")] == [False, True, True]
print("as expected")
"""


@pytest.mark.parametrize(
    ("models", "script"),
    [
        pytest.param(MODELS, WRITTEN, id="plain", marks=pytest.mark.both_databases),
        # Written row by row on any database.
        pytest.param(MODELS + OWN_SAVE, ITS_OWN_SAVE_RUNS, id="own-save"),
    ],
)
def test_targets_of_a_child_model(tmp_path: Path, request: pytest.FixtureRequest, models: str, script: str) -> None:
    package = tmp_path / "childtom"
    package.mkdir()
    for name, text in {"__init__": "", "models": models, "hooks": HOOKS, "settings": SETTINGS}.items():
        (package / f"{name}.py").write_text(text)
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "childtom.settings",
        "EXAMPLE_TOM_RUN_DIR": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
    }
    if DATABASE in os.environ:  # a database of its own
        environment[DATABASE] = request.getfixturevalue("postgres_url")
    run = subprocess.run(
        [sys.executable, "-c", BEGIN + script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "as expected" in run.stdout
