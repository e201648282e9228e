"""The wall clock of training, by hand: never over the budget, hardly under it, and unmoved by one pause."""

import csv
import math
from collections.abc import Iterator
from itertools import chain, pairwise, repeat

import pytest
import torch

from tests.fakes import HandClock
from tests.trainer.stages.conftest import small
from trainer.stages.context import StageContext
from trainer.stages.run_record import fingerprints_of
from trainer.stages.train import initial_model, train_model
from trainer.store.local import StageStore

WALL_CLOCK = {"budget__train_steps": None, "averaging__use": "none", "averaging__swa_every": 0}
TINIEST = {
    "model__num_layers": 1,
    "model__model_dim": 16,
    "model__mlp_hidden": 16,
    "model__bigram_buckets": 0,
    "data__train_seq_len": 16,
    "data__train_batch_tokens": 32,
    "data__micro_batches": 1,
}


def trained(text_store, tmp_path, durations_s: Iterator[float], **changes):
    """Trains with a clock that stands still but for each step's forward, which takes the next of some durations."""
    recipe, clock = small(**WALL_CLOCK, **TINIEST, **changes), HandClock()
    model = initial_model(recipe, torch.device("cpu"))
    model.tok_emb.register_forward_pre_hook(lambda *_: clock.advance(next(durations_s)))
    stages = fingerprints_of(recipe, 1)
    context = StageContext(recipe, "run", StageStore(text_store), stages, clock=clock, snapshot_every_s=math.inf)
    metrics = train_model(context, tmp_path, model)
    with (tmp_path / "curve.csv").open() as file:
        return metrics, [float(row["multiplier"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("reserve_s", [0.0, 0.5])
def test_short_steps_use_99_percent_of_the_budget_and_never_more(text_store, tmp_path, reserve_s):
    noisy = chain.from_iterable(repeat([0.010, 0.012, 0.009, 0.011]))
    metrics, _ = trained(text_store, tmp_path, noisy, budget__train_s=2.0 + reserve_s, budget__reserve_s=reserve_s)
    assert 0.99 * 2.0 <= metrics["train_s"] <= 2.0


@pytest.mark.parametrize("step_s", [0.3, 0.6, 0.9])
def test_not_even_long_steps_pass_the_budget(text_store, tmp_path, step_s):
    metrics, _ = trained(text_store, tmp_path, repeat(step_s), budget__train_s=1.0)
    assert metrics["train_s"] <= 1.0
    assert metrics["steps"] == int(1.0 // step_s)


@pytest.mark.parametrize("paused_step", [0, 5, 40])
def test_a_pause_of_30_s_leaves_the_multiplier_at_one_and_costs_its_own_time_alone(text_store, tmp_path, paused_step):
    durations_s = chain(repeat(0.5, paused_step), [30.0], repeat(0.5))
    metrics, multipliers = trained(text_store, tmp_path, durations_s, budget__train_s=70.0, schedule__warmdown_steps=20)
    assert set(multipliers[: paused_step + 10]) == {1.0}
    assert 0.99 * 70 <= metrics["train_s"] <= 70
    assert multipliers[-1] < 0.11
    assert all(later <= earlier for earlier, later in pairwise(multipliers))
