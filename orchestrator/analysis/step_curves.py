"""Validation loss by number of training steps, for `first-step`: of imported curves, or of runs that stop at each step.

Our trainer measures the validation loss once, after training: scoring inside the training would count toward its
seconds. So a curve of ours is a sweep over the number of steps, each point a training of its own that ends there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from orchestrator.analysis.sweep_table import rows_of
from orchestrator.space.configuration import Configuration, label
from orchestrator.sweep.imported import ImportedSweep
from orchestrator.sweep.sweep import Sweep
from results.rows.ranking import Measure
from results.rows.tables import is_finished, per_run
from results.verdicts.first_step import VAL_LOSS
from trainer.spec.errors import UserError
from trainer.spec.field_index import flat
from trainer.spec.recipe import Recipe

STEPS = "budget.train_steps"
SCORE = "val_loss"
ONE_SCORE = (
    "sweep '{name}' has one validation loss per run, measured after training; its learning curves hold the training "
    "loss, which passes nothing. Sweep the number of steps, and each number is a point of the curve: parameters: "
    "{{{steps}: {{values: [2740, 2745, 2750]}}}}; or import curves with columns config, seed, step, val_loss"
)


OF_A_PROGRAM = (
    "sweep '{name}' runs program {program}, of whose curve nobody knows what its losses are; import curves of the "
    "validation loss: orchestrator import curves.csv --name NAME, with columns config, seed, step, val_loss"
)


@dataclass(frozen=True)
class StepCurves:
    """Curves by configuration and seed, with what is to be known about them."""

    by_config: Mapping[str, Mapping[int, Mapping[int, float]]]
    measure: Measure = VAL_LOSS
    """What the numbers are."""
    note: str = ""


def curves_of_import(sweep: ImportedSweep) -> StepCurves:
    """As the file has them."""
    by_config: dict[str, dict[int, Mapping[int, float]]] = {config: {} for config in sweep.configs}
    for (config, seed), points in sweep.curves.items():
        by_config[config][seed] = points
    return StepCurves(by_config, sweep.measure)


def curves_of_sweep(sweep: Sweep) -> StepCurves:
    """Of configurations that differ in their number of training steps alone. Raises UserError where none do."""
    if sweep.space.program is not None:  # its knobs, too, mean what its script says
        raise UserError(OF_A_PROGRAM.format(name=sweep.name, program=sweep.space.program.name))
    groups: dict[str, dict[int, Configuration]] = {}
    for item in sweep.asked():
        recipe = sweep.space.recipe(item.values, sweep.space.seeds[0])
        assert isinstance(recipe, Recipe)
        steps, rest = recipe.budget.train_steps, flat(recipe) | {STEPS: None}
        if item.rung == 1 and steps is not None:
            groups.setdefault(repr(rest), {}).setdefault(steps, item)
    curves = {_name(points.values(), sweep): points for points in groups.values() if len(points) > 1}
    if not curves:
        raise UserError(ONE_SCORE.format(name=sweep.name, steps=STEPS))
    runs = per_run(rows_of(sweep), sweep.space.seeds)
    finished = {(row["config"], row["seed"]): row for row in runs[is_finished(runs, SCORE)].to_dict("records")}
    note = "Each step is a training of its own that ends there. Exploratory: no threshold was declared before the runs."
    return StepCurves({name: _by_seed(points, finished, sweep) for name, points in curves.items()}, note=note)


def _name(items: Iterable[Configuration], sweep: Sweep) -> str:
    """What these configurations are besides their number of steps; the sweep's name where that is all they are."""
    first = next((item for item in items if not item.is_baseline), None)
    values = {} if first is None else {key: value for key, value in first.values.items() if key != STEPS}
    return sweep.name if first is None or not values else label(replace(first, values=values), sweep.space)


def _by_seed(
    points: Mapping[int, Configuration], finished: Mapping[tuple[Any, Any], Mapping[Any, Any]], sweep: Sweep
) -> dict[int, dict[int, float]]:
    curves: dict[int, dict[int, float]] = {seed: {} for seed in sweep.space.seeds}
    for steps, item in points.items():
        for seed in sweep.space.seeds:
            if (item.id, seed) not in finished:
                raise UserError(
                    f"{STEPS} = {steps} has no score for seed {seed}, and a rule over all seeds needs them all; "
                    f"go on with: {sweep.command('resume')}"
                )
            run = finished[item.id, seed]
            if pd.notna(ended := run["steps"]) and ended != steps:
                raise UserError(
                    f"run {item.run_id(seed)} ended after {ended:.0f} of {steps} steps, by another limit of its "
                    "budget, so it is no point of a curve"
                )
            curves[seed][steps] = float(run[SCORE])
    return curves
