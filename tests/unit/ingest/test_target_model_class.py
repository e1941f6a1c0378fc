"""A TOM whose Targets are a child model (TARGET_MODEL_CLASS), in a process of its own: the model is chosen at import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.unit.ingest.samples import ROOT

SETTINGS = """
from tests.settings import *
INSTALLED_APPS = [*INSTALLED_APPS, "childtom"]
TARGET_MODEL_CLASS = "childtom.models.ChildTarget"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
HOOKS = {"target_post_save": "childtom.hooks.saved"}
"""

MODELS = """
from django.db import models
from tom_targets.base_models import BaseTarget

class ChildTarget(BaseTarget):
    redshift = models.FloatField(null=True)

    class Meta:
        permissions = tuple((f"{word}_target", word) for word in ("view", "add", "change", "delete"))
"""

HOOKS = """
calls = []

def saved(target, created):
    calls.append((target.name, type(target).__name__, created))
"""

SCRIPT = """
import django
django.setup()
from django.core.management import call_command
call_command("makemigrations", "childtom", verbosity=0)
call_command("migrate", verbosity=0)

from django.contrib.auth.models import Group
from django.db import transaction
from guardian.shortcuts import get_objects_for_group
from tom_targets.models import Target
from childtom import hooks
from tests.unit.ingest.samples import json_alert, ztf_packet
from tom_alertstreams.ingest.handlers import ingest_targets
from tom_alertstreams.ingest.models import TargetAlert
from tom_alertstreams.ingest.options import IngestOptions

options = IngestOptions(create="always", groups=["Observers"], target_list="New")
alerts = [json_alert(ztf_packet(f"ZTF{n}", n + 1, ra=10.0 * n)) for n in range(3)]
for _ in range(2):
    with transaction.atomic():
        outcomes = ingest_targets([alert.fresh() for alert in alerts], options=options)
    assert [outcome.kind for outcome in outcomes] == ["done"] * 3, outcomes
near = json_alert(ztf_packet("LSST1", 9, ra=0.0001, jd=2461002.5))
with transaction.atomic():
    ingest_targets([near], options=options)
assert Target.__name__ == "ChildTarget" and Target.objects.count() == 3
assert hooks.calls == [(f"ZTF{n}", "ChildTarget", True) for n in range(3)], hooks.calls
assert TargetAlert.objects.filter(match_method="position").get().target.name == "ZTF0"
group = Group.objects.get()
assert get_objects_for_group(group, "childtom.view_target", Target).count() == 3
print("as expected")
"""


def test_targets_of_a_child_model(tmp_path: Path) -> None:
    package = tmp_path / "childtom"
    package.mkdir()
    for name, text in {"__init__": "", "models": MODELS, "hooks": HOOKS, "settings": SETTINGS}.items():
        (package / f"{name}.py").write_text(text)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "TEST_DATABASE_URL"},
        "DJANGO_SETTINGS_MODULE": "childtom.settings",
        "EXAMPLE_TOM_RUN_DIR": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
    }
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "as expected" in run.stdout
