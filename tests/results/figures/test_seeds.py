"""The spread between seeds, worked out by hand, and what pairing leaves of it."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from results.figures.seeds import Spread, between_pairs, between_seeds, detectable_lines, spread_lines
from results.rows.ranking import Measure, Ranking
from results.stats.power import design_of
from results.verdicts.compare import compare
from results.verdicts.sweep_results import SweepResults
from tests.results.sweeps import frame, row


def of(*rows):
    return SweepResults("demo", "?", frame(*rows), Ranking(baseline="base", own_seeds=True), [], {})


def test_the_spread_is_pooled_around_each_groups_own_mean():
    spread = Spread.within(pd.Series([1.0, 3.0, 10.0, 14.0, 99.0]), pd.Series(["a", "a", "b", "b", "alone"]))
    assert (spread.sd, spread.df) == (pytest.approx(math.sqrt((2 + 8) / 2)), 2)


def test_scores_of_one_training_are_one_draw_of_the_seed():
    rows = [row(c, s, 2.0 + s, artifact=f"art{s}") for c in ("base", "a", "b") for s in (1, 2, 3)]
    assert between_seeds(of(*rows)) == Spread(1.0, 2)
    own = [row(c, s, 2.0 + s) for c in ("base", "a", "b") for s in (1, 2, 3)]
    assert between_seeds(of(*own)) == Spread(1.0, 6)


def test_pairing_leaves_the_spread_of_the_gains():
    gains = {1: 0.1, 2: 0.2, 3: 0.3}
    rows = [row("base", s, 2.0 + s, artifact=f"art{s}") for s in gains]
    rows += [row("a", s, 2.0 + s - gain, artifact=f"art{s}") for s, gain in gains.items()]
    spread = between_pairs(of(*rows))
    assert (spread.sd, spread.df) == (pytest.approx(0.1), 2)
    assert "10 times less: pairing takes out the rest." in spread_lines(of(*rows))[-1]


def test_equal_scores_and_equal_gains_are_called_so():
    """Of equal scores it was said that no configuration has two seeds, of equal gains that nothing is paired."""
    same = [row(c, s, 2.0) for c in ("base", "a") for s in (1, 2, 3)]
    assert spread_lines(of(*same)) == [
        "All seeds of a configuration gave the same score, so nothing is known of the spread between seeds."
    ]
    assert spread_lines(of(row("base", 1, 2.0)))[0].startswith("No configuration has two finished seeds")
    shifted = [row(c, s, 2.0 + s - (c == "a"), artifact=f"art{s}") for c in ("base", "a") for s in (1, 2, 3)]
    assert spread_lines(of(*shifted))[-1].endswith("over the baseline is the same on every artifact.")


def test_spreads_of_a_metric_far_from_one_have_digits_that_tell_them_apart():
    rows = [row(c, s, 2.0, eval_s=2e-7 + s * 1e-8) for c in ("base", "a") for s in (1, 2, 3)]
    ranking = Ranking(baseline="base", own_seeds=True, metric="eval_s")
    told = SweepResults("demo", "?", frame(*rows), ranking, [], {}, compared=Measure("eval_s", "s"))
    assert "standard deviation of 1e-08 s of eval_s (4 degrees" in spread_lines(told)[0]


def test_the_minimum_detectable_effect_is_that_of_the_test_that_was_made():
    random = np.random.default_rng(0)
    rows = [row(c, s, 2.0 + 0.01 * random.normal()) for c in ("base", "a", "b", "c", "d") for s in (1, 2, 3)]
    made = replace(of(*rows), ranking=Ranking(baseline="base", seeds=(1, 2, 3)), verdicts=compare(frame(*rows), "base"))
    gain = design_of(False, 4, 3, between_seeds(made).sd, 0.01).minimum_detectable_effect()
    assert detectable_lines(made, made.verdicts[0])[0].startswith(
        f"3 seeds with this spread show a gain of {gain:.4f} "
    )
    unsaid = compare(frame(*rows[:4]), "base")[0]
    assert detectable_lines(made, unsaid) == []


def test_the_interval_of_a_mean_is_students():
    assert Spread(1.0, 2).half_interval(3) == pytest.approx(4.302653 / math.sqrt(3))


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [((1,), "nothing is known of the spread between seeds"), ((1, 2), "they share no artifact")],
)
def test_what_cannot_be_said_is_said(seeds, expected):
    made = of(*(row(config, seed, 2.0 + seed / 10) for config in ("base", "a") for seed in seeds))
    assert expected in spread_lines(made)[-1]
