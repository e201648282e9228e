"""What a recipe says about its run before it is run."""

import pytest

from trainer.spec.certain_failures import certain_failures
from trainer.spec.load import load_preset, preset_names
from trainer.spec.nano import SUFFIX
from trainer.spec.recipe import Recipe
from trainer.spec.schedule import multiplier, takes_snapshot

SHORT = {"budget.train_steps": 20}
EMA_RECURRENT = "pr1413"


def failures(preset="tiny", **values):
    overrides = SHORT | {key.replace("__", "."): value for key, value in values.items()}
    return "\n".join(certain_failures(load_preset(preset, overrides).recipe))


def snapshots(recipe: Recipe) -> int:
    """How many a training of steps alone takes, step by step."""
    steps = range(recipe.budget.train_steps or 0)
    multipliers = [multiplier(recipe.schedule, recipe.budget, step, 0.0, None) for step in steps]
    return sum(takes_snapshot(recipe.averaging, step + 1, multipliers[step]) for step in steps)


@pytest.mark.parametrize("name", [name + suffix for name in preset_names() for suffix in ("", SUFFIX)])
def test_no_preset_fails_for_certain(name):
    assert certain_failures(load_preset(name).recipe) == []


def test_the_interval_that_takes_no_snapshot_is_refused_with_one_that_does():
    said = failures(averaging__swa_every=6)
    assert "averaging.swa_every = 6 takes no snapshot in budget.train_steps = 20" in said
    assert "write averaging.swa_every: 5, or averaging.use: none" in said
    assert failures(averaging__swa_every=6, averaging__use="none") == ""


@pytest.mark.parametrize("every", range(1, 25))
@pytest.mark.parametrize("below", [0.0, 0.05, 0.3])
def test_a_recipe_is_refused_exactly_where_its_training_takes_no_snapshot(every, below):
    values = {"averaging__swa_every": every, "averaging__swa_min_step": 12, "averaging__swa_below": below}
    overrides = SHORT | {key.replace("__", "."): value for key, value in values.items()}
    assert bool(failures(**values)) == (snapshots(load_preset("tiny", overrides).recipe) == 0)


def test_without_any_snapshot_at_all_other_thresholds_are_named():
    assert "write a larger averaging.swa_below, a smaller swa_min_step" in failures(averaging__swa_min_step=21)
    assert "write a larger averaging.swa_below" in failures(schedule__warmdown_steps=0)
    assert "write a larger averaging.swa_below" in failures(schedule__min_multiplier=0.4)


def test_under_a_clock_only_what_no_clock_can_change_is_refused():
    clock = {"budget__train_s": 60.0, "budget__train_steps": None}
    assert failures(averaging__swa_every=6, **clock) == ""
    assert "takes no snapshot to export" in failures(averaging__swa_below=0.0, **clock)
    assert "takes no snapshot in budget.train_steps = 20" in failures(averaging__swa_every=21, budget__train_s=60.0)


def test_late_quantisation_that_never_begins_is_refused():
    late = {"quantization__qat": "late", "quantization__qat_late_below": 0.01, "averaging__use": "none"}
    assert "the learning-rate multiplier ends at 0.0167" in failures(**late)
    assert failures(**late | {"quantization__qat_late_below": 0.1}) == ""


def test_a_recurrence_that_no_step_trains_is_refused():
    steps = {"budget__train_s": None, "budget__train_steps": 10, "schedule__form": "fraction"}
    assert "model.recur_at = 0.95 is never reached" in failures(EMA_RECURRENT, model__recur_at=0.95, **steps)
    assert failures(EMA_RECURRENT, model__recur_at=0.9, **steps) == ""
