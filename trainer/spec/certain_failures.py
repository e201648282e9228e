"""What a valid recipe says about its own run: that it will fail, or that a part of it will never act.

Known from the recipe alone, so before anything runs. Where a wall clock decides when a training ends, a complaint is
made only of what no clock can change. Records of earlier runs may hold such recipes, so these are no contradictions
that a recipe refuses.
"""

from __future__ import annotations

from collections.abc import Iterator

from trainer.spec.errors import RecipeError
from trainer.spec.program import Program
from trainer.spec.recipe import Recipe
from trainer.spec.runnable import Runnable
from trainer.spec.schedule import multiplier, takes_snapshot, used_fraction

MOST_SCANNED = 1_000_000
"""Steps that are looked at, from the last one backwards."""


def certain_failures(recipe: Runnable) -> list[str]:
    """A line for each part of the recipe whose run is certain to fail, or that is certain to do nothing.

    Nothing is known of a program before it runs.
    """
    if isinstance(recipe, Program):
        return []
    return [*_no_snapshot(recipe), *_no_late_qat(recipe), *_no_recurrence(recipe)]


def refuse_certain_failure(recipe: Runnable, source: str) -> None:
    """Raises RecipeError if a run of the recipe is certain to fail."""
    if problems := certain_failures(recipe):
        raise RecipeError(source, problems)


def _no_snapshot(recipe: Recipe) -> Iterator[str]:
    averaging, steps = recipe.averaging, recipe.budget.train_steps
    if averaging.use != "swa" or takes_a_snapshot(recipe, averaging.swa_every):
        return
    fitting = next((every for every in range(averaging.swa_every - 1, 0, -1) if takes_a_snapshot(recipe, every)), 0)
    other = f"averaging.swa_every: {fitting}" if fitting else "a larger averaging.swa_below, a smaller swa_min_step"
    length = f"in budget.train_steps = {steps} " if steps is not None else ""
    yield (
        f"averaging.swa_every = {averaging.swa_every} takes no snapshot {length}to export: from "
        f"averaging.swa_min_step = {averaging.swa_min_step} on, no step at a multiple of it has a learning-rate "
        f"multiplier below averaging.swa_below = {averaging.swa_below:g}; write {other}, or averaging.use: none"
    )


def takes_a_snapshot(recipe: Recipe, swa_every: int) -> bool:
    """Whether a training with so many steps between snapshots may take one; under a clock, whether any could."""
    averaging, steps = recipe.averaging.model_copy(update={"swa_every": swa_every}), recipe.budget.train_steps
    if steps is None:
        return takes_snapshot(averaging, swa_every * (averaging.swa_min_step + 1), _lowest(recipe, 0))
    last = steps // swa_every * swa_every
    ends = range(last, max(last - MOST_SCANNED, 0), -swa_every)
    return any(takes_snapshot(averaging, end, _lowest(recipe, end - 1)) for end in ends)


def _no_late_qat(recipe: Recipe) -> Iterator[str]:
    quantization, steps = recipe.quantization, recipe.budget.train_steps
    lowest = _lowest(recipe, (steps or 1) - 1)
    if quantization.qat == "late" and lowest >= quantization.qat_late_below:
        yield (
            f"quantization.qat_late_below = {quantization.qat_late_below:g} is never reached, so quantization.qat = "
            f"late does nothing: the learning-rate multiplier ends at {lowest:.3g}; write a larger one, or "
            "quantization.qat: off"
        )


def _no_recurrence(recipe: Recipe) -> Iterator[str]:
    model, steps = recipe.model, recipe.budget.train_steps
    without_clock = recipe.budget.train_s is None
    used = used_fraction(recipe.budget, steps - 1, 0.0) if steps is not None and without_clock else 1.0
    if model.recur_loops and (model.recur_at >= 1 or model.recur_at > used):
        yield (
            f"model.recur_at = {model.recur_at:g} is never reached, so no step trains the recurrence that scoring "
            "uses; write a smaller one, usual: 0.5, or model.recur_loops: 0"
        )


def _lowest(recipe: Recipe, step: int) -> float:
    """The multiplier of a step; under a clock, which may end the warm-down at any step, the lowest it can have."""
    schedule = recipe.schedule
    if recipe.budget.train_s is None:
        return multiplier(schedule, recipe.budget, step, 0.0, None)
    length = schedule.warmdown_steps if schedule.form == "iterations" else schedule.warmdown_fraction
    return schedule.min_multiplier if length else 1.0
