"""Runs a command of the trainer in a process of its own, for what needs torch: this program never imports it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trainer.spec.environment import PACKAGE
from trainer.spec.recipe import Recipe

_running: set[subprocess.Popen[str]] = set()
"""Of this process; more than one where a thread checks something."""


def run_trainer(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """`python -m ARGUMENTS` by the code that is running here, with `text` as its input; waits for its end."""
    process = _start(arguments)
    with process:
        try:
            printed, errors = process.communicate(text)
        except BaseException:
            process.kill()
            raise
        finally:
            _running.discard(process)
    return subprocess.CompletedProcess(process.args, process.returncode, printed, errors)


def run_trainer_on(recipe: Recipe, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    """`python -m trainer COMMAND` of a recipe."""
    with _file_of(recipe) as file:
        return run_trainer("trainer", command, file, *options)


class TwoParts:
    """`python -m trainer COMMAND` of a recipe, which prints a mark when its first part has succeeded.

    first:  the first part, waited for: what was printed before the mark; without a mark all, and how the process ended
    """

    def __init__(self, recipe: Recipe, mark: str, command: str, *options: str):
        with _file_of(recipe) as file:
            self._process = _start(("trainer", command, file, *options))
            self.first = self._first(mark)

    def finish(self) -> None:
        """Waits for the second part."""
        with self._process:
            self._rest()

    def _first(self, mark: str) -> subprocess.CompletedProcess[str]:
        process = self._process
        printed: list[str] = []
        errors: list[str] = []
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        reader = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
        reader.start()  # else a full pipe would block the process
        for line in process.stdout:
            if line.rstrip() == mark:
                return subprocess.CompletedProcess(process.args, 0, "".join(printed), "")
            printed.append(line)
        self._rest()
        reader.join()
        return subprocess.CompletedProcess(process.args, process.returncode, "".join(printed), "".join(errors))

    def _rest(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.read()
        self._process.wait()
        _running.discard(self._process)


def end_running() -> None:
    """Ends what other threads run, or have left running."""
    for process in tuple(_running):
        process.kill()


def _start(arguments: Sequence[str]) -> subprocess.Popen[str]:
    places = [str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(place for place in places if place)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(  # noqa: S603
        (sys.executable, "-m", *arguments), text=True, env=variables, stdin=pipe, stdout=pipe, stderr=pipe
    )
    _running.add(process)
    return process


@contextmanager
def _file_of(recipe: Recipe) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="recipe-") as folder:
        file = Path(folder) / "recipe.yaml"  # JSON is YAML
        file.write_text(recipe.model_dump_json(), encoding="utf-8")
        yield str(file)
