"""t-tests against hand-worked and published numbers."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import stdtr
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.weightstats import ttost_ind

from results.stats.shared_variance import SharedVariance
from results.stats.t_tests import (
    NoVerdict,
    moderated_t,
    no_worse_p,
    one_sample_t,
    paired_t,
    welch_t,
)
from results.verdicts.published_records import load_records

SCORES = st.lists(st.floats(0.5, 4.0), min_size=3, max_size=8)


def spread_enough(*arms):
    return all(np.ptp(arm) > 1e-3 for arm in arms)


def test_one_sample_test_by_hand():
    test = one_sample_t([1.0, 2.0, 3.0], baseline_mean=4.0, margin=0.5)
    assert test.t == pytest.approx((2.0 - 3.5) / (1.0 / math.sqrt(3)))
    assert test.p == pytest.approx(stdtr(2, test.t))
    half = 4.302652730 / math.sqrt(3)  # t(0.975, 2) times the standard error
    assert (test.difference, test.low, test.high) == (-2.0, pytest.approx(-2 - half), pytest.approx(-2 + half))


def test_paired_test_by_hand():
    test = paired_t([1.0, 2.0, 4.0], [2.0, 3.0, 5.5], margin=0.5)  # differences -1, -1, -1.5
    sem = math.sqrt(0.25 / 3) / math.sqrt(3)
    assert test.t == pytest.approx((-7 / 6 + 0.5) / sem)
    assert (test.df, test.difference) == (2, pytest.approx(-7 / 6))
    assert test.correlation == pytest.approx(np.corrcoef([1, 2, 4], [2, 3, 5.5])[0, 1])


def test_welch_test_by_hand():
    candidate, baseline = [1.0, 2.0, 3.0], [5.0, 9.0]
    test = welch_t(candidate, baseline, margin=1.0)
    a, b = 1.0 / 3, 8.0 / 2
    assert test.t == pytest.approx((2.0 - 6.0) / math.sqrt(a + b))
    assert test.df == pytest.approx((a + b) ** 2 / (a**2 / 2 + b**2 / 1))
    assert test.p == pytest.approx(stdtr(test.df, test.t))


def test_the_seed_documents_test_is_reproduced():
    """Second 10-layer entry of PR 150 against 2.0727 - 0.005 nats; figures of that document."""
    losses = load_records().query("record == 'unmerged: PR 150 second 10L entry'")["val_loss"]
    assert (losses.mean(), losses.std()) == (pytest.approx(1.95473431, abs=5e-9), pytest.approx(0.00079629, abs=5e-9))
    test = one_sample_t(losses, baseline_mean=2.0727, margin=0.005)
    assert (round(test.t, 3), test.df, f"{test.p:.1e}") == (-245.717, 2, "8.3e-06")


@pytest.mark.parametrize("test", [paired_t, welch_t])
@pytest.mark.parametrize("scores", [[], [2.0], [2.0, 2.0, 2.0], [2.0, 2.0 + 4e-16], [2.0, math.nan], [2.0, math.inf]])
def test_numbers_that_carry_no_test_never_become_one(test, scores):
    with pytest.raises(NoVerdict):
        test(scores, [score + 0.1 for score in scores])


def test_equal_differences_carry_no_paired_test():
    with pytest.raises(NoVerdict, match="differences between the pairs are all the same .* to test with$"):
        paired_t([1.0, 2.0, 3.0], [1.1, 2.1, 3.1])


def test_equal_scores_point_at_the_seed():
    with pytest.raises(NoVerdict, match="candidate's scores are all the same .*: no run seems to use its seed"):
        welch_t([1.0, 1.0, 1.0], [1.1, 1.2, 1.3])


def test_pairs_without_any_difference_are_named_for_what_they_are():
    with pytest.raises(NoVerdict, match="all 3 pairs scored exactly the same, so what differs .* never acted"):
        paired_t([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])


@given(SCORES, SCORES, st.floats(-0.4, 5.0), st.floats(0.1, 10.0), st.floats(0, 0.1))
@settings(max_examples=30, deadline=None)
def test_shift_and_scale_of_everything_change_no_verdict(candidate, baseline, shift, scale, margin):
    assume(spread_enough(candidate, baseline))
    before = welch_t(candidate, baseline, margin)
    moved, moved_baseline = (scale * (np.array(arm) + shift) for arm in (candidate, baseline))
    after = welch_t(moved, moved_baseline, scale * margin)
    assert (after.t, after.p) == (
        pytest.approx(before.t, rel=1e-6, abs=1e-6),
        pytest.approx(before.p, rel=1e-5, abs=1e-9),
    )
    assert after.difference == pytest.approx(scale * before.difference, rel=1e-6, abs=1e-9)


@given(SCORES, SCORES, st.floats(0, 0.5), st.floats(0.001, 0.5))
@settings(max_examples=30, deadline=None)
def test_a_larger_margin_is_never_easier_to_pass(candidate, baseline, margin, more):
    assume(spread_enough(candidate, baseline))
    assert welch_t(candidate, baseline, margin + more).p >= welch_t(candidate, baseline, margin).p


@given(
    st.lists(st.tuples(st.floats(0.5, 4), st.floats(0.5, 4)), min_size=3, max_size=8), st.randoms(use_true_random=False)
)
@settings(max_examples=30, deadline=None)
def test_the_order_of_pairs_does_not_matter(pairs, random):
    assume(spread_enough([a - b for a, b in pairs]))
    shuffled = random.sample(pairs, len(pairs))
    assert paired_t(*zip(*shuffled, strict=True)).p == pytest.approx(paired_t(*zip(*pairs, strict=True)).p, rel=1e-6)


def test_no_true_gain_passes_at_its_nominal_rate():
    """3 against 3 runs without any difference, 1,000 times: 5 % pass at alpha = 0.05, within 3 standard errors."""
    random = np.random.default_rng(0)
    passed = sum(welch_t(random.normal(size=3), random.normal(size=3)).p < 0.05 for _ in range(1000))
    assert passed / 1000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


def test_the_tests_are_scipys_own_to_the_last_digits():
    random = np.random.default_rng(5)
    a, b = random.normal(2.0, 0.1, size=6), random.normal(2.1, 0.13, size=6)
    for ours, theirs in (
        (paired_t(a, b), stats.ttest_rel(a, b, alternative="less")),
        (welch_t(a, b), stats.ttest_ind(a, b, equal_var=False, alternative="less")),
        (one_sample_t(a, 2.05), stats.ttest_1samp(a, 2.05, alternative="less")),
        (moderated_t(a, b, SharedVariance.of([a, b])), stats.ttest_ind(a, b, alternative="less")),
    ):
        assert (ours.t, ours.p, ours.df) == pytest.approx((theirs.statistic, theirs.pvalue, theirs.df), abs=1e-12)


def test_pooled_variance_is_the_one_way_layout_of_statsmodels():
    arms = [np.random.default_rng(seed).normal(2.0, 0.1, size=3) for seed in range(12, 18)]
    layout = np.kron(np.eye(6), np.ones((3, 1)))
    contrast = np.array([1.0, -1.0, 0, 0, 0, 0])
    theirs = OLS(np.concatenate(arms), layout).fit().t_test(contrast)
    ours = moderated_t(arms[0], arms[1], SharedVariance.of(arms))
    assert (ours.name, ours.df) == ("t-test with pooled variance", 12)
    assert ours.t == pytest.approx(theirs.tvalue.item(), abs=1e-12)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.conf_int()[0]), abs=1e-12)


def test_a_shared_spread_of_many_arms_shows_what_three_runs_alone_cannot():
    arms = [np.array([2.0, 2.001, 1.999]) + shift for shift in np.arange(13) * 0.01]
    better, baseline = np.array([1.9965, 1.998, 1.9975]), arms[0]
    assert welch_t(better, baseline).p > 0.01
    assert moderated_t(better, baseline, SharedVariance.of([better, *arms])).p < 0.01


def test_a_noisier_arm_is_not_judged_by_the_others_calm():
    arms = [np.array([2.0, 2.001, 1.999]) + shift for shift in np.arange(8) * 0.01]
    wild = np.array([2.0, 2.1, 1.9])
    shared = SharedVariance.of([*arms, wild])
    assert moderated_t(arms[0], arms[1], shared).df == 16
    alone = moderated_t(wild, arms[0], shared)
    assert alone.df == 2
    assert alone.standard_error == pytest.approx(welch_t(wild, arms[0]).standard_error, rel=1e-3)
    assert "far noisier" in alone.assumption


def test_arms_that_spread_differently_fall_back_toward_their_own_spread():
    random = np.random.default_rng(1)
    arms = [random.normal(2.0, sd, size=4) for sd in np.geomspace(0.001, 0.03, 12)]
    shared = SharedVariance.of(arms)
    calm, noisy = moderated_t(arms[1], arms[0], shared), moderated_t(arms[-1], arms[-2], shared)
    assert calm.name == noisy.name == "moderated t-test"
    assert calm.standard_error < noisy.standard_error / 3
    assert 3 < calm.df < 36


def test_equal_scores_are_no_evidence_however_much_the_sweep_knows():
    arms = [np.random.default_rng(seed).normal(2.0, 0.001, size=3) for seed in range(8)]
    for few in ([1.0], [1.0, 1.0, 1.0]):
        with pytest.raises(NoVerdict):
            moderated_t(few, arms[0], SharedVariance.of(arms))


def test_no_worse_is_the_second_of_the_two_one_sided_tests_of_statsmodels():
    a, b = np.random.default_rng(7).normal(2.0, 0.1, size=(2, 12))
    _, _, (_, theirs, _) = ttost_ind(a, b, -0.1, 0.1, usevar="unequal")
    assert no_worse_p(welch_t(a, b), 0.1) == pytest.approx(theirs, abs=1e-12)
    lower = stats.ttest_ind(a, b + 0.1, equal_var=False, alternative="less").pvalue
    assert no_worse_p(welch_t(a, b), 0.1) == pytest.approx(lower, abs=1e-12)
