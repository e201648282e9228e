"""Runs a command of the trainer in a process of its own, for what needs torch: this program never imports it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from trainer.spec.environment import PACKAGE
from trainer.spec.recipe import Recipe

_running: set[subprocess.Popen[str]] = set()
"""Of this process; more than one where a thread checks something."""


def run_trainer(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """`python -m ARGUMENTS` by the code that is running here, with `text` as its input; waits for its end."""
    places = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(place for place in places if place)}
    command = (sys.executable, "-m", *arguments)
    pipe = subprocess.PIPE
    with subprocess.Popen(  # noqa: S603
        command, text=True, env=variables, stdin=pipe, stdout=pipe, stderr=pipe
    ) as process:
        _running.add(process)
        try:
            printed, errors = process.communicate(text)
        except BaseException:
            process.kill()
            raise
        finally:
            _running.discard(process)
    return subprocess.CompletedProcess(command, process.returncode, printed, errors)


def run_trainer_on(recipe: Recipe, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    """`python -m trainer COMMAND` of a recipe."""
    with tempfile.TemporaryDirectory(prefix="recipe-") as folder:
        file = Path(folder) / "recipe.yaml"  # JSON is YAML
        file.write_text(recipe.model_dump_json(), encoding="utf-8")
        return run_trainer("trainer", command, str(file), *options)


def end_running() -> None:
    """Ends what other threads run."""
    for process in tuple(_running):
        process.kill()
