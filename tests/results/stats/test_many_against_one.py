"""Many against one: corrected p-values, intervals that agree with them, and means that are not flattered."""

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from results.stats.many_against_one import critical_value, decide, dunnett_p, shrunken_means

P_VALUES = st.lists(st.floats(1e-6, 0.9), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def collected():
    """statsmodels collects garbage in every call: what earlier tests left takes half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.mark.usefixtures("collected")
@given(P_VALUES)
@settings(max_examples=30)
def test_holm_is_that_of_statsmodels(p_values):
    decided = [one.p_corrected for one in decide(p_values, [4.0] * len(p_values), 0.05)]
    assert decided == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


def test_dunnett_is_that_of_scipy():
    arms = np.random.default_rng(0).normal(size=(6, 4))
    expected = stats.dunnett(*arms[1:], control=arms[0], alternative="greater", rng=np.random.default_rng(0))
    df = 6 * 3
    ours = [dunnett_p(t, df, 5) for t in expected.statistic]
    assert ours == pytest.approx(expected.pvalue, abs=2e-3)  # scipy integrates by simulation


@pytest.mark.parametrize("df", [1, 2, 10 / 3, 10, 22, 1000])
@pytest.mark.parametrize("t", [3.0, 10.0, 40.0])
def test_dunnett_lies_between_one_comparison_and_bonferroni_however_small_p_is(t, df):
    alone = stats.t.sf(t, df)
    assert dunnett_p(t, df, 1) == pytest.approx(alone, rel=1e-9)
    assert alone <= dunnett_p(t, df, 10) <= 10 * alone


@pytest.mark.parametrize("alpha", [0.01, 1e-6, 1e-10])
@pytest.mark.parametrize("df", [2.0, 10.0, 40.0])
def test_dunnett_has_a_critical_value_at_every_alpha(alpha, df):
    critical = critical_value(alpha, df, 5, "dunnett")
    assert dunnett_p(critical, df, 5) == pytest.approx(alpha, rel=1e-6)


def test_dunnett_needs_less_than_holm_and_more_than_one_comparison_alone():
    assert critical_value(0.01, 22, 1) < critical_value(0.01, 22, 10, "dunnett") < critical_value(0.01, 22, 10)


@pytest.mark.parametrize("correction", ["holm", "dunnett", "none"])
@given(P_VALUES, st.sampled_from([2.0, 4.5, 30.0]))
@settings(deadline=None, max_examples=40)
def test_an_interval_lies_beyond_the_margin_exactly_where_the_verdict_is_better(correction, p_values, df):
    for p, one in zip(p_values, decide(p_values, [df] * len(p_values), 0.05, correction), strict=True):
        beyond = -stats.t.ppf(p, df)  # the difference to the margin in standard errors
        if abs(one.p_corrected - 0.05) > 1e-6:
            assert (beyond > one.critical) == one.better
            assert one.better or one.single_step == one.critical


def test_all_lower_bounds_hold_together():
    """1,000 families of 6 true gains against one baseline; each bound beside its truth."""
    dice, n, margin, missed = np.random.default_rng(1), 4, 0.5, {"holm": 0, "dunnett": 0}
    truth = np.array([0.0, 0.5, 0.5, 1.0, 2.0, 4.0])
    for _ in range(1000):
        arms = dice.normal(size=(7, n)) + np.r_[0, truth][:, None]
        error, df = np.sqrt(2 * arms.var(1, ddof=1).mean() / n), 7 * (n - 1)
        gains = arms[1:].mean(1) - arms[0].mean()
        p_values = stats.t.sf((gains - margin) / error, df)
        for correction in missed:
            decided = decide(p_values, [df] * 6, 0.05, correction)
            bounds = [
                margin if one.single_step is None else gain - one.single_step * error
                for gain, one in zip(gains, decided, strict=True)
            ]
            missed[correction] += bool((truth < bounds).any())
    assert missed["holm"] / 1000 < 0.06
    assert missed["dunnett"] / 1000 < 0.06


@pytest.mark.parametrize("num", [3, 10, 50])
@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_the_mean_of_the_best_is_flattered_and_the_shrunken_one_hardly(num, spread):
    dice = np.random.default_rng(2)
    truth = dice.normal(size=(2000, num)) * spread
    means = truth + dice.normal(size=truth.shape)
    best = means.argmin(1)
    shrunken = np.array([shrunken_means(row, 1.0) for row in means])
    rows = np.arange(len(best))
    raw, bias = ((table - truth)[rows, best].mean() for table in (means, shrunken))
    assert raw < -0.4
    assert abs(bias) < 0.5 * abs(raw)


def test_a_mean_alone_was_not_selected():
    assert shrunken_means([2.0], 1.0) == [2.0]
