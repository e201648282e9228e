"""Runs a command of the trainer in a process of its own, for what needs torch: this program never imports it."""

from __future__ import annotations

import os
import subprocess
import sys

from trainer.spec.environment import PACKAGE


def run_trainer(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """`python -m ARGUMENTS` by the code that is running here, with `text` as its input; waits for its end."""
    places = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(place for place in places if place)}
    command = (sys.executable, "-m", *arguments)
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=variables)  # noqa: S603
