"""Checks the shards of a sweep before its first run, by the rules of `python -m trainer data check`.

What is sound is remembered in the store by the size and time of its files, for the sweep's runs as well
(`trainer.stages.checked_data`). Unsound data are refused, with `--no-check` too: no score on them means anything.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from orchestrator.run.trainer_process import run_trainer
from orchestrator.space.search_space import SearchSpace
from trainer.spec.errors import DataError
from trainer.spec.recipe import Data, Recipe
from trainer.stages.checked_data import known_report, refuse_small_vocabulary


def check_data_of(space: SearchSpace, store: Path, console: Console) -> list[str]:
    """Checks the shards that all recipes of the sweep read; returns what its readers should know of them.

    Raises DataError with the problems, before anything was computed.
    """
    if not isinstance(space.base, Recipe):
        return []
    data = space.base.data
    if data.source != "shards":
        return []
    if known_report(data, store) is None:
        with console.status(f"checking the shards of {data.folder}"):
            _check(space, data, store)
    report = known_report(data, store)
    if report is None:
        raise DataError(f"the shards of data.folder = '{data.folder}' changed while they were checked; begin again")
    refuse_small_vocabulary(report, data)
    lines = [*report.counted(), *(f"note: {note}" for note in report.notes)]
    for line in lines:
        console.print(line, style="dim", soft_wrap=True, markup=False, highlight=False)
    return lines


def _check(space: SearchSpace, data: Data, store: Path) -> None:
    done = run_trainer("trainer", "data", "check", data.folder, "--tokenizer", data.tokenizer, "--store", str(store))
    if done.returncode:
        problems = [line for line in done.stdout.splitlines() if line.startswith("problem ")]
        listed = "\n".join(f"  {line}" for line in problems or done.stderr.strip().splitlines()[-3:])
        raise DataError(f"sweep '{space.name}' is not begun: nothing may be scored on its data\n{listed}")
