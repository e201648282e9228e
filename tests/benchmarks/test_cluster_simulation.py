"""The simulation behind docs/clusters.md agrees with the plan's and with sums that can be done by hand."""

import itertools
import random

import pytest

from orchestrator.plan.makespan import makespan_s
from tests.benchmarks.cluster_simulation import FREE, Costs, chains_of, simulated

SECONDS = {"train_text": 0.0, "val_text": 0.0, "train": 8.0, "export": 1.0, "evaluate": 3.0, "adapt": 4.0}


@pytest.mark.parametrize(("slots", "whole_s"), [(1, 192.0), (3, 64.0), (4, 48.0), (12, 16.0)])
def test_runs_that_share_nothing_fill_every_slot(slots, whole_s):
    outcome = simulated(chains_of(12, 1, 1), SECONDS, slots, FREE)
    assert (outcome.whole_s, outcome.busy) == (whole_s, 1.0)


def test_settings_of_one_training_wait_for_it_and_then_run_side_by_side():
    outcome = simulated(chains_of(1, 1, 8), SECONDS, 4, FREE)
    assert outcome.whole_s == 8 + 1 + 3 + 2 * 4
    assert outcome.computed_s == 8 + 1 + 3 + 8 * 4


@pytest.mark.parametrize("seed", range(3))
def test_without_costs_it_takes_about_as_long_as_the_plan_says(seed):
    chance = random.Random(seed)
    chains, slots = chains_of(chance.randrange(3, 9), 3, chance.randrange(1, 7)), chance.randrange(2, 9)
    assert simulated(chains, SECONDS, slots, FREE).whole_s == pytest.approx(makespan_s(chains, SECONDS, slots), rel=0.1)


def test_a_dearer_driver_makes_a_sweep_longer_and_no_run_is_computed_twice():
    chains = chains_of(20, 3, 4)
    outcomes = [simulated(chains, SECONDS, 8, Costs(end_s=s, choose_s=s, result_s=0.0)) for s in (0.0, 0.5, 2.0)]
    assert all(before.whole_s < after.whole_s for before, after in itertools.pairwise(outcomes))
    assert {outcome.computed_s for outcome in outcomes} == {60 * 12.0 + 240 * 4.0}
