"""Runs a command of the trainer in a process of its own, for what needs torch: this program never imports it."""

from __future__ import annotations

import os
import subprocess
import sys

from trainer.spec.environment import PACKAGE

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


def end_running() -> None:
    """Ends what other threads run."""
    for process in tuple(_running):
        process.kill()
