"""Calls ``newapfstep``, and runs what it writes."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from django.core.management import call_command

from tests.processes import ROOT

#: As people name steps → module and class.
NAMES = {
    "my_step": ("my_step", "MyStep"),
    "Light-curve xmatch": ("light_curve_xmatch", "LightCurveXmatchStep"),
    "XmatchStep": ("xmatchstep", "XmatchStep"),
    "step": ("step", "Step"),
    "test_of_names": ("test_of_names", "TestOfNamesStep"),
    "none": ("none", "NoneStep"),
    "n" * 40: ("n" * 40, "N" + "n" * 39 + "Step"),
}


def new(name: str, *arguments: str) -> str:
    out = io.StringIO()
    call_command("newapfstep", *arguments, "--", name, stdout=out, no_color=True)
    return out.getvalue()


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program of the step, without Django's settings."""
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=clean(**environment), capture_output=True, text=True, timeout=60
    )


def clean(**environment: str) -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1", **environment}
