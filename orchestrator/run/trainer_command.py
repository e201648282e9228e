"""Runs `python -m trainer ...` in a process of its own: for what needs torch before a sweep starts any worker."""

from __future__ import annotations

import os
import subprocess
import sys

from trainer.spec.environment import PACKAGE


def run_trainer(*words: str) -> subprocess.CompletedProcess[str]:
    """Output and exit status of a command, by the code that is running here."""
    places = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(place for place in places if place)}
    command = (sys.executable, "-m", "trainer", *words)
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables)  # noqa: S603
