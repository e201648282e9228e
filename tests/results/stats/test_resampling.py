"""Sign flips and the bootstrap against scipy, and their refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from results.stats.resampling import bootstrap_interval, least_n_for_sign_flips, sign_flip_p
from results.stats.t_tests import NoVerdict

DIFFERENCES = st.lists(st.floats(-1.0, 1.0).filter(lambda value: abs(value) > 1e-3), min_size=7, max_size=9)


def test_sign_flips_equal_scipys_exact_permutation_test():
    differences = np.random.default_rng(1).normal(-0.4, 1.0, size=9)
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", alternative="less", n_resamples=np.inf
    )
    assert sign_flip_p(differences) == pytest.approx(theirs.pvalue, abs=1e-12)


def test_seven_pairs_all_better_are_one_pattern_in_128():
    assert sign_flip_p([-0.1, -0.2, -0.3, -0.4, -0.5, -0.6, -0.7]) == 1 / 128


@pytest.mark.parametrize(("alpha", "least"), [(0.01, 7), (0.05, 5), (0.001, 10), (0.25, 3)])
def test_sign_flips_are_refused_where_they_cannot_reach_alpha(alpha, least):
    assert least_n_for_sign_flips(alpha) == least
    assert sign_flip_p(-np.arange(1.0, least + 1), alpha=alpha) < alpha
    with pytest.raises(NoVerdict, match=f"at least {least} pairs are needed"):
        sign_flip_p(-np.arange(1.0, least), alpha=alpha)


@given(DIFFERENCES, st.floats(0.01, 100.0), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_scale_and_order_change_no_sign_flip_p(differences, scale, random):
    shuffled = random.sample(differences, len(differences))
    assert sign_flip_p(scale * np.array(shuffled)) == sign_flip_p(differences)


@given(DIFFERENCES, st.floats(0, 0.5), st.floats(0, 0.5))
@settings(max_examples=20, deadline=None)
def test_a_larger_margin_is_never_easier_by_sign_flips(differences, margin, more):
    assert sign_flip_p(differences, margin + more) >= sign_flip_p(differences, margin) - 1e-12


def test_the_bootstrap_is_offered_from_ten_runs_on_and_repeats_itself():
    scores = np.random.default_rng(2).normal(2.0, 0.1, size=12)
    low, high = bootstrap_interval(scores)
    assert low < scores.mean() < high
    assert bootstrap_interval(scores[::-1]) == (low, high)
    with pytest.raises(NoVerdict, match="at least 10 are needed"):
        bootstrap_interval(scores[:9])


@given(st.floats(-3, 3), st.floats(0.1, 10.0))
@settings(max_examples=5, deadline=None)
def test_the_bootstrap_moves_and_stretches_with_its_numbers(shift, scale):
    scores = np.random.default_rng(3).normal(size=10)
    low, high = bootstrap_interval(scores)
    assert bootstrap_interval(scale * scores + shift) == pytest.approx(
        (scale * low + shift, scale * high + shift), abs=0.02 * scale
    )  # BCa counts ties with the mean, which rounding breaks


@pytest.mark.parametrize("values", [[1.0] * 12, [1.0] * 11 + [np.nan]])
def test_no_spread_or_no_number_has_no_interval(values):
    with pytest.raises(NoVerdict):
        bootstrap_interval(values)
