"""Own variances that borrow one degree of freedom: by hand, against scipy, and where they borrow nothing."""

import numpy as np
import pytest
from scipy import special, stats

from results.stats.own_variance import (
    ARM_PRIOR_DF,
    LEAST_ARMS,
    NOTHING_BORROWED,
    PAIRS_PRIOR_DF,
    OwnVariance,
    satterthwaite_df,
)
from results.stats.t_tests import paired_t, welch_t


def test_a_shrunk_variance_is_the_weighted_mean_of_the_typical_one_and_its_own():
    variance, df = OwnVariance(np.array(2.0), 0.5).shrunk([4.0, 0.5], 2)
    assert variance == pytest.approx([(0.5 * 2.0 + 2 * 4.0) / 2.5, (0.5 * 2.0 + 2 * 0.5) / 2.5])
    assert df.tolist() == [2.5, 2.5]


def test_two_seeds_borrow_half_as_much():
    assert OwnVariance(np.array(2.0), PAIRS_PRIOR_DF).shrunk([4.0], [1])[1].tolist() == [1.5]


def test_the_typical_variance_of_equal_arms_is_theirs():
    variance = np.random.default_rng(0).chisquare(2, size=20_000) / 2
    assert OwnVariance.over(variance, 2, ARM_PRIOR_DF).prior == pytest.approx(1.0, abs=0.02)


def test_few_arms_borrow_nothing():
    few, enough = ([np.array([0.0, 1.0, 2.0]) + arm for arm in range(n)] for n in (LEAST_ARMS - 1, LEAST_ARMS))
    assert OwnVariance.of(few, ARM_PRIOR_DF) is NOTHING_BORROWED
    assert OwnVariance.of([array[:2] for array in enough], ARM_PRIOR_DF) is NOTHING_BORROWED
    assert OwnVariance.of(enough, ARM_PRIOR_DF).prior_df == ARM_PRIOR_DF
    assert OwnVariance.of([[1.0], [2.0, 2.0]], ARM_PRIOR_DF) is NOTHING_BORROWED


def test_one_wild_arm_among_ten_moves_the_typical_spread_to_a_few_times_itself():
    assert OwnVariance.over([*[1.0] * 9, 900.0], 2, ARM_PRIOR_DF).prior < 16 * 1.3


def test_an_arm_that_is_far_noisier_is_judged_by_nearly_its_own_variance():
    own = OwnVariance.over([*[1.0] * 9, 900.0], 2, ARM_PRIOR_DF)
    assert own.shrunk([900.0], [2])[0] == pytest.approx([900 * 2 / 2.5], rel=0.01)


def test_without_anything_borrowed_the_tests_are_welchs_and_the_paired_t():
    a, b = np.random.default_rng(1).normal(size=(2, 5))
    assert welch_t(a, b).p == pytest.approx(stats.ttest_ind(a, b, equal_var=False, alternative="less").pvalue)
    assert paired_t(a, b).p == pytest.approx(stats.ttest_rel(a, b, alternative="less").pvalue)


def test_what_is_borrowed_enters_the_pairs_by_hand():
    differences = np.array([-1.0, -2.0, -3.0])
    test = paired_t(differences, np.zeros(3), own=OwnVariance(np.array(4.0), PAIRS_PRIOR_DF), block="seed")
    error = ((1 * 4.0 + 2 * 1.0) / 3 / 3) ** 0.5
    assert (test.df, test.t) == (3, pytest.approx(-2.0 / error))
    assert test.p == pytest.approx(special.stdtr(3, -2.0 / error))
    assert test.name == "moderated paired t-test"
    assert "pairs share the seed; one degree of freedom is borrowed" in test.assumption


def test_satterthwaites_degrees_of_freedom_lie_between_the_smaller_and_the_sum():
    assert satterthwaite_df(1.0, 2.5, 1.0, 2.5) == pytest.approx(5.0)
    assert satterthwaite_df(1.0, 2.5, 1e9, 4.0) == pytest.approx(4.0)
