"""Variance shrinkage over the arms of a sweep, against scipy and against known distributions."""

import numpy as np
import pytest
from scipy import stats

from results.stats.shared_variance import NOISIER, UNLIKE, SharedVariance, pooled_variance


def variances(prior_df, num_sweeps=400, num_arms=40, df=4):
    """Measured variances whose true ones follow a scaled inverse chi-squared law; infinity: all are 1."""
    random = np.random.default_rng(0)
    size = num_sweeps, num_arms
    true = 1.0 if np.isinf(prior_df) else prior_df / random.chisquare(prior_df, size=size)
    return true * random.chisquare(df, size=size) / df


def test_variances_are_pooled_unless_bartletts_test_rejects_that_they_are_equal():
    random = np.random.default_rng(2)
    for sds in (np.ones(8), np.geomspace(1, 20, 8)):
        arms = [random.normal(size=n) * sd for n, sd in zip((3, 3, 4, 5, 3, 6, 3, 4), sds, strict=True)]
        shared = SharedVariance.of(arms)
        assert np.isinf(shared.prior_df) == (stats.bartlett(*arms).pvalue >= UNLIKE)


def test_equal_variances_are_pooled_in_nine_sweeps_of_ten():
    shared = SharedVariance.over(variances(np.inf), 4)
    assert np.isinf(shared.prior_df).mean() == pytest.approx(0.9, abs=0.04)
    assert shared.pooled.mean() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("prior_df", [10.0, 20.0])
def test_the_prior_is_estimated_from_the_spread_of_the_sample_variances(prior_df):
    shared = SharedVariance.over(variances(prior_df, num_arms=300), 4)
    assert np.median(shared.prior_df) == pytest.approx(prior_df, rel=0.25)
    assert np.median(shared.prior) == pytest.approx(1.0, rel=0.1)


def test_a_shrunk_variance_is_the_weighted_mean_of_the_prior_and_its_own():
    shared = SharedVariance(*(np.array(value) for value in (2.0, 40.0, 1.0, 6.0)))
    shrunk, df = shared.shrunk([4.0, 0.5], [2, 2])
    assert shrunk == pytest.approx([(6 * 1.0 + 2 * 4.0) / 8, (6 * 1.0 + 2 * 0.5) / 8])
    assert df.tolist() == [8, 8]


def test_two_far_noisier_arms_do_not_mask_each_other():
    calm = [0.9, 1.1, 1.0, 1.2, 0.8, 1.3, 1.0, 0.9]
    shared = SharedVariance.over([*calm, 800.0, 900.0], 2)
    assert (float(shared.pooled), float(shared.df)) == (pytest.approx(np.mean(calm)), 16)
    shrunk, df = shared.shrunk([800.0, 1.0], 2)
    assert (shrunk.tolist(), df.tolist()) == ([800.0, pytest.approx(np.mean(calm))], [2, 16])


def test_arms_without_two_different_scores_are_skipped():
    assert SharedVariance.of([[1.0], [2.0, 2.0, 2.0], [3.0, np.nan]]).df == 0
    assert SharedVariance.of([[1.0], [2.0, 3.0]]).pooled == 0.5


def test_the_pooled_variance_alone_is_the_same_also_where_variances_are_unlike():
    arms = [[0.0, spread, 3.0 * spread] for spread in np.geomspace(1, 20, 8)]
    shared = SharedVariance.of(arms)
    assert np.isfinite(shared.prior_df)
    assert pooled_variance(arms) == (float(shared.pooled), float(shared.df))
    assert pooled_variance([[1.0], [2.0, 2.0]])[1] == 0


def test_many_sweeps_at_once_equal_each_sweep_alone():
    table = variances(4.0, num_sweeps=20, num_arms=7)
    together = SharedVariance.over(table, 4)
    for place, row in enumerate(table):
        alone = SharedVariance.over(row, 4)
        assert alone.prior_df == pytest.approx(together.prior_df[place])
        assert alone.shrunk(row, 4)[0] == pytest.approx(together.shrunk(table, 4)[0][place])


def test_arms_are_rarely_excluded_by_chance():
    left_out = SharedVariance.over(variances(np.inf, 2000, 20), 4).df < 80
    by_chance = 20 * NOISIER  # once an arm, in 20 arms
    assert left_out.mean() < by_chance + 3 * (by_chance / 2000) ** 0.5
