"""A race drops who cannot win, stops when it knows, and decides by completed rounds alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.stats.race_rule import RaceBatch, RaceRule, standing
from results.stats.sequential import Looks, p_less
from results.stats.t_tests import paired_t, welch_t

RULE = RaceRule(margin=0.1, alpha=0.05, looks=Looks(last=10))


def runs(mean, n=10, sd=0.01, seed=0):
    return list(mean + sd * np.random.default_rng(seed).normal(size=n))


ARMS = {"base": runs(2.0, seed=1), "best": runs(1.0, seed=2), "worse": runs(3.0, seed=3), "close": runs(1.02, seed=4)}


def test_the_vectorised_tests_are_those_of_compare():
    random = np.random.default_rng(0)
    a, b = random.normal(2.0, 0.1, (50, 4)), random.normal(2.1, 0.3, (50, 4))
    welch = [welch_t(x, y, 0.05).p for x, y in zip(a, b, strict=True)]
    paired = [paired_t(x, y, 0.05).p for x, y in zip(a, b, strict=True)]
    assert p_less(a, b, 0.05) == pytest.approx(welch, rel=1e-10)
    assert p_less(a, b, 0.05, paired=True) == pytest.approx(paired, rel=1e-10)


@pytest.mark.parametrize("looks", [Looks(20), Looks(4), Looks(3), Looks(9, first=2)])
def test_the_looks_spend_alpha_and_no_more(looks):
    assert sum(looks.share(n) for n in range(40)) == pytest.approx(1.0)
    assert looks.share(looks.first - 1) == looks.share(looks.last + 1) == 0.0


def test_nobody_is_judged_before_the_first_look():
    now = standing({arm: scores[:2] for arm, scores in ARMS.items()}, "base", RULE)
    assert (set(now.statuses.values()), now.over, set(now.seeds.values())) == ({"running"}, False, {3})


def test_losers_are_eliminated_winners_named_and_seeds_saved():
    now = standing(ARMS, "base", RULE)
    assert now.over
    assert now.statuses["worse"] == "eliminated"
    assert now.winner == "best"  # 'close' is within the margin, so no seed is spent on telling the two apart
    assert now.better == {"best", "close"}
    assert max(now.seeds.values()) < 10


def test_two_that_differ_by_less_than_the_noise_run_to_the_end_if_the_margin_is_nothing():
    rule = RaceRule(margin=0.0, alpha=0.05, looks=Looks(last=10))
    now = standing({"base": runs(2.0, seed=1), "a": runs(1.0, seed=5), "b": runs(1.0, seed=6)}, "base", rule)
    assert now.over
    assert (now.winner, now.statuses, now.seeds["a"], now.seeds["b"]) == ("", {"a": "left", "b": "left"}, 10, 10)
    assert now.seeds["base"] < 10  # its part was decided early


def test_when_nobody_clears_the_margin_the_race_ends_early_and_names_nobody():
    now = standing({"base": runs(2.0, seed=1), "a": runs(1.99, seed=2), "b": runs(2.3, seed=3)}, "base", RULE)
    assert (now.over, now.winner, now.better) == (True, "", frozenset())
    assert set(now.statuses.values()) == {"eliminated"}
    assert max(now.seeds.values()) < 10


def test_a_failed_seed_takes_its_configuration_out_and_a_failed_baseline_ends_the_race():
    failed = standing({**ARMS, "best": [1.0, float("nan"), 1.0]}, "base", RULE)
    assert failed.statuses["best"] == "failed"
    assert failed.winner == "close"
    lost = standing({**ARMS, "base": [2.0, float("nan"), 2.0]}, "base", RULE)
    assert (lost.over, lost.winner, lost.better) == (True, "", frozenset())


def test_equal_scores_decide_nothing():
    now = standing({"base": [2.0] * 10, "a": [1.0] * 10}, "base", RULE)
    assert (now.over, now.winner, now.better) == (True, "", frozenset())


@given(st.integers(0, 10**6), st.lists(st.integers(0, 12), min_size=4, max_size=4))
@settings(max_examples=25, deadline=None)
def test_more_scores_than_the_rounds_ask_for_change_nothing(seed, extra):
    """In any order of the runs, a round is judged once it is complete, on the seeds of that round."""
    means = {"base": 2.0, "a": 1.6, "b": 1.9, "c": 2.5}
    arms = {name: runs(mean, 22, 0.3, seed + place) for place, (name, mean) in enumerate(means.items())}
    rule = RaceRule(margin=0.1, alpha=0.1, looks=Looks(last=10))
    have = dict.fromkeys(arms, 0)
    while not (now := standing({arm: arms[arm][: have[arm]] for arm in arms}, "base", rule)).over:
        have = {arm: max(have[arm], now.seeds[arm]) for arm in arms}
    ahead = {arm: arms[arm][: have[arm] + more] for (arm, more) in zip(arms, extra, strict=True)}
    assert standing(ahead, "base", rule) == now


@given(st.floats(-5, 5), st.floats(0.01, 100))
@settings(max_examples=10, deadline=None)
def test_shift_and_scale_of_scores_and_margin_change_no_race(shift, scale):
    moved = {arm: [scale * (score + shift) for score in scores] for arm, scores in ARMS.items()}
    rule = RaceRule(margin=0.1 * scale, alpha=0.05, looks=Looks(last=10))
    assert standing(moved, "base", rule) == standing(ARMS, "base", RULE)


def test_a_batch_of_races_is_the_same_race_many_times():
    table = np.array(list(ARMS.values()))
    batch = RaceBatch.start(RULE, 3, 4)
    for n in range(3, 11):
        batch.look(np.repeat(table[None, :, :n], 3, axis=0))
    alone = standing(ARMS, "base", RULE)
    assert batch.seeds_SA.tolist() == [list(alone.seeds.values())] * 3
    assert batch.winner_S.tolist() == [1, 1, 1]


def test_without_any_difference_few_races_call_anything_better():
    """300 races of 5 equal configurations at the margin's edge: far fewer than alpha = 0.05 err."""
    random = np.random.default_rng(0)
    rule = RaceRule(margin=0.0, alpha=0.05, looks=Looks(last=10))
    scores = random.normal(size=(300, 6, 10))
    batch = RaceBatch.start(rule, 300, 6)
    for n in range(3, 11):
        batch.look(scores[:, :, :n])
    assert batch.better_SA.any(1).mean() < 0.05
