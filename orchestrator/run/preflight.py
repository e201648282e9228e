"""Checks the data and the liveness of a sweep's recipes before the sweep computes anything.

The data: `orchestrator.run.data_preflight`. Liveness: `python -m trainer check` in a process of its own, since it needs
torch. It checks as few recipes of the space as
turn on every value of every switch at least once (combinations of values are not all tried). A passed check is kept
in the store for that recipe and this code. What a check looks at: `trainer.liveness.check`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.run.data_preflight import check_data_of
from orchestrator.run.prepare_texts import TextsAhead
from orchestrator.run.trainer_process import run_trainer_on
from orchestrator.space.configuration import Configuration, baseline_of, identify, label
from orchestrator.space.search_space import SearchSpace
from orchestrator.sweep.notes import keep_preflight
from orchestrator.sweep.sweep import Sweep
from trainer.program.code_store import keep_code
from trainer.spec.environment import PACKAGE, code_digest, versions
from trainer.spec.errors import UserError
from trainer.spec.field_index import FIELDS, FieldInfo, disabled_by, value_at
from trainer.spec.fingerprint import digest
from trainer.spec.recipe import Recipe
from trainer.spec.runnable import Runnable
from trainer.store.shared import stage_store

TO_FIT = ("quantization.fit_bytes", "quantization.prune_to_fit")
EXECUTION = ("budget.", "system.", "data.source", "data.order_seed", *TO_FIT)
"""Keys that are no technique, or that the nano sibling sets for itself."""


OFF = (False, (), "off", "none")


SWITCHES = frozenset(switch for info in FIELDS.values() for switch in (*info.unless, *info.unless_all))
"""Keys whose value can leave other keys without effect; numbers among them are off at zero."""


class DeadPart(UserError):
    """A sweep whose recipes turn on something that does nothing."""


def preflight(sweep: Sweep, store: Path, console: Console, skip: bool = False, texts: TextsAhead | None = None) -> None:
    """Checks the data, and that every switch of the sweep's recipes has an effect, unless checked before.

    Of a program: keeps its code in the store, so that every run has that, whatever is edited meanwhile.
    Writes the preflight file. `skip` leaves out the switches, and prints and writes that. With `texts`, the process of
    the last check goes on to the text, after the check has passed.
    Raises DataError naming what is wrong with the data, DeadPart naming what has no effect.
    """
    data_lines = check_data_of(sweep.space, store, console)
    if sweep.space.program:
        keep_code(sweep.space.program, stage_store(store))
    elif skip:
        console.print("liveness not checked (--no-check)", style="yellow")
    else:
        unchecked = {
            path: configuration
            for configuration in representatives(sweep.space)
            if not (path := _passed_file(configuration, store / "checks")).exists()
        }
        for left, (path, configuration) in zip(reversed(range(len(unchecked))), unchecked.items(), strict=True):
            _check(sweep, configuration, path, console, None if left else texts)
    keep_preflight(sweep.folder, {"skipped": skip, "data": data_lines})


def representatives(space: SearchSpace) -> list[Configuration]:
    """Configurations that turn on, among them, every value of every switch that any of the space turns on."""
    probes = [*(identify(space, 0, values) for values in space.probes()), baseline_of(space)]
    turned_on = [(_turned_on(recipe_of(space.recipe(probe.values))), probe) for probe in probes]
    left = set().union(*(values for values, _ in turned_on))
    chosen: list[Configuration] = []
    while left or not chosen:
        values, probe = max(turned_on, key=lambda candidate: len(candidate[0] & left))
        left -= values
        chosen.append(probe)
    return chosen


def recipe_of(runnable: Runnable) -> Recipe:
    """The recipe of a run of our own trainer."""
    assert isinstance(runnable, Recipe)
    return runnable


def _turned_on(recipe: Recipe) -> set[tuple[str, Any]]:
    """The recipe's switches that are on and have an effect, with their values; of numbers, only that they are on."""
    switched_on = set()
    for key, info in FIELDS.items():
        if key.startswith(EXECUTION) or not _is_switch(info) or disabled_by(recipe, key):
            continue
        value = value_at(recipe, key)
        setting = bool(value) if isinstance(value, int | float) else value
        if setting not in OFF:
            switched_on.add((key, setting))
    return switched_on


def _is_switch(info: FieldInfo) -> bool:
    return info.key in SWITCHES or "|" in info.type_name or info.type_name.startswith("list of")


def _passed_file(configuration: Configuration, folder: Path) -> Path:
    return folder / digest([configuration.id, code_digest(PACKAGE), versions()])  # other code is checked anew


def _check(
    sweep: Sweep, configuration: Configuration, passed_file: Path, console: Console, texts: TextsAhead | None
) -> None:
    recipe = recipe_of(sweep.space.recipe(configuration.values, sweep.space.seeds[0]))
    name = label(configuration, sweep.space)
    with console.status(f"checking that every switch acts: {name}"):
        done = _run_check(recipe, texts)
    lines = done.stdout.splitlines()
    if done.returncode:
        reasons = [line for line in lines if line.startswith("dead ")] or done.stderr.strip().splitlines()[-3:]
        raise DeadPart(
            f"sweep '{sweep.name}' is not begun: the recipe of {name} holds what does nothing\n"
            + "\n".join(f"  {line}" for line in reasons)
            + "\nswitch it off or mend it; --no-check goes on regardless"
        )
    console.print(f"every switch acts ({name}): {lines[-1]}", style="dim", soft_wrap=True)
    passed_file.parent.mkdir(parents=True, exist_ok=True)
    passed_file.write_text(lines[-1] + "\n", encoding="utf-8")


def _run_check(recipe: Recipe, texts: TextsAhead | None) -> subprocess.CompletedProcess[str]:
    """`python -m trainer check` of a recipe's switches; what its artifact may measure is the plan's subject."""
    return texts.check(recipe, "--no-size") if texts else run_trainer_on(recipe, "check", "--no-size")
