"""From which step on a curve passes: tests in a fixed order, and a community's own rule."""

import numpy as np
import pytest

from results.rows.ranking import Measure
from results.verdicts.first_step import first_step
from trainer.spec.errors import UserError


def curves(means: dict[int, float], n: int = 8, sd: float = 0.01, seed: int = 0) -> dict[int, dict[int, float]]:
    random = np.random.default_rng(seed)
    return {one: {step: mean + sd * random.normal() for step, mean in means.items()} for one in range(n)}


def test_the_first_step_of_an_unbroken_row_up_to_the_end_is_named():
    answer = first_step("a", curves({1: 3.5, 2: 3.1, 3: 3.4, 4: 3.0, 5: 2.9}), threshold=3.28)
    assert answer.first == 4  # step 2 passes by itself, and 3 after it does not
    assert "passes from step 4 on" in answer.sentence


def test_a_curve_that_fails_at_its_end_passes_nowhere():
    assert first_step("a", curves({1: 3.0, 2: 3.4}), threshold=3.28).first is None


def test_of_a_number_of_which_more_is_better_means_and_threshold_are_told_as_they_are():
    accuracies = curves({1: 0.7, 2: 0.9, 3: 0.95})
    answer = first_step("a", accuracies, threshold=0.8, measure=Measure("accuracy", "accuracy", True))
    assert (answer.first, round(answer.points[0].mean, 1)) == (2, 0.7)
    assert "Rule: mean above 0.8" in answer.sentence
    tiny = first_step("a", curves({1: 2e-7}, sd=1e-8), threshold=1e-6, measure=Measure("error", "error"))
    assert "mean 2.0" in tiny.sentence
    assert "e-07 of 8 seeds" in tiny.sentence


def test_twenty_looks_in_a_fixed_order_err_no_more_than_alpha():
    flat = dict.fromkeys(range(20), 3.28)  # never below: any pass is an error
    wrong = sum(first_step("a", curves(flat, seed=seed), 3.28, alpha=0.05).first is not None for seed in range(600))
    assert wrong / 600 < 0.075


def test_a_rule_with_an_assumed_sd_does_not_apply_to_runs_that_spread_more():
    with pytest.raises(UserError, match=r"takes an sd of 0.0013 nats as known.*contradicts it"):
        first_step("a", curves({1: 3.0}, sd=0.02), rule="mng-track3")
    assert first_step("a", curves({1: 3.0}, sd=0.001), rule="mng-track3").first == 1


def test_seeds_must_share_their_steps():
    with pytest.raises(UserError, match="seed 2 of 'a' has no point at step 20"):
        first_step("a", {1: {10: 3.0, 20: 2.9}, 2: {10: 3.1}}, threshold=3.28)


def test_what_passing_means_must_be_said():
    with pytest.raises(UserError, match="--below 3.28"):
        first_step("a", {1: {10: 3.0}})
    with pytest.raises(UserError, match="brings its own threshold"):
        first_step("a", {1: {10: 3.0}}, threshold=3.0, rule="mng-track3")
